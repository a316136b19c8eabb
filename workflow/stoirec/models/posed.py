"""A model as a question: which of its coefficients are sought, and what is said of the others."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from stoirec.errors import Unsuitable
from stoirec.models.formulas import amounts_of_all
from stoirec.models.model import REVERSE, Model, Reaction, Species, listing
from stoirec.network.columns import LARGEST, LUMPED, ColumnSpace, TooManyColumns
from stoirec.network.graph import Graph

ALL = "all"
_BALANCED = 1e-6  # of the amounts in a column: charges and masses may be real numbers


@dataclass(frozen=True)
class Posed:
    """What `stoirec import` asks.

    Attributes:
        space: candidate edges, and what is said of their columns.
        coefficient: (E,) of the model, NaN where it has a candidate without one.
        remarks: what was read otherwise than it stands in the file, a line each.
    """

    space: ColumnSpace
    coefficient: np.ndarray
    remarks: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int | list[str]]:
        """What there is, and what is sought; both directions of a reaction are one."""
        space, graph = self.space, self.space.graph
        n_backward = 0 if space.reverse_of is None else int((space.reverse_of >= 0).sum())
        return {
            "species": graph.n_metabolites,
            "reactions": graph.n_reactions - n_backward,
            "both_ways": n_backward,
            "sought": int(np.isnan(space.known).sum()),
            "coefficients": graph.n_edges,
            "largest": space.largest,
            "conserved": list(space.quantities),
            "open": int(space.is_open.sum()),
        }

    @property
    def summary(self) -> str:
        """The same in a line."""
        n = self.counts
        both_ways = f", {n['both_ways']} of them both ways, each a column of its own" if n["both_ways"] else ""
        return (
            f"{n['species']} species, {n['reactions']} reactions{both_ways}; "
            f"{n['sought']} of {n['coefficients']} coefficients are sought, up to {n['largest']}; "
            f"conserved: {', '.join(self.space.quantities) or 'nothing'}; "
            f"{n['open'] or 'no'} reaction{'s' * (n['open'] != 1)} open"
        )


def pose(model: Model, known: Iterable[str] = ()) -> Posed:
    """The columns of a model as what is sought, but for those of the reactions `known` (ids, or `all`).

    Where a file marks candidates, these are what is sought, and what it writes is known. Fractional and lumped columns
    (biomass) are known. A reaction is open where it has one side alone, where a species that is held from outside
    takes part, and where its column does not balance; if coefficients are guesses, where none that is allowed does.

    Raises:
        Unsuitable: no reaction with this id, or nothing left that changes.
    """
    remarks = list(model.remarks)
    followed = {species.id for species in model.species if species.followed}
    directions, origins, open_ids = [], [], set()
    for reaction in model.reactions:
        own = _of_followed(reaction, followed)
        if not own.coefficients and not own.sought:
            continue
        sides = {np.sign(value) for value in own.coefficients.values() if value} | set((own.sought or {}).values())
        if len(own.coefficients) < len(reaction.coefficients) or (len(sides) < 2 and 0 not in sides):
            open_ids.add(reaction.id)
        both = [own, _backward(own)] if own.reversible else [own]
        directions, origins = directions + both, origins + [own.id] * len(both)
    if not directions:
        raise Unsuitable("reactions", "none that changes a species", "a model with species that reactions change")
    twice = {id_ for id_, number in Counter(each.id for each in directions).items() if number > 1}
    if twice:
        raise Unsuitable("reactions", f"{min(twice)} beside the other direction of a reversible one", "other ids")
    _remark(remarks, model, {each.id for each in directions}, directions)
    taken = {id_ for each in directions for id_ in (*each.coefficients, *(each.sought or ()))}
    species = [each for each in model.species if each.id in taken]
    graph = _graph(species, directions)
    quantities, conserved = amounts_of_all([each.amounts for each in species])
    coefficient, sign = _on_edges(graph, species, directions)
    is_open = np.isin(origins, list(open_ids))
    fixed = _known(model, graph, coefficient, np.array(origins), set(known), remarks)
    bound = int(np.nan_to_num(np.abs(coefficient[~fixed])).max(initial=LARGEST))
    space = replace(
        ColumnSpace.of_roles(graph, bound),
        sign=sign,
        known=np.where(fixed, coefficient, np.nan),
        conserved=conserved,
        is_open=is_open,
        quantities=quantities,
        reverse_of=_reverse_of(graph.reaction_names, origins),
        real=np.nan_to_num(coefficient) != 0,  # what a file writes takes part; candidates may not
    )
    unbalanced = _unbalanced(graph, conserved, coefficient) & ~is_open
    others = np.array([model.guessed and each and _can_balance(space, j) for j, each in enumerate(unbalanced)], bool)
    for which, text in (
        (others, "not balanced by the formulas as they are written, but with other coefficients"),
        (unbalanced & ~others, "not balanced by the formulas, taken for open"),
    ):
        if which.any():
            remarks.append(f"{text}: {listing(list(dict.fromkeys(np.array(origins)[which])))}")
    return Posed(replace(space, is_open=is_open | (unbalanced & ~others)), coefficient, tuple(remarks))


def _of_followed(reaction: Reaction, followed: set[str]) -> Reaction:
    kept = {id_: value for id_, value in reaction.coefficients.items() if id_ in followed}
    sought = {id_: side for id_, side in (reaction.sought or {}).items() if id_ in followed}
    return replace(reaction, coefficients=kept, drives=reaction.drives & followed, sought=sought or None)


def _backward(reaction: Reaction) -> Reaction:
    """The other direction of a reversible reaction: what it makes drives it, as does what drives without a change."""
    coefficients = {id_: -value for id_, value in reaction.coefficients.items()}
    sought = {id_: -side for id_, side in (reaction.sought or {}).items()} or None
    substrates = {id_ for id_, value in coefficients.items() if value < 0}
    candidates = {id_ for id_, side in (sought or {}).items() if side <= 0}
    unchanged = {id_ for id_ in reaction.drives if coefficients.get(id_) == 0}
    return replace(
        reaction,
        id=reaction.id + REVERSE,
        coefficients=coefficients,
        drives=frozenset(substrates | candidates | unchanged),
        sought=sought,
    )


def _remark(remarks: list[str], model: Model, kept: set[str], directions: list[Reaction]) -> None:
    """Add what of the model has no place in the question."""
    dropped = [each.id for each in model.reactions if each.id not in kept]
    if dropped:
        remarks.append(f"reactions that change no species, left out: {listing(dropped)}")
    taken = {id_ for each in directions for id_ in (*each.coefficients, *(each.sought or ()))}
    idle = [each.id for each in model.species if each.followed and each.id not in taken]
    if idle:
        remarks.append(f"species without a reaction, left out: {listing(idle)}")
    changed = {id_ for each in directions for id_, value in each.coefficients.items() if value}
    changed |= {id_ for each in directions for id_ in each.sought or ()}
    bare = [each.id for each in model.species if each.id in changed and each.amounts is None]
    if bare and len(bare) < len(changed):
        remarks.append(f"species without a formula, whose reactions are held to nothing: {listing(bare)}")
    elif bare:
        remarks.append("no formulas: nothing is conserved")


def _graph(species: list[Species], reactions: list[Reaction]) -> Graph:
    place = {each.id: index for index, each in enumerate(species)}
    edges = [
        (place[id_], j, id_ in reaction.drives)
        for j, reaction in enumerate(reactions)
        for id_ in sorted({*reaction.coefficients, *(reaction.sought or ())}, key=place.__getitem__)
    ]
    metabolite, of, drives = (np.array(part) for part in zip(*edges))
    both: list[list[Species] | list[Reaction]] = [species, reactions]
    names = (tuple(each.id for each in some) for some in both)
    # an id is no label: a model without names has none
    labels = (tuple(each.name or each.id for each in some) for some in both)
    labels = (() if all(each.name in ("", each.id) for each in some) else own for some, own in zip(both, labels))
    return Graph(len(species), len(reactions), metabolite, of, drives, *names, *labels)


def _on_edges(graph: Graph, species: list[Species], reactions: list[Reaction]) -> tuple[np.ndarray, np.ndarray]:
    """(E,) coefficients, NaN where one is sought, and their signs, 0 where nobody knows."""
    coefficient, sign = np.empty(graph.n_edges), np.empty(graph.n_edges, np.int8)
    for edge, (metabolite, of) in enumerate(zip(graph.edge_metabolite, graph.edge_reaction)):
        id_, reaction = species[metabolite].id, reactions[of]
        if id_ in reaction.coefficients:
            coefficient[edge] = reaction.coefficients[id_]
            sign[edge] = np.sign(coefficient[edge]) or -1
        else:
            coefficient[edge], sign[edge] = np.nan, (reaction.sought or {})[id_]
    return coefficient, sign


def _unbalanced(graph: Graph, conserved: np.ndarray, coefficient: np.ndarray) -> np.ndarray:
    """(R,) bool, columns that change a quantity which all species that they change say something of."""
    change = np.where(coefficient == 0, 0.0, conserved[:, graph.edge_metabolite] * coefficient)
    size = np.maximum(graph.sum_by_reaction(np.abs(change)), 1)
    return (np.abs(graph.sum_by_reaction(change)) > _BALANCED * size).any(0)  # NaN is not above


def _can_balance(space: ColumnSpace, reaction: int) -> bool:
    """Whether one of the columns that a reaction may have is balanced."""
    edges = space.graph.edges_of(reaction)
    own = space.part(np.arange(edges.start, edges.stop))
    middle = np.nan_to_num(own.known) + np.where(np.isnan(own.known), own.likely_sign, 0.0)
    try:
        return bool(np.isfinite(own.best(middle, np.ones(len(middle)), 1)[1][0, reaction]))
    except TooManyColumns:
        return False


def _known(
    model: Model, graph: Graph, coefficient: np.ndarray, origins: np.ndarray, known: set[str], remarks: list[str]
) -> np.ndarray:
    """(E,) bool, coefficients that are not sought; `origins`: (R,) ids of the model's reactions."""
    unknown = known - set(origins) - {ALL}
    if unknown:
        raise Unsuitable("--known", min(unknown), f"{ALL}, or ids of reactions such as {origins[0]}")
    said = ~np.isnan(coefficient)
    if ALL in known or any(reaction.sought for reaction in model.reactions):
        return said
    fixed = np.isin(origins, list(known))
    size = np.nan_to_num(np.abs(coefficient))
    odd = graph.sum_by_reaction(((size % 1 != 0) | (size > LUMPED)).astype(float)) > 0
    if (odd & ~fixed).any():
        ids = list(dict.fromkeys(origins[odd & ~fixed]))
        remarks.append(f"fractional coefficients, or above {LUMPED}: columns taken for known: {listing(ids)}")
    return said & ((fixed | odd)[graph.edge_reaction] | (coefficient == 0))


def _reverse_of(names: tuple[str, ...], origins: list[str]) -> np.ndarray | None:
    place = {name: index for index, name in enumerate(names)}
    found = np.array([-1 if name == origin else place[origin] for name, origin in zip(names, origins)])
    return found if (found >= 0).any() else None
