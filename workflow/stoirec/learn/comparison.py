"""Which of several fits of the same data to believe, by what nothing was fitted to, and whether another is needed."""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import xarray as xr

from stoirec.config.judgement import Judgement
from stoirec.config.regime import RateLawName
from stoirec.learn.fit_file import LEARNED
from stoirec.refine import FAR_MORE

_log = logging.getLogger(__name__)
_AS_GOOD = 1.1  # times the least val_loss: then the law with fewer parameters
_EXACT = 1e-6  # a val_loss at which functions are exact as far as data tell
WORTHLESS = 1.0  # val_loss of a fit that is worse on a new trajectory than the mean of dc/dt is; train_loss the same
_FAR = 0.1  # train_loss from which columns say less than roles; at 0.01 0.93 of them were right, by roles 0.49
_OVERFITTED = 0.1  # train_loss over val_loss, at most, of functions that the training runs do not pin down
MOST_STARTS = 3  # where nobody says how many
_SHARED: RateLawName = "pde_m1"  # the same functions for all reactions
# what is tried where these fail, sooner ones first
_TEXTBOOK: tuple[RateLawName, ...] = ("mass_action", "convenience")
_OTHERS: tuple[RateLawName, ...] = (*_TEXTBOOK, "pde_m1_enzymes")  # shared functions with numbers of each reaction

Key = TypeVar("Key")
Start = tuple[RateLawName, int]  # rate law, seed


def n_parameters(fit: xr.Dataset) -> int:
    """Of the rate law in a fit.nc."""
    return sum(fit[name].size for name in fit.variables if str(name).startswith(LEARNED))


def uncontradicted(fits: Mapping[Key, xr.Dataset]) -> dict[Key, xr.Dataset]:
    """Fits that hold on the training runs, if any does, or leave not far more of them than another.

    A law that they contradict may be less wrong on a new run than the right one that few runs pin down, but its columns
    are wrong.
    """
    left = {name: float(fit["train_loss"]) for name, fit in fits.items()}
    least = min((each for each in left.values() if math.isfinite(each)), default=0.0)
    return {name: fit for name, fit in fits.items() if not undescribed(fit) or not left[name] > FAR_MORE * least}


def best_predicting(fits: Mapping[Key, xr.Dataset]) -> Key:
    """Of the `uncontradicted` fits that which predicts the validation runs best.

    Of those about as good the one with the fewest parameters.
    """
    fits = uncontradicted(fits)
    loss = {name: float(fit["val_loss"]) for name, fit in fits.items()}
    loss = {name: max(value, _EXACT) if math.isfinite(value) else math.inf for name, value in loss.items()}
    least = min(loss.values())
    as_good = [name for name in fits if loss[name] <= _AS_GOOD * least]
    return min(as_good, key=lambda name: (n_parameters(fits[name]), loss[name]))


def starts(laws: Sequence[RateLawName], number: int | None, fits: Mapping[Start, xr.Dataset]) -> Iterator[Start]:
    """Fits, one after another, each to be added to `fits` before the next is asked for.

    Args:
        laws: to be compared.
        number: of random starts of each; None: one, and `_another` while there is one.
    """
    yield from ((law, seed) for law in laws for seed in range(1, (number or 1) + 1))
    while number is None and (start := _another(fits, _others(laws))) is not None:
        yield start


def _others(laws: Sequence[RateLawName]) -> list[RateLawName]:
    """Laws that may be tried besides, where nobody asked for one in particular."""
    return list(_OTHERS) if list(laws) == [_SHARED] else []


def possible(laws: Sequence[RateLawName], number: int | None) -> list[Start]:
    """All that `starts` may ask for."""
    further = _others(laws) if number is None else []
    return [(law, seed) for law in [*laws, *further] for seed in range(1, (number or MOST_STARTS) + 1)]


def _another(fits: Mapping[Start, xr.Dataset], others: Sequence[RateLawName]) -> Start | None:
    """What is worth a try while the best fit is `stuck`, or `overfitted`.

    Another law, if functions that all reactions share do not even hold on the training runs, nor those tried since, or
    on these alone: then one with fewer parameters. Else, if it is stuck, another random start of the best law, up to
    MOST_STARTS.
    """
    best = best_predicting(fits)
    fit, why = fits[best], stuck(fits[best])
    may = others if undescribed(fit) and (why or overfitted(fit)) else _TEXTBOOK if overfitted(fit) else ()
    untried = [law for law in may if law in others and (law, 1) not in fits]
    if untried:
        losses = float(fit["train_loss"]), float(fit["val_loss"])
        _log.info(
            "rate law %s, because %s leaves %.1e of the training runs, %.1e of others", untried[0], best[0], *losses
        )
        return untried[0], 1
    seed = 1 + max(seed for law, seed in fits if law == best[0])
    if why is None or seed > MOST_STARTS:
        return None
    _log.info("start %d of at most %d, because %s", seed, MOST_STARTS, why)
    return best[0], seed


def stuck(fit: xr.Dataset) -> str | None:
    """Why a fit from another random start may do better than this one, if so."""
    if fit.attrs["status"] != "ok":
        return "the fit diverged"
    if overfitted(fit):
        return None
    if fit["val_loss"] >= WORTHLESS:
        return f"val_loss {float(fit['val_loss']):.1e} is worse than that of the mean"
    if "integer_residual" not in fit:
        return None
    left, judgement = float(fit["integer_residual"]), _judgement(fit)
    sure = (fit["column_probability"] >= judgement.clear).any("rank")
    if contradicted(fit) and not (sure | (fit["no_column_probability"] >= judgement.clear)).all():
        return f"the columns leave {left:.1e} of the variance, free ones {float(fit['free_residual']):.1e}"
    if left > judgement.exact and not sure.any():
        return f"no reaction is sure, and {left:.1e} of the variance is left"
    return None


def overfitted(fit: xr.Dataset) -> bool:
    """Whether functions hold on the training runs alone, which do not pin them down."""
    trained, held_out = float(fit["train_loss"]), float(fit["val_loss"])
    return held_out >= WORTHLESS and trained < min(WORTHLESS, _OVERFITTED * held_out)


def worthless(fit: xr.Dataset) -> bool:
    """Whether functions are worse than the mean of dc/dt, on the held-out runs or on those they were fitted to."""
    return bool(fit["val_loss"] >= WORTHLESS or fit["train_loss"] >= WORTHLESS)


def holds_nowhere(fit: xr.Dataset) -> bool:
    """Whether they are, and far from what they were fitted to: then roles and balance say more of columns."""
    return worthless(fit) and bool(fit["train_loss"] >= _FAR)


def undescribed(fit: xr.Dataset) -> bool:
    """Whether functions and coefficients do not even hold on the training runs."""
    return bool(fit["train_loss"] >= _judgement(fit).described)


def _judgement(fit: xr.Dataset) -> Judgement:
    return Judgement(**json.loads(fit.attrs["config"])["judgement"])


def contradicted(fit: xr.Dataset) -> bool:
    """Whether free columns left far less than those that refinement decided: not all can be right."""
    return "free_residual" in fit and bool(fit["integer_residual"] > FAR_MORE * fit["free_residual"])
