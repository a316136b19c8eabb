"""Lengths of columns that nothing in the data fixes.

A column p at a rate constant k and 2 p at k / 2 are the same but for |S| in the functions, and these are learned. Only
reactions whose direction leaves one length, such as A + B -> 2 C, say what the functions are at 1 and at 2, for
reactions with as many substrates. Where there are none, both lengths fit equally well, and the shorter column is the
answer by convention, as chemistry writes it. So it is where few have a length of their own, and all others are doubled:
drawn at random they would not be.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from stoirec.network.columns import ColumnSpace
from stoirec.refine.equations import Equations
from stoirec.refine.evidence import Evidence
from stoirec.refine.functions import LOWEST
from stoirec.refine.integers import as_fast, decode
from stoirec.refine.state import State

_MOST = 0.5  # of the reactions
_ATTEMPTS = 6  # descents of a shorter network, at most
AS_GOOD = 2.0  # times the residual of the longer ones, or less: then shorter columns fit as well
_HOPELESS = 0.5  # of the residual of the descent before: if more is left they do not


def primitive(equations: Equations, state: State) -> State:
    """`state` with every |S| half as large, if most columns would else be doubled ones; the functions follow.

    Where nearly all coefficients are 1, few columns say what the functions are at 1 and at 2.
    """
    if not equations.functions.learns_sizes:
        return state
    columns = decode(equations, state).cpu().numpy()
    doubled = [_is_double(equations, columns, reaction) for reaction in range(equations.graph.n_reactions)]
    if np.mean(doubled) <= _MOST:
        return state
    one = state.log_k.new_tensor(1.0)
    weights = equations.functions.with_sizes(state.weights, 2 * one, 4 * one)
    return replace(state, weights=weights, log_k=state.log_k + math.log10(2))


def as_large_as_integers(equations: Equations, state: State) -> State:
    """`state` with larger |S| if most are so small that sizes level off in the functions; these follow.

    So small are coefficients that started near 0, with either sign.
    """
    functions = equations.functions
    typical = (state.linear.abs() / 10 ** state.log_k[equations.reaction]).median()
    if functions.allows_zero or not functions.learns_sizes or typical > LOWEST:
        return state
    factor = (1 + functions.space.largest) / 2 / typical
    weights = functions.with_sizes(state.weights, 1 / factor, 2 / factor)
    return replace(state, weights=weights, log_k=state.log_k - torch.log10(factor))


def shortest(
    equations: Equations, state: State, column: Tensor, descend: Callable[[State], State]
) -> tuple[State, Tensor]:
    """`state` with the shorter columns where they fit as well, and (R,) bool, whose lengths are a convention.

    Args:
        equations, state: all reactions are tied.
        column: (E,) integers they are tied to.
        descend: fits the functions.
    """
    columns = column.cpu().numpy()
    convention = np.zeros(equations.graph.n_reactions, bool)
    if not equations.functions.learns_sizes:
        return state, torch.as_tensor(convention, device=column.device)
    open_classes, every = _may_be_shorter(equations, state, columns)
    for reactions in [np.concatenate(open_classes)] if every else open_classes:
        double = np.array([_is_double(equations, columns, reaction) for reaction in reactions], bool)
        if double.any():
            trial = fitted(_halved(equations, state, reactions[double], every), descend, as_good(state, descend))
            if trial is None and not double.all():
                trial = _shorter_exchanged(equations, state, columns, reactions, descend)
            if trial is None:
                continue
            state = trial
        convention[reactions] = True
    return state, torch.as_tensor(convention, device=column.device)


def halved_where_faint(equations: Equations, state: State, column: Tensor, evidence: Evidence) -> State:
    """`state` with the half of every doubled column (E,) that is about as likely: only a faint difference tells.

    Args:
        equations, state: all reactions are tied.
        column: integers they are tied to.
        evidence: of all columns at `state`.
    """
    columns, odds = column.cpu().numpy(), equations.judgement.doubled_odds
    faint = []
    for reaction in torch.nonzero(~state.is_outside)[:, 0].tolist():
        if not _is_double(equations, columns, reaction):
            continue
        edges = equations.graph.edges_of(reaction)
        chance, of_half = (
            float(evidence.chances[(evidence.columns[:, edges] == own).all(1), reaction].sum())
            for own in (column[edges], column[edges] / 2)
        )
        if 0 < chance < odds * of_half:
            faint.append(reaction)
    if not faint:
        return state
    halved = with_other_lengths(equations, state, columns, np.array(faint))
    return replace(halved, cost=state.cost, settled=state.settled)


def _shorter_exchanged(
    equations: Equations, state: State, columns: np.ndarray, reactions: np.ndarray, descend: Callable[[State], State]
) -> State | None:
    """`state` or the one with the open lengths of `reactions` exchanged, the shorter of both; None if one fits worse.

    The functions may then do at 1 what they did at 2, and the other way round.
    """
    trial = with_other_lengths(equations, state, columns, reactions)
    found = fitted(trial, descend, as_good(state, descend))
    if found is None:
        return None
    before, after = (float((one.linear.abs() / 10 ** one.log_k[equations.reaction]).sum()) for one in (state, trial))
    return found if after < before else state


def exchanged(equations: Equations, state: State, column: Tensor, evidence: Evidence) -> Iterator[State]:
    """`state` with all open lengths of a kind exchanged, 1 for 2, where most are not clear; with halves if all are 2.

    One for each number of substrates. Functions that were fitted to the wrong lengths of most speak for them; no
    change of one length, nor of B beside it, undoes that.
    """
    if not equations.functions.learns_sizes:
        return
    unclear = (evidence.certainty <= equations.judgement.clear).cpu().numpy()
    columns = column.cpu().numpy()
    for reactions, is_open in _by_substrates(equations, state, columns):
        of_kind = reactions[is_open]
        if not len(of_kind):
            continue
        doubled = all(_is_double(equations, columns, reaction) for reaction in of_kind)
        if not doubled and unclear[of_kind].mean() < _MOST:
            continue
        yield with_other_lengths(equations, state, columns, of_kind)


def with_other_lengths(equations: Equations, state: State, columns: np.ndarray, reactions: np.ndarray) -> State:
    """`state` with the other length of each of `reactions`, as fast."""
    log_k, edges_of = state.log_k.clone(), equations.graph.edges_of
    for reaction in reactions.tolist():
        own = columns[edges_of(reaction)]
        other = equations.functions.space.other_length(reaction, own)
        log_k[reaction] -= float(np.log10(np.abs(other).sum() / np.abs(own).sum()))
    return as_fast(equations, state, replace(state, log_k=log_k, cost=math.inf, settled=0))


def split(evidence: Evidence, column: Tensor, convention: Tensor, space: ColumnSpace) -> Evidence:
    """`evidence` in which the double of a column (E,) is as likely, where the shorter one is a convention.

    Of a double beyond the bounds of its edges nothing is known but that it was not asked for: it gets the same share.
    """
    return replace(_shared(evidence, column, 2.0 * convention, space), convention=convention)


def of_any_length(evidence: Evidence, column: Tensor, which: Tensor, space: ColumnSpace) -> Evidence:
    """`evidence` in which the half of a doubled column (E,), or the double of another, is as likely, if it is allowed.

    Of the reactions `which` (R,) bool: where functions do at 1 what they do at 2.
    """
    factor = torch.zeros(space.graph.n_reactions, dtype=column.dtype)
    for reaction in torch.nonzero(which)[:, 0].tolist():
        edges = space.graph.edges_of(reaction)
        own, sought = column[edges].cpu().numpy(), np.isnan(space.known[edges])
        if sought[own != 0].all() and own.any():
            doubled = (own % 2 == 0).all()
            allowed = doubled or (2 * np.abs(own) <= space.bound[edges]).all()
            factor[reaction] = 0.5 if doubled else 2.0 * allowed
    return _shared(evidence, column, factor, space)


def _shared(evidence: Evidence, column: Tensor, factor: Tensor, space: ColumnSpace) -> Evidence:
    """`evidence` in which a column (E,) and its multiple are as likely; `factor`: (R,) which, 0 for none."""
    columns, chances = evidence.columns.clone(), evidence.chances.clone()
    for reaction in torch.nonzero(factor)[:, 0].tolist():
        edges = space.graph.edges_of(reaction)
        either = torch.stack([column[edges], factor[reaction] * column[edges]])
        shared(columns, chances, reaction, edges, either, chances.new_tensor([0.5, 0.5]))
    return replace(evidence, columns=columns, chances=chances)


def shared(columns: Tensor, chances: Tensor, reaction: int, edges: slice, each: Tensor, shares: Tensor) -> None:
    """Give columns (n, edges) of a reaction their `shares` (n,) of what they have together, before all others.

    Args:
        columns, chances: of the evidence, where it is entered.
    """
    is_one = (columns[:, None, edges] == each).all(2).any(1)
    together = chances[is_one, reaction].sum()
    each, shares = each[: len(columns)], shares[: len(columns)]
    others = torch.nonzero(~is_one)[:, 0][: len(columns) - len(each)]
    n = len(each) + len(others)
    columns[:n, edges] = torch.cat([each, columns[others][:, edges]])
    chances[:n, reaction] = torch.cat([shares * together, chances[others, reaction]])
    columns[n:, edges], chances[n:, reaction] = 0.0, 0.0


def _may_be_shorter(equations: Equations, state: State, columns: np.ndarray) -> tuple[list[np.ndarray], bool]:
    """Reactions of open length by number of substrates, where none of as many has one length, or all are doubled.

    And whether all are doubled, and nothing has a length of its own.
    """
    classes = list(_by_substrates(equations, state, columns))
    found = [
        reactions[is_open]
        for reactions, is_open in classes
        if is_open.any()
        and (is_open.all() or all(_is_double(equations, columns, reaction) for reaction in reactions[is_open]))
    ]
    every = bool(classes) and all(
        is_open.all() and all(_is_double(equations, columns, reaction) for reaction in reactions)
        for reactions, is_open in classes
    )
    return found, every


def _by_substrates(equations: Equations, state: State, columns: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reactions with as many substrates, and which of them may have another length; those outside their space aside."""
    graph, space = equations.graph, equations.functions.space
    number = np.bincount(graph.edge_reaction, graph.edge_is_substrate * (columns != 0), graph.n_reactions)
    number[state.is_outside.cpu().numpy()] = -1
    for size in np.unique(number[number >= 0]):
        reactions = np.flatnonzero(number == size)
        lengths = (space.other_length(reaction, columns[graph.edges_of(reaction)]) for reaction in reactions.tolist())
        yield reactions, np.array([length is not None for length in lengths], bool)


def _is_double(equations: Equations, columns: np.ndarray, reaction: int) -> bool:
    """Whether the half of a reaction's column is one, too."""
    column = columns[equations.graph.edges_of(reaction)]
    known = equations.functions.space.known[equations.graph.edges_of(reaction)]
    return bool((column % 2 == 0).all() and (column != 0).any() and np.isnan(known[column != 0]).all())


def _halved(equations: Equations, state: State, reactions: np.ndarray, every: bool) -> State:
    """`state` with half the columns of `reactions`, as fast; where that is all, functions of twice the size."""
    log_k = state.log_k.clone()
    log_k[torch.as_tensor(reactions, device=log_k.device)] += np.log10(2)
    if every:
        log_k[state.is_outside] += np.log10(2)
    one = log_k.new_tensor(1.0)
    weights = equations.functions.with_sizes(state.weights, 2 * one, 4 * one) if every else state.weights
    return replace(state, log_k=log_k, weights=weights, cost=math.inf)


def fitted(trial: State, descend: Callable[[State], State], goals: Iterable[float]) -> State | None:
    """`trial` with its functions fitted until its residual is below the goal of that descent; None if it never is."""
    for goal in itertools.islice(goals, _ATTEMPTS):
        before, trial = trial.cost, descend(trial)
        if trial.cost < goal:
            return trial
        if trial.cost > _HOPELESS * before:
            return None
    return None


def as_good(rival: State, descend: Callable[[State], State], times: float = AS_GOOD) -> Iterator[float]:
    """Residuals that are as good as those of `rival`, fitted as often: at most so many `times` as large."""
    while True:
        rival = descend(rival)
        yield times * rival.cost
