"""The fit that the chapter shows, and the baseline beside it."""

import numpy as np

from stoirec.answer.decode import decode
from stoirec.network.columns import ColumnSpace
from stoirec.report.naming import decided_by
from stoirec.report.present import share
from stoirec.report.results import Results
from stoirec.score.references import baseline_coefficients, comparable_method


def selected_fit(results: Results) -> str:
    """Which fit a closer look shows, why, and which one val_loss would have shown."""
    best = results.best_fit
    if best is None:
        return "Every fit diverged. What follows shows the first one, which recovered nothing."
    row = results.answers.loc[best]
    roles = (
        "Its coefficients began with the signs of their candidate roles (role_prior)."
        if row["param.role_prior"]
        else "Its signs were learned from the data (no role_prior)."
    )
    chosen = results.val_loss_fit
    other = "the same fit" if chosen == best else results.answers.at[chosen, "label"]
    return (
        f"Shown is {row['label']}, the fit whose own answer ({decided_by(row['method'])}) has the highest entry_exact "
        f"of the study: {share(row['entry_exact'])}. Choosing it needs the truth; on the same network, val_loss alone "
        f"would pick {other}. {roles}"
    )


def better_baseline(space: ColumnSpace, true: np.ndarray, method: str) -> np.ndarray:
    """(E,) integers of the baseline with more entries right, decoded as beside an answer by `method`; `true`: (E,)."""
    ones = np.ones(space.graph.n_edges)
    guesses = [
        decode(space, guess, ones, comparable_method(method)).coefficient
        for guess in baseline_coefficients(space).values()
    ]
    return max(guesses, key=lambda guess: (guess == true).mean())
