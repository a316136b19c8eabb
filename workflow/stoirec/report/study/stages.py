"""How the stages of a study went."""

import pandas as pd

from stoirec.report.results import Results
from stoirec.study.identity import flatten, recipe


def path(results: Results) -> pd.DataFrame:
    """How the stages went.

    One row per stage: what it trained that no stage before had, what its winner changed, and the winner's mean and
    range of the criterion.
    """
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
