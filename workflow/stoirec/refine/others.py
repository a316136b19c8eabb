"""What all B can do together: the linear least-squares problem that a column is judged beside."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stoirec.refine.blocks import Inverse
from stoirec.refine.equations import Equations
from stoirec.refine.state import State

# of the square of a rate: what is left beside the other rates of its row is not less, or its k would be anything
_BESIDE = 1e-6
_NOISE = 1e-9  # mean squared residual of a row, at least
_NOTHING = 1e-200  # square of an effect: less is none, and the inverse of its square would overflow


@dataclass(frozen=True)
class _TakenOut:
    """What is left in the rows of some reactions, each without that one; K unknowns are near, 0 behind those there are.

    Attributes:
        scale: (reactions, n) of its rows; target: (reactions, n, windows) what is left there.
        effect: (reactions, n, K, windows) of the unknowns near it.
        inverse: (reactions, K, K) of theirs; refitted: (reactions, K) what they become.
    """

    scale: Tensor
    target: Tensor
    effect: Tensor
    inverse: Tensor
    refitted: Tensor

    def absorbed(self, rate: Tensor) -> Tensor:
        """(reactions, columns, n, K) products of the unknowns' effects with rates (reactions, columns, windows)."""
        found = rate @ self.effect.flatten(1, 2).transpose(1, 2)
        return self.scale[:, None, :, None] * found.unflatten(2, self.effect.shape[1:3])


class Others:
    """The linear least-squares problem of all B at `state`, from which one reaction at a time is taken out.

    Its unknowns are the B of every edge that is not 0, and one factor for every tied reaction.

    Args:
        equations, state: of which.
        rates: (R, windows, nodes) F, if not that of `state`.
        share: (R, windows, nodes) what a limiter leaves of it; default: as with all columns of `state`.
        weight: (M,) of the residuals of each metabolite; default: over the root of their mean square.
        like: a problem that may differ in a few columns alone.
    """

    def __init__(
        self,
        equations: Equations,
        state: State,
        rates: Tensor | None = None,
        share: Tensor | None = None,
        weight: Tensor | None = None,
        like: "Others | None" = None,
    ) -> None:
        functions, windows = equations.functions, equations.windows
        rates = functions.rates(state, windows) if rates is None else rates
        kept = equations.kept(rates, state.linear, windows) if share is None else rates * share
        residual = equations.matrix(state.linear) @ windows.over_nodes(kept) - windows.target.T
        self.weight = weight = (residual.square().mean(1) + _NOISE).rsqrt() if weight is None else weight
        self.functions, self.linear = functions, state.linear
        self.same_rate = equations.judgement.same_rate
        self.share = torch.where(rates > 0, kept / rates, 1.0)  # (R, windows, nodes)
        self.rate = windows.over_nodes(kept)
        self.left = -weight[:, None] * residual  # (M, windows)
        self.scale = weight / windows.scale  # (M,) a row's residuals per unit of dc/dt

        # (E,) the unknown that an edge moves with: its own, or its tied reaction's; -1 at 0
        tied = (
            torch.zeros_like(functions.sign, dtype=torch.bool) if state.tied is None else state.tied[functions.reaction]
        )
        own = torch.arange(len(tied), device=tied.device)
        moved_by = torch.where(tied, len(tied) + functions.reaction, own)
        moves = state.linear != 0
        unknowns, position = moved_by[moves].unique(return_inverse=True)
        self.unknown = torch.full_like(own, -1).index_put((own[moves],), position)
        self.amount = amount = torch.where(tied, state.linear, 1.0)

        # (entries,) edges that move, by metabolite, and their effects (entries, windows) on its residuals
        edges = functions.by_row[moves[functions.by_row]]
        self.row, self.of_entry = functions.metabolite[edges], self.unknown[edges]
        reaction, per_unknown = functions.reaction[edges], self.scale[self.row] * amount[edges]
        square = self.linear.new_zeros(len(unknowns))
        square.index_add_(0, self.of_entry, per_unknown.square() * self.rate.square().sum(1)[reaction])
        self.size = size = square.clamp(min=_NOTHING).sqrt()
        per_unknown = per_unknown / size[self.of_entry]
        self.effect = per_unknown[:, None] * self.rate[reaction]
        self.right = torch.zeros_like(size).index_add(0, self.of_entry, (self.effect * self.left[self.row]).sum(1))
        by_edge = torch.zeros_like(self.linear).index_copy(0, edges, per_unknown)
        one, other = (side[moves[functions.in_one_row].all(0)] for side in functions.in_one_row)
        products = (self.rate @ self.rate.T)[functions.reaction[one], functions.reaction[other]]
        n_own = int((unknowns < len(tied)).sum())
        pairs = self.unknown[one], self.unknown[other], by_edge[one] * by_edge[other] * products
        nearly = None if like is None else like._normal
        self._normal = Inverse.of(*pairs, functions.metabolite[one], n_own, unknowns, nearly)

    @property
    def inverse(self) -> Tensor:
        """(unknowns, unknowns) of the normal equations."""
        return self._padded_inverse[:-1, :-1]

    def unexplained(self) -> Tensor:
        """(M,) sums of squared residuals, weighted, with all unknowns refitted."""
        return self.residual().square().sum(1)

    def residual(self) -> Tensor:
        """(M, windows) what is left, weighted, with all unknowns refitted."""
        change = self._solved[self.of_entry, None] * self.effect
        return self.left - torch.zeros_like(self.left).index_add(0, self.row, change)

    def on_unknowns(self, rows: Tensor) -> Tensor:
        """(n, unknowns) products of the unknowns' effects with changes of all residuals (n, M, windows)."""
        found = rows.new_zeros(len(rows), len(self.size))
        last = torch.searchsorted(self.row, torch.arange(rows.shape[1], device=rows.device), right=True).tolist()
        for row, (start, stop) in enumerate(zip([0, *last], last)):
            found[:, self.of_entry[start:stop]] += rows[:, row] @ self.effect[start:stop].T
        return found

    def refitted(self) -> Tensor:
        """(E,) B with all unknowns refitted."""
        change = torch.nn.functional.pad(self._solved[:-1] / self.size, (0, 1))  # the last for B = 0
        return self.linear + self.amount * change[self.unknown]

    def beside(self, reactions: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What rates of reactions with as many edges say of their B, the B of all others refitted without that one.

        Args:
            rate: (reactions, columns, windows).

        Returns:
            explained: (reactions, columns, n) P x_e times P y for each of its n edges e, per unit of B.
            size: (reactions, columns, n, n) P x_d times P x_e.
            shared: (reactions, columns, n) bool, edges whose effect the others can do as far as the functions tell: so
                it is where two reactions that the same metabolites drive have both an edge.
        """
        edges = self.functions.edges_of(reactions)
        if len(self._normal.of_factors) or not self.functions.allows_zero:  # few edges are as soon done together
            without = self._without(edges[:, None], reactions[:, None])
            return self._effects(rate, without.absorbed(rate), without)
        # nothing moves B of several rows: each is a problem of its own
        rows = edges.reshape(-1, 1, 1), reactions.repeat_interleave(edges.shape[1])[:, None]
        without, rate = self._without(*rows), rate.repeat_interleave(edges.shape[1], dim=0)
        found = self._effects(rate, without.absorbed(rate), without)
        explained, size, shared = (part.view(*edges.shape, -1).transpose(1, 2) for part in found)
        return explained, torch.diag_embed(size), shared

    def beside_both(self, forward: int, backward: int, rate: Tensor, back_rate: Tensor) -> tuple:
        """The same for two reactions of the same metabolites, at rates (U, windows) and (V, windows), without both.

        Returns:
            explained (U, n), of the other (V, n), size (U, n, n), (V, n, n), and between, (U, V, n, n) P x_d times
            P x_e; and whether others share an edge's effect.
        """
        reactions = torch.tensor([[forward, backward]], device=rate.device)
        edges = self.functions.edges_of(reactions[0])
        without = self._without(edges[None], reactions)
        rates = rate[None], back_rate[None]
        absorbed = [without.absorbed(own) for own in rates]
        found = [self._effects(own, through, without) for own, through in zip(rates, absorbed)]
        between = torch.diag_embed((rate @ back_rate.T)[:, :, None] * without.scale[0] ** 2)
        between = between - torch.einsum("und,vmd->uvnm", absorbed[0][0] @ without.inverse[0], absorbed[1][0])
        (explained, size, shared), (of_back, back_size, back_shared) = found
        parts = (explained[0], of_back[0], size[0], back_size[0])
        return *parts, between, bool(shared.any() or back_shared.any())

    def _without(self, edges: Tensor, reactions: Tensor) -> _TakenOut:
        """What is left in their rows without edges (G, taken, n) of reactions (G, taken), a line of the same rows."""
        metabolites = self.functions.metabolite[edges[:, 0]]
        scale, left = self.scale[metabolites], self.left[metabolites]
        own_part = scale[..., None] * (self.linear[edges].transpose(1, 2) @ self.rate[reactions])
        target = left + own_part

        own, near = self._own(edges), self._near(edges, metabolites)  # both filled with one unknown behind the last
        there = own < len(self.size)
        effect = self._padded_effect[self._entry(metabolites[:, :, None], near[:, None])]
        more = (effect.transpose(1, 2).flatten(2) @ own_part.flatten(1)[..., None])[..., 0]
        right = self._padded_right.expand(len(near), -1).scatter_add(1, near, more).scatter(1, own, 0.0)
        # at once: in parts, rounding errors of large numbers would be left
        solved = torch.nn.functional.pad(self._normal.solve(right[:, :-1]), (0, 1))
        of_own = self._padded_inverse[own[:, :, None], own[:, None]]
        of_near = self._padded_inverse[near[:, :, None], near[:, None]]
        # near a singular one the inverse is symmetric but for large rounding errors: nothing is transposed
        to_own, to_near = (self._padded_inverse[a[:, :, None], b[:, None]] for a, b in ((near, own), (own, near)))
        identity = torch.eye(own.shape[1], dtype=of_own.dtype, device=of_own.device)
        both = there[:, :, None] & there[:, None]
        through = to_own @ torch.linalg.inv(torch.where(both, of_own, identity))
        at_near, at_own = (solved.gather(1, at)[..., None] for at in (near, own))
        inverse = of_near - through @ to_near
        return _TakenOut(scale, target, effect, inverse, (at_near - through @ at_own)[..., 0])

    def _own(self, edges: Tensor) -> Tensor:
        """(G, taken n) unknowns that edges (G, taken, n) move with, each once."""
        own = self.unknown[edges].flatten(1)
        own = torch.where(own < 0, len(self.size), own).sort(1).values
        again = torch.zeros_like(own, dtype=torch.bool)
        again[:, 1:] = own[:, 1:] == own[:, :-1]
        return torch.where(again, len(self.size), own)

    def n_near(self, reactions: Tensor) -> Tensor:
        """(n,) unknowns in the rows of each of some reactions with as many edges, its own included."""
        return self._in_row[self.functions.metabolite[self.functions.edges_of(reactions)]].any(1).sum(1)

    def _near(self, edges: Tensor, metabolites: Tensor) -> Tensor:
        """(G, K) unknowns of other edges in the rows of `metabolites` (G, n); those elsewhere are refitted too."""
        beside = self._in_row[metabolites].any(1).scatter(1, self._own(edges), False)[:, :-1]
        number = beside.sum(1)
        which, unknown = beside.nonzero(as_tuple=True)
        place = torch.arange(len(which), device=which.device) - (number.cumsum(0) - number)[which]
        most = min(beside.shape[1], max(1, int(number.max())))
        found = edges.new_full((len(edges), most), beside.shape[1])
        return found.index_put((which, place), unknown)

    def _entry(self, metabolite: Tensor, unknown: Tensor) -> Tensor:
        """Where the effects of unknowns on the residuals of metabolites stand; the last where there is none."""
        key = metabolite * (len(self.size) + 1) + unknown
        place = torch.searchsorted(self._keys, key).clamp(max=len(self._keys) - 1)
        return torch.where(self._keys[place] == key, place, len(self._keys))

    @cached_property
    def _sorted(self) -> tuple[Tensor, Tensor]:
        """(entries,) pairs of metabolite and unknown as one number, in order, and where these stand."""
        return (self.row * (len(self.size) + 1) + self.of_entry).sort()

    @property
    def _keys(self) -> Tensor:
        return self._sorted[0]

    @cached_property
    def _padded_effect(self) -> Tensor:
        """(entries + 1, windows) effects of these pairs; then one of nothing."""
        return torch.nn.functional.pad(self.effect[self._sorted[1]], (0, 0, 0, 1))

    @cached_property
    def _in_row(self) -> Tensor:
        """(M, unknowns + 1) bool, which of them a row has."""
        found = torch.zeros(len(self.left), len(self.size) + 1, dtype=torch.bool, device=self.size.device)
        found.view(-1)[self._keys] = True
        return found

    @cached_property
    def _padded_inverse(self) -> Tensor:
        return self._normal.padded()

    @cached_property
    def _padded_right(self) -> Tensor:
        return torch.nn.functional.pad(self.right, (0, 1))

    @cached_property
    def _solved(self) -> Tensor:
        return torch.nn.functional.pad(self._normal.solve(self.right[None])[0], (0, 1))

    def _effects(self, rate: Tensor, absorbed: Tensor, without: _TakenOut) -> tuple[Tensor, Tensor, Tensor]:
        scale = without.scale[:, None]
        explained = scale * (rate @ without.target.transpose(1, 2))
        explained = explained - (absorbed @ without.refitted[:, None, :, None])[..., 0]
        square = rate.square().sum(2, keepdim=True) * scale**2
        size = torch.diag_embed(square * (1 + _BESIDE)) - absorbed @ without.inverse[:, None] @ absorbed.mT
        return explained, size, size.diagonal(dim1=2, dim2=3) < self.same_rate**2 * square
