"""Rounds of refinement on a trained model, one at a time, so that a checkpoint fits between two."""

import copy
import logging
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import Data
from stoirec.data.frames import effective_runs
from stoirec.data.windows import Integrals, Windows, steps, windows
from stoirec.learn.inferred import InferredCourses
from stoirec.learn.model import MetabolismPropagation, told
from stoirec.learn.observations import Observations, scale_of, std, unheard
from stoirec.learn.schedule import stage
from stoirec.refine import FAR_MORE, Evidence, Refinement, State

_log = logging.getLogger(__name__)


class RefinementRounds:
    """The refinement of a model, in double precision from its first round on.

    Attributes:
        asked: the data; data: the same with courses of what nobody measured, as they are inferred by now.
        done: rounds done, the end not counted; steps: Levenberg-Marquardt steps asked for so far.
        state: None before the first round; evidence: for the columns, at the end of the rounds.
        best: of the states in which all reactions were tied, that which left least; None before there was one.
    """

    def __init__(
        self,
        data: Data,
        config: FitConfig,
        model: MetabolismPropagation,
        observed: Observations,
        chance: np.ndarray | None,
        inferred: InferredCourses | None = None,
    ) -> None:
        self.asked = self.data = data
        self.config, self.model, self.space = config, model, told(data.space, config)
        self.observed, self.chance, self.inferred = observed, chance, inferred
        self.done, self.steps = 0, 0
        self._seconds: list[float] = []  # of the rounds that were done here
        self.state: State | None = None
        self.best: State | None = None
        self.evidence: Evidence | None = None
        self._refinement: Refinement | None = None

    def left(self) -> bool:
        """Whether there is refinement still to be done: asked for, and not finished."""
        return self.config.refinement_rounds > 0 and (self.state is None or self.state.integers is None)

    def advance(self) -> None:
        """A round, or the end of all; the model then holds its result, and courses that are inferred follow it."""
        if self.state is None:
            self.infer()
        refinement, rounds, steps = self.refinement(), self.config.refinement_rounds, self.config.refinement_steps
        state = self.state or self._trained()
        if self.done < rounds and not refinement.settled(state):
            started = time.monotonic()
            now = stage(self.done, rounds, self.model.law.allows_zero, state.contradicted)
            state = refinement.round(state, steps, now)
            self.done += 1
            if state.tied.all() and (self.best is None or state.cost < self.best.cost):
                self.best = state
            self._seconds.append(time.monotonic() - started)
            left = sum(self._seconds) / len(self._seconds) * (rounds - self.done + 1)  # the end is as long as a round
            _log.info(
                "refinement round %d of at most %d: %d of %d reactions tied, %d edges closed, "
                "mean squared residual %.1e, %.0f s, at most about %.0f s left",
                *(self.done, rounds, int(state.tied.sum()), len(state.tied), int(state.closed.sum()), state.cost),
                *(self._seconds[-1], left),
            )
        else:
            if self.best is not None and state.cost > FAR_MORE * self.best.cost:  # the last rounds went astray
                state = self.best
                self._into_model(refinement, state)
                self.infer()
                refinement = self.refinement()
            state, self.evidence = refinement.conclude(state, steps)
            if n_open := int(self.evidence.convention.sum()):
                text = "refinement: the data leave the length of %d of %d columns open; the shorter one is taken"
                _log.info(text, n_open, len(state.log_k))
            _log.info("refinement: integer columns, mean squared residual %.1e", state.cost)
        self.state = state
        self.steps += steps
        self._into_model(refinement, state)
        self.infer()

    def infer(self) -> None:
        """Courses of what nobody measured, if there is such, by the model as it is."""
        if self.inferred is None:
            return
        if self.inferred.is_coarse:
            self.inferred = InferredCourses.finer(self.inferred, self.asked)
        self.model.double()
        scale = std(self.observed.training.dcdt)
        self.inferred.fit(self.model, self.data, scale)
        self.see(self.inferred)

    def see(self, inferred: InferredCourses) -> None:
        """Go on with these courses of what nobody measured."""
        self.data = inferred.into(self.asked)
        self.observed = Observations.of(self.data, self.config, self.model.sto_all.device)
        self._refinement = None

    def refinement(self) -> Refinement:
        """On some training frames; from then on the model is in double precision."""
        if self._refinement is None:
            self._refinement = self._new_refinement()
        return self._refinement

    def _new_refinement(self) -> Refinement:
        device = self.model.sto_all.device
        model = copy.deepcopy(self.model.double()).cpu()
        fitted, held_out = self._windows(model.limiter is None)  # limited fluxes have kinks
        unmeasured = None
        if self.inferred is not None and isinstance(fitted, Windows) and isinstance(held_out, Windows):
            fitted, held_out = (self.inferred.beside(model, each) for each in (fitted, held_out))
            unmeasured = self.inferred.as_unknowns.to(fitted.target.device)
        told_apart = effective_runs(self.observed.frames), self.config.judgement
        return Refinement(model.law, self.space, fitted, model.limiter, held_out, *told_apart, device, unmeasured)

    def _windows(self, smooth: bool) -> tuple[Windows | Integrals, Windows | Integrals]:
        """What is fitted, and what is held out; `smooth`: whether fluxes are, in time."""
        number, frames, held_out = self.config.refinement_frames, self.observed.frames, self.observed.held_out
        changes, other = self.observed.training.changes, self.observed.validation.changes
        if changes is not None and other is not None:
            scale = unheard(scale_of(changes.target, self.config), self.observed.training.unmeasured).cpu()
            return changes.to(scale.device).scaled(scale), other.to(scale.device).scaled(scale)
        scale = scale_of(self.observed.training.dcdt, self.config)
        scale = unheard(scale, self.observed.training.unmeasured).cpu()
        if courses := self.data.courses:
            return steps(frames, courses, scale, number), steps(held_out, courses, scale, number)
        return windows(frames, scale, number, self.chance, smooth), windows(held_out, scale, number, smooth=smooth)

    def _trained(self) -> State:
        """The model as gradient descent left it."""
        model = self.model
        coefficient, log_k = model.coefficient.detach(), model.log_k.detach()
        reaction = torch.as_tensor(self.space.graph.edge_reaction, device=log_k.device)
        state = State(model.law.pack(dict(model.rate_parameters)), coefficient * 10 ** log_k[reaction], log_k)
        return state.to(torch.device("cpu"))

    @torch.no_grad()
    def _into_model(self, refinement: Refinement, state: State) -> None:
        for name, value in self.model.law.unpack(state.weights).items():
            self.model.rate_parameters[name].copy_(value)
        self.model.sto_all.copy_(refinement.coefficient(state))
        self.model.log_k.copy_(state.log_k)

    def checkpoint(self) -> dict[str, Any]:
        """What a checkpoint holds of it, the model aside."""
        parts: dict[str, State | Evidence | None] = {"state": self.state, "best": self.best, "evidence": self.evidence}
        held = {name: None if part is None else asdict(part) for name, part in parts.items()}
        return {"done": self.done, "steps": self.steps, **held}

    def restore(self, saved: dict[str, Any]) -> None:
        """Raises many kinds of errors if `saved` is of another form."""
        self.done, self.steps = int(saved["done"]), int(saved["steps"])
        if saved["state"] is not None:
            self.state = _of_form(saved["state"], self._trained())
            self.model.double()
            if self.inferred is not None:
                self.inferred = InferredCourses.finer(self.inferred, self.asked)
        if saved["best"] is not None:
            self.best = _of_form(saved["best"], self._trained())
        if saved["evidence"] is not None:
            self.evidence = Evidence(**saved["evidence"])


def _of_form(saved: dict[str, Any], like: State) -> State:
    """The state that was saved. Raises ValueError, TypeError or AttributeError if it has other parts than `like`."""
    state = State(**saved)
    shapes = [(part.weights.shape, part.linear.shape, part.log_k.shape) for part in (state, like)]
    if saved.keys() != vars(like).keys() or shapes[0] != shapes[1]:
        raise ValueError("a state of another model")
    return state
