"""Honest figures: what a staged study selected, on networks that nothing was selected on."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stoirec.config.study import load_study
from stoirec.errors import BadInput
from stoirec.report.present import share
from stoirec.report.results import REFERENCES, SHARES, Results, load
from stoirec.report.study.effects import interval, signed
from stoirec.score.metrics import NAMES
from stoirec.study.expansion import flatten, recipe
from stoirec.study.selection import outcomes


def chosen_name(results: Results) -> str:
    """The name the study's own choice has in the evaluation."""
    return f"selected_by_{results.study.select_by}"


def held_out(results: Results) -> pd.DataFrame:
    """One row per name and fit on the held-out networks: name, data, seed, status, metrics; a diverged fit counts as 0 in shares."""
    answers = results.metrics[results.metrics["is_answer"]].set_index("fit_id")
    rows = []
    for fit in results.evaluation:
        row = answers.loc[fit.fit_id]
        rows.append(
            {
                "name": fit.variant,
                "data": fit.data,
                "seed": fit.config.seed,
                "fit_id": fit.fit_id,
                "method": row["method"],
                "status": row["status"],
            }
            | row[[*NAMES, "val_loss"]].to_dict()
        )
    table = pd.DataFrame(rows)
    table[list(SHARES)] = table[list(SHARES)].where(table["status"] == "ok", 0.0)
    return table


def final(results: Results) -> pd.DataFrame:
    """The final table, from what knows least to what knows most: means over held-out networks and training seeds.

    Indexed by name; n_fits, steps of a fit, then the metrics of each fit's own answer; references by the same method.
    """
    fits = held_out(results)
    columns = ["entry_exact", "reaction_exact", "sign_accuracy", "r2"]
    means = fits.groupby("name", sort=False)[columns].mean()
    spread = fits.groupby("name", sort=False)["entry_exact"].agg(["min", "max", "size"])
    steps = results.training["n_steps"].astype(int)
    own = pd.DataFrame(
        {
            "fits": spread["size"],
            "steps per fit": [int(steps[fits.loc[fits["name"] == name, "fit_id"]].max()) for name in means.index],
            "entry_exact": means["entry_exact"],
            "lowest": spread["min"],
            "highest": spread["max"],
            **{column: means[column] for column in columns[1:]},
        }
    ).sort_values("entry_exact", kind="stable")
    references = results.references(fits["method"].mode()[0], results.held_out_names)[columns].rename(index=REFERENCES)
    baseline = references.index.str.startswith("baseline")
    table = pd.concat([references[baseline], own, references[~baseline]])[own.columns]
    counts = ["fits", "steps per fit"]
    return table.astype(dict.fromkeys(counts, "Int64")).astype(dict.fromkeys(counts, object))  # counts, with gaps


def paired(results: Results, metric: str = "entry_exact") -> pd.DataFrame:
    """Every selected configuration against every other one, network by network and seed by seed.

    Returns:
        One row per pair of names: configuration, less, pairs, difference (mean), from, to (95 % t interval), verdict.
    """
    table = held_out(results).pivot_table(index=["data", "seed"], columns="name", values=metric, sort=False)
    rows = []
    names = list(dict.fromkeys(fit.variant for fit in results.evaluation))
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            if first.startswith("selected_by_"):
                rows.append({"configuration": first, "less": second, **compared(table[first] - table[second])})
    return pd.DataFrame(rows)


def compared(differences: pd.Series) -> dict[str, Any]:
    """Paired differences summarised: pairs, difference, from, to, verdict."""
    values = differences.dropna().to_numpy()
    mean, low, high = interval(values)
    if len(values) and (values == 0).all():
        verdict, low, high = "the same", 0.0, 0.0
    elif not np.isfinite(low):
        verdict = "too few pairs"
    else:
        verdict = "better" if low > 0 else "worse" if high < 0 else "a tie: the interval holds 0"
    return {"pairs": len(values), "difference": mean, "from": low, "to": high, "verdict": verdict}


def path(results: Results) -> pd.DataFrame:
    """How the stages went: stage, winner, what it changed, mean and range of the criterion, what it trained that no stage before had."""
    rows, before = [], flatten(results.study.base)
    criterion = results.study.select_by
    answers = results.answers
    for plan in results.plans.values():
        for winner in plan["winners"]:
            if winner["stage"] == "all stages" and winner["selected_by"] != criterion:
                continue
            changed = {
                key: value for key, value in winner["config"].items() if before.get(key) != value and key != "seed"
            }
            name = results.study.stages[-1].name if winner["stage"] == "all stages" else winner["stage"]
            own = [fit for fit in results.fits if fit.stage == name]
            rows.append(
                {
                    "stage": name,
                    "new configurations": len({recipe(fit.config) for fit in own}),
                    "new fits": len(own),
                    "diverged": int((answers.loc[[fit.fit_id for fit in own], "status"] != "ok").sum()),
                    "changed by the winner": ", ".join(f"{key} {value}" for key, value in changed.items()) or "nothing",
                    criterion: winner["mean"],
                    "lowest": winner["lowest"],
                    "highest": winner["highest"],
                }
            )
            before = before | winner["config"]
    return pd.DataFrame(rows)


def sentences(results: Results) -> list[str]:
    """What the evaluation found, computed from its tables."""
    table, own = final(results), chosen_name(results)
    if own not in table.index:
        return ["Every configuration diverged: none was selected."]
    found = [
        f"The configuration selected by {results.study.select_by} recovers {share(table.at[own, 'entry_exact'])} of the entries exactly "
        f"on {len(results.held_out_names)} held-out networks ({table.at[own, 'fits']} fits, {share(table.at[own, 'lowest'])} to "
        f"{share(table.at[own, 'highest'])}); the better baseline {share(table.filter(like='baseline', axis=0)['entry_exact'].max())}."
    ]
    for row in paired(results).to_dict("records"):
        if row["configuration"] == own:
            span = f", 95 % interval {signed(row['from'])} to {signed(row['to'])}" if np.isfinite(row["from"]) else ""
            found.append(
                f"Against {row['less']}: {signed(row['difference'])} in entry_exact over {row['pairs']} pairs{span}: {row['verdict']}."
            )
    return found


# --- another study ------------------------------------------------------------------------------------------------------


def other_study(results: Results) -> Results | None:
    """The study named by compare_study, if its workflow has finished."""
    if results.study.compare_study is None:
        return None
    folder = Path(load_study(results.study.compare_study).results_dir)
    try:
        return load(results.study.compare_study, results.store, folder / "metrics.csv", folder / "baselines.csv")
    except BadInput:
        return None


def against(results: Results, other: Results) -> tuple[pd.DataFrame, list[str]]:
    """Two studies side by side: what each tried and took, what its choice reached, and the paired difference."""
    rows, tables = [], []
    for study in (results, other):
        costs = study.training
        explored = costs.loc[[fit.fit_id for fit in study.fits]]
        best = outcomes(study.fits, study.answers, study.study.select_by)["mean"]
        own = held_out(study)
        own = own[own["name"] == chosen_name(study)]
        tables.append(own.set_index(["data", "seed"])["entry_exact"])
        rows.append(
            {
                "study": study.study.name,
                "by": ", ".join(dict.fromkeys(stage.search or "grid" for stage in study.study.stages)),
                "configurations": len(best),
                "fits": len(study.fits),
                "steps": int(explored["n_steps"].astype(int).sum()),
                "core minutes": float(explored["wall_time_s"].astype(float).sum() / 60),
                "selected by": study.study.select_by,
                "when selected": float(best.min() if study.study.select_by == "val_loss" else best.max()),
                "held-out entry_exact": float(own["entry_exact"].mean()),
            }
        )
    row = compared(tables[0] - tables[1])
    span = f", 95 % interval {signed(row['from'])} to {signed(row['to'])}" if np.isfinite(row["from"]) else ""
    sentence = (
        f"On held-out networks {results.study.name} less {other.study.name}: {signed(row['difference'])} in entry_exact over "
        f"{row['pairs']} pairs{span}: {row['verdict']}."
        if row["pairs"]
        else "The two studies share no held-out network and training seed: their choices cannot be paired."
    )
    share_of_steps = rows[0]["steps"] / max(rows[1]["steps"], 1)
    return pd.DataFrame(rows), [
        sentence,
        f"{results.study.name} took {share_of_steps:.2f} times the steps of {other.study.name} before its evaluation.",
    ]
