"""What a fit works on: training and validation frames, on a device, in double precision."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import TRAINING, Data
from stoirec.data.frames import Frames
from stoirec.data.windows import Integrals, integrals

_TYPICAL = 3.0  # RMS of concentrations in the learner's unit, within half a decade: units of tanh are spread there
_MOVES = 0.25  # of a run, over which a metabolite that moves changes by more than its noise
_UNHEARD = 1e6  # times the largest scale
_LEAST = 1e-3  # of the typical standard deviation: metabolites that move less are measured by this


@dataclass(frozen=True)
class Observed:
    """Frames as tensors: concentration, dcdt (frames, M).

    And the changes of the concentrations along them, where these are noisy and nobody measured dcdt; and the indices of
    the metabolites that nobody measured, if there are any.
    """

    concentration: Tensor
    dcdt: Tensor
    changes: Integrals | None = None
    unmeasured: Tensor | None = None

    @classmethod
    def of(cls, frames: Frames, device: torch.device) -> "Observed":
        parts = (frames.concentration, frames.dcdt)
        concentration, dcdt = (torch.as_tensor(part, dtype=torch.float64, device=device) for part in parts)
        return cls(concentration, dcdt)

    def to(self, dtype: torch.dtype) -> "Observed":
        return replace(self, concentration=self.concentration.to(dtype), dcdt=self.dcdt.to(dtype))

    def mean(self, by_metabolite: Tensor) -> float:
        """Of numbers (M,), over the metabolites that were measured."""
        if self.unmeasured is None:
            return float(by_metabolite.mean())
        measured = torch.ones_like(by_metabolite, dtype=torch.bool).index_fill(0, self.unmeasured, False)
        return float(by_metabolite[measured].mean())

    def __len__(self) -> int:
        return len(self.concentration)


@dataclass(frozen=True)
class Observations:
    """The frames of a fit.

    Attributes:
        frames: training frames, which know their run and time; training: the same as tensors.
        held_out: frames that nothing is trained on; validation: the same as tensors.
        least: (M,) dcdt below which there is only noise.
    """

    frames: Frames
    held_out: Frames
    training: Observed
    validation: Observed
    least: Tensor

    @classmethod
    def of(cls, data: Data, config: FitConfig, device: torch.device) -> "Observations":
        """Raises Unsuitable: the data has fewer training runs than config.n_runs, or nothing to validate on."""
        frames, held_out = data.training_frames(config.n_runs), data.validation_frames()
        training, validation = (Observed.of(some, device) for some in (frames, held_out))
        least = torch.zeros(frames.dcdt.shape[1], dtype=torch.float64, device=device)
        if data.noise.any():
            duration = np.mean([np.ptp(course.time) for course in data.courses])
            least = torch.as_tensor(data.noise / (_MOVES * duration), device=device)
            training, validation = (
                replace(
                    observed, changes=integrals(some, data.courses, data.noise, config.refinement_frames).to(device)
                )
                for observed, some in ((training, frames), (validation, held_out))
            )
        if len(data.unmeasured):
            nowhere = torch.as_tensor(data.unmeasured, device=device)
            training, validation = (replace(observed, unmeasured=nowhere) for observed in (training, validation))
        return cls(frames, held_out, training, validation, least)


def concentration_unit(data: Data) -> float:
    """The power of ten that concentrations are measured by: what a file calls its unit changes nothing."""
    size = float(np.sqrt(np.mean(data.concentration[data.run_role == TRAINING] ** 2)))
    return 10.0 ** round(np.log10(size / _TYPICAL)) if size > 0 else 1.0


def scale_of(dcdt: Tensor, config: FitConfig) -> Tensor:
    """(M,) what residuals of dc/dt, or of changes, (frames, M) are divided by: its standard deviation, or 1."""
    return std(dcdt) if config.residual_scaling == "std" else torch.ones_like(dcdt[0])


def unheard(scale: Tensor, unmeasured: Tensor | None) -> Tensor:
    """`scale` (M,) at which residuals of metabolites that nobody measured say nothing."""
    if unmeasured is None:
        return scale
    largest = float(scale.max())
    return scale.index_fill(0, unmeasured.to(scale.device), _UNHEARD * largest)


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
