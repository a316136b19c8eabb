"""The objective: mean squared residual plus a small weight on relative column sums, which are zero by mass balance."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from stoirec.kinetics.limiter import FluxLimiter
from stoirec.refine.frames import Frames
from stoirec.refine.functions import Functions
from stoirec.refine.jacobian import Dense, Normal, RowWise, with_limiter
from stoirec.refine.state import State

MASS = 1e-2  # weight of the relative column sums, against the mean squared residual
_CHUNK = 120  # windows per block of the Jacobian: bounds memory
_FRAMES_AT_ONCE = 1000  # in an evaluation of the rates alone


class Equations:
    """Residuals of `functions` on `frames`, the rates limited by `limiter` if there is one."""

    def __init__(self, functions: Functions, frames: Frames, limiter: FluxLimiter | None = None) -> None:
        self.functions, self.frames, self.limiter = functions, frames, limiter
        self.graph = functions.graph
        self.metabolite, self.reaction = functions.metabolite, functions.reaction

    def part(self, edges: Tensor) -> "Equations":
        """Those of the graph with `edges` (positions) alone."""
        functions = self.functions.part(edges)
        limiter = (
            None if self.limiter is None else FluxLimiter(functions.graph, self.limiter.dt).to(self.frames.dcdt.device)
        )
        return Equations(functions, self.frames, limiter)

    @property
    def n_residuals(self) -> int:
        return self.frames.dcdt.numel()

    def matrix(self, linear: Tensor) -> Tensor:
        """(M, R) B, rows divided by the scale of their residuals."""
        dense = linear.new_zeros(self.graph.n_metabolites, self.graph.n_reactions)
        dense[self.metabolite, self.reaction] = linear
        return dense / self.frames.scale[:, None]

    def column_sums(self, state: State) -> Tensor:
        """(R,) column sums of B relative to k."""
        return (
            state.linear.new_zeros(self.graph.n_reactions).index_add_(0, self.reaction, state.linear) / 10**state.log_k
        )

    def shares(self, rate: Tensor, linear: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
        """What the limiter leaves of F (R, frames) at concentrations (frames, M), and the metabolites that limit."""
        return self.limiter(rate, -linear[self.functions.substrates].clamp(max=0), concentration)

    def kept(self, rate: Tensor, linear: Tensor, frames: Frames) -> Tensor:
        """(R, windows, nodes) of F (R, windows, nodes), what the limiter leaves."""
        if self.limiter is None:
            return rate
        share, _ = self.shares(rate.flatten(1), linear, frames.concentration.flatten(0, 1))
        return rate * share.unflatten(1, rate.shape[1:])

    def predicted(self, rate: Tensor, linear: Tensor, frames: Frames) -> Tensor:
        """(M, windows) means of dc/dt over scale, for F (R, windows, nodes)."""
        return self.matrix(linear) @ (self.kept(rate, linear, frames) @ frames.weight)

    def cost(self, state: State) -> tuple[float, float]:
        """(objective, mean squared residual)."""
        windows = max(1, _FRAMES_AT_ONCE // self.frames.concentration.shape[1])
        parts = self.frames.chunks(windows)
        square = sum(
            (self.predicted(self.functions.rates(state, part), state.linear, part) - part.dcdt.T).square().sum()
            for part in parts
        )
        residual = float(square / self.n_residuals)
        return residual + MASS * float(self.column_sums(state).square().mean()), residual

    def linearised(self, state: State) -> Iterator[tuple[Frames, Tensor, RowWise | Dense]]:
        """By chunks of windows: the chunk, F (R, windows, nodes) and the residuals with their Jacobian at the windows' centres."""
        matrix = self.matrix(state.linear)
        for part in self.frames.chunks(_CHUNK):
            rate = self.functions.rates(state, part)
            residual = self.predicted(rate, state.linear, part) - part.dcdt.T
            on_weights, on_order = self.functions.derivatives(state, part.centre)
            if self.limiter is None:
                through_weights = (matrix @ on_weights.flatten(1)).reshape(self.graph.n_metabolites, len(part), -1)
                yield (
                    part,
                    rate,
                    RowWise(
                        self.functions,
                        self.frames.scale,
                        matrix,
                        rate @ part.weight,
                        residual,
                        through_weights,
                        on_order,
                    ),
                )
            else:
                at_centre = rate[:, :, rate.shape[2] // 2]
                share, limiting = self.shares(at_centre, state.linear, part.centre)
                yield (
                    part,
                    rate,
                    with_limiter(
                        self.functions,
                        matrix,
                        self.frames.scale,
                        state.linear,
                        at_centre,
                        share,
                        limiting,
                        residual,
                        on_weights,
                        on_order,
                    ),
                )

    def normal(self, state: State) -> Normal:
        """J'J and J'r at `state`, per residual."""
        parts = (jacobian.gram() for _, _, jacobian in self.linearised(state))
        total = next(parts)
        for part in parts:
            total = total + part
        return replace(total, matrix=total.matrix / self.n_residuals, right=total.right / self.n_residuals)
