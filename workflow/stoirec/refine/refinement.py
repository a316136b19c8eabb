"""Rounds of refinement on fixed windows: the whole of it, step by step."""

import itertools
import math
from collections import deque
from dataclasses import replace

import torch
from torch import Tensor

from stoirec.config.judgement import DEFAULT, Judgement
from stoirec.data.windows import Integrals, Windows
from stoirec.kinetics.limiter import FluxLimiter
from stoirec.kinetics.rate_law import LearnableLaw
from stoirec.network.columns import ColumnSpace
from stoirec.refine.descent import HARDLY_LESS, SCORE_DAMPING, damp, descend, free_equations
from stoirec.refine.equations import Equations
from stoirec.refine.evidence import Evidence, weigh
from stoirec.refine.exchange import shared_by_holders
from stoirec.refine.following import open_to_functions
from stoirec.refine.functions import Functions
from stoirec.refine.lengths import (
    as_large_as_integers,
    exchanged,
    fitted,
    halved_where_faint,
    of_any_length,
    primitive,
    shortest,
    split,
)
from stoirec.refine.selection import FAR_LIKELIER, SETTLED, Stage, in_integers, is_noise, likelier, select
from stoirec.refine.state import DAMPING, State
from stoirec.refine.unmeasured import Unmeasured

_CPU = torch.device("cpu")
_FALLS = 0.9  # of the residual: a round that leaves less may make other columns clear
_LIKELY = 0.5  # certainty of a column from which it is asked whether another length does as well
_FITS = 4  # of integers in the functions, at most
_AS_GOOD = 2.0  # times the residual before, at which they end: with a gate 1 is far from what stood for it


class Refinement:
    """Refinement of a rate law's parameters and S: on the CPU, but for the steps of the descents.

    Steps are products of large matrices, and a GPU has them sooner; what columns explain is many small ones, that wait
    for a GPU.

    Args:
        law: the rate law on the graph; where it allows zeros, columns may have them.
        space: the columns that the reactions may have, with the sign of every edge.
        windows: what is fitted, in double precision.
        limiter: of the model, or None.
        held_out: what tells how far the functions hold; default: nothing does.
        n_runs: how many runs say something of their own.
        judgement: the constants behind its choices.
        device: where the steps are taken.
        unmeasured: metabolites whose concentrations in the windows are unknowns as well.
    """

    def __init__(
        self,
        law: LearnableLaw,
        space: ColumnSpace,
        windows: Windows | Integrals,
        limiter: FluxLimiter | None = None,
        held_out: Windows | Integrals | None = None,
        n_runs: float = math.inf,
        judgement: Judgement = DEFAULT,
        device: torch.device = _CPU,
        unmeasured: Unmeasured | None = None,
    ) -> None:
        self.functions = Functions(law, space.with_decoys() if law.allows_zero else space, _CPU)
        asked = (limiter, judgement, unmeasured)
        self.equations = Equations(self.functions, windows, *asked)
        self.held_out = None if held_out is None else Equations(self.functions, held_out, *asked)
        self.n_runs, self.device = n_runs, device
        # what was weighed last: a round, the next and the end ask for the same
        self._weighed: deque[tuple[tuple[Equations, float, float, float | None], State, Evidence]] = deque(maxlen=2)

    def round(self, state: State, steps: int, stage: Stage) -> State:
        """Weigh all columns, keep what the evidence says at this stage, then descend if that is not all.

        What came where it changes no rate starts anew. Ties that do not help are released for a round, and closed edges
        with them: a wrong one holds up the residual, and the functions grow around it. When no ties helped, and the
        descent without them does not any more either, all are tied in the next round: together they show which are
        wrong.
        """
        concentration = self.equations.windows.concentration.flatten(0, 1)
        state = replace(state, weights=self.functions.law.roused(state.weights, concentration))
        if state.stalled and stage == "tie":
            found = self._descend(self._released(state), steps)
            return replace(found, stalled=False, spent=found.cost > HARDLY_LESS * state.loose_cost)
        state = primitive(self.equations, as_large_as_integers(self.equations, state))
        selected = select(self.equations, state, stage, self._weigh)
        done = is_noise(self.equations, state) or self._is_exact(selected)
        better = None if done else self._better(state, selected, steps)
        if better is not None:
            found = self._descend(select(self.equations, better, "conclude", self._weigh), steps)
            if found.cost < state.cost:
                return replace(found, stalled=self._stalled(better, found))
        if self.settled(selected):
            return replace(state, settled=selected.settled)
        if not selected.settled:  # other columns are another problem, at which the damping is not known
            selected = replace(selected, damping=DAMPING)
        found = self._descend(selected, steps)
        falls = found.cost < _FALLS * state.cost and not is_noise(self.equations, found)
        return replace(found, stalled=self._stalled(state, found), settled=0 if falls else found.settled)

    def _is_exact(self, selected: State) -> bool:
        """Whether all columns are clear, and not more is left than exact ones leave."""
        return self.settled(selected) and selected.cost < self.equations.judgement.exact

    def _better(self, state: State, selected: State, steps: int) -> State | None:
        """A state that leaves less than half, where columns do not change any more or no step changes much."""
        if state.committed and state.slow:
            found = self._doubtful_freed(selected, steps)
            if found is not None:
                return found
        unsettled = selected.settled and (state.slow or selected.settled < SETTLED)
        return self._other_lengths(state, steps) if unsettled else None

    def _other_lengths(self, state: State, steps: int) -> State | None:
        """`state` with lengths exchanged, if that leaves less than half of its residual."""
        evidence, column = self._weigh(self.equations, state), in_integers(self.equations, state).integers
        for trial in exchanged(self.equations, state, column, evidence):
            better = fitted(trial, lambda one: self._descend(one, steps), itertools.repeat(state.cost / 2))
            if better is not None:
                return better
        return None

    def _doubtful_freed(self, state: State, steps: int) -> State | None:
        """`state` fitted with the few most doubtful reactions free, if that leaves less than half.

        A wrong column bends the functions until they speak for it; the other reactions hold the functions meanwhile.
        """
        n_free = max(1, round((1 - self.equations.judgement.most) * len(state.log_k)))
        free = torch.zeros_like(state.tied)
        free[self._weigh(self.equations, state).certainty.argsort(stable=True)[:n_free]] = True
        free = self.functions.in_either_direction(free)
        closed = state.closed & ~free[self.equations.reaction]
        trial = replace(state, tied=state.tied & ~free, outside=state.is_outside | free, closed=closed, settled=0)
        found = self._descend(trial, steps)
        return found if found.cost < HARDLY_LESS * state.cost else None

    def _released(self, state: State) -> State:
        if self.functions.allows_zero:
            return select(self.equations, state, "close", self._weigh)
        return replace(state, tied=torch.zeros_like(state.tied), settled=0)

    def _stalled(self, before: State, after: State) -> bool:
        """Whether ties hold up the residual; all of them: it was less before, and no column changes, or hardly less is
        left than by the columns before.
        """
        if not after.tied.any() or is_noise(self.equations, after):
            return False
        if after.committed:
            hardly = before.committed and after.cost > HARDLY_LESS * before.cost
            return after.cost > before.loose_cost and (after.settled > 0 or hardly)
        return after.cost > HARDLY_LESS * before.cost

    @staticmethod
    def settled(state: State) -> bool:
        """Whether all reactions are tied to their likeliest columns, which are clear or do not change any more."""
        return state.settled >= SETTLED

    def finish(self, state: State, steps: int) -> State:
        """The columns the reactions are tied to as integers in the functions, which are fitted as long as that helps.

        The columns are the answer, not the directions of B refitted freely: those of weak reactions say less than the
        evidence of all columns.
        """
        found = in_integers(self.equations, state)
        for _ in range(_FITS):
            before, found = found.cost, self._descend(found, steps)
            helps = found.cost < HARDLY_LESS * before and _excess(self.equations, found.cost) > 1
            if found.cost < _AS_GOOD * state.cost and not helps:
                break
        return found

    def conclude(self, state: State, steps: int) -> tuple[State, Evidence]:
        """The end: integers, the shorter ones where the data leave lengths open, and what each column explains.

        Columns are weighed before there are integers in learned functions, which these disturb.
        """
        state = self._likelier(state, self._weigh(self.equations, state), steps)
        weighed = self._weigh(self.equations, state)
        column = in_integers(self.equations, state).integers
        state = halved_where_faint(self.equations, state, column, weighed)
        column = in_integers(self.equations, state).integers
        found, convention = shortest(self.equations, state, column, lambda trial: self._descend(trial, steps))
        column, final = in_integers(self.equations, found).integers, self.finish(found, steps)
        with_integers = final.cost < found.cost and not self.functions.learns_sizes
        at = replace(final, integers=None) if with_integers else replace(found, cost=min(found.cost, final.cost))
        evidence = split(self.evidence(at), column, convention, self.functions.space)
        is_open = self._is_open(found, column, evidence, self._most_excess(at), steps)
        evidence = of_any_length(evidence, column, is_open, self.functions.space)
        return final, shared_by_holders(evidence, column, found.is_outside, self.functions.space)

    def _is_open(self, state: State, column: Tensor, evidence: Evidence, excess: float, steps: int) -> Tensor:
        """(R,) bool, where functions, or what a reaction has of its own, do as well with the column's other length."""
        if self.functions.learns_sizes and self.functions.law.has_own and excess > 1:
            return ~evidence.convention
        asked, equations = ~evidence.convention & (evidence.certainty > _LIKELY), self.equations.followed(state)
        return open_to_functions(equations, state, column, asked, lambda trial: self._descend(trial, steps))

    def _likelier(self, state: State, weighed: Evidence, steps: int) -> State:
        """`state` with columns that are far likelier, if they leave no more than outweighs that, fitted as often."""
        trial = likelier(self.equations, state, weighed)
        if trial is None:
            return state
        found, rival = self._descend(trial, steps), self._descend(state, steps)
        outweighs = 2 * self.equations.judgement.alike * math.log(FAR_LIKELIER) / self.equations.n_residuals
        return found if found.cost < (1 + outweighs) * rival.cost else state

    def evidence(self, state: State) -> Evidence:
        """What each column of a reaction explains at `state`.

        Where more is left than noise leaves, of what was fitted or of what was held out, the functions do not hold:
        their errors are alike over as many more frames, and columns are less certain. Nor do they along one trajectory
        alone, which wrong columns with functions of their own fit as well. What is left where all columns are tied may
        also be that of a column that is not allowed.
        """
        equations, judgement = self.equations.followed(state), self.equations.judgement
        excess = _excess(equations, state.cost)
        alike = judgement.alike * self._most_excess(state)
        return self._weigh(equations, state, alike, max(excess, judgement.own_runs / self.n_runs), 1 - 1 / excess)

    def _weigh(
        self,
        equations: Equations,
        state: State,
        alike: float | None = None,
        excess: float = 1.0,
        contradicted: float | None = None,
    ) -> Evidence:
        """`weigh`, once for the same columns."""
        asked = equations, self.equations.judgement.alike if alike is None else alike, excess, contradicted
        for before, at, found in self._weighed:
            if before == asked and state.has_same_columns(at):
                return found
        found = weigh(equations, state, *asked[1:])
        self._weighed.append((asked, state, found))
        return found

    def _most_excess(self, state: State) -> float:
        """`_excess` of what was fitted or of what was held out, whichever is more."""
        excess = _excess(self.equations.followed(state), state.cost)
        if self.held_out is None:
            return excess
        return max(excess, _excess(self.held_out, self.held_out.followed(state).cost(state)[1]))

    def _descend(self, state: State, steps: int) -> State:
        """`descend` on the open edges: a graph without the closed ones is smaller."""
        edges = torch.nonzero(~state.closed)[:, 0]
        integers = None if state.integers is None else state.integers[edges]
        part = replace(state, linear=state.linear[edges], integers=integers, closed=None)
        found = descend(self.equations.part(edges, self.device), part.to(self.device), steps).to(_CPU)
        linear = torch.zeros_like(state.linear).index_copy(0, edges, found.linear)
        loose_cost = state.loose_cost if state.committed else min(state.loose_cost, found.cost)
        return replace(found, linear=linear, integers=state.integers, closed=state.closed, loose_cost=loose_cost)

    def coefficient(self, state: State) -> Tensor:
        """(E,) real coefficients B / k."""
        return state.linear / 10 ** state.log_k[self.functions.reaction]

    def coefficient_se(self, state: State) -> Tensor:
        """(E,) standard errors of coefficients that are free beside integers in the functions, weights uncertain."""
        n_weights, n_edges = len(state.weights), len(state.linear)
        free = free_equations(self.equations, replace(state, tied=None), opposite=False)
        free = free.only(torch.arange(len(free.moves)) < n_weights + n_edges)
        # in place: a network of thousands of reactions has gigabytes of them
        factor, failed = torch.linalg.cholesky_ex(damp(free.matrix, SCORE_DAMPING))
        if failed:
            return torch.full_like(state.linear, math.inf)
        inverse = torch.cholesky_inverse(factor, out=factor)
        variance = free.on_all(inverse.diagonal())[n_weights : n_weights + n_edges]
        variance = variance * state.cost / self.equations.n_residuals
        return variance.sqrt() / 10 ** state.log_k[self.functions.reaction]


def _excess(equations: Equations, cost: float) -> float:
    """How many times more is left than noise leaves, at least 1."""
    judgement = equations.judgement
    return max(1.0, cost / max(judgement.times_noise * float(equations.windows.noise), judgement.exact))
