"""What follows from the evidence for the columns: edges that are closed, reactions that are tied to a column."""

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from stoirec.refine.equations import Equations
from stoirec.refine.evidence import Evidence, Weigh, weigh
from stoirec.refine.gains import by_reaction, levels
from stoirec.refine.integers import as_fast
from stoirec.refine.state import State
from stoirec.refine.together import chosen_together, regrouped

Stage = Literal["close", "tie", "conclude"]

FAR_LIKELIER = 10.0  # times as likely as the column that is held
SETTLED = 2  # rounds that change no column although some are not clear, after which there are no more


def select(equations: Equations, state: State, stage: Stage, weigh: Weigh = weigh) -> State:
    """`state` with what the evidence says of its columns, in three stages.

    close    Unlikely edges are closed, the others are open. Reactions that the descent released (|S| runs away, or is
             faint on all edges or on a likely one) take their mean column.
    tie      Reactions whose column is clear are tied to it as well, which leaves the others less to make up for; but
             not while a real one explains more, as long as the functions are not right.
             Once most columns are clear, or no more become clear and what is left of the residual is noise, or `state`
             is spent, all are tied to the columns that are best together: most guesses are right by then, and the
             functions that follow from them show which are not. Reactions that no column is right for stay real.
    conclude All are tied, whatever is clear, and not released any more.
    """
    judgement = equations.judgement
    evidence = weigh(equations, state, judgement.alike_at_first if stage == "close" else None)
    outside = evidence.outside > judgement.taken_for_none
    if state.committed and state.cost > state.loose_cost:  # some ties are wrong: they say nothing for others
        outside |= state.is_outside
    outside = equations.functions.in_either_direction(outside)
    real = outside | (evidence.misfit > judgement.taken_for_none)
    tied = ~equations.functions.in_either_direction((evidence.certainty <= judgement.clear) | real)
    no_more = state.tied is not None and tied.sum() <= state.tied.sum() and is_noise(equations, state)
    most = (tied | outside).double().mean() > judgement.most
    if stage == "conclude" or (stage == "tie" and (state.spent or most or no_more)):
        return _commit(equations, replace(state, outside=outside), evidence)
    tied = torch.zeros_like(tied) if stage == "close" else tied
    kept = _kept(equations, state, evidence.unit, evidence.column, tied)
    opened = _opened(equations, replace(state, outside=real), evidence)
    return replace(_tied(equations, opened, evidence, evidence.column, evidence.column_log_k, tied, kept), settled=0)


def likelier(equations: Equations, state: State, evidence: Evidence) -> State | None:
    """A `state` in which all reactions are tied, with far likelier columns where there are such; None if not.

    What two reactions that the same metabolites drive share says nothing of either to the evidence, but holds a column
    that makes up for errors of the functions.
    """
    column, reaction = in_integers(equations, state).integers, equations.reaction
    is_held = torch.stack([by_reaction(equations, (own == column).double(), "min") for own in evidence.columns])
    # one that is not listed is at most as likely as the last that is
    of_held = torch.maximum((is_held * evidence.chances).amax(0), evidence.chances[-1])
    far = ~state.is_outside & (FAR_LIKELIER * of_held < evidence.chances[0])
    far = equations.functions.in_either_direction(far)
    if not far.any():
        return None
    column = torch.where(far[reaction], evidence.column, column)
    inside = ~state.is_outside
    trial = _tied(equations, state, evidence, column, evidence.column_log_k, inside, inside & ~far)
    return replace(trial, cost=math.inf, settled=0)


def _commit(equations: Equations, state: State, evidence: Evidence) -> State:
    """All reactions tied to the columns that are best together, but those that no column is right for."""
    inside = ~state.outside
    all_clear = bool(torch.where(inside, evidence.certainty, evidence.outside).min() > equations.judgement.clear)
    column, log_k = chosen_together(equations, state, evidence)
    kept = _kept(equations, state, evidence.unit, column, inside)
    more_than_noise = state.cost < equations.judgement.described and not is_noise(equations, state)
    stuck = torch.equal(kept, inside) and (state.slow or state.settled)  # while steps help, they are sooner
    if stuck and not all_clear and more_than_noise:
        column, log_k, outside = regrouped(equations, state, evidence)
        state, inside = replace(state, outside=outside), ~outside
        kept = _kept(equations, state, evidence.unit, column, inside)
    settled = 0 if not torch.equal(kept, inside) else SETTLED if all_clear else state.settled + 1
    return replace(_tied(equations, state, evidence, column, log_k, inside, kept), settled=settled)


def _kept(equations: Equations, state: State, unit: Tensor, column: Tensor, tied: Tensor) -> Tensor:
    """(R,) bool: reactions that were tied to their `column` before."""
    if state.tied is None:
        return torch.zeros_like(tied)
    change = (column.abs() - _sizes(equations, state, unit)).abs()
    return state.tied & tied & (by_reaction(equations, change, "max") < equations.judgement.unchanged)


def _sizes(equations: Equations, state: State, unit: Tensor) -> Tensor:
    """(E,) |S|."""
    return state.linear.abs() / 10 ** state.log_k[equations.reaction] / unit


def _opened(equations: Equations, state: State, evidence: Evidence) -> State:
    """`state` with unlikely edges closed, and the mean column in reactions that the descent released."""
    reaction, size = equations.reaction, _sizes(equations, state, evidence.unit)
    judgement = equations.judgement
    likely = evidence.probability > judgement.likely
    faint = by_reaction(equations, torch.where(likely, size, torch.inf), "min") < judgement.faint
    largest = by_reaction(equations, size, "max")
    released = ((largest < judgement.faint) | (largest > judgement.run_away) | faint) & ~state.outside
    closed = (evidence.probability < judgement.unlikely) & ~state.outside[reaction] & ~equations.functions.catalyses
    linear = torch.where(closed, 0.0, torch.where(released[reaction], evidence.linear, state.linear))
    return replace(state, linear=linear, log_k=torch.where(released, evidence.log_k, state.log_k), closed=closed)


def _tied(
    equations: Equations,
    state: State,
    evidence: Evidence,
    column: Tensor,
    log_k: Tensor,
    tied: Tensor,
    kept: Tensor,
) -> State:
    """`state` with the reactions `tied` to columns (E,); those `kept` keep their rate constants."""
    reaction = equations.reaction
    k = torch.where(kept, state.log_k + evidence.unit.log10(), log_k)
    silent = (column == 0) & ~equations.functions.catalyses
    closed = silent if state.closed is None else torch.where(tied[reaction], silent, state.closed)
    linear = torch.where(tied[reaction], column * 10 ** k[reaction], state.linear)
    return replace(
        state,
        linear=torch.where(closed, 0.0, linear),
        log_k=torch.where(tied, k - evidence.unit.log10(), state.log_k),
        closed=closed,
        tied=tied,
    )


def is_noise(equations: Equations, state: State) -> bool:
    """Whether the residual is about what noise leaves."""
    return bool(state.cost < equations.judgement.times_noise * equations.windows.noise)


def in_integers(equations: Equations, state: State) -> State:
    """`state` with integer columns where all reactions are tied; in the functions they do what stood for them.

    Reactions outside their space keep their real columns.
    """
    functions = equations.functions
    level = levels(equations, state)
    two = level[2] if len(level) > 2 and level[2] > level[1] else 2 * level[1]
    log_k = state.log_k + level[1].log10()
    k = 10 ** log_k[equations.reaction]
    nearest = functions.space.nearest((state.linear / k).cpu().numpy())
    column = torch.as_tensor(nearest, dtype=k.dtype, device=k.device)
    column = torch.where(state.is_outside[equations.reaction], state.linear / k, column)
    weights = functions.with_sizes(state.weights, level[1], two)
    every = torch.ones_like(state.log_k, dtype=torch.bool)
    found = replace(state, weights=weights, linear=column * k, log_k=log_k, integers=column, tied=every)
    return as_fast(equations, state, found)
