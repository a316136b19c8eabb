"""Other columns that a reaction might have: those of another length and, where edges may be decoys, those that explain most."""

import itertools
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from stoirec.refine.columns import LARGEST, other_length
from stoirec.refine.equations import Equations
from stoirec.refine.state import State

_MOST = 3  # substrates of a reaction, and products
_BEST = 3  # columns per reaction, besides its own and its other length, where edges may be decoys


@dataclass(frozen=True)
class Hypothesis:
    """Another integer column (n,) of a reaction, and its B (n,) fitted with all else as it is."""

    reaction: int
    column: Tensor
    linear: Tensor


def hypotheses(equations: Equations, state: State) -> list[Hypothesis]:
    """What is worth a test."""
    return [*_other_lengths(equations, state), *(_best_columns(equations, state) if equations.functions.gated else [])]


def _other_lengths(equations: Equations, state: State) -> list[Hypothesis]:
    functions, frames, found = equations.functions, equations.frames, []
    for reaction in range(equations.graph.n_reactions):
        edges = equations.graph.edges_of(reaction)
        column = other_length(state.pattern[edges])
        if column is not None:
            rate, other = functions.rates_of(reaction, state, torch.stack([state.pattern[edges], column]), frames) @ frames.weight
            found.append(Hypothesis(reaction, column, state.linear[edges] * (rate @ other) / (other @ other)))
    return found


@cache
def _sides(n: int) -> Tensor:
    """(columns, n) entries 0 to LARGEST, 1 to _MOST of them not 0."""
    found = [torch.zeros(0, n, dtype=torch.float64)]
    for size in range(1, min(n, _MOST) + 1):
        values = torch.tensor(list(itertools.product(range(1, LARGEST + 1), repeat=size)), dtype=torch.float64)
        for edges in itertools.combinations(range(n), size):
            columns = torch.zeros(len(values), n, dtype=torch.float64)
            columns[:, list(edges)] = values
            found.append(columns)
    return torch.cat(found)


def _best_columns(equations: Equations, state: State) -> list[Hypothesis]:
    """The _BEST zero-sum columns p of each reaction.

    With R what is left of dc/dt without the reaction, over scale, the best p maximise

        (sum_i p_i <R_i, F(|p|)>)^2 / (sum_i p_i^2 <F(|p|), F(|p|)>)

    where the sum is positive: p k F explains that much of R. All p of at most _MOST substrates and products are tried.
    """
    graph, functions, frames = equations.graph, equations.functions, equations.frames
    rates = functions.rates(state, frames)
    residual = equations.predicted(rates, state.linear, frames) - frames.dcdt.T
    kept = equations.kept(rates, state.linear, frames) @ frames.weight
    found = []
    for reaction in range(graph.n_reactions):
        edges = graph.edges_of(reaction)
        metabolites, sign = functions.metabolite[edges], functions.sign[edges]
        scale = frames.scale[metabolites]
        left = ((state.linear[edges] / scale)[:, None] * kept[reaction] - residual[metabolites]) / scale[:, None]
        consumed = torch.as_tensor(graph.edge_is_substrate[edges], device=sign.device)
        substrates, products = (_sides(int(side.sum())).to(sign.device) for side in (consumed, ~consumed))
        columns = torch.zeros(len(substrates), len(sign), dtype=torch.float64, device=sign.device)
        columns[:, consumed] = substrates
        rate = functions.rates_of(reaction, state, columns, frames) @ frames.weight
        explained = sign * (rate @ left.T)
        slope = (substrates * explained[:, consumed]).sum(1)[:, None] + explained[:, ~consumed] @ products.T
        size = (substrates / scale[consumed]).square().sum(1)[:, None] + (products / scale[~consumed]).square().sum(1)
        k = slope.clamp(min=0) / (rate.square().sum(1)[:, None] * size)
        gain = torch.where(substrates.sum(1)[:, None] == products.sum(1), k * slope, 0.0).flatten()
        known = [state.pattern[edges], other_length(state.pattern[edges])]
        for place in gain.topk(min(_BEST + len(known), len(gain))).indices.tolist():
            column = columns[place // len(products)].clone()
            column[~consumed] = products[place % len(products)]
            column = sign * column
            if gain[place] > 0 and not any(other is not None and torch.equal(column, other) for other in known):
                found.append(Hypothesis(reaction, column, column * k.flatten()[place]))
    return found
