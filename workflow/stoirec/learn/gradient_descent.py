"""Gradient descent: one optimiser step after another on random batches of frames."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import Data
from stoirec.kinetics.pde_m1 import EMBEDDING
from stoirec.learn import losses
from stoirec.learn.inferred import RATE, InferredCourses, place_of
from stoirec.learn.model import MetabolismPropagation, told
from stoirec.learn.observations import Observations, Observed, activity, scale_of
from stoirec.learn.recorded import Recorded
from stoirec.learn.schedule import Steps
from stoirec.streams import learner_stream

_OPTIMISERS = {
    "adam": partial(torch.optim.Adam, fused=True),  # all tensors of a step at once
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
}
_FIRST = 720  # frames of the losses before the first step


class GradientDescent:
    """A model, its optimiser and its random batches.

    Attributes:
        step: steps done.
        chance: (frames,) of each training frame, or None where all have the same.
    """

    def __init__(
        self,
        data: Data,
        config: FitConfig,
        model: MetabolismPropagation,
        observed: Observations,
        inferred: InferredCourses | None = None,
    ) -> None:
        self.config, self.model, self.inferred = config, model, inferred
        self.device = observed.training.dcdt.device
        self.observed = observed.training.to(model.dtype)
        self.scale = torch.maximum(scale_of(self.observed.dcdt, config), observed.least.to(model.dtype))
        self.columns = losses.Columns.of(data.space, model.dtype, self.device)
        self.schedule = Steps(config, data.n_frames)
        self.rng = learner_stream("batches", config.seed)
        uniform = config.frame_sampling == "uniform"
        self.chance = None if uniform else activity(self.observed.dcdt, self.scale).cpu().numpy()
        # sign each coefficient is held to, 0: free
        sign = torch.as_tensor(told(data.space, config).sign, dtype=model.dtype, device=self.device)
        self.held_sign = sign if config.role_signs else None
        groups = _groups(model, config)
        if inferred is not None:
            groups.append({"params": [inferred.log_c], "start": RATE * config.learning_rate_start})
            self.scale[inferred.unmeasured] = self.scale[inferred.measured].median()
            self.place = tuple(torch.as_tensor(part, device=self.device) for part in place_of(observed, data))
        self.optimiser = _OPTIMISERS[config.optimiser](groups, lr=config.learning_rate_start)
        self.step = 0
        # what a step reads: at the same place each time, so that a GPU can repeat it as it was recorded
        self._frames = torch.zeros(config.batch_size, dtype=torch.int64, device=self.device)
        self._weights = torch.zeros(len(losses.COMPONENTS), dtype=model.dtype, device=self.device)
        self._given_weights: tuple[float, ...] | None = None
        self._is_on: list[bool] = []
        self._recorded: Recorded | None = None
        if self.device.type == "cuda" and config.optimiser == "adam" and inferred is None:
            self._recorded = Recorded(self._update)
            self._lend_rates()

    def advance(self) -> Tensor:
        """One step on a random batch; returns the (components,) losses on it."""
        self._frames.copy_(torch.as_tensor(self.draw(self.config.batch_size)))
        factor = self.schedule.rate_factor(self.step)
        for group in self.optimiser.param_groups:
            if self._recorded is None:
                group["lr"] = group["start"] * factor
            else:
                group["lr"].fill_(group["start"] * factor)
        weights = self.schedule.loss_weights(self.step)
        if weights != self._given_weights:
            self._weigh(weights)
        components = self._update() if self._recorded is None else self._recorded()
        self.step += 1
        return components

    def _weigh(self, weights: tuple[float, ...]) -> None:
        """Losses of weights (components,); those of weight 0 are left out of the step."""
        self._given_weights, before, self._is_on = weights, self._is_on, [weight != 0 for weight in weights]
        self._weights.copy_(torch.tensor(weights))
        if self._recorded is not None and self._is_on != before:
            self._recorded.forget()

    def _lend_rates(self) -> None:
        """Learning rates as numbers on the GPU, where a recorded step finds them."""
        for group in self.optimiser.param_groups:
            group["capturable"], group["lr"] = True, torch.zeros((), device=self.device)

    def _update(self) -> Tensor:
        """The step on `_frames`: (components,) losses."""
        components = torch.stack(self._components(*self._seen(self._frames)))
        loss = sum(weight * part for weight, part, is_on in zip(self._weights, components, self._is_on) if is_on)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        if self.held_sign is not None:
            with torch.no_grad():
                held = self.held_sign * (self.held_sign * self.model.sto_all).clamp(min=0)
                self.model.sto_all.copy_(torch.where(self.held_sign == 0, self.model.sto_all, held))
        return components.detach()

    def _seen(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Concentrations and dc/dt of some frames, with what is inferred of those that nobody measured."""
        found = self.observed.concentration[frames], self.observed.dcdt[frames]
        if self.inferred is None:
            return found
        return self.inferred.filled(*found, *(part[frames] for part in self.place))

    def draw(self, size: int) -> np.ndarray:
        """(size,) random frames."""
        if self.chance is None:
            return self.rng.integers(len(self.observed), size=size)
        return self.rng.choice(len(self.chance), size=size, p=self.chance)

    @torch.no_grad()
    def current_losses(self, observed: Observed) -> Tensor:
        """(components,) losses on the first frames of `observed`, unweighted."""
        parts = (observed.concentration[:_FIRST], observed.dcdt[:_FIRST])
        return torch.stack(self._components(*(part.to(self.model.dtype) for part in parts)))

    def _components(self, concentration: Tensor, dcdt: Tensor) -> list[Tensor]:
        found = [losses.prediction(self.model(concentration), dcdt, self.scale)]
        return found + [term.value(self.model.coefficient, self.columns) for term in losses.REGULARISERS]

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it, the model aside."""
        return {"step": self.step, "optimiser": self.optimiser.state_dict(), "rng": self.rng.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> None:
        """Raises many kinds of errors if `state` is of another form."""
        self.step = int(state["step"])
        self.optimiser.load_state_dict(state["optimiser"])
        for parameter, moments in self.optimiser.state.items():
            if any(moment.dim() and moment.shape != parameter.shape for moment in moments.values()):
                raise ValueError("moments of other parameters")
        if self._recorded is not None:
            self._recorded.forget()
            self._lend_rates()
        self.rng.bit_generator.state = state["rng"]


def _groups(model: MetabolismPropagation, config: FitConfig) -> list[dict[str, Any]]:
    """Parameters by their learning rates."""
    start = config.learning_rate_start
    functions = [parameter for name, parameter in model.rate_parameters.items() if name != EMBEDDING]
    groups = [
        {"params": [*functions, model.log_k], "start": start},
        {"params": [model.sto_all], "start": config.learning_rate_S_start or start},
    ]
    if EMBEDDING in model.rate_parameters:
        groups.append({"params": [model.rate_parameters[EMBEDDING]], "start": config.learning_rate_embedding_start})
    return groups
