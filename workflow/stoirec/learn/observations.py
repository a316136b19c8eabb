"""What a fit works on: training and validation frames, on a device, in double precision."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import TRAINING, Data
from stoirec.data.frames import Frames

_TYPICAL = 3.0  # RMS of concentrations in the learner's unit, within half a decade: units of tanh are spread there
_LEAST = 1e-3  # of the typical standard deviation: metabolites that move less are measured by this


@dataclass(frozen=True)
class Observed:
    """Frames as tensors: concentration, dcdt (frames, M)."""

    concentration: Tensor
    dcdt: Tensor

    @classmethod
    def of(cls, frames: Frames, device: torch.device) -> "Observed":
        parts = (frames.concentration, frames.dcdt)
        return cls(*(torch.as_tensor(part, dtype=torch.float64, device=device) for part in parts))

    def to(self, dtype: torch.dtype) -> "Observed":
        return Observed(self.concentration.to(dtype), self.dcdt.to(dtype))

    def __len__(self) -> int:
        return len(self.concentration)


@dataclass(frozen=True)
class Observations:
    """The frames of a fit.

    Attributes:
        frames: training frames, which know their run and time; training: the same as tensors.
        held_out: frames that nothing is trained on; validation: the same as tensors.
    """

    frames: Frames
    held_out: Frames
    training: Observed
    validation: Observed

    @classmethod
    def of(cls, data: Data, config: FitConfig, device: torch.device) -> "Observations":
        """Raises Unsuitable: the data has fewer training runs than config.n_runs, or nothing to validate on."""
        frames, held_out = data.training_frames(config.n_runs), data.validation_frames()
        return cls(frames, held_out, Observed.of(frames, device), Observed.of(held_out, device))


def concentration_unit(data: Data) -> float:
    """The power of ten that concentrations are measured by: what a file calls its unit changes nothing."""
    size = float(np.sqrt(np.mean(data.concentration[data.run_role == TRAINING] ** 2)))
    return 10.0 ** round(np.log10(size / _TYPICAL)) if size > 0 else 1.0


def scale_of(dcdt: Tensor, config: FitConfig) -> Tensor:
    """(M,) what residuals of dc/dt (frames, M) are divided by: its standard deviation, or 1."""
    return std(dcdt) if config.residual_scaling == "std" else torch.ones_like(dcdt[0])


def std(dcdt: Tensor) -> Tensor:
    """(M,) standard deviation of each metabolite's dc/dt, with a floor for those that hardly move, or not at all."""
    found = dcdt.std(0)
    moving = found[found > torch.finfo(found.dtype).eps * found.max()]
    if not len(moving):
        return torch.ones_like(found)
    return found.clamp(min=_LEAST * float(moving.median()))


def activity(dcdt: Tensor, scale: Tensor) -> Tensor:
    """(frames,) RMS over metabolites of dc/dt (frames, M) over `scale`; they sum to 1."""
    size = (dcdt / scale).double().square().mean(1).sqrt()
    return size / size.sum()
