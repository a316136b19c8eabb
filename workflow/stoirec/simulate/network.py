"""The network of a simulation, random or of reactions of its own: a stoichiometric matrix and its candidate graph."""

from dataclasses import dataclass, replace

import numpy as np

from stoirec.config.equations import parse_equation
from stoirec.config.regime import Regime
from stoirec.models.formulas import CHARGE, amounts_of_all, elements
from stoirec.models.model import REVERSE
from stoirec.network.columns import LARGEST, ColumnSpace, small_integers
from stoirec.network.graph import Graph, from_pairs
from stoirec.streams import generator_stream

_ATTEMPTS = 200
ODD = ("unbalanced", "open", "large")  # columns whose sum is not 0, of one edge, with a coefficient of LARGE
LARGE = 3


def balanced_columns(n_substrates: int, n_products: int, largest: int) -> np.ndarray:
    """(columns, n) the zero-sum columns of a reaction, substrates first, coefficients from 1 to `largest` in size."""
    n = n_substrates + n_products
    shape = from_pairs(n, 1, range(n), [0] * n, np.arange(n) < n_substrates)
    return ColumnSpace.of_roles(shape, largest).columns(0).astype(np.int8)


def _shape_counts(regime: Regime) -> list[tuple[int, int]]:
    """One (n_substrates, n_products) per reaction, by quota (largest remainder), so that edge totals do not drift."""
    sides = [shape.split("-") for shape in regime.reaction_shapes]
    shapes = [(int(substrates), int(products)) for substrates, products in sides]
    weights = np.array(list(regime.reaction_shapes.values()))
    for shape, weight in zip(shapes, weights):
        if weight > 0 and not len(balanced_columns(*shape, regime.max_coefficient)):
            raise ValueError(
                f"reaction_shapes: {shape[0]}-{shape[1]} has no zero-sum column with coefficients "
                f"1..{regime.max_coefficient}"
            )
        if weight > 0 and sum(shape) > regime.n_metabolites:
            raise ValueError(f"n_metabolites: {regime.n_metabolites} cannot hold a {shape[0]}-{shape[1]} reaction")
    quota = regime.n_reactions * weights / weights.sum()
    counts = np.floor(quota).astype(int)
    for index in np.argsort(counts - quota, kind="stable")[: regime.n_reactions - counts.sum()]:
        counts[index] += 1
    return [shape for shape, count in zip(shapes, counts) for _ in range(count)]


def odd_column(kind: str, column: np.ndarray, largest: int, rng: np.random.Generator) -> np.ndarray | None:
    """A random column (n,) of an ODD kind on the edges of `column`, of its signs; None if there is none.

    A large one is no multiple of a smaller: -3, 3 would be another length of -1, 1.
    """
    sign = np.sign(column)
    if kind == "open":
        return np.where(np.arange(len(column)) == rng.integers(len(column)), column, 0)
    if kind == "large":
        columns = balanced_columns(int((sign < 0).sum()), int((sign > 0).sum()), LARGE)
        columns = columns[(np.abs(columns).max(axis=1) == LARGE) & (np.gcd.reduce(columns, axis=1) == 1)]
        if not len(columns):
            return None
        substrates_first = np.argsort(sign, kind="stable")  # as in them
        return columns[rng.integers(len(columns))][np.argsort(substrates_first)]
    for _ in range(_ATTEMPTS):
        found = sign * rng.integers(1, largest + 1, len(column)).astype(column.dtype)
        if found.sum() != 0:
            return found
    return None


def random_stoichiometry(regime: Regime) -> np.ndarray:
    """(M, R) int8 matrix: zero column sums, entries within +-max_coefficient, every metabolite used.

    Columns of odd reactions are of the kinds ODD instead. No two reactions have the same (substrate set, product set):
    with shared MLPs they could swap labels.

    Raises:
        ValueError: the regime's sizes admit no such matrix (within 200 draws).
    """
    rng = generator_stream("network", regime.seeds.network)
    shapes = _shape_counts(regime)
    for _ in range(_ATTEMPTS):
        matrix = _draw(regime, rng, [shapes[i] for i in rng.permutation(len(shapes))])
        if matrix is not None and regime.odd_reactions:
            matrix = _with_odd(regime, matrix)
        if matrix is not None and (matrix != 0).any(axis=1).all():
            return matrix
    raise ValueError(
        f"n_reactions: no network of {regime.n_metabolites} metabolites and {regime.n_reactions} distinct reactions "
        "found that uses every metabolite"
    )


def _draw(regime: Regime, rng: np.random.Generator, shapes: list[tuple[int, int]]) -> np.ndarray | None:
    matrix = np.zeros((regime.n_metabolites, regime.n_reactions), np.int8)
    seen = set()
    for reaction, (n_substrates, n_products) in enumerate(shapes):
        columns = balanced_columns(n_substrates, n_products, regime.max_coefficient)
        for _ in range(_ATTEMPTS):
            members = rng.choice(regime.n_metabolites, n_substrates + n_products, replace=False)
            key = (frozenset(members[:n_substrates]), frozenset(members[n_substrates:]))
            if key not in seen:
                break
        else:
            return None
        seen.add(key)
        matrix[members, reaction] = columns[rng.integers(len(columns))]
    return matrix


def _with_odd(regime: Regime, matrix: np.ndarray) -> np.ndarray | None:
    """`matrix` with odd columns in some reactions, the kinds in turn; None if two then have the same metabolites."""
    rng = generator_stream("odd reactions", regime.seeds.network)
    found, left = matrix.copy(), round(regime.odd_reactions * regime.n_reactions)
    for reaction in rng.permutation(regime.n_reactions):
        if not left:
            break
        members = np.flatnonzero(matrix[:, reaction])
        column = odd_column(ODD[left % len(ODD)], matrix[members, reaction], regime.max_coefficient, rng)
        if column is not None:
            found[members, reaction] = column
            left -= 1
    return found if len(np.unique(np.sign(found), axis=1).T) == regime.n_reactions else None


@dataclass(frozen=True)
class OwnNetwork:
    """The regime's own `reactions`.

    Attributes:
        matrix: (M, R), int8 where all coefficients are whole.
        catalyses: (M, R) bool, metabolites that drive a reaction and stand on both of its sides alike.
        metabolites: names, in the order in which they come first; reactions: names.
        reversible, known, is_open: (R,) bool.
    """

    matrix: np.ndarray
    catalyses: np.ndarray
    metabolites: tuple[str, ...]
    reactions: tuple[str, ...]
    reversible: np.ndarray
    known: np.ndarray
    is_open: np.ndarray


def own_network(regime: Regime) -> OwnNetwork:
    """The network of a regime that has `reactions`.

    Raises:
        ValueError: no reaction conserves what the regime says is conserved.
    """
    columns, reversible = {}, {}
    for name, equation in regime.reactions.items():
        column, reversible[name] = parse_equation(equation)
        sums_to_zero = regime.conserved != "mass" or name in regime.known or _one_sided(column)
        if sums_to_zero or sum(column.values()) == 0:
            columns[name] = column
    if not columns:
        raise ValueError("reactions: none conserves mass, the sum of its coefficients")
    if regime.conserved == "elements":
        _refuse_unbalanced(regime, columns)
    metabolites = tuple(dict.fromkeys(metabolite for column in columns.values() for metabolite in column))
    matrix = np.full((len(metabolites), len(columns)), np.nan)
    for reaction, column in enumerate(columns.values()):
        for metabolite, coefficient in column.items():
            matrix[metabolites.index(metabolite), reaction] = coefficient
    catalyses, matrix = matrix == 0, np.nan_to_num(matrix)
    of_each = [
        (regime.both_ways or reversible[name], name in regime.known, name in regime.known or _one_sided(column))
        for name, column in columns.items()
    ]
    return OwnNetwork(small_integers(matrix), catalyses, metabolites, tuple(columns), *np.array(of_each, bool).T)


def _one_sided(column: dict[str, float]) -> bool:
    return len(set(np.sign(list(column.values()))) - {0.0}) < 2


def candidate_space(regime: Regime) -> tuple[np.ndarray, ColumnSpace, np.ndarray]:
    """The true (M, R) matrix, what a learner is told of its columns, and (E,) bool, which candidate edges are true.

    Raises:
        ValueError: the regime admits no network, or not as many decoys.
    """
    own = own_network(regime) if regime.reactions else None
    stoichiometry = random_stoichiometry(regime) if own is None else own.matrix
    if regime.candidates == "all":
        graph, is_true = every_candidate(stoichiometry)
    else:
        told = () if own is None else (own.catalyses, own.known)
        graph, is_true = candidate_graph(stoichiometry, regime.decoy_edges, regime.seeds.network, *told)
    space = ColumnSpace.of_roles(graph)
    if own is not None:
        space = _of_own(space, own, stoichiometry)
    if regime.signs == "unknown" or regime.candidates == "all":
        space = space.without_signs()
    if regime.conserved == "nothing":
        space = replace(space, conserved=np.zeros((0, graph.n_metabolites)))
    if regime.conserved == "elements":
        quantities, conserved = amounts_of_all([_made_of(regime, name) for name in own.metabolites])
        space = replace(space, conserved=conserved, quantities=quantities)
    if own is not None and own.reversible.any():
        space, edges = both_ways(space, own.reversible)
        direction = np.where(space.reverse_of >= 0, -1, 1)[space.graph.edge_reaction]
        turned = direction * graph.on_edges(stoichiometry)[edges]
        stoichiometry, is_true = small_integers(space.graph.matrix(turned)), is_true[edges]
    return stoichiometry, space, is_true


def _of_own(space: ColumnSpace, own: OwnNetwork, stoichiometry: np.ndarray) -> ColumnSpace:
    graph = replace(space.graph, metabolite_names=own.metabolites, reaction_names=own.reactions)
    coefficient, catalyses = graph.on_edges(stoichiometry).astype(float), graph.on_edges(own.catalyses)
    known = own.known[graph.edge_reaction] | catalyses
    largest = np.abs(coefficient[~known]).max(initial=LARGEST)
    return replace(
        space,
        graph=graph,
        sign=np.where(catalyses, 0, space.sign).astype(np.int8),
        known=np.where(known, coefficient, np.nan),
        bound=np.maximum(int(largest), np.ceil(np.where(known, np.abs(coefficient), 0)).astype(int)),
        is_open=own.is_open,
    )


def both_ways(space: ColumnSpace, reversible: np.ndarray) -> tuple[ColumnSpace, np.ndarray]:
    """`space` with a backward reaction after each of those that are `reversible` (R,), and (E,) whose edge each has."""
    graph = space.graph
    origin = np.repeat(np.arange(graph.n_reactions), 1 + reversible)
    backward = np.r_[False, origin[1:] == origin[:-1]]
    edges = np.concatenate([np.arange(*graph.reaction_ptr[[j, j + 1]]) for j in origin])
    reaction = np.repeat(np.arange(len(origin)), np.diff(graph.reaction_ptr)[origin])
    turned = backward[reaction]
    names = tuple(graph.reaction_name(j) + (REVERSE if back else "") for j, back in zip(origin.tolist(), backward))
    found = Graph(
        graph.n_metabolites,
        len(origin),
        graph.edge_metabolite[edges],
        reaction,
        graph.edge_is_substrate[edges] ^ (turned & ~space.catalyses[edges]),
        graph.metabolite_names,
        names,
    )
    return replace(
        space,
        graph=found,
        sign=np.where(turned, -1, 1).astype(np.int8) * space.sign[edges],
        bound=space.bound[edges],
        known=np.where(turned, -1, 1) * space.known[edges],
        is_open=space.is_open[origin],
        real=None if space.real is None else space.real[edges],
        reverse_of=np.where(backward, np.arange(len(origin)) - 1, -1),
    ), edges


def _refuse_unbalanced(regime: Regime, columns: dict[str, dict[str, float]]) -> None:
    for name, column in columns.items():
        if name in regime.known or _one_sided(column):
            continue
        _, amounts = amounts_of_all([_made_of(regime, metabolite) for metabolite in column])
        if np.abs(amounts @ np.array(list(column.values()))).max(initial=0) > 0:
            raise ValueError(f"reactions: {name} does not balance by the formulas of species")


def _made_of(regime: Regime, metabolite: str) -> dict[str, float]:
    """Elements and charge. Raises ValueError: a metabolite without a formula, or one that says no amounts."""
    species = regime.species.get(metabolite)
    if species is None or (found := elements(species.formula)) is None:
        raise ValueError(f"species: {metabolite} has {'none' if species is None else species.formula} for a formula")
    return found | {CHARGE: float(species.charge)}


def every_candidate(stoichiometry: np.ndarray) -> tuple[Graph, np.ndarray]:
    """The graph in which all metabolites are candidates of all reactions and drive them; (E,) bool, true edges."""
    n_metabolites, n_reactions = stoichiometry.shape
    metabolite, reaction = (part.ravel() for part in np.indices(stoichiometry.shape))
    graph = from_pairs(n_metabolites, n_reactions, metabolite, reaction, np.ones(stoichiometry.size, bool))
    return graph, graph.on_edges(stoichiometry) != 0


def candidate_graph(
    stoichiometry: np.ndarray,
    decoy_edges: float,
    seed: int,
    catalyses: np.ndarray | None = None,
    known: np.ndarray | None = None,
) -> tuple[Graph, np.ndarray]:
    """The graph a learner sees, and (E,) bool `edge_is_true`.

    `decoy_edges` is the number of decoys per true edge. Decoys have the same mix of roles as the true edges and
    a true coefficient of zero.

    Args:
        catalyses: (M, R) bool, edges beside these that drive their reaction.
        known: (R,) bool, reactions that have no decoys: what is known to be 0 and drives would be a catalyst.

    Raises:
        ValueError: more decoys asked for than there are free (metabolite, reaction) pairs.
    """
    n_metabolites, n_reactions = stoichiometry.shape
    catalyses = np.zeros(stoichiometry.shape, bool) if catalyses is None else catalyses
    metabolite, reaction = np.nonzero(stoichiometry)
    is_substrate = stoichiometry[metabolite, reaction] < 0
    n_decoys = round(decoy_edges * len(metabolite))
    taken = catalyses if known is None else catalyses | known
    free = np.flatnonzero((stoichiometry == 0) & ~taken)
    if n_decoys > len(free):
        raise ValueError(f"decoy_edges: {n_decoys} decoys asked for, {len(free)} pairs are free")
    rng = generator_stream("decoys", seed)
    decoys = rng.choice(free, n_decoys, replace=False)
    decoy_roles = rng.permutation(np.arange(n_decoys) < round(n_decoys * is_substrate.mean()))
    catalyst, catalysed = np.nonzero(catalyses)
    graph = from_pairs(
        n_metabolites,
        n_reactions,
        np.concatenate([metabolite, decoys // n_reactions, catalyst]),
        np.concatenate([reaction, decoys % n_reactions, catalysed]),
        np.concatenate([is_substrate, decoy_roles, np.ones(len(catalyst), bool)]),
    )
    return graph, graph.on_edges(stoichiometry) != 0
