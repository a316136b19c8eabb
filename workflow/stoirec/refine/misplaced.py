"""Columns in the wrong reaction, where candidate edges may be decoys.

A reaction with the candidate edges of another's column can take that column; the functions know reactions by their
substrates alone, so the fluxes are the same. The other one is left with nothing, and no evidence of one reaction
beside the rest shows it: both have to change. What tells is the column that one of the two explains in addition.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from stoirec.refine.equations import Equations
from stoirec.refine.evidence import CLEAR, Evidence, Others, gains, levels
from stoirec.refine.state import State

_LOST = 0.5  # a reaction of which no column is likelier may have lost its own
# times what the reaction explains that has lost its column, so much the other one has to explain without it
_MORE = 3.0


def returned(equations: Equations, state: State, evidence: Evidence) -> State:
    """`state` with clear columns in the reactions they belong to: those without which the other one explains more.

    The one that had such a column then has nothing, and neither is tied. `state` itself if none moves.
    """
    level = levels(equations, state)
    found = []
    for holder, edges, owner, own in _pairs(equations, evidence):
        kept = _only(state, equations.reaction == holder, edges)
        before, after = (
            _only(kept, equations.reaction == owner, own[:0]),
            _moved(equations, kept, holder, edges, owner, own),
        )
        most = _most(equations, after, level, holder)
        if most > _MORE * _most(equations, before, level, owner):
            found.append((most, holder, edges, owner, own))
    if not found:
        return state
    moved = torch.zeros_like(evidence.certainty, dtype=torch.bool)
    for _, holder, edges, owner, own in sorted(found, key=lambda one: -one[0]):
        if not moved[holder] and not moved[owner]:
            state = _moved(equations, state, holder, edges, owner, own)
            moved[holder] = moved[owner] = True
    return state if state.tied is None else replace(state, tied=state.tied & ~moved)


def _pairs(equations: Equations, evidence: Evidence) -> Iterator[tuple[int, Tensor, int, Tensor]]:
    """A reaction with a clear column, the column's edges, one without that has candidate edges for it, and these."""
    graph, lost = equations.graph, set(torch.nonzero(evidence.certainty < _LOST)[:, 0].tolist())
    place = defaultdict(dict)  # by metabolite and role: edges, by reaction
    for edge, key in enumerate(zip(graph.edge_metabolite.tolist(), graph.edge_is_substrate.tolist())):
        place[key][int(graph.edge_reaction[edge])] = edge
    for holder in torch.nonzero(evidence.certainty > CLEAR)[:, 0].tolist():
        of_holder = graph.edges_of(holder)
        edges = of_holder.start + torch.nonzero(evidence.column[of_holder])[:, 0]
        like = [place[int(graph.edge_metabolite[e]), bool(graph.edge_is_substrate[e])] for e in edges.tolist()]
        for owner in sorted(lost.intersection(*like)):
            yield holder, edges, owner, torch.as_tensor([edge[owner] for edge in like], device=edges.device)


def _only(state: State, of_reaction: Tensor, edges: Tensor) -> State:
    """`state` with nothing but `edges` of a reaction."""
    return replace(state, linear=torch.where(of_reaction, 0.0, state.linear).index_put((edges,), state.linear[edges]))


def _moved(equations: Equations, state: State, holder: int, edges: Tensor, owner: int, own: Tensor) -> State:
    """`state` with the column of one reaction in another, and nothing in the first."""
    empty = (equations.reaction == holder) | (equations.reaction == owner)
    linear = torch.where(empty, 0.0, state.linear).index_put((own,), state.linear[edges])
    return replace(
        state,
        linear=linear,
        log_k=state.log_k.index_fill(0, torch.tensor(owner, device=own.device), float(state.log_k[holder])),
    )


def _most(equations: Equations, state: State, level: Tensor, reaction: int) -> float:
    """The most that a column of a reaction with nothing explains."""
    gain = gains(equations, state, Others(equations, state), level, reaction)[1]
    return max(float(gain.max()), 0.0) if gain.numel() else 0.0
