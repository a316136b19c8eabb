"""What follows from the evidence for the columns: edges that are closed, reactions that are tied to a column."""

from dataclasses import replace
from typing import Literal

import torch

from stoirec.refine.equations import Equations
from stoirec.refine.evidence import ALIKE, CLEAR, UNCHANGED, by_reaction, levels, weigh
from stoirec.refine.integers import as_fast
from stoirec.refine.misplaced import returned
from stoirec.refine.state import State

Stage = Literal["close", "tie", "commit"]

_ALIKE_AT_FIRST = 64.0  # residuals that say as much as one while the functions are coarse: errors are more alike
_UNLIKELY = 0.01  # an edge of less probability is closed
# share of clear reactions from which the others are tied to their likeliest columns, too: from 0.9 on, wrong ones stay
_MOST = 0.97
_NOISE = 2.0  # times what noise leaves of the mean squared residual: less is noise
SETTLED = 2  # rounds that change no column although some are not clear, after which there are no more
_LIKELY = 0.9  # an edge of more probability should not be faint
_FAINT, _RUN_AWAY = 0.5, 6.0  # |S|, in units of what stands for 1 in the functions


def select(equations: Equations, state: State, stage: Stage) -> State:
    """`state` with what the evidence says of its columns, in three stages.

    close    Unlikely edges are closed, the others are open. Reactions that the descent released (|S| runs away, or is
             faint on all edges or on a likely one) take their mean column.
    tie      Reactions whose column is clear are tied to it as well, which leaves the others less to make up for.
    commit   All are tied to their likeliest columns. Most guesses are right by then, and the functions that follow from
             them show which are not. It begins early once most columns are clear, or no more become clear and what
             is left of the residual is noise.
    """
    functions, alike = equations.functions, _ALIKE_AT_FIRST if stage == "close" else ALIKE
    evidence = weigh(equations, state, alike)
    if functions.allows_zero:
        better = returned(equations, state, evidence)
        if better is not state:
            state, evidence = better, weigh(equations, better, alike)
    reaction, unit = functions.reaction, evidence.unit
    size = state.linear.abs() / 10 ** state.log_k[reaction] / unit
    tied = (evidence.certainty > CLEAR) & (stage != "close")
    no_more = state.tied is not None and tied.sum() <= state.tied.sum() and is_noise(equations, state)
    committed = stage == "commit" or bool(tied.double().mean() > _MOST) or bool(stage == "tie" and no_more)
    if committed:
        tied = torch.ones_like(tied)
    kept = torch.zeros_like(tied)
    if state.tied is not None:
        kept = state.tied & tied & (by_reaction(equations, (evidence.column.abs() - size).abs(), "max") < UNCHANGED)
    k = torch.where(kept, state.log_k + unit.log10(), evidence.column_log_k)

    faint = by_reaction(equations, torch.where(evidence.probability > _LIKELY, size, torch.inf), "min") < _FAINT
    largest = by_reaction(equations, size, "max")
    released = (largest < _FAINT) | (largest > _RUN_AWAY) | faint
    closed = torch.where(tied[reaction], evidence.column == 0, evidence.probability < _UNLIKELY)
    open_linear = torch.where(released[reaction], evidence.linear, state.linear)
    linear = torch.where(closed, 0.0, torch.where(tied[reaction], evidence.column * 10 ** k[reaction], open_linear))
    log_k = torch.where(tied, k - unit.log10(), torch.where(released, evidence.log_k, state.log_k))
    settled = 0
    if committed and kept.all():
        settled = SETTLED if evidence.certainty.min() > CLEAR else state.settled + 1
    return replace(state, linear=linear, log_k=log_k, closed=closed, tied=tied, settled=settled)


def is_noise(equations: Equations, state: State) -> bool:
    """Whether the residual is about what noise leaves."""
    return state.cost < _NOISE * equations.windows.noise


def in_integers(equations: Equations, state: State) -> State:
    """`state` with integer columns where all reactions are tied; in the functions they do what stood for them."""
    functions = equations.functions
    level = levels(equations, state)
    two = level[2] if len(level) > 2 and level[2] > level[1] else 2 * level[1]
    log_k = state.log_k + level[1].log10()
    k = 10 ** log_k[equations.reaction]
    nearest = functions.space.nearest((state.linear / k).cpu().numpy())
    integers = torch.as_tensor(nearest, dtype=k.dtype, device=k.device)
    weights = functions.with_sizes(state.weights, level[1], two)
    found = replace(state, weights=weights, linear=integers * k, log_k=log_k, integers=integers)
    return as_fast(equations, state, found)
