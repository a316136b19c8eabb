"""The objective: mean squared residual plus a small weight on relative column sums of what is conserved."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from stoirec.config.judgement import DEFAULT, Judgement
from stoirec.data.windows import Integrals, Windows
from stoirec.kinetics.limiter import FluxLimiter
from stoirec.refine.functions import Functions
from stoirec.refine.jacobian import Dense, Followers, Normal, RowWise, Slopes, with_limiter
from stoirec.refine.state import State
from stoirec.refine.unmeasured import Unmeasured

MASS = 1e-2  # weight of the relative column sums of each conserved quantity, against the mean squared residual
_CHUNK, _NUMBERS = 120, 1 << 26  # windows per block of the Jacobian, and derivatives by weights: bound memory
_FRAMES_AT_ONCE = 1000  # in an evaluation of the rates alone


class Equations:
    """Residuals of `functions` on `windows`, the rates limited by `limiter` if there is one, and their judgement.

    With `unmeasured` metabolites the concentrations of these in the windows are unknowns as well; never in integrals.
    """

    def __init__(
        self,
        functions: Functions,
        windows: Windows | Integrals,
        limiter: FluxLimiter | None = None,
        judgement: Judgement = DEFAULT,
        unmeasured: Unmeasured | None = None,
    ) -> None:
        self.functions, self.windows, self.limiter, self.judgement = functions, windows, limiter, judgement
        self.unmeasured = unmeasured
        self.graph = functions.graph
        self.metabolite, self.reaction = functions.metabolite, functions.reaction

    def part(self, edges: Tensor, device: torch.device) -> "Equations":
        """Those of the graph with `edges` (positions) alone, on a device."""
        functions = self.functions.part(edges, device)
        limiter = None if self.limiter is None else FluxLimiter(functions.graph, self.limiter.dt).to(device)
        unmeasured = None if self.unmeasured is None else self.unmeasured.to(device)
        return Equations(functions, self.windows.to(device), limiter, self.judgement, unmeasured)

    def followed(self, state: State) -> "Equations":
        """The same with the unmeasured concentrations that are likeliest at `state`."""
        if self.unmeasured is None or not isinstance(self.windows, Windows):
            return self
        windows = self.unmeasured.followed(self.windows, functools.partial(self._residual, state))
        return Equations(self.functions, windows, self.limiter, self.judgement, self.unmeasured)

    def _residual(self, state: State, windows: Windows | Integrals) -> Tensor:
        """(windows, M)."""
        return self.predicted(self.functions.rates(state, windows), state.linear, windows).T - windows.target

    @property
    def n_residuals(self) -> int:
        return self.windows.target.numel()

    def matrix(self, linear: Tensor) -> Tensor:
        """(M, R) B, rows divided by the scale of their residuals."""
        dense = linear.new_zeros(self.graph.n_metabolites, self.graph.n_reactions)
        dense[self.metabolite, self.reaction] = linear
        return dense / self.windows.scale[:, None]

    def amounts(self, state: State) -> Tensor:
        """(quantities, E) of what is conserved; 0 in reactions that no column of the space is right for."""
        return torch.where(state.is_outside[self.reaction], 0.0, self.functions.amounts)

    def column_sums(self, state: State) -> Tensor:
        """(quantities, R) conserved sums of the columns of B, relative to k; zero where they are conserved."""
        amounts = self.amounts(state)
        sums = state.linear.new_zeros(len(amounts), self.graph.n_reactions)
        return sums.index_add_(1, self.reaction, amounts * state.linear) / 10**state.log_k

    def shares(self, rate: Tensor, linear: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
        """What the limiter leaves of F (R, frames) at concentrations (frames, M), and the metabolites that limit."""
        return self.limiter(rate, -linear[self.functions.substrates].clamp(max=0), concentration)

    def kept(self, rate: Tensor, linear: Tensor, windows: Windows | Integrals) -> Tensor:
        """(R, windows, nodes) of F (R, windows, nodes), what the limiter leaves."""
        if self.limiter is None:
            return rate
        share, _ = self.shares(rate.flatten(1), linear, windows.concentration.flatten(0, 1))
        return rate * share.unflatten(1, rate.shape[1:])

    def predicted(self, rate: Tensor, linear: Tensor, windows: Windows | Integrals) -> Tensor:
        """(M, residuals) what windows hold of dc/dt, over scale, for F (R, windows, nodes)."""
        return self.matrix(linear) @ windows.over_nodes(self.kept(rate, linear, windows))

    def cost(self, state: State) -> tuple[float, float]:
        """(objective, mean squared residual)."""
        parts = self.windows.chunks(max(1, _FRAMES_AT_ONCE // self.windows.concentration.shape[1]))
        square = sum(
            (self.predicted(self.functions.rates(state, part), state.linear, part) - part.target.T).square().sum()
            for part in parts
        )
        residual = float(square / self.n_residuals)
        return residual + MASS * float(self.column_sums(state).square().sum(0).mean()), residual

    def normal(self, state: State, slopes: Slopes, on_size: Callable[[Tensor, Tensor], Tensor] | None = None) -> Normal:
        """J'J and J'r at `state`, per residual.

        Args:
            slopes: of B and q by what moves besides the weights.
            on_size: of concentrations (points, M) and dF/dq (S, points) there, what is taken for these; default: they.
        """
        numbers = self.graph.n_reactions * max(1, len(state.weights))
        at_once = min(_CHUNK, max(1, _NUMBERS // numbers))
        parts = (self._jacobian(state, part, on_size).gram(slopes) for part in self.windows.chunks(at_once))
        total = next(parts)
        for part in parts:
            total.matrix.add_(part.matrix)
            total.gradient.add_(part.gradient)
        return Normal(total.matrix.div_(self.n_residuals), total.gradient.div_(self.n_residuals))

    def _jacobian(
        self, state: State, part: Windows | Integrals, taken: Callable[[Tensor, Tensor], Tensor] | None
    ) -> RowWise | Dense:
        """Residuals of some windows with their Jacobian at the windows' points."""
        matrix, scale = self.matrix(state.linear), self.windows.scale
        rate = self.functions.rates(state, part)
        residual = self.predicted(rate, state.linear, part) - part.target.T
        order, on_weights, on_size = self.functions.derivatives(state, part.points)
        on_size = on_size if taken is None else taken(part.points, on_size)
        if self.limiter is None:
            entries = torch.stack([self.metabolite, order.argsort()[self.reaction]])
            values = state.linear / scale[self.metabolite]
            sparse = torch.sparse_coo_tensor(entries, values, matrix.shape, check_invariants=False)
            of_points = (sparse @ on_weights.flatten(1)).unflatten(1, on_weights.shape[1:])
            changes = part.over_nodes(rate), residual, part.over_points(of_points), part.over_points(on_size)
            return RowWise(self.functions, scale, matrix, *changes, self._followers(state, part))
        at_centre = rate[:, :, rate.shape[2] // 2]
        share, limiting = self.shares(at_centre, state.linear, part.points)
        changes = residual, order, on_weights, on_size
        return with_limiter(self.functions, matrix, scale, state.linear, at_centre, share, limiting, *changes)

    def _followers(self, state: State, part: Windows | Integrals) -> Followers | None:
        if self.unmeasured is None or not isinstance(part, Windows):
            return None
        residual = functools.partial(self._residual, state)
        slope = self.unmeasured.slopes(part, residual)
        off = self.unmeasured.in_the_middle(part) - self.unmeasured.usual
        return Followers(slope, off, self.unmeasured.prior(residual(part)))
