"""What selecting by val_loss, without the truth, costs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from stoirec.report.results import Results


@dataclass(frozen=True)
class Prediction:
    """How well val_loss tells which fit recovered most.

    Attributes:
        rank_correlation: Spearman, of -val_loss with entry_exact, mean over networks; nan with fewer than 3 fits.
        n_fits: fits it was computed from.
        regret: entry_exact of the best configuration less that of the one val_loss selects.
    """

    rank_correlation: float
    n_fits: int
    regret: float


def val_loss_prediction(results: Results) -> Prediction:
    """Within networks only: losses of different networks do not compare."""
    correlation, n_fits = _rank_correlation(results, "entry_exact")
    table = results.configurations["entry_exact"]
    best, chosen = results.best_configuration, results.val_loss_configuration
    regret = float(table[best] - table[chosen]) if best is not None and chosen is not None else np.nan
    return Prediction(correlation, n_fits, regret)


def _rank_correlation(results: Results, metric: str) -> tuple[float, int]:
    """Spearman, of -val_loss with `metric`, mean over networks with at least 3 fits; and how many fits these have."""
    found, n_fits = [], 0
    for _, group in results.ended.groupby("data"):
        if len(group) >= 3 and group[metric].nunique() > 1 and group["val_loss"].nunique() > 1:
            found.append(spearmanr(-group["val_loss"], group[metric]).statistic)
            n_fits += len(group)
    return float(np.mean(found)) if found else np.nan, n_fits


def rank_correlations(
    results: Results, metrics: tuple[str, ...] = ("entry_exact", "reaction_exact", "sign_accuracy", "r2", "log_k_r2")
) -> pd.DataFrame:
    """How well a low val_loss tells a high value of each metric, over all fits that ended.

    Returns:
        Per metric: rank correlation (Spearman, mean over networks), fits, the best configuration's mean, that of the
        configuration val_loss selects, and their difference, the regret.
    """
    rows = []
    table, chosen = results.configurations, results.val_loss_configuration
    for metric in metrics:
        correlation, n_fits = _rank_correlation(results, metric)
        best, own = table[metric].max(), np.nan if chosen is None else table.at[chosen, metric]
        rows.append(
            {
                "metric": metric,
                "rank correlation": correlation,
                "fits": n_fits,
                "best": best,
                "selected by val_loss": own,
                "regret": best - own,
            }
        )
    return pd.DataFrame(rows)
