"""Which integer columns a reaction may have: signs, bounds, known entries and what is conserved.

Everything that lists, searches or judges columns of S asks a ColumnSpace; nothing else knows how large a coefficient
is, or that columns sum to zero.
"""

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from stoirec.network.graph import Graph

LARGEST = 2  # |S| of an edge, at most, where nothing else is said
LUMPED = 8  # a reaction with a larger coefficient sums up many, as biomass does: nobody seeks its column
PER_SIDE = 3  # substrates of a reaction, and products, at most, where candidate edges may not be real
_LISTED = 1 << 12  # columns of a reaction that are listed, at most
_SIDE, _SIDE_WITH_DECOYS = 1 << 10, 1 << 16  # of one side; all of them are paired with those of the other
_SUMS = 1 << 18  # partial sums of a reaction's conserved quantities that a search keeps apart, at most
_DIGITS = 6  # of a conserved sum: masses may be real numbers

Signature = tuple[
    tuple[tuple[float, ...], tuple[float, ...]], ...
]  # by edge: values, amounts of the conserved quantities


class TooManyColumns(ValueError):
    """A reaction whose columns cannot be listed, or not searched, within the bounds of this module."""


@dataclass(frozen=True)
class Sides:
    """All columns of a reaction as pairs of what drives its rate, the substrates, and the others.

    Attributes:
        driving: (D, n_driving) coefficients of the edges that drive the rate, in the order of the reaction's edges.
        others: (O, n_others) of the others.
        conserved: (D, O) bool, whether the two together conserve what is conserved.
    """

    driving: np.ndarray
    others: np.ndarray
    conserved: np.ndarray


@dataclass(frozen=True)
class ColumnSpace:
    """The columns that the reactions of a graph may have.

    Attributes:
        graph: candidate edges.
        sign: (E,) -1 consumed, +1 produced, 0 unknown.
        bound: (E,) largest |S|.
        known: (E,) known coefficient, NaN where it is sought.
        conserved: (quantities, M) A, with A S = 0: amounts of elements, charge or mass in a metabolite; NaN where
            nobody knows, and its reactions are not held to that quantity.
        is_open: (R,) bool, reactions that A S = 0 does not hold for (exchange, biomass).
        allows_zero: whether a candidate edge may have coefficient 0.
        per_side: substrates, and products, of a reaction at most; None: as many as there are candidates.
        quantities: names of what is conserved, if a file says them.
        reverse_of: (R,) the reaction whose column a reaction has with the other sign, -1 for none; None: no such pairs.
        real: (E,) bool, edges whose coefficient is not 0, whatever is allowed for others; None: nothing is said.
    """

    graph: Graph
    sign: np.ndarray
    bound: np.ndarray
    known: np.ndarray
    conserved: np.ndarray
    is_open: np.ndarray
    allows_zero: bool = False
    per_side: int | None = None
    quantities: tuple[str, ...] = ()
    reverse_of: np.ndarray | None = None
    real: np.ndarray | None = None

    @classmethod
    def of_roles(cls, graph: Graph, bound: int = LARGEST) -> "ColumnSpace":
        """The default: signs of the candidate roles, every edge real, columns sum to zero (one quantity, mass)."""
        return cls(
            graph,
            graph.role_sign,
            np.full(graph.n_edges, bound),
            np.full(graph.n_edges, np.nan),
            np.ones((1, graph.n_metabolites)),
            np.zeros(graph.n_reactions, bool),
        )

    def with_decoys(self) -> "ColumnSpace":
        """The same where candidate edges may not be real."""
        return replace(self, allows_zero=True, per_side=PER_SIDE)

    def without_signs(self) -> "ColumnSpace":
        """The same where nobody knows who is consumed and who is produced."""
        return replace(self, sign=np.zeros_like(self.sign))

    def of_any_sign(self) -> "ColumnSpace":
        """The same whatever the candidate roles say: signs unknown, zeros allowed."""
        return replace(self.without_signs(), allows_zero=True, per_side=None, real=None)

    def part(self, edges: np.ndarray) -> "ColumnSpace":
        """The space of the graph with some of the edges (positions, in order)."""
        return replace(
            self,
            graph=self.graph.part(edges),
            sign=self.sign[edges],
            bound=self.bound[edges],
            known=self.known[edges],
            real=None if self.real is None else self.real[edges],
        )

    def copies(self, number: int) -> "ColumnSpace":
        """The space of so many copies of the graph side by side."""
        return replace(
            self,
            graph=self.graph.copies(number),
            sign=np.tile(self.sign, number),
            bound=np.tile(self.bound, number),
            known=np.tile(self.known, number),
            conserved=np.tile(self.conserved, number),
            is_open=np.tile(self.is_open, number),
            reverse_of=None if self.reverse_of is None else side_by_side(self.reverse_of, number),
            real=None if self.real is None else np.tile(self.real, number),
        )

    @property
    def likely_sign(self) -> np.ndarray:
        """(E,) the sign, or that of the candidate role where it is not known."""
        return np.where(self.sign == 0, self.graph.role_sign, self.sign).astype(float)

    @property
    def catalyses(self) -> np.ndarray:
        """(E,) bool, edges known to drive a rate without a change; one that is sought and found to be 0 has no part."""
        return self.graph.edge_is_substrate & (self.known == 0)

    @cached_property
    def may_be_zero(self) -> np.ndarray:
        """(E,) bool, edges whose coefficient may be 0, known ones aside."""
        return np.full(self.graph.n_edges, self.allows_zero) & (~self.real if self.real is not None else True)

    @cached_property
    def most_per_side(self) -> list[int | None]:
        """By reaction, `per_side`, or as many as are known or real at least, if these are more."""
        if self.per_side is None:
            return [None] * self.graph.n_reactions
        fixed = ~self.may_be_zero | (np.nan_to_num(self.known) != 0)
        sides = (self.graph.sum_by_reaction((fixed & (side * self.sign >= 0)).astype(float)) for side in (-1, 1))
        return np.maximum(np.maximum(*sides), self.per_side).astype(int).tolist()

    @property
    def largest(self) -> int:
        """The largest |S| of any edge."""
        return int(self.bound.max())

    @cached_property
    def amounts(self) -> np.ndarray:
        """(quantities, E) of each conserved quantity in the edge's metabolite; 0 in reactions not held to it.

        A catalyst, whose coefficient is known to be 0, needs no formula.
        """
        amounts = np.where(self.known == 0, 0.0, self.conserved[:, self.graph.edge_metabolite])
        held = ~self.is_open & (self.graph.sum_by_reaction(np.isnan(amounts).astype(float)) == 0)
        return np.where(held[:, self.graph.edge_reaction], amounts, 0.0)

    @cached_property
    def opposite_edge(self) -> np.ndarray:
        """(E,) of an edge of a backward reaction, that of the forward one; of others -1.

        Only where both have the same metabolites and, with the other sign, the same columns.
        """
        graph, found = self.graph, np.full(self.graph.n_edges, -1)
        for backward in np.flatnonzero(self.reverse_of >= 0).tolist() if self.reverse_of is not None else ():
            own, other = graph.edges_of(backward), graph.edges_of(self.reverse_of[backward])
            if not np.array_equal(graph.edge_metabolite[own], graph.edge_metabolite[other]):
                continue
            sought = np.isnan(self.known[own])  # a sign that goes without saying may be anything
            turned = (
                np.array_equal(self.sign[own][sought], -self.sign[other][sought])
                and np.array_equal(self.bound[own], self.bound[other])
                and np.array_equal(self.known[own], -self.known[other], equal_nan=True)
            )
            if turned:
                found[own] = np.arange(other.start, other.stop)
        return found

    def nearest(self, coefficient: np.ndarray) -> np.ndarray:
        """(E,) the integers nearest to `coefficient`, within signs and bounds; known ones as they are known."""
        sign = np.where((self.sign == 0) & (not self.allows_zero), np.where(coefficient < 0, -1, 1), self.sign)
        low = np.where(sign > 0, ~self.may_be_zero, -self.bound)
        high = np.where(sign < 0, self.may_be_zero - 1, self.bound)
        return small_integers(np.where(np.isnan(self.known), np.clip(np.round(coefficient), low, high), self.known))

    def values(self, edge: int) -> tuple[float, ...]:
        """What the coefficient of an edge may be, small sizes first where the sign is known."""
        if not np.isnan(self.known[edge]):
            return (float(self.known[edge]),)
        sizes = range(0 if self.may_be_zero[edge] else 1, int(self.bound[edge]) + 1)
        if self.sign[edge]:
            return tuple(float(self.sign[edge]) * size for size in sizes)
        return tuple(sorted({float(sign * size) for size in sizes for sign in (-1, 1)}))

    # --- all columns ------------------------------------------------------------------------------------------------

    def columns(self, reaction: int, real: np.ndarray | None = None) -> np.ndarray:
        """(columns, n) all columns of a reaction that conserve what is conserved, the zero column aside.

        Args:
            real: (n,) bool, the edges whose coefficient is not 0, the others being 0; None: as the space allows.

        Raises:
            TooManyColumns
        """
        own = self.graph.edges_of(reaction)
        edges = range(own.start, own.stop)
        if not edges:
            return np.zeros((0, 0))
        signature = []
        for place, edge in enumerate(edges):
            values = self.values(edge)
            if real is not None and np.isnan(self.known[edge]):
                values = tuple(value for value in values if value) if real[place] else (0.0,)
            signature.append((values, tuple(self.amounts[:, edge])))
        try:
            found = _listed(tuple(signature))
        except TooManyColumns as error:
            raise self._named(error, reaction) from None
        most = self.most_per_side[reaction]
        if real is None and most is not None:
            found = found[(np.maximum((found < 0).sum(1), (found > 0).sum(1)) <= most)]
        return found

    def sides(self, reaction: int) -> Sides:
        """All columns of a reaction as pairs of sides; none where a side has too many."""
        edges = self.graph.edges_of(reaction)
        drives = self.graph.edge_is_substrate[edges]
        halves, sums = [], []
        for own in (drives, ~drives):
            places = np.flatnonzero(own) + edges.start
            values = tuple(self.values(edge) for edge in places)
            try:
                halves.append(_side(values, self.most_per_side[reaction] if self.allows_zero else None))
            except TooManyColumns:
                halves.append(np.zeros((0, len(places))))
            sums.append(halves[-1] @ self.amounts[:, places].T)
        left, right = sums
        conserved = np.ones((len(left), len(right)), bool)
        for quantity in range(left.shape[1]):
            conserved &= np.round(left[:, None, quantity] + right[None, :, quantity], _DIGITS) == 0
        return Sides(halves[0], halves[1], conserved)

    def other_length(self, reaction: int, column: np.ndarray) -> np.ndarray | None:
        """The double of a column (n,), else its half: the other one of its direction, if its space has one."""
        edges = self.graph.edges_of(reaction)
        for factor in (2.0, 0.5):
            other = factor * column
            fits = (np.abs(other) <= self.bound[edges]) & (other == np.round(other)) & np.isnan(self.known[edges])
            if fits[column != 0].all() and (column != 0).any():
                return other
        return None

    def placed(self, column: np.ndarray, holder: int, reaction: int) -> np.ndarray | None:
        """(n,) the column (m,) of one reaction on the edges of another one, if that may have it; None if it may not.

        What drives the rate of the one, a catalyst as well, has to drive that of the other.
        """
        graph, of, on = self.graph, self.graph.edges_of(holder), self.graph.edges_of(reaction)
        role = 2 * graph.edge_metabolite + graph.edge_is_substrate
        matters = (column != 0) | self.catalyses[of]
        place = np.searchsorted(role[on], role[of][matters]).clip(max=on.stop - on.start - 1)
        same = np.array_equal(role[on][place], role[of][matters])
        if not same or not np.array_equal(role[of][self.catalyses[of]], role[on][self.catalyses[on]]):
            return None
        found = np.zeros(on.stop - on.start)
        found[place] = column[matters]
        agrees = np.where(
            found == 0, self.may_be_zero[on], found * np.where(self.sign[on] == 0, found, self.sign[on]) > 0
        )
        allowed = np.where(
            np.isnan(self.known[on]), agrees & (np.abs(found) <= self.bound[on]), found == self.known[on]
        )
        sums, most = np.round(self.amounts[:, on] @ found, _DIGITS), self.most_per_side[reaction]
        many = most is not None and max((found < 0).sum(), (found > 0).sum()) > most
        return found if allowed.all() and not sums.any() and not many else None

    def question(self, reaction: int) -> tuple:
        """All that was said of a reaction's column; of one with a reverse, itself."""
        graph, edges = self.graph, self.graph.edges_of(reaction)
        parts = (graph.edge_metabolite, graph.edge_is_substrate, self.sign, self.bound, self.known)
        paired = self.reverse_of is not None and (self.reverse_of[reaction] >= 0 or reaction in self.reverse_of)
        return (*(part[edges].tobytes() for part in parts), bool(self.is_open[reaction]), reaction if paired else -1)

    # --- the best columns -------------------------------------------------------------------------------------------

    def best(self, coefficient: np.ndarray, weight: np.ndarray, n_best: int) -> tuple[np.ndarray, np.ndarray]:
        """The `n_best` columns of every reaction nearest to real coefficients, best first; the zero column aside.

        Dynamic programming over a column's edges; the state is the partial sum of what is conserved. Exact.

        Args:
            coefficient, weight: (E,); a column p costs sum_e weight_e (coefficient_e - p_e)^2.
            n_best: how many.

        Returns:
            (n_best, E) columns and (n_best, R) costs, inf where a reaction has fewer columns (its entries are 0).

        Raises:
            TooManyColumns
        """
        columns = np.zeros((n_best, self.graph.n_edges))
        costs = np.full((n_best, self.graph.n_reactions), np.inf)
        for (signature, most), reactions in self._alike.items():
            edges = self.graph.reaction_ptr[reactions][:, None] + np.arange(len(signature))
            try:
                steps = _lattice(signature, most)
            except TooManyColumns as error:
                raise self._named(error, reactions[0]) from None
            found, cost = _best_paths(steps, coefficient[edges], weight[edges], n_best)
            columns[:, edges] = found.transpose(1, 0, 2)
            costs[:, reactions] = cost.T
        return small_integers(columns), costs

    @cached_property
    def _alike(self) -> dict[tuple[Signature, int | None], np.ndarray]:
        """Reactions by what their edges may be: they are searched together."""
        groups: dict[tuple[Signature, int | None], list[int]] = {}
        for reaction in np.flatnonzero(np.diff(self.graph.reaction_ptr)).tolist():
            own = self.graph.edges_of(reaction)
            edges = range(own.start, own.stop)
            signature = tuple((self.values(edge), tuple(self.amounts[:, edge])) for edge in edges)
            groups.setdefault((signature, self.most_per_side[reaction]), []).append(reaction)
        return {alike: np.array(reactions) for alike, reactions in groups.items()}

    def _named(self, error: TooManyColumns, reaction: int) -> TooManyColumns:
        n = int(np.diff(self.graph.reaction_ptr)[reaction])
        return TooManyColumns(f"reaction {self.graph.reaction_name(reaction)} with {n} candidate edges: {error}")


def small_integers(values: np.ndarray) -> np.ndarray:
    """As int8 where all are small whole numbers: known coefficients may be fractional, bounds large."""
    whole = np.array_equal(values, np.round(values)) and np.abs(values).max(initial=0) < 128
    return values.astype(np.int8) if whole else values


@lru_cache(maxsize=4096)
def _listed(signature: Signature) -> np.ndarray:
    """(columns, n) the product of the edges' values, as far as it conserves; the zero column aside."""
    count = math.prod(len(values) for values, _ in signature)
    if count > _LISTED:
        raise TooManyColumns(f"{count:,} combinations, more than the {_LISTED:,} that are listed")
    every = np.array(list(itertools.product(*(values for values, _ in signature)))).reshape(-1, len(signature))
    amounts = np.array([amount for _, amount in signature]).reshape(len(signature), -1)
    balanced = (np.round(every @ amounts, _DIGITS) == 0).all(axis=1)
    return every[balanced & (every != 0).any(axis=1)]


@lru_cache(maxsize=4096)
def _side(values: tuple[tuple[float, ...], ...], most: int | None) -> np.ndarray:
    """(sides, n) all coefficients of one side of a reaction; with `most`, one to as many of a sign that are not 0."""
    n, either = len(values), any(min(own) < 0 < max(own) for own in values)
    if most is None or not n:
        choices = [values]
    else:
        nonzero = [tuple(value for value in own if value) for own in values]
        must = [i for i in range(n) if 0 not in values[i]]  # known ones
        may = [i for i in range(n) if 0 in values[i] and nonzero[i]]
        reals = [
            {*must, *others}
            for number in range(max(0, 1 - len(must)), (2 if either else 1) * most - len(must) + 1)
            for others in itertools.combinations(may, number)
        ]
        choices = [tuple(nonzero[i] if i in real else (0.0,) for i in range(n)) for real in reals]
    count = sum(math.prod(map(len, own)) for own in choices)
    bound = _SIDE if most is None else _SIDE_WITH_DECOYS
    if count > bound:
        raise TooManyColumns(f"a side of {n} candidate edges: {count:,} combinations, more than {bound:,}")
    found = np.array([side for own in choices for side in itertools.product(*own)], float).reshape(count, n)
    if most is None or not either:
        return found
    return found[np.maximum((found < 0).sum(1), (found > 0).sum(1)) <= most]


# --- search -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """How an edge's values lead from partial sums to partial sums.

    Attributes:
        values: (V,) what the coefficient may be.
        leads: by value, (sums before, sums after) positions; only sums from which the end can be reached.
        n_before, n_after: how many partial sums there are.
    """

    values: np.ndarray
    leads: list[tuple[np.ndarray, np.ndarray]]
    n_before: int
    n_after: int


def _returning(signature: Signature) -> list[set[tuple[float, ...]] | None]:
    """Sums before each edge, and at the end, that the edges from there on bring to zero; None in the first half.

    With many quantities nearly all partial sums differ, and few come back: both halves together are far fewer.
    """
    found: list[set[tuple[float, ...]] | None] = [None] * (len(signature) + 1)
    found[-1] = last = {(0.0,) * len(signature[0][1])}
    for edge in range(len(signature) - 1, len(signature) // 2 - 1, -1):
        values, amount = signature[edge]
        moves = {tuple(a * value for a in amount) for value in values}
        last = {tuple(round(s - m, _DIGITS) + 0.0 for s, m in zip(after, move)) for after in last for move in moves}
        if len(last) > _SUMS:
            raise TooManyColumns(f"more than {_SUMS:,} partial sums of what is conserved")
        found[edge] = last
    return found


@lru_cache(maxsize=4096)
def _lattice(signature: Signature, per_side: int | None) -> list[_Step]:
    """The partial sums of a column's conserved quantities, edge by edge, from zero to zero.

    Where `per_side` bounds them, the numbers of entries below and above zero are part of the sum.
    """
    forward = [{(0.0,) * len(signature[0][1]) + (0, 0)}]
    moves = []
    for (values, amount), returning in zip(signature, _returning(signature)[1:]):
        move = {}
        for before in forward[-1]:
            for place, value in enumerate(values):
                after = tuple(round(s + a * value, _DIGITS) + 0.0 for s, a in zip(before, amount))
                counts = (0, 0) if per_side is None else (before[-2] + (value < 0), before[-1] + (value > 0))
                if max(counts) <= (per_side or 0) and (returning is None or after in returning):
                    move[before, place] = after + counts
        moves.append(move)
        forward.append(set(move.values()))
        if len(forward[-1]) > _SUMS:
            raise TooManyColumns(f"more than {_SUMS:,} partial sums of what is conserved")
    reaches = {state for state in forward[-1] if not any(state[:-2])}
    steps: list[_Step] = []
    after_order = {state: place for place, state in enumerate(sorted(reaches))}
    for (values, _), move in zip(reversed(signature), reversed(moves)):
        kept = {key: after for key, after in move.items() if after in after_order}
        before_order = {state: place for place, state in enumerate(sorted({before for before, _ in kept}))}
        leads = []
        for place in range(len(values)):
            pairs = sorted(
                (before_order[before], after_order[after]) for (before, p), after in kept.items() if p == place
            )
            ends = np.array(pairs, dtype=int).reshape(-1, 2)
            leads.append((ends[:, 0], ends[:, 1]))
        steps.append(_Step(np.array(values), leads, len(before_order), len(after_order)))
        after_order = before_order
    return steps[::-1]


def _best_paths(
    steps: list[_Step], coefficient: np.ndarray, weight: np.ndarray, n_best: int
) -> tuple[np.ndarray, np.ndarray]:
    """(reactions, n_best, n) columns and (reactions, n_best) costs of reactions (reactions, n) that are alike."""
    n_reactions, n_edges = coefficient.shape
    keep = n_best + 1  # one more: the zero column is dropped at the end
    cost: np.ndarray = np.full((n_reactions, 1, keep), np.inf)
    cost[:, 0, 0] = 0.0
    column: np.ndarray = np.zeros((n_reactions, 1, keep, n_edges))
    for edge, step in enumerate(steps):
        edge_cost = weight[:, edge, None] * (coefficient[:, edge, None] - step.values) ** 2
        longer_cost = np.full((n_reactions, step.n_after, len(step.values), keep), np.inf)
        longer = np.zeros((n_reactions, step.n_after, len(step.values), keep, n_edges))
        for place, (before, after) in enumerate(step.leads):
            longer_cost[:, after, place] = cost[:, before] + edge_cost[:, place, None, None]
            longer[:, after, place] = column[:, before]
            longer[:, after, place, :, edge] = step.values[place]
        together = (n_reactions, step.n_after, len(step.values) * keep)
        flat = longer_cost.reshape(together)
        order = np.argsort(flat, axis=-1, kind="stable")[..., :keep]
        cost = np.take_along_axis(flat, order, axis=-1)
        column = np.take_along_axis(longer.reshape(*together, n_edges), order[..., None], axis=2)
    # ends differ by numbers of entries alone, if at all
    ends = cost.shape[1] * keep
    cost, column = cost.reshape(n_reactions, ends), column.reshape(n_reactions, ends, n_edges)
    cost = np.where((column != 0).any(axis=-1), cost, np.inf)
    order = np.argsort(cost, axis=-1, kind="stable")[:, :n_best]
    cost, column = np.take_along_axis(cost, order, axis=-1), np.take_along_axis(column, order[..., None], axis=1)
    short = n_best - cost.shape[1]
    if short > 0:
        cost = np.pad(cost, ((0, 0), (0, short)), constant_values=np.inf)
        column = np.pad(column, ((0, 0), (0, short), (0, 0)))
    return np.where(np.isfinite(cost)[..., None], column, 0), cost


def side_by_side(reverse_of: np.ndarray, number: int) -> np.ndarray:
    """(number * R,) `reverse_of` (R,) of so many copies of the reactions."""
    shift = len(reverse_of) * np.arange(number)[:, None]
    return np.where(reverse_of < 0, -1, reverse_of + shift).ravel()
