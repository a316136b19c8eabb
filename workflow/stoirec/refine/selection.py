"""Which candidate edges are real, where some may be decoys: what each possible column of a reaction explains.

All columns of a reaction are tried: whatever gradient descent made of its edges, none is out of reach. A column is judged
by what it explains of the rows of its metabolites once the other reactions of those rows are refitted (the rows are
linear in B); without that, other reactions have taken over what a missing one should explain.
"""

import itertools
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from stoirec.refine.columns import LARGEST, as_fast, decode
from stoirec.refine.equations import Equations
from stoirec.refine.state import State

Stage = Literal["close", "tie", "commit"]

MOST = 3  # substrates of a reaction, and products: more candidates than that cannot all be real
_SAME = 32.0  # residuals that say as much as one: neighbouring frames share their errors
_SAME_AT_FIRST = 64.0  # while the functions are coarse: errors are more alike
_UNLIKELY = 0.01  # an edge of less probability is closed
_DECIDED = 0.9  # a reaction whose likeliest column has more probability is tied to it
_MOST = 0.9  # of the reactions decided, from which the others are tied to their likeliest columns as well
_UNCHANGED = 0.25  # largest change of an |S| in a column that stays what it was
_LIKELY = 0.9  # an edge of more probability should not be faint
_FAINT, _RUN_AWAY = 0.5, 6.0  # |S|, in units of what stands for 1 in the functions
_ALIKE = 1e-6  # of a rate's square: what is left of it beside the row's other rates is not less, or its k would be anything
_NOISE = 1e-9  # mean squared residual of a row, at least


@dataclass(frozen=True)
class Evidence:
    """Over all columns of each reaction, by their probabilities.

    Attributes:
        probability: (E,) that the coefficient is not 0.
        linear: (E,) B of the mean column and the mean log10 rate constant.
        log_k: (R,) mean log10 rate constant.
        certainty: (R,) probability of the likeliest column.
        column: (E,) the likeliest column, integers.
        column_log_k: (R,) log10 of its rate constant.
        unit: what stands for an |S| of 1 in the functions.
    """

    probability: Tensor
    linear: Tensor
    log_k: Tensor
    certainty: Tensor
    column: Tensor
    column_log_k: Tensor
    unit: Tensor


@cache
def _sides(n: int) -> Tensor:
    """(columns, n) entries 0 to LARGEST, 1 to MOST of them not 0."""
    found = [torch.zeros(0, n, dtype=torch.float64)]
    for size in range(1, min(n, MOST) + 1):
        values = torch.tensor(list(itertools.product(range(1, LARGEST + 1), repeat=size)), dtype=torch.float64)
        for edges in itertools.combinations(range(n), size):
            columns = torch.zeros(len(values), n, dtype=torch.float64)
            columns[:, list(edges)] = values
            found.append(columns)
    return torch.cat(found)


def weigh(equations: Equations, state: State, same: float = _SAME) -> Evidence:
    """The evidence for every zero-sum column p of at most MOST substrates and products, at a relaxed `state`.

    With y_i the measured dc_i/dt and P_i the projection off the rates of the other open reactions of row i,

        gain(p) = max over k > 0 of sum_i (|P_i y_i|^2 - |P_i (y_i - p_i k F(|p|))|^2) / variance_i

    and log probability(p) = gain / (2 same) + constant.
    """
    graph, functions, frames = equations.graph, equations.functions, equations.frames
    level = _levels(equations, state)
    rates = functions.rates(state, frames)
    residual = equations.predicted(rates, state.linear, frames) - frames.dcdt.T
    weight = 1 / (residual.square().mean(1) + _NOISE)
    rate = equations.kept(rates, state.linear, frames) @ frames.weight

    # as they are, where no column explains anything: an exchange has none that is balanced
    probability, linear, log_k = torch.ones_like(state.linear), state.linear.clone(), state.log_k.clone()
    certainty, column_log_k = torch.zeros_like(log_k), state.log_k + level[1].log10()
    column = state.linear / 10 ** column_log_k[functions.reaction]
    for reaction in range(graph.n_reactions):
        edges = graph.edges_of(reaction)
        sign = functions.sign[edges]
        consumed = sign < 0
        substrates, products = (_sides(int(side.sum())).to(sign.device) for side in (consumed, ~consumed))
        if not len(substrates) or not len(products):
            continue
        columns = torch.zeros(len(substrates), len(sign), dtype=torch.float64, device=sign.device)
        columns[:, consumed] = level[substrates.long()]
        other = functions.rates_of(reaction, state, columns, frames) @ frames.weight

        explained, size = torch.empty_like(columns), torch.empty_like(columns)  # per unit of p_i
        for place, edge in enumerate(range(edges.start, edges.stop)):
            metabolite = functions.metabolite[edge]
            row = functions.edges_of_metabolite[int(metabolite)]
            beside = row[(row != edge) & (state.linear[row] != 0)]
            basis = torch.linalg.qr(torch.nn.functional.normalize(rate[functions.reaction[beside]], dim=1).T)[0]
            left, measured = other - (other @ basis) @ basis.T, frames.dcdt[:, metabolite]
            scale = sign[place] / frames.scale[metabolite]
            explained[:, place] = weight[metabolite] * scale * (left @ measured)
            size[:, place] = weight[metabolite] * scale**2 * (left.square().sum(1) + _ALIKE * other.square().sum(1))
        slope = (substrates * explained[:, consumed]).sum(1)[:, None] + explained[:, ~consumed] @ products.T
        curvature = (substrates.square() * size[:, consumed]).sum(1)[:, None] + size[:, ~consumed] @ products.square().T
        k = slope.clamp(min=0) / curvature
        allowed = (substrates.sum(1)[:, None] == products.sum(1)) & (k > 0)
        if not allowed.any():
            continue
        gain = torch.where(allowed, k * slope, -torch.inf)
        chance = (gain / (2 * same)).flatten().softmax(0).reshape(gain.shape)
        nonzero, mean = torch.empty_like(sign), torch.empty_like(sign)
        nonzero[consumed], nonzero[~consumed] = chance.sum(1) @ (substrates > 0).double(), chance.sum(0) @ (products > 0).double()
        mean[consumed], mean[~consumed] = chance.sum(1) @ substrates, chance.sum(0) @ products
        mean_log_k = (chance * torch.where(allowed, k, 1.0).log10()).sum()
        probability[edges], linear[edges] = nonzero, sign * mean * 10**mean_log_k
        log_k[reaction] = mean_log_k - level[1].log10()
        substrate, product = divmod(int(chance.argmax()), len(products))
        certainty[reaction], column_log_k[reaction] = chance[substrate, product], k[substrate, product].log10()
        own = torch.empty_like(sign)
        own[consumed], own[~consumed] = substrates[substrate], products[product]
        column[edges] = sign * own
    return Evidence(probability, linear, log_k, certainty, column, column_log_k, level[1])


def _levels(equations: Equations, state: State) -> Tensor:
    """(LARGEST + 1,) what stands for 0, 1 and 2 in the functions: median learned |S| in the faster half of the reactions."""
    functions = equations.functions
    size = torch.zeros_like(state.log_k).index_add_(0, functions.reaction, state.linear.abs())
    learned, pattern = functions.relaxed_order(state)[0], decode(equations, state).pattern
    level = torch.arange(LARGEST + 1, dtype=torch.float64, device=learned.device)
    for number in range(1, LARGEST + 1):
        known = (pattern == -number) & (size >= size.median())[functions.reaction]
        if known.any():
            level[number] = learned[known].median()
    return level


def select(equations: Equations, state: State, stage: Stage) -> State:
    """`state` with what the evidence says of its columns, in three stages.

    close    Unlikely edges are closed, the others are open. Reactions that the descent let go (|S| runs away, or is faint
             on all edges or on a likely one) take their mean column.
    tie      Reactions whose column is clear are tied to it as well, which leaves the others less to make up for.
    commit   All are tied to their likeliest columns. Most guesses are right by then, and the functions that follow from
             them show which are not. It begins early once most columns are clear.
    """
    functions, evidence = equations.functions, weigh(equations, state, _SAME_AT_FIRST if stage == "close" else _SAME)
    reaction, unit = functions.reaction, evidence.unit
    size = state.linear.abs() / 10 ** state.log_k[reaction] / unit
    tied = (evidence.certainty > _DECIDED) & (stage != "close")
    committed = stage == "commit" or bool(tied.double().mean() > _MOST)
    if committed:
        tied = torch.ones_like(tied)
    kept = torch.zeros_like(tied)
    if state.tied is not None:
        kept = state.tied & tied & (_by_reaction(equations, (evidence.column.abs() - size).abs(), "max") < _UNCHANGED)
    k = torch.where(kept, state.log_k + unit.log10(), evidence.column_log_k)

    faint = _by_reaction(equations, torch.where(evidence.probability > _LIKELY, size, torch.inf), "min") < _FAINT
    largest = _by_reaction(equations, size, "max")
    let_go = (largest < _FAINT) | (largest > _RUN_AWAY) | faint
    closed = torch.where(tied[reaction], evidence.column == 0, evidence.probability < _UNLIKELY)
    open_linear = torch.where(let_go[reaction], evidence.linear, state.linear)
    linear = torch.where(closed, 0.0, torch.where(tied[reaction], evidence.column * 10 ** k[reaction], open_linear))
    log_k = torch.where(tied, k - unit.log10(), torch.where(let_go, evidence.log_k, state.log_k))
    settled = state.settled + 1 if committed and kept.all() else 0
    return replace(state, linear=linear, log_k=log_k, closed=closed, tied=tied, settled=settled)


def in_integers(equations: Equations, state: State) -> State:
    """`state` with |S| in integers where all reactions are tied: 1 for what stood for 1 in the functions."""
    functions = equations.functions
    unit = _levels(equations, state)[1]
    integers = replace(state, weights=functions.with_unit(state.weights, unit), log_k=state.log_k + unit.log10())
    return as_fast(equations, state, integers)


def _by_reaction(equations: Equations, values: Tensor, reduce: str) -> Tensor:
    """(R,) from (E,)."""
    return torch.segment_reduce(values, reduce, offsets=torch.as_tensor(equations.graph.reaction_ptr, device=values.device))
