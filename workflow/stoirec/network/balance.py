"""What conservation alone says of each column, before any data: the balanced columns on a reaction's edges."""

from dataclasses import dataclass

import numpy as np

from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph

KNOWN, ONE, LENGTH, SOME, NONE, FREE = "known", "one", "length", "some", "none", "free"
SAYS = {
    KNOWN: "known",
    ONE: "one balanced column beside what is known of it",
    LENGTH: "one balanced column but for its length",
    SOME: "several balanced columns, which data must tell apart",
    FREE: "held to no balance: data must tell all",
    NONE: "no balanced column with these edges, signs and bounds",
}
_SMALL = 1e-9  # singular values, of the largest: below, a combination of edges is balanced


@dataclass(frozen=True)
class Balance:
    """What conservation says of a reaction's column.

    Attributes:
        says: a key of SAYS.
        n_free: how many numbers of the column it leaves open.
        column: (n,) on the reaction's edges, the smallest integers; None where more than a length is open, or none
            fits.
    """

    says: str
    n_free: int
    column: np.ndarray | None = None

    def as_dict(self, graph: Graph, reaction: int) -> dict[str, object]:
        """For JSON, the column by the names of its metabolites."""
        own = graph.edge_metabolite[graph.edges_of(reaction)]
        names = map(graph.metabolite_name, own.tolist())
        column = None if self.column is None else dict(zip(names, self.column.tolist()))
        return {"says": self.says, "n_free": self.n_free, "column": column}


def balances(space: ColumnSpace) -> list[Balance]:
    """By reaction, what A S = 0 says of its column beside what is known of it."""
    return [balance(space, reaction) for reaction in range(space.graph.n_reactions)]


def balance(space: ColumnSpace, reaction: int) -> Balance:
    """The same of one reaction."""
    own = space.graph.edges_of(reaction)
    known = space.known[own]
    sought = np.isnan(known)
    if not sought.any():
        return Balance(KNOWN, 0, known)
    amounts = space.amounts[:, own]
    amounts = amounts[(amounts != 0).any(1)]
    if not len(amounts):
        return Balance(FREE, int(sought.sum()))
    scale = np.abs(amounts).max(1, keepdims=True)
    matrix, right = (amounts / scale)[:, sought], -(amounts / scale)[:, ~sought] @ known[~sought]
    _, size, directions = np.linalg.svd(matrix)
    rank = int((size > _SMALL * max(size[0], _SMALL)).sum())
    base = np.linalg.lstsq(matrix, right, rcond=_SMALL)[0]
    n_free = int(sought.sum()) - rank
    if np.abs(matrix @ base - right).max() > 1e-6 * max(1.0, np.abs(right).max()):
        return Balance(NONE, 0)
    column = known.copy()
    if n_free == 1 and not known[~sought].any():
        column[sought] = directions[-1]
        column = _allowed(space, own, column, free_length=True)
        return Balance(NONE, 0) if column is None else Balance(LENGTH, 1, column)
    if n_free == 0:
        column[sought] = base
        column = _allowed(space, own, column, free_length=False)
        return Balance(NONE, 0) if column is None else Balance(ONE, 0, column)
    return Balance(SOME, n_free)


def _allowed(space: ColumnSpace, own: slice, column: np.ndarray, free_length: bool) -> np.ndarray | None:
    """The smallest integers along `column` within signs and bounds, or `column` as it is if its length is not free."""
    largest, sign, bound = np.abs(column).max(), space.sign[own], space.bound[own]
    if largest == 0:
        return None
    lengths = np.arange(1, bound.max() + 1) / largest if free_length else [1.0]
    for turn in (1.0, -1.0) if free_length else (1.0,):
        for length in lengths:
            found = turn * length * column
            whole = np.abs(found - np.round(found)).max() < 1e-6
            real = space.allows_zero or (np.round(found)[np.isnan(space.known[own])] != 0).all()
            if whole and real and (np.round(found) * sign >= 0).all() and (np.abs(found) <= bound + 0.5).all():
                return np.round(found)
    return None
