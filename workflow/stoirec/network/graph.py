"""The bipartite graph of a metabolic network: candidate edges between metabolites and reactions."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Graph:
    """Candidate edges, unique (metabolite, reaction) pairs sorted by reaction, then metabolite.

    Attributes:
        n_metabolites, n_reactions: sizes M and R of the stoichiometric matrix.
        edge_metabolite, edge_reaction: (E,) int64 indices of each edge's ends.
        edge_is_substrate: (E,) bool candidate role; True: the reaction's rate depends on the metabolite.
        metabolite_names, reaction_names: (M,), (R,) names where a user gave them, else empty.
        metabolite_labels, reaction_labels: (M,), (R,) what people call them where a model says, else empty; they may
            repeat.

    Raises:
        ValueError: an index out of range, a repeated pair, edges out of order, a name missing or given twice, or a
            label missing.
    """

    n_metabolites: int
    n_reactions: int
    edge_metabolite: np.ndarray
    edge_reaction: np.ndarray
    edge_is_substrate: np.ndarray
    metabolite_names: tuple[str, ...] = ()
    reaction_names: tuple[str, ...] = ()
    metabolite_labels: tuple[str, ...] = ()
    reaction_labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        metabolite, reaction = self.edge_metabolite, self.edge_reaction
        if not len(metabolite) == len(reaction) == len(self.edge_is_substrate):
            raise ValueError("edge arrays of unequal length")
        if len(metabolite) == 0:
            raise ValueError("no edges")
        if metabolite.min() < 0 or metabolite.max() >= self.n_metabolites:
            raise ValueError(
                f"edge_metabolite {metabolite.min()}..{metabolite.max()} outside 0..{self.n_metabolites - 1}"
            )
        if reaction.min() < 0 or reaction.max() >= self.n_reactions:
            raise ValueError(f"edge_reaction {reaction.min()}..{reaction.max()} outside 0..{self.n_reactions - 1}")
        if not (np.diff(reaction * self.n_metabolites + metabolite) > 0).all():
            raise ValueError("edges not unique and sorted by reaction, then metabolite")
        for kind, names, labels, size in (
            ("metabolite", self.metabolite_names, self.metabolite_labels, self.n_metabolites),
            ("reaction", self.reaction_names, self.reaction_labels, self.n_reactions),
        ):
            if names and (len(names) != size or len(set(names)) != size):
                raise ValueError(f"{len(set(names))} different {kind} names for {size} {kind}s")
            if labels and len(labels) != size:
                raise ValueError(f"{len(labels)} {kind} labels for {size} {kind}s")

    def metabolite_name(self, metabolite: int) -> str:
        """The name a user gave, else M and the index."""
        return self.metabolite_names[metabolite] if self.metabolite_names else f"M{metabolite}"

    def reaction_name(self, reaction: int) -> str:
        """The name a user gave, else R and the index."""
        return self.reaction_names[reaction] if self.reaction_names else f"R{reaction}"

    def metabolite_label(self, metabolite: int) -> str:
        """What people call it, else its name."""
        return self.metabolite_labels[metabolite] if self.metabolite_labels else self.metabolite_name(metabolite)

    def reaction_label(self, reaction: int) -> str:
        """What people call it, else its name."""
        return self.reaction_labels[reaction] if self.reaction_labels else self.reaction_name(reaction)

    @property
    def n_edges(self) -> int:
        return len(self.edge_metabolite)

    @cached_property
    def substrate_edges(self) -> np.ndarray:
        """(n_substrate_edges,) positions of the substrate edges among all edges, in order."""
        return np.flatnonzero(self.edge_is_substrate)

    @property
    def role_sign(self) -> np.ndarray:
        """(E,) int8: -1 for candidate substrates, +1 for products."""
        return np.where(self.edge_is_substrate, -1, 1).astype(np.int8)

    @cached_property
    def substrate_slots(self) -> np.ndarray:
        """(R, most substrates of a reaction): the substrate edges of each reaction, filled up with -1."""
        reaction = self.edge_reaction[self.substrate_edges]
        counts = np.bincount(reaction, minlength=self.n_reactions)
        slots = np.full((self.n_reactions, max(1, counts.max(initial=0))), -1)
        slots[reaction, np.concatenate([np.arange(count) for count in counts])] = self.substrate_edges
        return slots

    @cached_property
    def reaction_ptr(self) -> np.ndarray:
        """(R + 1,): the edges of reaction j are reaction_ptr[j] : reaction_ptr[j + 1]."""
        return np.searchsorted(self.edge_reaction, np.arange(self.n_reactions + 1))

    def edges_of(self, reaction: int) -> slice:
        return slice(self.reaction_ptr[reaction], self.reaction_ptr[reaction + 1])

    def sum_by_reaction(self, values: np.ndarray) -> np.ndarray:
        """(..., R) sums of (..., E) over the edges of each reaction; 0 for one without edges."""
        sums = np.zeros((*values.shape[:-1], self.n_reactions))
        has = np.diff(self.reaction_ptr) > 0  # reduceat would take a neighbour's edge for an empty one
        sums[..., has] = np.add.reduceat(values, self.reaction_ptr[:-1][has], axis=-1)
        return sums

    def part(self, edges: np.ndarray) -> "Graph":
        """The same metabolites and reactions with some of the edges (positions, in order)."""
        return replace(
            self,
            edge_metabolite=self.edge_metabolite[edges],
            edge_reaction=self.edge_reaction[edges],
            edge_is_substrate=self.edge_is_substrate[edges],
        )

    def copies(self, number: int) -> "Graph":
        """So many of these networks side by side, without names: all of the first, all of the second, ..."""
        shift = np.repeat(np.arange(number), self.n_edges)
        return Graph(
            number * self.n_metabolites,
            number * self.n_reactions,
            np.tile(self.edge_metabolite, number) + self.n_metabolites * shift,
            np.tile(self.edge_reaction, number) + self.n_reactions * shift,
            np.tile(self.edge_is_substrate, number),
        )

    def matrix(self, coefficient: np.ndarray) -> np.ndarray:
        """(M, R) stoichiometric matrix with `coefficient` (E,) on the edges and zeros elsewhere."""
        dense = np.zeros((self.n_metabolites, self.n_reactions), dtype=coefficient.dtype)
        dense[self.edge_metabolite, self.edge_reaction] = coefficient
        return dense

    def on_edges(self, matrix: np.ndarray) -> np.ndarray:
        """(E,) entries of an (M, R) matrix at the candidate edges."""
        return matrix[self.edge_metabolite, self.edge_reaction]


def from_pairs(n_metabolites: int, n_reactions: int, metabolite, reaction, is_substrate) -> Graph:
    """A Graph from edges in any order."""
    metabolite, reaction = np.asarray(metabolite, np.int64), np.asarray(reaction, np.int64)
    order = np.lexsort((metabolite, reaction))
    return Graph(n_metabolites, n_reactions, metabolite[order], reaction[order], np.asarray(is_substrate, bool)[order])
