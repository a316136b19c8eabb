"""Does a confidence mean what it says?"""

import numpy as np
import pandas as pd

SURE = 0.99  # an entry of at least this confidence is one to trust
_BINS = np.array([0, 0.5, 0.7, 0.8, 0.9, 0.95, SURE, 1.0])


def calibration(confidence: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """Is an entry of confidence p right with frequency p? Bins of confidence, from [0, 0.5) to [0.99, 1].

    Args:
        confidence: (E,) in [0, 1]; right: (E,) bool.
    """
    last = len(_BINS) - 2
    which = np.clip(np.searchsorted(_BINS, confidence, side="right") - 1, 0, last)
    rows = []
    for index in range(last + 1):
        of = which == index
        rows.append(
            {
                "confidence": f"{_BINS[index]:g} to {_BINS[index + 1]:g}",
                "entries": int(of.sum()),
                "share of entries": float(of.mean()),
                "mean confidence": float(confidence[of].mean()) if of.any() else np.nan,
                "share right": float(right[of].mean()) if of.any() else np.nan,
            }
        )
    return pd.DataFrame(rows)
