"""What all B can do together: the linear least-squares problem that a column is judged beside."""

import torch
from torch import Tensor

from stoirec.refine.equations import Equations
from stoirec.refine.state import State

# of the square of a rate: what is left beside the other rates of its row is not less, or its k would be anything
_BESIDE = 1e-6
_NOISE = 1e-9  # mean squared residual of a row, at least
_RIDGE = 1e-9  # of the squares of an unknown's effects: rates of one row may be the same


class Others:
    """The linear least-squares problem of all B at `state`, from which one reaction at a time is taken out.

    Its unknowns are the B of every edge that is not 0, and one factor for every tied reaction.

    Args:
        equations, state: of which.
        rates: (R, windows, nodes) F, if not that of `state`.
        share: (R, windows, nodes) what a limiter leaves of it; default: as with all columns of `state`.
        weight: (M,) of the residuals of each metabolite; default: over the root of their mean square.
    """

    def __init__(
        self,
        equations: Equations,
        state: State,
        rates: Tensor | None = None,
        share: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> None:
        functions, windows = equations.functions, equations.windows
        rates = functions.rates(state, windows) if rates is None else rates
        kept = equations.kept(rates, state.linear, windows) if share is None else rates * share
        residual = equations.matrix(state.linear) @ windows.over_nodes(kept) - windows.target.T
        self.weight = weight = (residual.square().mean(1) + _NOISE).rsqrt() if weight is None else weight
        self.functions, self.linear = functions, state.linear
        self.edges_of, self.same_rate = equations.graph.edges_of, equations.judgement.same_rate
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

        self.rows = []  # by metabolite: unknowns, and their effects (n, windows) on its residuals
        square = self.linear.new_zeros(len(unknowns))
        for metabolite, edges in enumerate(functions.edges_of_metabolite):
            edges = edges[moves[edges]]
            effect = self.scale[metabolite] * amount[edges, None] * self.rate[functions.reaction[edges]]
            self.rows.append((self.unknown[edges], effect))
            square.index_add_(0, self.unknown[edges], effect.square().sum(1))
        self.size = size = square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()
        self.rows = [(unknown, effect / size[unknown, None]) for unknown, effect in self.rows]
        normal = torch.diag(torch.full_like(size, _RIDGE))
        self.right = torch.zeros_like(size)
        for (unknown, effect), left in zip(self.rows, self.left):
            normal[unknown[:, None], unknown] += effect @ effect.T
            self.right.index_add_(0, unknown, effect @ left)
        self.inverse = torch.linalg.inv(normal)

    def unexplained(self) -> Tensor:
        """(M,) sums of squared residuals, weighted, with all unknowns refitted."""
        change = self.inverse @ self.right
        return torch.stack([(left - change[own] @ by).square().sum() for (own, by), left in zip(self.rows, self.left)])

    def refitted(self) -> Tensor:
        """(E,) B with all unknowns refitted."""
        change = torch.cat([self.inverse @ self.right / self.size, self.size.new_zeros(1)])  # the last for B = 0
        return self.linear + self.amount * change[self.unknown]

    def beside(self, reaction: int, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `rate` (columns, windows) of a reaction says of its B, the B of all others refitted without it.

        Returns:
            explained: (columns, n) P x_e times P y for each of its n edges e, per unit of B.
            size: (columns, n, n) P x_d times P x_e.
            shared: (columns, n) bool, edges whose effect the others can do as far as the functions tell: so it is
                where two reactions that the same metabolites drive have both an edge.
        """
        scale, target, effect, inverse, refitted = self._without(reaction)
        absorbed = scale[:, None] * torch.einsum("cw,nuw->cnu", rate, effect)
        return self._effects(rate, absorbed, scale, target, inverse, refitted)

    def beside_both(self, forward: int, backward: int, rate: Tensor, back_rate: Tensor) -> tuple:
        """The same for two reactions of the same metabolites, at rates (U, windows) and (V, windows), without both.

        Returns:
            explained (U, n), of the other (V, n), size (U, n, n), (V, n, n), and between, (U, V, n, n) P x_d times
            P x_e; and whether others share an edge's effect.
        """
        scale, target, effect, inverse, refitted = self._without(forward, backward)
        absorbed = [scale[:, None] * torch.einsum("cw,nuw->cnu", own, effect) for own in (rate, back_rate)]
        found = [
            self._effects(own, through, scale, target, inverse, refitted)
            for own, through in zip((rate, back_rate), absorbed)
        ]
        between = torch.diag_embed((rate @ back_rate.T)[:, :, None] * scale**2)
        between = between - torch.einsum("und,vmd->uvnm", absorbed[0] @ inverse, absorbed[1])
        (explained, size, shared), (of_back, back_size, back_shared) = found
        return explained, of_back, size, back_size, between, bool(shared.any() or back_shared.any())

    def _without(self, *reactions: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Of the rows (n,) of reactions with the same metabolites, which are taken out: scale (n,), what is left there
        (n, windows), effects (n, near, windows) of the unknowns near them, their inverse, and how these are refitted.
        """
        edges = [self.edges_of(reaction) for reaction in reactions]
        metabolites = self.functions.metabolite[edges[0]]
        scale = self.scale[metabolites]
        target = self.left[metabolites]
        for reaction, its in zip(reactions, edges):
            target = target + scale[:, None] * self.linear[its, None] * self.rate[reaction]
        rows = [self.rows[metabolite] for metabolite in metabolites.tolist()]

        own = torch.cat([self.unknown[its] for its in edges])
        own = own[own >= 0].unique()
        near = torch.cat([unknown for unknown, _ in rows]).unique()
        near = near[~torch.isin(near, own)]  # the unknowns beside it in its rows; those elsewhere are refitted too
        effect = target.new_zeros(len(rows), len(near), target.shape[1])
        right = self.right.clone()
        for place, (unknown, by) in enumerate(rows):
            right.index_add_(0, unknown, by @ (target[place] - self.left[metabolites[place]]))
            kept = torch.isin(unknown, near)
            effect[place, torch.searchsorted(near, unknown[kept])] = by[kept]
        right[own] = 0.0
        through = self.inverse[near][:, own] @ torch.linalg.inv(self.inverse[own][:, own])
        inverse = self.inverse[near][:, near] - through @ self.inverse[own][:, near]
        return scale, target, effect, inverse, self.inverse[near] @ right - through @ (self.inverse[own] @ right)

    def _effects(
        self, rate: Tensor, absorbed: Tensor, scale: Tensor, target: Tensor, inverse: Tensor, refitted: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        explained = scale * (rate @ target.T) - absorbed @ refitted
        square = rate.square().sum(1)[:, None] * scale**2
        size = torch.diag_embed(square * (1 + _BESIDE)) - absorbed @ inverse @ absorbed.transpose(1, 2)
        return explained, size, size.diagonal(dim1=1, dim2=2) < self.same_rate**2 * square
