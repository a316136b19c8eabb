"""Means over networks: of paired differences and of shares, with their intervals, and what these say.

Entries, pairs and fits of one network are alike, so what an interval counts are networks; of one network they are its
training seeds, and the interval says nothing of other networks.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, sem, t

from stoirec.report.present import share


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Mean and its 95 % t interval, robust to what values of a network share; nan ends with one network and seed.

    Args:
        values: indexed by network, or by network and training seed.
    """
    mean, parts = float(values.mean()), _parts(values)
    if len(parts) < 2:
        return mean, np.nan, np.nan
    half = t.ppf(0.975, len(parts) - 1) * sem(parts)
    return mean, float(mean - half), float(mean + half)


def share_interval(values: pd.Series) -> tuple[float, float]:
    """95 % interval of a mean of shares, in [0, 1]; where all are 0, or all 1, Wilson's of so many networks.

    Args:
        values: as of `interval`, in [0, 1].
    """
    _, low, high = interval(values)
    if np.isfinite(low) and values.nunique() == 1 and values.iloc[0] in (0, 1):
        n = len(_parts(values))
        low, high = binomtest(n * int(values.iloc[0]), n).proportion_ci(method="wilson")
    return max(low, 0.0), min(high, 1.0)


def _parts(values: pd.Series) -> pd.Series:
    """What each network, or each training seed of one network, has in the mean: the mean of these is that of all."""
    several = values.index.get_level_values(0).nunique() > 1
    excess = (values - values.mean()).groupby(level=0 if several else -1).sum()
    return values.mean() + excess * len(excess) / max(len(values), 1)


def compared(differences: pd.Series) -> dict[str, Any]:
    """Paired differences summarised: pairs, difference, from, to, verdict. Indexed as of `interval`."""
    values = differences.dropna()
    mean, low, high = interval(values)
    if len(values) and (values == 0).all():
        verdict, low, high = "the same", 0.0, 0.0
    elif not np.isfinite(low):
        verdict = "too few pairs"
    else:
        verdict = "better" if low > 0 else "worse" if high < 0 else "a tie: the interval holds 0"
    return {"pairs": len(values), "difference": mean, "from": low, "to": high, "verdict": verdict}


def signed(value: float) -> str:
    """+0.123 or −0.123; never −0.000."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")


def likely(low: float, high: float) -> str:
    """ "; 95 % interval over networks 0.880 to 0.920", of shares; empty where there is none."""
    return f"; 95 % interval over networks {share(low)} to {share(high)}" if np.isfinite(low) else ""


def span(low: float, high: float) -> str:
    """ ", 95 % interval −0.010 to +0.020"; empty where there is none."""
    return f", 95 % interval {signed(low)} to {signed(high)}" if np.isfinite(low) else ""
