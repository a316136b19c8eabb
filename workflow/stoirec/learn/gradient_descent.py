"""Gradient descent: a fit's part in it, random batches of frames and what was learned of them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import Data
from stoirec.kinetics.pde_m1 import EMBEDDINGS
from stoirec.learn import losses
from stoirec.learn.inferred import RATE, InferredCourses, place_of
from stoirec.learn.model import MetabolismPropagation, told
from stoirec.learn.observations import Observations, Observed, activity, scale_of
from stoirec.learn.pack import INFERRED, Pack
from stoirec.learn.schedule import Steps
from stoirec.streams import learner_stream

_AHEAD = 64  # steps whose frames are drawn at once
_FIRST = 720  # frames of the losses before the first step


class GradientDescent:
    """A model and its random batches, which a pack moves: one of its own, or one with other fits.

    Attributes:
        step: steps done.
        chance: (frames,) of each training frame, or None where all have the same.
        parts: learning rates at the start, and what has them: as few tensors as there can be, for to an optimiser each
            is as much work, large or small. `moments`: of each, what the optimiser holds of it.
        pack: that moves it.
    """

    def __init__(
        self,
        data: Data,
        config: FitConfig,
        model: MetabolismPropagation,
        observed: Observations,
        inferred: InferredCourses | None = None,
    ) -> None:
        self.data, self.config, self.model, self.inferred = data, config, model, inferred
        self.device = observed.training.dcdt.device
        self.observed = observed.training.to(model.dtype)
        self.scale = torch.maximum(scale_of(self.observed.dcdt, config), observed.least.to(model.dtype))
        self.columns = losses.Columns.of(data.space, model.dtype, self.device)
        self.schedule = Steps(config, data.n_frames)
        self.rng = learner_stream("batches", config.seed)
        uniform = config.frame_sampling == "uniform"
        self.chance = None if uniform else activity(self.observed.dcdt, self.scale).cpu().numpy()
        if self.chance is not None:
            up_to = self.chance.cumsum()
            self._up_to = up_to / up_to[-1]
        self.held = _bounds(told(data.space, config).sign, model) if config.role_signs else None
        self.parameters = dict(model.named_parameters())
        if inferred is not None:
            self.scale[inferred.unmeasured] = self.scale[inferred.measured].median()
            self.place = tuple(torch.as_tensor(part, device=self.device) for part in place_of(observed, data))
            self.parameters[INFERRED] = inferred.log_c
        self.parts = _parts(self.parameters, config)
        self.moments: list[dict[str, Any]] = [{} for _ in self.parts]
        self.step = 0
        self._drawn: Tensor | None = None  # frames of this step, of those around it, and the state they were drawn from
        self._rng_before = self.rng.bit_generator.state
        self.pack = Pack([self])

    def advance(self) -> Tensor:
        """One step on a random batch; returns the (components,) losses on it."""
        (components,) = self.pack.advance()
        return components

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        return self.pack.optimiser

    def next_frames(self) -> Tensor:
        """(batch_size,) those of this step: drawn for many at a time, as they would be for one by one."""
        place = self.step % _AHEAD
        if place == 0 or self._drawn is None:
            self._rng_before = self.rng.bit_generator.state
            self._drawn = torch.as_tensor(self.draw((_AHEAD, self.config.batch_size)))
        return self._drawn[place]

    def draw(self, size: int | tuple[int, ...]) -> np.ndarray:
        """(*size,) random frames."""
        if self.chance is None:
            return self.rng.integers(self.observed.concentration.shape[0], size=size)
        # as Generator.choice, which adds chances up and checks them each time
        return self._up_to.searchsorted(self.rng.random(size), side="right")

    @torch.no_grad()
    def current_losses(self, observed: Observed) -> Tensor:
        """(components,) losses on the first frames of `observed`, unweighted."""
        parts = (observed.concentration[:_FIRST], observed.dcdt[:_FIRST])
        concentration, dcdt = (part.to(self.model.dtype) for part in parts)
        terms = losses.terms(self.model(concentration), dcdt, self.scale, self.model.coefficient, self.columns)
        (components,) = losses.values(terms)
        return components

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it, the model aside."""
        rng = self._rng_before if self.step % _AHEAD else self.rng.bit_generator.state
        return {"step": self.step, "optimiser": {"state": dict(enumerate(self.moments))}, "rng": rng}

    def restore(self, state: dict[str, Any]) -> None:
        """Raises many kinds of errors if `state` is of another form."""
        self.step, moments = int(state["step"]), state["optimiser"]["state"]
        self.moments = [moments.get(place, {}) for place in range(len(self.parts))]
        for (_, part), held in zip(self.parts, self.moments):
            if any(moment.dim() and moment.shape != part.shape for moment in held.values()):
                raise ValueError("moments of other parameters")
        self.rng.bit_generator.state, self._drawn = state["rng"], None
        self.pack = Pack([self])


def _parts(parameters: dict[str, nn.Parameter], config: FitConfig) -> list[tuple[float, nn.Parameter]]:
    """Of the parameters in their order, neighbours with the same learning rate as one; where they lie, a pack says."""
    start = config.learning_rate_start
    own = {
        "sto_all": config.learning_rate_S_start or start,
        **{f"rate_parameters.{name}": config.learning_rate_embedding_start for name in EMBEDDINGS},
        INFERRED: RATE * start,
    }
    found: list[tuple[float, int]] = []
    for name, parameter in parameters.items():
        rate, size = own.get(name, start), parameter.numel()
        if found and found[-1][0] == rate:
            size += found.pop()[1]
        found.append((rate, size))
    like = next(iter(parameters.values()))
    return [(rate, nn.Parameter(like.new_empty(size))) for rate, size in found]


def _bounds(sign: np.ndarray, model: MetabolismPropagation) -> tuple[Tensor, Tensor]:
    """(E,) least and largest coefficients of these signs, 0: free."""
    pair = np.where(sign > 0, 0.0, -np.inf), np.where(sign < 0, 0.0, np.inf)
    least, largest = (torch.as_tensor(each, dtype=model.dtype, device=model.sto_all.device) for each in pair)
    return least, largest
