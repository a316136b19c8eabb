"""Which of several fits of the same data to believe, by what nothing was fitted to."""

import math
from collections.abc import Mapping

import xarray as xr

from stoirec.learn.fit_file import LEARNED

_AS_GOOD = 1.1  # times the least val_loss: then the law with fewer parameters
_EXACT = 1e-6  # a val_loss at which functions are exact as far as data tell


def n_parameters(fit: xr.Dataset) -> int:
    """Of the rate law in a fit.nc."""
    return sum(fit[name].size for name in fit.variables if str(name).startswith(LEARNED))


def best_predicting(fits: Mapping[str, xr.Dataset]) -> str:
    """The fit that predicts the validation runs best; of those about as good the one with the fewest parameters."""
    loss = {name: float(fit["val_loss"]) for name, fit in fits.items()}
    loss = {name: max(value, _EXACT) if math.isfinite(value) else math.inf for name, value in loss.items()}
    least = min(loss.values())
    as_good = [name for name in fits if loss[name] <= _AS_GOOD * least]
    return min(as_good, key=lambda name: (n_parameters(fits[name]), loss[name]))
