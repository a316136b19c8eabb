"""Paired differences: their mean, its interval, and what that says."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t


def interval(differences: pd.Series | np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences and its 95 % t interval; nan ends with fewer than two."""
    values = np.asarray(differences, float)
    mean = float(values.mean()) if len(values) else np.nan
    if len(values) < 2:
        return mean, np.nan, np.nan
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


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


def signed(value: float) -> str:
    """+0.123 or −0.123; never −0.000."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")


def span(low: float, high: float) -> str:
    """ ", 95 % interval −0.010 to +0.020"; empty where there is none."""
    return f", 95 % interval {signed(low)} to {signed(high)}" if np.isfinite(low) else ""
