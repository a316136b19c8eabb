"""Which configuration is best: means over training seeds and networks, never one lucky fit."""

import numpy as np
import pandas as pd

from stoirec.study.identity import Fit, recipe

# A diverged fit recovered nothing: 0 in every share. The others have no worst value, and their mean becomes infinite.
_SHARES = ("entry_exact", "entry_exact_true_edges", "reaction_exact", "sign_accuracy", "support_f1")


def outcomes(fits: list[Fit], answers: pd.DataFrame, criterion: str) -> pd.DataFrame:
    """One row per configuration, in the order of `fits`.

    Args:
        fits: scored ones; answers: indexed by fit_id, with status and the criteria.
        criterion: one of config.study.Criterion.

    Returns:
        Indexed by recipe: n_fits, n_diverged, mean, lowest and highest of the criterion over seeds and networks
        (val_loss: the geometric mean, for it spans orders of magnitude), score: higher is better, -inf is worst.
    """
    rows: dict[str, list[str]] = {}
    for fit in fits:
        rows.setdefault(recipe(fit.config), []).append(fit.fit_id)
    result = []
    for identity, names in rows.items():
        own = answers.loc[list(dict.fromkeys(names))]
        ended = own["status"] == "ok"
        values = (
            own[criterion]
            .astype(float)
            .where(ended, 0.0 if criterion in _SHARES else np.inf if criterion == "val_loss" else -np.inf)
        )
        with np.errstate(divide="ignore"):
            mean = float(np.exp(np.log(values).mean())) if criterion == "val_loss" else float(values.mean())
        score = -mean if criterion == "val_loss" else mean
        result.append(
            {
                "recipe": identity,
                "n_fits": len(own),
                "n_diverged": int((~ended).sum()),
                "mean": mean,
                "lowest": float(values.min()),
                "highest": float(values.max()),
                "score": score if ended.any() and not np.isnan(score) else -np.inf,
            }
        )
    return pd.DataFrame(result).set_index("recipe")


def best(fits: list[Fit], answers: pd.DataFrame, criterion: str) -> str | None:
    """The recipe with the best mean; of equals the one with the lower val_loss, then the first. None if all diverged.

    A configuration with fewer fits than others does not compete: few draws are easily lucky.
    """
    table = outcomes(fits, answers, criterion)
    table["val_loss"] = outcomes(fits, answers, "val_loss")["mean"]
    table = table[(table["n_fits"] == table["n_fits"].max()) & (table["score"] > -np.inf)]
    return (
        None
        if table.empty
        else table.sort_values(["score", "val_loss"], ascending=[False, True], kind="stable").index[0]
    )
