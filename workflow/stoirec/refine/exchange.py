"""Columns that reactions may hold for each other: with rate constants that go along, they fit the same.

Where candidate edges may not be real, a reaction may have the edges of another one's column as well, and that one those
of its own. All parameters are learned: nothing in the data tells which of them has which.
"""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from stoirec.network.columns import ColumnSpace
from stoirec.refine.evidence import Evidence
from stoirec.refine.lengths import shared

_log = logging.getLogger(__name__)
_COUNTED = 7  # reactions of which every order is counted; of more, any column that fits is as likely

Holders = dict[int, list[tuple[np.ndarray, float]]]


def shared_by_holders(evidence: Evidence, column: Tensor, is_outside: Tensor, space: ColumnSpace) -> Evidence:
    """`evidence` in which columns (E,) that reactions may hold for each other are as likely in either.

    Args:
        is_outside: (R,) bool, reactions whose column is real.
    """
    may = ~is_outside.cpu().numpy() & np.array([space.question(j)[-1] < 0 for j in range(space.graph.n_reactions)])
    found = holders(space, column.cpu().numpy(), np.flatnonzero(may).tolist())
    columns, chances = evidence.columns.clone(), evidence.chances.clone()
    for reaction, own in found.items():
        each, shares = (column.new_tensor(np.array(part)) for part in zip(*own))
        shared(columns, chances, reaction, space.graph.edges_of(reaction), each, shares)
    if found:
        names = ", ".join(space.graph.reaction_name(reaction) for reaction in sorted(found))
        _log.info("refinement: the data do not tell which of these reactions has which column: %s", names)
    return replace(evidence, columns=columns, chances=chances)


def holders(space: ColumnSpace, column: np.ndarray, reactions: Sequence[int]) -> Holders:
    """By reaction, where there are more than one: columns it may have, its own first, and their probabilities.

    Of all orders in which columns (E,) are allowed one is as likely as another. Reactions of which the same was asked
    are known by their columns alone, and change none among themselves.
    """
    placed = _placed(space, column, reactions)
    pairs = np.array(list(placed), int).reshape(-1, 2).T
    shape = (space.graph.n_reactions,) * 2
    _, part = connected_components(csr_array((np.ones(pairs.shape[1]), pairs), shape), connection="strong")
    found: Holders = {}
    for group in (np.flatnonzero(part == one).tolist() for one in np.flatnonzero(np.bincount(part) > 1)):
        for one, chances in zip(group, _chances(placed, group).T):
            edges = space.graph.edges_of(one)
            each = {one: column[edges]} | {holder: placed[holder, one] for holder in group if (holder, one) in placed}
            found[one] = [(own, float(chances[group.index(holder)])) for holder, own in each.items()]
    return found


def _placed(space: ColumnSpace, column: np.ndarray, reactions: Sequence[int]) -> dict[tuple[int, int], np.ndarray]:
    """By holder and another reaction that may have its column, that on the edges of the other one."""
    graph = space.graph
    by_metabolite = [set(graph.edge_reaction[graph.edge_metabolite == i].tolist()) for i in range(graph.n_metabolites)]
    found = {}
    for holder in reactions:
        own = column[graph.edges_of(holder)]
        involved = graph.edge_metabolite[graph.edges_of(holder)][own != 0]
        others = set(reactions).intersection(*(by_metabolite[i] for i in involved)) if len(involved) else set()
        for other in sorted(others - {holder}):
            on_other = space.placed(own, holder, other)
            if on_other is not None and space.question(holder) != space.question(other):
                found[holder, other] = on_other
    return found


def _chances(placed: dict[tuple[int, int], np.ndarray], group: list[int]) -> np.ndarray:
    """(n, n) probability that the column of one of a group is that of another one of it."""
    may = np.array([[one == other or (one, other) in placed for other in group] for one in group], float)
    if len(group) > _COUNTED:
        return may / may.sum(0)
    count, each = np.zeros_like(may), np.arange(len(group))
    for order in itertools.permutations(each.tolist()):
        count[each, order] += may[each, order].all()
    return count / count.sum(0)
