"""Whether dc/dt, concentrations and time tell of the same trajectories."""

import numpy as np

from stoirec.data.dataset import Data

_SPANS = 10  # of a run: over longer stretches noise of the concentrations counts less
_AGREE = 0.25  # share of the squared changes that may be left: noise, frames far apart


def contradiction(data: Data) -> str | None:
    """What is wrong between dc/dt and the changes of the concentrations, in words; None if nothing is.

    Changes over a tenth of a run are compared with the integral of dc/dt by the trapezoidal rule, or by the left value
    of each interval, as in an explicit Euler scheme.
    """
    span = max(1, (data.n_frames - 1) // _SPANS)
    if data.n_frames < 2:
        return None
    change = data.concentration[:, span:] - data.concentration[:, :-span]
    size = np.sqrt(np.mean(change**2, axis=(0, 1)))
    moves = size > 1e-9 * size.max()
    if not moves.any():
        return None
    change = (change / np.where(moves, size, 1.0))[..., moves]
    left_over = []
    for integral in _integrals(data, span):
        integral = (integral / np.where(moves, size, 1.0))[..., moves]
        if not integral.any():
            return "dcdt is 0 throughout, and the concentrations change"
        factor = float((change * integral).sum() / (integral**2).sum())
        total = (change**2).sum()
        if ((change - integral) ** 2).sum() < _AGREE * total:
            return None
        left_over.append((float(((change - factor * integral) ** 2).sum() / total), factor))
    left, factor = min(left_over)
    if left < _AGREE:
        return (
            f"concentrations change {factor:.3g} times as much as dcdt says: other units of time or concentration, "
            "or time runs backward"
        )
    return (
        f"dcdt explains {1 - left:.0%} of the changes of the concentrations: another order of metabolites, runs or "
        "frames, or frames too far apart"
    )


def _integrals(data: Data, span: int) -> list[np.ndarray]:
    """(runs, frames - span, M) integrals of dc/dt over `span` intervals, by the trapezoidal rule and by left values."""
    step = np.diff(np.broadcast_to(data.time, data.concentration.shape[:2]), axis=1)[..., None]
    found = []
    for height in ((data.dcdt[:, 1:] + data.dcdt[:, :-1]) / 2, data.dcdt[:, :-1]):
        total = np.concatenate([np.zeros_like(data.dcdt[:, :1]), np.cumsum(step * height, axis=1)], axis=1)
        found.append(total[:, span:] - total[:, :-span])
    return found
