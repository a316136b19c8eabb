"""Reactions that nothing tells apart but their column: which of them is which is not a question that data answer."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from stoirec.network.columns import ColumnSpace


def matched_reactions(space: ColumnSpace, recovered: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(R,) for every true reaction the recovered one: itself, or of those with the same candidates the one that agrees.

    So it is where all species are candidates of every reaction. Within a group of such reactions as many entries agree
    as can.

    Args:
        space: what a learner was asked.
        recovered, true: (E,) coefficients.
    """
    found, groups = np.arange(space.graph.n_reactions), {}
    for reaction in found.tolist():
        groups.setdefault(space.question(reaction), []).append(reaction)
    for group in groups.values():
        if len(group) > 1:
            edges = [space.graph.edges_of(reaction) for reaction in group]
            agreeing = [[int((recovered[own] == true[of]).sum()) for own in edges] for of in edges]
            found[group] = np.array(group)[linear_sum_assignment(agreeing, maximize=True)[1]]
    return found


def edges_of_matched(space: ColumnSpace, matched: np.ndarray) -> np.ndarray:
    """(E,) positions of the recovered edges in the order of the true ones."""
    ptr = space.graph.reaction_ptr
    return np.concatenate([np.arange(ptr[j], ptr[j + 1]) for j in matched]) if len(matched) else np.zeros(0, int)
