"""The rates F of all reactions and their derivatives at a state of the refinement."""

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from stoirec.data.windows import Integrals, Windows
from stoirec.kinetics.rate_law import LearnableLaw
from stoirec.network.columns import ColumnSpace
from stoirec.refine.alike import most_alike
from stoirec.refine.state import State

_log = logging.getLogger(__name__)
LOWEST, _BEND = 0.5, 0.3  # where a relaxed |S| levels off, and how sharply


@dataclass(frozen=True)
class ReactionColumns:
    """All columns of a reaction as pairs, flattened where one number stands for a pair.

    Attributes:
        drives: (n,) bool, which of its edges drive the rate.
        driving: (D, n_driving) their coefficients; others: (O, n_others) those of the others.
        conserved: (D, O) bool, which pairs conserve what is conserved.
        size: (U, n_driving) different sizes, as the law takes them, of the edges that drive; size_of: (D,) which of
            them a side has.
    """

    drives: Tensor
    driving: Tensor
    others: Tensor
    conserved: Tensor
    size: Tensor
    size_of: Tensor

    def columns(self, pairs: Tensor) -> Tensor:
        """(*pairs, n) columns; `pairs` are positions in the flattened pairs."""
        found = self.driving.new_zeros(*pairs.shape, len(self.drives))
        found[..., self.drives] = self.driving[pairs // len(self.others)]
        found[..., ~self.drives] = self.others[pairs % len(self.others)]
        return found

    @property
    def contents(self) -> tuple[bytes, ...]:
        """The same for reactions with the same columns."""
        parts = self.drives, self.driving, self.others, self.conserved, self.size, self.size_of
        return tuple(part.cpu().numpy().tobytes() for part in parts)


class Functions:
    """F_j(c, q) of a graph's reactions; q stands for |S| in them.

    Args:
        law: the rate law on the graph; its parameters are the state's weights.
        space: the columns the reactions may have.
        device: of the state's tensors.
    """

    def __init__(self, law: LearnableLaw, space: ColumnSpace, device: torch.device) -> None:
        self.law, self.space, self.device = law, space, device
        self.graph = graph = space.graph
        self.allows_zero, self.learns_sizes = space.allows_zero, law.learns_sizes
        self.sign = torch.as_tensor(space.sign, dtype=torch.float64, device=device)  # (E,)
        self.metabolite, self.reaction, self.substrates, self.reaction_ptr = (
            torch.as_tensor(values, dtype=torch.int64, device=device)
            for values in (graph.edge_metabolite, graph.edge_reaction, graph.substrate_edges, graph.reaction_ptr)
        )
        self.amounts = torch.as_tensor(space.amounts, dtype=torch.float64, device=device)  # (quantities, E)
        opposite = space.opposite_edge
        self.catalyses = torch.as_tensor(space.catalyses, device=device)  # (E,)
        # (n,) edges of backward reactions, and those of the forward ones
        self.backward = torch.as_tensor(np.flatnonzero(opposite >= 0), device=device)
        self.forward = torch.as_tensor(opposite[opposite >= 0], device=device)
        self._sides: dict[int, ReactionColumns] = {}
        self._mirrored: dict[tuple[int, int], Tensor] = {}
        self._fitted: tuple[State | None, dict[tuple, Tensor]] = None, {}  # rates at the state that was last asked for
        self._rows = [np.flatnonzero(graph.edge_metabolite == i) for i in range(graph.n_metabolites)]

    def part(self, edges: Tensor, device: torch.device) -> "Functions":
        """Those of the graph with `edges` (positions) alone, on a device."""
        kept = edges.cpu().numpy()
        return Functions(self.law.part(kept).to(device), self.space.part(kept), device)

    def sides(self, reaction: int) -> ReactionColumns:
        """All columns of a reaction."""
        if reaction not in self._sides:
            found = self.space.sides(reaction)
            if not found.conserved.size:
                _log.warning("reaction %s has too many columns to be weighed", self.graph.reaction_name(reaction))
            own = self.graph.edges_of(reaction)
            drives = self.graph.edge_is_substrate[own]
            sizes = self.law.sizes(torch.as_tensor(found.driving), self.sign[own].cpu()[drives]).numpy()
            size, size_of = np.unique(sizes, axis=0, return_inverse=True)
            parts = (drives, found.driving, found.others, found.conserved, size, size_of.reshape(-1))
            self._sides[reaction] = ReactionColumns(*(torch.as_tensor(part, device=self.device) for part in parts))
        return self._sides[reaction]

    @cached_property
    def by_row(self) -> Tensor:
        """(E,) edges in the order of their metabolites."""
        return torch.as_tensor(np.concatenate(self._rows), device=self.device)

    @cached_property
    def in_one_row(self) -> Tensor:
        """(2, pairs) edges of one metabolite, each with each."""
        pairs = [np.concatenate([side(row, len(row)) for row in self._rows]) for side in (np.repeat, np.tile)]
        return torch.as_tensor(np.stack(pairs), device=self.device)

    @cached_property
    def sizes_by_row(self) -> Tensor:
        """(2, n) substrate edges of all reactions of each metabolite in turn, and its own edge in that reaction.

        The former by their number among the substrate edges.
        """
        edges = np.concatenate(self._rows)
        first = np.searchsorted(self.graph.edge_reaction[self.graph.substrate_edges], np.arange(len(self.reaction_ptr)))
        start = first[self.graph.edge_reaction[edges]]
        number = first[self.graph.edge_reaction[edges] + 1] - start
        shift = np.repeat(start - number.cumsum() + number, number)
        pair = np.stack([shift + np.arange(len(shift)), np.repeat(edges, number)])
        return torch.as_tensor(pair, device=self.device)

    @cached_property
    def with_same_columns(self) -> list[Tensor]:
        """Reactions (n,) that have the same columns, of each kind; those without a pair of sides aside."""
        kinds: dict[tuple[bytes, ...], list[int]] = {}
        for reaction in range(self.graph.n_reactions):
            sides = self.sides(reaction)
            if sides.conserved.numel():
                kinds.setdefault(sides.contents, []).append(reaction)
        return [torch.tensor(reactions, device=self.device) for reactions in kinds.values()]

    def edges_of(self, reactions: Tensor) -> Tensor:
        """(reactions, n) edges of reactions that have as many."""
        first = self.reaction_ptr[reactions]
        return first[:, None] + torch.arange(int(self.reaction_ptr[reactions[0] + 1] - first[0]), device=self.device)

    @cached_property
    def reversals(self) -> list[tuple[int, int]]:
        """Pairs of a forward and a backward reaction whose columns are each other's opposite."""
        backward = np.unique(self.graph.edge_reaction[self.space.opposite_edge >= 0])
        return [(int(self.space.reverse_of[j]), int(j)) for j in backward]

    @cached_property
    def partner(self) -> dict[int, int]:
        """Of the reactions in `reversals`, each other."""
        return {a: b for pair in self.reversals for a, b in (pair, pair[::-1])}

    def in_either_direction(self, chosen: Tensor) -> Tensor:
        """(R,) bool, `chosen` reactions and those that run the other way."""
        found = chosen.clone()
        for pair in self.reversals:
            found[list(pair)] = bool(chosen[list(pair)].any())
        return found

    def mirrored(self, forward: int, backward: int) -> Tensor:
        """(D O,) where the flattened pairs of one of `reversals` stand, turned round, among those of its reverse."""
        if (forward, backward) not in self._mirrored:
            sides = [self.sides(reaction) for reaction in (forward, backward)]
            every = [side.columns(torch.arange(side.conserved.numel(), device=self.device)).cpu() for side in sides]
            own, other = (np.lexsort(columns.T) for columns in (every[0].numpy(), -every[1].numpy()))
            place = np.empty(len(own), np.int64)
            place[own] = other
            self._mirrored[forward, backward] = torch.as_tensor(place, device=self.device)
        return self._mirrored[forward, backward]

    def size(self, state: State) -> Tensor:
        """(E,) q: sizes of the integers, or relaxed ones while there are none."""
        return self.sizes(state.integers) if state.integers is not None else self.relaxed_size(state)[0]

    def sizes(self, column: Tensor, edges: slice = slice(None)) -> Tensor:
        """(..., n) those that the law takes for coefficients (..., n) of some edges."""
        return self.law.sizes(column, self.sign[edges])

    def size_slope(self, state: State) -> Tensor:
        """(E,) dq/d|S| for |S| = |B| / k: 0 where integers stand in the functions."""
        return torch.zeros_like(state.linear) if state.integers is not None else self.relaxed_size(state)[1]

    def relaxed_size(self, state: State) -> tuple[Tensor, Tensor]:
        """(E,) q for real coefficients s = B / k, signs taken off, and dq/ds; q is s where zeros are allowed."""
        s = self.signs(state) * state.linear / 10 ** state.log_k[self.reaction]
        feels = self.sizes(torch.where(state.linear > 0, 1.0, -1.0)).masked_fill(self.catalyses, 0.0)  # else 1
        if self.allows_zero:
            return feels * s, feels
        size, slope = relaxed(s) if self.learns_sizes else exact_from_one(s)
        return feels * size, feels * slope

    def signs(self, state: State) -> Tensor:
        """(E,) those of the space; where it knows none, those of B."""
        return torch.where(self.sign == 0, torch.sign(state.linear), self.sign)

    def with_sizes(self, weights: Tensor, one: Tensor, two: Tensor) -> Tensor:
        """(P,) weights that make of sizes 1 and 2 what `weights` make of `one` and `two`; or as they are."""
        if not self.learns_sizes:
            return weights
        slope = two - one
        return self.law.pack(self.law.with_sizes(self.law.unpack(weights), one - slope, slope))

    @torch.no_grad()
    def rates(self, state: State, windows: Windows | Integrals) -> Tensor:
        """(R, windows, nodes) F."""
        concentration = windows.concentration.flatten(0, 1)
        rate = self.law.rates(self.law.unpack(state.weights), concentration, self.size(state)[self.substrates])
        return rate.unflatten(1, windows.concentration.shape[:2])

    @torch.no_grad()
    def rates_of(self, reactions: Tensor, state: State, sizes: Tensor, windows: Windows | Integrals) -> Tensor:
        """(reactions, columns, windows, nodes) F of reactions with as many substrates.

        Were the sizes of these one of `sizes` (columns, n_substrates). Parameters that a reaction has for itself are
        then those with which its rate is most like the present one.
        """
        parameters, concentration = self.law.unpack(state.weights), windows.concentration.flatten(0, 1)
        own = self.law.own(reactions, sizes.shape[1], parameters)
        if own is None:
            rate = self.law.rates_of(reactions, parameters, concentration, sizes)
        else:
            rate = self._most_alike(reactions, state, sizes, concentration, own)
        return rate.unflatten(2, windows.concentration.shape[:2])

    def _most_alike(self, reactions: Tensor, state: State, sizes: Tensor, concentration: Tensor, own: Tensor) -> Tensor:
        """(reactions, columns, frames) F, their `own` parameters (reactions, n) fitted; once for a state."""
        if self._fitted[0] is not state:
            self._fitted = state, {}
        fitted, key = self._fitted[1], (tuple(reactions.tolist()), tuple(sizes.flatten().tolist()), len(concentration))
        if key not in fitted:
            parameters, size = self.law.unpack(state.weights), self.size(state)[self.substrates]
            at = size[self.law.substrates_of(reactions, sizes.shape[1])]
            present = [
                self.law.rates_of(one, parameters, concentration, its[None]) for one, its in zip(reactions.split(1), at)
            ]
            fitted[key] = most_alike(
                lambda own: self.law.rates_by_own(reactions, parameters, concentration, sizes, own),
                own[:, None].expand(-1, len(sizes), -1),
                torch.cat(present),
            )
        return fitted[key]

    def derivatives(self, state: State, concentration: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At `concentration` (frames, M): (R,) the reactions in some order, (R, P, frames) their dF/dweights.

        And (S, frames) dF/dq of the substrate edges.
        """
        sizes = self.size(state)[self.substrates]
        return self.law.derivatives(self.law.unpack(state.weights), concentration, sizes)


def relaxed(size: Tensor) -> tuple[Tensor, Tensor]:
    """q and dq/d|S| where every |S| is at least 1: q is about |S| there, and levels off smoothly at LOWEST below.

    |S| itself has a kink at 0, at which unresolved weak reactions would hold up the descent.
    """
    above = size - LOWEST
    root = (above**2 + _BEND**2).sqrt()
    return LOWEST + (above + root) / 2, (1 + above / root) / 2


def exact_from_one(size: Tensor) -> tuple[Tensor, Tensor]:
    """q and dq/d|S| where a size is what it is from 1 on, and levels off smoothly at LOWEST below."""
    below = (1 - LOWEST) * ((size - 1) / (1 - LOWEST)).clamp(max=0).exp()
    is_below = size < 1
    return torch.where(is_below, LOWEST + below, size), torch.where(is_below, below / (1 - LOWEST), 1.0)
