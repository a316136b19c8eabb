"""Gradient descent: one optimiser step after another on random batches of frames."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
_INFERRED = "inferred"  # courses, among the parameters
_AHEAD = 64  # steps whose frames are drawn at once
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
        if self.chance is not None:
            up_to = self.chance.cumsum()
            self._up_to = up_to / up_to[-1]
        self.held = _bounds(told(data.space, config).sign, model) if config.role_signs else None
        if inferred is not None:
            self.scale[inferred.unmeasured] = self.scale[inferred.measured].median()
            self.place = tuple(torch.as_tensor(part, device=self.device) for part in place_of(observed, data))
        parameters = _by_rate(model, config, inferred)
        self._together = [(list(own), _as_one(list(own.values()))) for own in parameters.values()]
        groups = [{"params": [whole], "start": start} for start, (_, whole) in zip(parameters, self._together)]
        self.optimiser = _OPTIMISERS[config.optimiser](groups, lr=config.learning_rate_start)
        self.step = 0
        self._drawn: Tensor | None = None  # frames of this step, of those around it, and the state they were drawn from
        self._rng_before = self.rng.bit_generator.state
        # what a step reads: at the same place each time, so that a GPU can repeat it as it was recorded
        self._frames = torch.zeros(config.batch_size, dtype=torch.int64, device=self.device)
        self._weights = torch.zeros(len(losses.REGULARISERS), dtype=model.dtype, device=self.device)
        self._given_weights: list[float] | None = None
        self._is_on: list[bool] = []
        self._recorded: Recorded | None = None
        if self.device.type == "cuda" and config.optimiser == "adam" and inferred is None:
            self._recorded = Recorded(self._update)
            self._lend_rates()

    def advance(self) -> Tensor:
        """One step on a random batch; returns the (components,) losses on it."""
        self._frames.copy_(self._next_frames())
        factor = self.schedule.rate_factor(self.step)
        for group in self.optimiser.param_groups:
            if self._recorded is None:
                group["lr"] = group["start"] * factor
            else:
                group["lr"].fill_(group["start"] * factor)
        _, *weights = self.schedule.loss_weights(self.step)
        if weights != self._given_weights:
            self._weigh(weights)
        components = self._update() if self._recorded is None else self._recorded()
        self.step += 1
        return components

    def _weigh(self, weights: list[float]) -> None:
        """Regularisers of weights (regularisers,); those of weight 0 are left out of the step."""
        self._given_weights, before, self._is_on = weights, self._is_on, [weight != 0 for weight in weights]
        self._weights.copy_(torch.tensor(weights))
        if self._recorded is not None and self._is_on != before:
            self._recorded.forget()

    def _lend_rates(self) -> None:
        """Learning rates as numbers on the GPU, where a recorded step finds them."""
        for group in self.optimiser.param_groups:
            group["capturable"], group["lr"] = True, torch.zeros((), device=self.device)

    @torch.no_grad()
    def _update(self) -> Tensor:
        """The step on `_frames`: (components,) losses."""
        concentration, dcdt = self._seen(self._frames)
        predicted, pullback = self.model.linearised(concentration, concentration.requires_grad)
        terms = self._losses(predicted, dcdt)
        on_predicted = terms[0][1]()
        on_coefficient = torch.zeros_like(self.model.sto_all)
        for weight, (_, slope), is_on in zip(self._weights.unbind(), terms[1:], self._is_on):
            if is_on:
                on_coefficient += weight * slope()
        slopes, on_concentration = pullback(on_predicted, on_coefficient)
        if self.inferred is not None:
            on_seen = (on_concentration, -on_predicted)
            (slopes[_INFERRED],) = torch.autograd.grad((concentration, dcdt), self.inferred.log_c, on_seen)
        for names, whole in self._together:
            torch.cat([slopes[name].flatten() for name in names], out=whole.grad)
        self.optimiser.step()
        if self.held is not None:
            self.model.sto_all.clamp_(*self.held)
        return _values(terms)

    def _seen(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Concentrations and dc/dt of some frames, with what is inferred of those that nobody measured."""
        found = self.observed.concentration[frames], self.observed.dcdt[frames]
        if self.inferred is None:
            return found
        with torch.enable_grad():
            return self.inferred.filled(*found, *(part[frames] for part in self.place))

    def _next_frames(self) -> Tensor:
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
        return _values(self._losses(self.model(concentration), dcdt))

    def _losses(self, predicted: Tensor, dcdt: Tensor) -> list[losses.Loss]:
        """The loss's terms, unweighted, with their slopes."""
        coefficient = self.model.coefficient
        found = [losses.prediction(predicted, dcdt, self.scale)]
        return found + [term.of(coefficient, self.columns) for term in losses.REGULARISERS]

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it, the model aside."""
        rng = self._rng_before if self.step % _AHEAD else self.rng.bit_generator.state
        return {"step": self.step, "optimiser": self.optimiser.state_dict(), "rng": rng}

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
        self.rng.bit_generator.state, self._drawn = state["rng"], None


def _values(terms: list[losses.Loss]) -> Tensor:
    """(components,)."""
    return torch.stack([value for value, _ in terms])


def _by_rate(
    model: MetabolismPropagation, config: FitConfig, inferred: InferredCourses | None
) -> dict[float, dict[str, nn.Parameter]]:
    """Learning rate at the start -> the parameters that have it, by name."""
    start = config.learning_rate_start
    own = {
        "sto_all": config.learning_rate_S_start or start,
        f"rate_parameters.{EMBEDDING}": config.learning_rate_embedding_start,
    }
    found: dict[float, dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        found.setdefault(own.get(name, start), {})[name] = parameter
    if inferred is not None:
        found.setdefault(RATE * start, {})[_INFERRED] = inferred.log_c
    return found


def _as_one(parameters: list[nn.Parameter]) -> nn.Parameter:
    """One parameter of which these become parts: to an optimiser each is as much work, large or small."""
    whole = nn.Parameter(torch.cat([each.detach().flatten() for each in parameters]))
    whole.grad = torch.zeros_like(whole)
    for each, part in zip(parameters, whole.detach().split([each.numel() for each in parameters])):
        each.data = part.view_as(each)
    return whole


def _bounds(sign: np.ndarray, model: MetabolismPropagation) -> tuple[Tensor, Tensor]:
    """(E,) least and largest coefficients of these signs, 0: free."""
    pair = np.where(sign > 0, 0.0, -np.inf), np.where(sign < 0, 0.0, np.inf)
    return tuple(torch.as_tensor(each, dtype=model.dtype, device=model.sto_all.device) for each in pair)
