"""A study beside another one that explored in another way."""

from typing import Any

import pandas as pd

from stoirec.config.study import load_study
from stoirec.errors import BadInput
from stoirec.report.differences import compared, signed, span
from stoirec.report.evaluation import chosen_name, held_out
from stoirec.report.results import Results, load
from stoirec.study.selection import outcomes
from stoirec.study.store import StudyFolder


def other_study(results: Results) -> Results | None:
    """The study named by compare_study, if its workflow has finished."""
    if results.study.compare_study is None:
        return None
    folder = StudyFolder(load_study(results.study.compare_study).results_dir)
    try:
        return load(results.study.compare_study, results.store, folder.metrics, folder.baselines)
    except BadInput:
        return None


def against(results: Results, other: Results) -> tuple[pd.DataFrame, list[str]]:
    """Two studies side by side: what each tried and took, what its choice reached, and the paired difference."""
    rows: list[dict[str, Any]] = []
    tables = []
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
    sentence = (
        f"On held-out networks {results.study.name} less {other.study.name}: {signed(row['difference'])} in "
        f"entry_exact over {row['pairs']} pairs{span(row['from'], row['to'])}: {row['verdict']}."
        if row["pairs"]
        else "The two studies share no held-out network and training seed: their choices cannot be paired."
    )
    share_of_steps = rows[0]["steps"] / max(rows[1]["steps"], 1)
    return pd.DataFrame(rows), [
        sentence,
        f"{results.study.name} took {share_of_steps:.2f} times the steps of {other.study.name} before its evaluation.",
    ]
