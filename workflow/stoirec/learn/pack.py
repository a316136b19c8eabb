"""A pack: fits on the same data that gradient descent moves at once, one step of all after the other.

A step of one fit is bookkeeping for the most part on a CPU, and launches on a GPU. The networks of a pack therefore
stand side by side as one that falls apart into copies, each with functions of its own. A fit has its own start,
batches, learning rates, loss weights and end, and leaves the numbers of the others alone.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stoirec.learn import losses
from stoirec.learn.model import MetabolismPropagation
from stoirec.learn.recorded import Recorded

if TYPE_CHECKING:
    from stoirec.learn.gradient_descent import GradientDescent

INFERRED = "inferred"  # courses, among the parameters


def _uncompiled(optimiser: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The same without torch's compiler, to be called under no_grad.

    To keep the compiler off these methods torch imports it, which takes as long as a thousand steps.
    """
    kept_off = ("add_param_group", "state_dict", "load_state_dict", "step")
    return type(optimiser.__name__, (optimiser,), {name: inspect.unwrap(getattr(optimiser, name)) for name in kept_off})


_OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(_uncompiled(torch.optim.Adam), fused=True),  # all tensors of a step at once
    "nadam": _uncompiled(torch.optim.NAdam),
    "radam": _uncompiled(torch.optim.RAdam),
}


class Pack:
    """Fits with the same `FitConfig.together`, whose parameters lie in the rows of one tensor."""

    def __init__(self, fits: "Sequence[GradientDescent]") -> None:
        self.fits, first = list(fits), fits[0]
        self.config, self.device, self.observed = first.config, first.device, first.observed
        self.scale = torch.cat([fit.scale for fit in fits])
        self._lay_out()
        if len(fits) == 1:
            self.model, self.columns = first.model, first.columns
        else:
            space, dt = first.data.space, None if first.model.limiter is None else first.model.limiter.dt
            self.model = MetabolismPropagation(space, first.config, dt, copies=len(fits)).to(self.device)
            kind = first.model.dtype, self.device, len(fits)
            self.columns = losses.Columns.of(space.copies(len(fits)), *kind)
        self.optimiser, self._rates = self._optimiser()
        # what a step reads: at the same place each time, so that a GPU can repeat it as it was recorded
        self._frames = torch.zeros(len(fits), first.config.batch_size, dtype=torch.int64, device=self.device)
        self._weights = self._rows.new_zeros(len(losses.REGULARISERS), len(fits), 1)
        self._given_weights: list[tuple[float, ...]] | None = None
        self._is_on: list[bool] = []
        self._recorded: Recorded | None = None
        if self.device.type == "cuda" and first.config.optimiser == "adam" and first.inferred is None:
            self._recorded = Recorded(self._update)
            for group in self.optimiser.param_groups:  # learning rates on the GPU, where a recorded step finds them
                group["capturable"], group["lr"] = True, torch.zeros((), device=self.device)

    def _lay_out(self) -> None:
        """A row for each fit, of which its parameters and what the optimiser moves become parts."""
        self._sizes = [parameter.numel() for parameter in self.fits[0].parameters.values()]
        own = [[each.detach().flatten() for each in fit.parameters.values()] for fit in self.fits]
        self._rows = torch.stack([torch.cat(each) for each in own])
        self._slopes = torch.zeros_like(self._rows)
        for fit, row, slopes in zip(self.fits, self._rows, self._slopes):
            for parameter, part in zip(fit.parameters.values(), row.split(self._sizes)):
                parameter.data = part.view_as(parameter)
            sizes = [part.numel() for _, part in fit.parts]
            for (_, part), values, slope in zip(fit.parts, row.split(sizes), slopes.split(sizes)):
                part.data, part.grad = values, slope
        self._by_name = dict(zip(self.fits[0].parameters, self._rows.split(self._sizes, dim=1)))

    def _optimiser(self) -> "tuple[torch.optim.Optimizer, list[tuple[float, GradientDescent]]]":
        """With what the fits hold of an earlier one, and a group for what has the same learning rate in every step.

        And of each group that at the start, and a fit that tells how it goes on.
        """
        groups: dict[tuple, list[tuple[nn.Parameter, dict[str, Any]]]] = {}
        rates: dict[tuple, tuple[float, GradientDescent]] = {}
        for fit in self.fits:
            for (start, part), moments in zip(fit.parts, fit.moments):
                alike = (start, fit.config.schedule, fit.schedule.n_steps, fit.step)
                groups.setdefault(alike, []).append((part, moments))
                rates.setdefault(alike, (start, fit))
        parameters = [{"params": [part for part, _ in group]} for group in groups.values()]
        optimiser = _OPTIMISERS[self.config.optimiser](parameters, lr=self.config.learning_rate_start)
        held = enumerate(moments for group in groups.values() for _, moments in group)
        state = {place: moments for place, moments in held if moments}
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
        for fit in self.fits:
            fit.moments, fit.pack = [optimiser.state[part] for _, part in fit.parts], self
        return optimiser, list(rates.values())

    def advance(self) -> Tensor:
        """A step of each fit on a random batch of its own; returns the (fits, components) losses on them."""
        self._frames.copy_(torch.stack([fit.next_frames() for fit in self.fits]))
        for group, (start, fit) in zip(self.optimiser.param_groups, self._rates):
            rate = start * fit.schedule.rate_factor(fit.step)
            if self._recorded is None:
                group["lr"] = rate
            else:
                group["lr"].fill_(rate)
        weights = [fit.schedule.loss_weights(fit.step)[1:] for fit in self.fits]
        if weights != self._given_weights:
            self._weigh(weights)
        components = self._update() if self._recorded is None else self._recorded()
        for fit in self.fits:
            fit.step += 1
        return components

    def _weigh(self, weights: list[tuple[float, ...]]) -> None:
        """Regularisers of weights (fits, regularisers); those of weight 0 everywhere are left out of the step."""
        self._given_weights, before, self._is_on = weights, self._is_on, [any(each) for each in zip(*weights)]
        self._weights.copy_(torch.tensor(weights).T.unsqueeze(-1))
        if self._recorded is not None and self._is_on != before:
            self._recorded.forget()

    @torch.no_grad()
    def _update(self) -> Tensor:
        """The step on `_frames`: (fits, components) losses."""
        n_fits = len(self.fits)
        if n_fits > 1:  # those of one are its own
            for parameter, rows in zip(self.model.parameters(), self._by_name.values()):
                parameter.view(n_fits, -1).copy_(rows)
        concentration, dcdt = self._seen()
        predicted, pullback = self.model.linearised(concentration, concentration.requires_grad)
        terms = losses.terms(predicted, dcdt, self.scale, self.model.coefficient, self.columns)
        on_predicted = terms[0][1]()
        on_coefficient = torch.zeros_like(self.model.sto_all)
        by_fit = on_coefficient.view(n_fits, -1)
        for weight, (_, slope), is_on in zip(self._weights.unbind(), terms[1:], self._is_on):
            if is_on:
                by_fit += weight * slope().view(n_fits, -1)
        slopes, on_concentration = pullback(on_predicted, on_coefficient)
        if concentration.requires_grad:
            log_c = [fit.inferred.log_c for fit in self.fits]
            on_seen = (on_concentration, -on_predicted)
            slopes[INFERRED] = torch.stack(torch.autograd.grad((concentration, dcdt), log_c, on_seen))
        torch.cat([slopes[name].reshape(n_fits, -1) for name in self._by_name], dim=1, out=self._slopes)
        self.optimiser.step()
        if self.fits[0].held is not None:
            self._by_name["sto_all"].clamp_(*self.fits[0].held)
        return losses.values(terms)

    def _seen(self) -> tuple[Tensor, ...]:
        """(frames, fits * M) concentrations and dc/dt of a batch, with what each fit infers of what nobody measured."""
        found = self.observed.concentration[self._frames], self.observed.dcdt[self._frames]
        if self.fits[0].inferred is None:
            return tuple(each.transpose(0, 1).flatten(1) for each in found)
        with torch.enable_grad():
            filled = [
                fit.inferred.filled(*seen, *(part[frames] for part in fit.place))
                for fit, frames, *seen in zip(self.fits, self._frames, *found)
            ]
            return tuple(torch.cat(each, dim=1) for each in zip(*filled))


def packed(fits: "Sequence[GradientDescent]") -> Pack:
    """The pack of these: the one that they are in, if it has no others."""
    own = fits[0].pack
    return own if own.fits == list(fits) else Pack(fits)
