"""Every configuration on every kind of data beside what is attainable there, how far its confidence can be trusted, and where it is unsure."""

from typing import Any

import numpy as np
import pandas as pd

from stoirec.report.present import minus
from stoirec.report.recovery.mistakes import calibration
from stoirec.report.results import REFERENCES, Results

SURE = 0.99
_BLIND = "oracle_scale_blind"
_WITH_DECOYS = {
    "entry_exact_true_edges": "true edges",
    "support_f1": "support_f1",
}  # more metrics, and their names after an oracle's


def beside_ceilings(found: Results) -> pd.DataFrame:
    """One row per configuration: entry_exact over its networks beside baseline and oracles, decoded by the same method on the same data.

    Columns: fits, exact (fits with every entry right), mean, lowest, with decoys entry_exact_true_edges and support_f1,
    better baseline, and the oracles on the runs the fits see (with decoys the scale-blind one's figures of the true edges
    and of the support, too). Diverged fits count as 0.
    """
    rows = {}
    decoys = (found.baselines["entry_exact"] != found.baselines["entry_exact_true_edges"]).any()
    for name, group in found.answers.groupby("configuration", sort=False):
        method, (data, n_runs) = group["method"].iloc[0], found.seen_by(name)
        exact = group["entry_exact"].where(group["status"] == "ok", 0.0)
        table = found.references(method, data, n_runs)
        references = table["entry_exact"]
        rows[name] = {
            "fits": len(group),
            "exact": int((exact == 1).sum()),
            "mean": exact.mean(),
            "lowest": exact.min(),
            **({key: group[key].where(group["status"] == "ok", 0.0).mean() for key in _WITH_DECOYS} if decoys else {}),
            "better baseline": found.best_baseline(method, data),
            **{
                REFERENCES[key]: references[key]
                for key in REFERENCES
                if key.startswith("oracle") and key in references.index
            },
            **(
                {f"{REFERENCES[_BLIND]}, {word}": table.at[_BLIND, key] for key, word in _WITH_DECOYS.items()}
                if decoys and _BLIND in table.index
                else {}
            ),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def confidences(found: Results) -> pd.DataFrame:
    """(entries of all fits) columns configuration, confidence, right."""
    parts = []
    for identity, answer in found.ended.iterrows():
        graph, recovery = found.data(answer["data"]).graph, found.recovery(identity)
        true = graph.on_edges(found.truth(answer["data"]).stoichiometry)
        right = graph.on_edges(recovery["stoichiometry"].values) == true
        parts.append(
            pd.DataFrame(
                {"configuration": answer["configuration"], "confidence": recovery["confidence"].values, "right": right}
            )
        )
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame({"configuration": [], "confidence": [], "right": []})
    )


def sure_entries(entries: pd.DataFrame) -> pd.DataFrame:
    """Per configuration: entries, the share of them with a confidence of at least 0.99, and the share of those that is right."""
    rows = {}
    for name, group in entries.groupby("configuration", sort=False):
        sure = group["confidence"] >= SURE
        rows[name] = {
            "entries": len(group),
            "share right": group["right"].mean(),
            "share sure": sure.mean(),
            "right among sure": group.loc[sure, "right"].mean() if sure.any() else np.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def calibrations(entries: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """mistakes.calibration of every configuration."""
    return {
        str(name): calibration(group["confidence"].to_numpy(), group["right"].to_numpy(bool))
        for name, group in entries.groupby("configuration", sort=False)
    }


# --- unsure reactions -----------------------------------------------------------------------------------------------------


def unsure_reactions(found: Results, most: int = 20) -> tuple[pd.DataFrame, int]:
    """Reactions whose lowest confidence is under 0.99: the answer's column beside the next best ones; and how many there are.

    Returns:
        At most `most` rows, as many of each configuration as there is room for, its least sure ones first: configuration,
        data set, reaction, confidence, answer, cost, next best (columns with their costs), right. Costs are of recovery.nc.
    """
    parts = []
    for name, group in found.ended.groupby("data", sort=False):
        graph = found.data(name).graph
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
    return pd.concat([rows.drop(columns="fit_id").reset_index(drop=True), pd.DataFrame(columns)], axis=1), len(every)


def _beside_next_best(found: Results, identity: str, data: str, reaction: int, n_next: int = 2) -> dict[str, Any]:
    """answer, cost (nan if its column is not among the listed ones), next best, right: of one reaction."""
    graph, recovery = found.data(data).graph, found.recovery(identity)
    edges = graph.edges_of(reaction)
    metabolite = graph.edge_metabolite[edges]
    answer, true = (
        graph.on_edges(matrix)[edges] for matrix in (recovery["stoichiometry"].values, found.truth(data).stoichiometry)
    )
    columns, costs = recovery["alternative"].values[:, edges], recovery["alternative_cost"].values[:, reaction]
    own = (columns == answer).all(axis=1) & np.isfinite(costs)
    others = np.flatnonzero(~own & np.isfinite(costs))[:n_next]
    return {
        "answer": column_text(answer, metabolite),
        "cost": float(costs[own][0]) if own.any() else np.nan,
        "next best": "; ".join(f"{column_text(columns[rank], metabolite)} (cost {costs[rank]:.3g})" for rank in others)
        or "none",
        "right": bool((answer == true).all()),
    }


def column_text(coefficient: np.ndarray, metabolite: np.ndarray) -> str:
    """The nonzero entries of a column: −1 m12, −2 m40, +1 m7, +2 m88; substrates first."""
    terms = sorted(
        (entry > 0, index, f"{minus(f'{entry:+d}')} m{index}")
        for entry, index in zip(coefficient.astype(int), metabolite)
        if entry
    )
    return ", ".join(text for *_, text in terms) or "nothing"
