"""How far the confidence of each configuration can be trusted, and where it is unsure."""

from typing import Any

import numpy as np
import pandas as pd

from stoirec.answer.recovery import NAMED_FROM
from stoirec.network.notation import column_text
from stoirec.report.calibration import SURE, calibration
from stoirec.report.differences import share_interval
from stoirec.report.results import Results


def confidences(found: Results) -> pd.DataFrame:
    """(entries of all fits) columns configuration, data, seed, confidence, right."""
    parts = []
    for identity, answer in found.ended.iterrows():
        graph, recovery = found.space(answer["data"]).graph, found.recovery(identity)
        true = graph.on_edges(found.truth(answer["data"]).stoichiometry)
        right = graph.on_edges(recovery["stoichiometry"].values) == true
        parts.append(
            pd.DataFrame(
                {
                    "configuration": answer["configuration"],
                    "data": answer["data"],
                    "seed": answer["param.seed"],
                    "confidence": recovery["confidence"].values,
                    "right": right,
                }
            )
        )
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=["configuration", "data", "seed", "confidence", "right"])
    )


def sure_entries(entries: pd.DataFrame) -> pd.DataFrame:
    """Per configuration: entries, the share that is sure (confidence at least 0.99), the share right among those.

    from, to: its 95 % interval over networks.
    """
    rows = {}
    for name, group in entries.groupby("configuration", sort=False):
        sure = group["confidence"] >= SURE
        low, high = share_interval(group[sure].set_index(["data", "seed"])["right"])
        rows[name] = {
            "entries": len(group),
            "share right": group["right"].mean(),
            "share sure": sure.mean(),
            "right among sure": group.loc[sure, "right"].mean() if sure.any() else np.nan,
            "from": low,
            "to": high,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def calibrations(entries: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """calibration.calibration of every configuration."""
    return {
        str(name): calibration(group["confidence"].to_numpy(), group["right"].to_numpy(bool))
        for name, group in entries.groupby("configuration", sort=False)
    }


def unsure_reactions(found: Results, most: int = 20) -> tuple[pd.DataFrame, int]:
    """Reactions whose lowest confidence is under 0.99, and how many there are.

    Returns:
        At most `most` rows, as many of each configuration as there is room for, its least sure ones first:
        configuration, data set, reaction (name), confidence, answer (its column), cost, next best (columns with their
        costs), right. Costs are of recovery.nc.
    """
    parts = []
    for name, group in found.ended.groupby("data", sort=False):
        graph = found.space(name).graph
        for identity, answer in group.iterrows():
            lowest = np.ones(graph.n_reactions)
            np.minimum.at(lowest, graph.edge_reaction, found.recovery(identity)["confidence"].values)
            unsure = np.flatnonzero(lowest < SURE)
            which = {"configuration": answer["configuration"], "data set": name, "fit_id": identity}
            parts.append(pd.DataFrame({**which, "reaction": unsure, "confidence": lowest[unsure]}))
    if not any(map(len, parts)):
        return pd.DataFrame(), 0
    every = pd.concat(parts, ignore_index=True).sort_values("confidence", kind="stable")
    place = every.groupby("configuration").cumcount()  # one of each configuration, then the next of each
    rows = every.loc[place.sort_values(kind="stable").index[:most]]
    order = {name: index for index, name in enumerate(dict.fromkeys(found.answers["configuration"]))}
    rows = rows.sort_values("confidence").sort_values(
        "configuration", key=lambda names: names.map(order), kind="stable"
    )
    columns = [_beside_next_best(found, row["fit_id"], row["data set"], row["reaction"]) for _, row in rows.iterrows()]
    names = [found.space(row["data set"]).graph.reaction_name(row["reaction"]) for _, row in rows.iterrows()]
    rows = rows.drop(columns="fit_id").assign(reaction=names).reset_index(drop=True)
    return pd.concat([rows, pd.DataFrame(columns)], axis=1), len(every)


def _beside_next_best(found: Results, identity: str, data: str, reaction: int, n_next: int = 2) -> dict[str, Any]:
    """answer, cost (nan if its column is not among the listed ones), next best, right: of one reaction."""
    graph, recovery = found.space(data).graph, found.recovery(identity)
    edges = graph.edges_of(reaction)
    answer, true = (
        graph.on_edges(matrix) for matrix in (recovery["stoichiometry"].values, found.truth(data).stoichiometry)
    )
    columns, costs = recovery["alternative"].values, recovery["alternative_cost"].values[:, reaction]
    own = (columns == answer)[:, edges].all(axis=1) & np.isfinite(costs)
    others = np.flatnonzero(~own & np.isfinite(costs))[:n_next]
    return {
        "answer": column_text(graph, answer, reaction),
        "cost": float(costs[own][0]) if own.any() else np.nan,
        "next best": "; ".join(
            f"{column_text(graph, columns[rank], reaction)} (cost {costs[rank]:.3g})" for rank in others
        )
        or "none",
        "right": bool((answer == true)[edges].all()),
    }


def outside_reactions(found: Results, most: int = 20) -> tuple[pd.DataFrame, int]:
    """Reactions that no allowed column seems right for, likeliest first, and how many there are.

    Returns:
        At most `most` rows: configuration, data set, reaction (name), probability (that none is), data ask for (the
        real column), answer, true.
    """
    rows = []
    for identity, answer in found.ended.iterrows():
        recovery = found.recovery(identity)
        if "no_column_probability" not in recovery:
            continue
        graph = found.space(answer["data"]).graph
        true = graph.on_edges(found.truth(answer["data"]).stoichiometry)
        integers = graph.on_edges(recovery["stoichiometry"].values)
        probability = recovery["no_column_probability"].values
        for reaction in np.flatnonzero(probability > NAMED_FROM).tolist():
            rows.append(
                {
                    "configuration": answer["configuration"],
                    "data set": answer["data"],
                    "reaction": graph.reaction_name(reaction),
                    "probability": probability[reaction],
                    "data ask for": column_text(graph, np.round(recovery["coefficient"].values, 2), reaction),
                    "answer": column_text(graph, integers, reaction),
                    "true": column_text(graph, true, reaction),
                }
            )
    rows.sort(key=lambda row: -row["probability"])
    return pd.DataFrame(rows[:most]), len(rows)
