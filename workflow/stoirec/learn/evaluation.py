"""How well a model predicts dc/dt."""

import torch
from torch import Tensor

from stoirec.data.windows import Integrals
from stoirec.learn.model import MetabolismPropagation
from stoirec.learn.observations import Observed, std

_CHUNK = 720  # frames per call: bounds memory


@torch.no_grad()
def residual_square(model: MetabolismPropagation, observed: Observed) -> Tensor:
    """(M,) mean squared residual of dc/dt; the model in its precision, the mean in double."""
    pieces = zip(observed.concentration.split(_CHUNK), observed.dcdt.split(_CHUNK))
    total = sum((model(c.to(model.dtype)) - d.to(model.dtype)).double().square().sum(0) for c, d in pieces)
    return total / len(observed)


def val_loss(model: MetabolismPropagation, validation: Observed, stride: int = 1) -> float:
    """Mean squared residual on every `stride`-th frame, each metabolite divided by its variance of dc/dt.

    Where nobody measured derivatives, and the concentrations are noisy, of their changes.
    """
    if validation.changes is not None:
        return validation.mean(_change_square(model, validation.changes))
    some = Observed(validation.concentration[::stride], validation.dcdt[::stride])
    return validation.mean(residual_square(model, some) / std(validation.dcdt).square())


@torch.no_grad()
def _change_square(model: MetabolismPropagation, changes: Integrals) -> Tensor:
    """(M,) mean squared residual of changes over their variance."""
    rate = model(changes.points.to(model.dtype)).to(changes.target.dtype)
    residual = changes.over_points(rate.T).T - changes.target
    return residual.square().mean(0) / std(changes.target).square()


@torch.no_grad()
def flux_gram(model: MetabolismPropagation, observed: Observed) -> Tensor:
    """(R, R) V'V of the model's fluxes V (frames, R)."""
    gram = model.log_k.new_zeros(len(model.log_k), len(model.log_k), dtype=torch.float64)
    for c in observed.concentration.split(_CHUNK):
        v = model.flux(c.to(model.dtype)).double()
        gram += v @ v.T
    return gram
