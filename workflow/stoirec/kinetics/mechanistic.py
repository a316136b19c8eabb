"""Textbook rate laws, irreversible: mass action, without parameters, and convenience kinetics with a K per edge."""

import math

import numpy as np
import torch
from torch import Tensor

from stoirec.config.fit import GraphModel
from stoirec.kinetics.rate_law import LearnableLaw, Parameters
from stoirec.network.graph import Graph

LOG_HALF_SATURATION = "log_half_saturation"
_LN10 = math.log(10)
_TYPICAL = 10**0.5  # concentration, where nothing says another
_NEAR_ZERO = 1e-3  # below which a difference is taken from its series


class MassAction(LearnableLaw):
    """F_j = product over substrates of c^|S|; of a coefficient that may have either sign, as far as it consumes.

    A law by factors: a subclass says what one is.

    Args:
        graph: candidate edges.
        allows_zero: whether coefficients may be 0.
    """

    by_consumption = True
    reaction: Tensor

    def __init__(self, graph: Graph, allows_zero: bool = False) -> None:
        super().__init__(graph)
        self.allows_zero = allows_zero
        reaction = torch.repeat_interleave(torch.arange(graph.n_reactions), self.ptr.diff())
        self.register_buffer("reaction", reaction, persistent=False)  # (S,)

    @classmethod
    def of(cls, graph: Graph, shape: GraphModel) -> "MassAction":
        return cls(graph, shape.substrate_gate)

    def part(self, edges: np.ndarray) -> "MassAction":
        return MassAction(self.graph.part(edges), self.allows_zero).to(self.ptr.device)

    def copies(self, number: int) -> "MassAction":
        return type(self)(self.graph.copies(number), self.allows_zero)

    def rates(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> Tensor:
        own = slice(0, len(self.metabolite))
        log_factor = self._log_factor(self._log_c(parameters, concentration, own), size[:, None])
        return self._summed(log_factor).exp()

    def rates_of(self, reactions: Tensor, parameters: Parameters, concentration: Tensor, sizes: Tensor) -> Tensor:
        log_c = self._log_c(parameters, concentration, self.substrates_of(reactions, sizes.shape[1]))
        log_rate = log_c.new_zeros(len(reactions), len(sizes), concentration.shape[0])
        for place, of_edge in enumerate(sizes.T):
            levels, level = of_edge.unique(return_inverse=True)
            log_rate += self._log_factor(log_c[:, place, None], levels[:, None])[:, level]
        return log_rate.exp()

    def derivatives(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        log_c, size = self._log_c(parameters, concentration, slice(0, len(self.metabolite))), size[:, None]
        rate = self._summed(self._log_factor(log_c, size)).exp()
        own = rate[self.reaction]
        return self._on_parameters(rate, log_c, size), own * self._on_size(log_c, size)

    def order(self, size: Tensor) -> Tensor:
        return self._summed(size[:, None])[:, 0]

    def _log_c(self, parameters: Parameters, concentration: Tensor, edges: slice | Tensor) -> Tensor:
        """(*edges, frames) log of what the factor of a substrate edge depends on."""
        least = torch.finfo(concentration.dtype).tiny
        return concentration.T[self.metabolite[edges]].clamp(min=least).log()

    def _log_factor(self, log_c: Tensor, size: Tensor) -> Tensor:
        """Log of the factor of an edge."""
        return size * log_c

    def _on_size(self, log_c: Tensor, size: Tensor) -> Tensor:
        """Its derivative by the size."""
        return log_c

    def _on_parameters(self, rate: Tensor, log_c: Tensor, size: Tensor) -> Tensor:
        """(R, frames, P) derivatives of rates (R, frames) by the parameters: there are none."""
        return rate.new_zeros(*rate.shape, 0)

    def _summed(self, values: Tensor) -> Tensor:
        """(R, frames) sums over the substrates of each reaction of (S, frames); 0 without any."""
        return torch.zeros_like(values[:1]).expand(len(self.ptr) - 1, -1).index_add(0, self.reaction, values)


class ConvenienceKinetics(MassAction):
    """F_j = product over substrates of x^|S| / (1 + x + ... + x^|S|), x = c / K; Michaelis-Menten for |S| = 1.

    Liebermeister and Klipp 2006, Theor. Biol. Med. Model. 3:41, without products. The denominator is
    (x^(|S| + 1) - 1) / (x - 1), which real |S| have as well.

    Parameters:
        log_half_saturation: (S,) log10 of K [concentration], of each substrate edge; of a part of a graph, those of the
            whole.

    Args:
        place: (S,) where the K of each substrate edge stands; None: in order.
    """

    place: Tensor

    def __init__(
        self, graph: Graph, allows_zero: bool = False, place: np.ndarray | None = None, n_constants: int | None = None
    ) -> None:
        super().__init__(graph, allows_zero)
        place = np.arange(len(self.metabolite)) if place is None else place
        self.register_buffer("place", torch.as_tensor(place), persistent=False)
        self.shapes = {LOG_HALF_SATURATION: (len(place) if n_constants is None else n_constants,)}

    def part(self, edges: np.ndarray) -> "ConvenienceKinetics":
        kept = np.isin(self.graph.substrate_edges, edges)
        own = self.place.cpu().numpy()[kept], self.shapes[LOG_HALF_SATURATION][0]
        return ConvenienceKinetics(self.graph.part(edges), self.allows_zero, *own).to(self.ptr.device)

    def initial(self, name: str, rng: np.random.Generator, typical: np.ndarray | None = None) -> np.ndarray:
        """Log-uniform within a decade about the typical concentrations (M,) of the metabolites."""
        middle = _TYPICAL if typical is None else typical[self.metabolite.cpu().numpy()]
        return np.log10(middle) + rng.uniform(-0.5, 0.5, self.shapes[name])

    def with_unit(self, parameters: Parameters, unit: float) -> dict[str, Tensor]:
        return {LOG_HALF_SATURATION: parameters[LOG_HALF_SATURATION] + math.log10(unit)}

    def order(self, size: Tensor) -> Tensor:
        return torch.zeros_like(super().order(size))

    def own(self, reactions: Tensor, number: int, parameters: Parameters) -> Tensor:
        return parameters[LOG_HALF_SATURATION][self.place[self.substrates_of(reactions, number)]]

    def rates_by_own(
        self, reactions: Tensor, parameters: Parameters, concentration: Tensor, sizes: Tensor, own: Tensor
    ) -> Tensor:
        edges = self.substrates_of(reactions, sizes.shape[1])
        log_x = super()._log_c(parameters, concentration, edges)[:, None] - _LN10 * own[..., None]
        return self._log_factor(log_x, sizes[..., None]).sum(2).exp()

    def _log_c(self, parameters: Parameters, concentration: Tensor, edges: slice | Tensor) -> Tensor:
        constant = _LN10 * parameters[LOG_HALF_SATURATION][self.place[edges]][..., None]
        return super()._log_c(parameters, concentration, edges) - constant

    def _log_factor(self, log_c: Tensor, size: Tensor) -> Tensor:
        return size * log_c - _log_geometric(log_c, size + 1)

    def _on_size(self, log_c: Tensor, size: Tensor) -> Tensor:
        # log x - d/dn log (x^n - 1), n = |S| + 1; -1 / n at x = 1
        n = size + 1
        return -_over_expm1(n * log_c) / n

    def _on_parameters(self, rate: Tensor, log_c: Tensor, size: Tensor) -> Tensor:
        found = rate.new_zeros(*rate.shape, *self.shapes[LOG_HALF_SATURATION])
        found[self.reaction, :, self.place] = rate[self.reaction] * self._on_constant(log_c, size)
        return found

    @staticmethod
    def _on_constant(log_c: Tensor, size: Tensor) -> Tensor:
        """Derivative of the log factor of an edge by its log10 K."""
        # by log x: |S| - n e^(nL) / (e^(nL) - 1) + e^L / (e^L - 1), and z e^z / (e^z - 1) = z + z / (e^z - 1)
        n = size + 1
        small = log_c.abs() < _NEAR_ZERO
        safe = torch.where(small, _NEAR_ZERO, log_c)
        by_log = (_over_expm1(safe) - _over_expm1(n * safe)) / safe
        by_log = torch.where(small, (n - 1) / 2 + log_c * (1 - n.square()) / 12, by_log)
        return -_LN10 * by_log


def _log_geometric(log_x: Tensor, n: Tensor) -> Tensor:
    """log (1 + x + ... + x^(n - 1)) = log ((x^n - 1) / (x - 1)), n real."""
    # x^n - 1 over its value to first order, n log x: their ratio has no pole
    return n.log() + _log_expm1_ratio(n * log_x) - _log_expm1_ratio(log_x)


def _log_expm1_ratio(z: Tensor) -> Tensor:
    """log ((e^z - 1) / z)."""
    small = z.abs() < _NEAR_ZERO
    safe = torch.where(small, 1.0, z)
    size = safe.abs()
    # e^z - 1 = e^(z/2) 2 sinh(z/2); log of 2 sinh(|z|/2) without overflow
    found = safe / 2 + size / 2 + torch.log(-torch.expm1(-size)) - size.log()
    return torch.where(small, z / 2 + z.square() / 24, found)


def _over_expm1(z: Tensor) -> Tensor:
    """z / (e^z - 1); 1 at 0."""
    small = z.abs() < _NEAR_ZERO
    safe = torch.where(small, 1.0, z)
    found = safe / torch.expm1(safe.clamp(max=700.0))
    return torch.where(small, 1 - z / 2 + z.square() / 12, found)
