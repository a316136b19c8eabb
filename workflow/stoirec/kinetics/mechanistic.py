"""Textbook rate laws: mass action, without parameters, and convenience kinetics with a K per edge."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from stoirec.config.fit import GraphModel
from stoirec.kinetics.rate_law import LearnableLaw, Parameters
from stoirec.network.columns import ColumnSpace, side_by_side
from stoirec.network.graph import Graph

LOG_HALF_SATURATION, HILL = "log_half_saturation", "hill_coefficient"
_LN10 = math.log(10)
_TYPICAL = 10**0.5  # concentration, where nothing says another
_FARTHEST = 6.0  # decades of a K from concentrations, beyond which a rate is linear in them, or constant
_IDLE = 0.02  # standard deviation of the log of a factor that changes no rate
_NEAR_ZERO = 1e-3  # below which a difference is taken from its series


class MassAction(LearnableLaw):
    """F_j = product over substrates of c^|S|; of a coefficient that may have either sign, as far as it consumes.

    A catalyst's factor is c.

    Args:
        graph: candidate edges.
        allows_zero: whether coefficients may be 0.
        catalyses: as of `RateLaw`.
    """

    by_consumption = True
    reaction: Tensor

    def __init__(self, graph: Graph, allows_zero: bool = False, catalyses: np.ndarray | None = None) -> None:
        super().__init__(graph, catalyses)
        self.allows_zero = allows_zero
        reaction = torch.repeat_interleave(torch.arange(graph.n_reactions), self.ptr.diff())
        self.register_buffer("reaction", reaction, persistent=False)  # (S,)

    @classmethod
    def of(cls, space: ColumnSpace, shape: GraphModel) -> "MassAction":
        return cls(space.graph, shape.substrate_gate, space.catalyses)

    def part(self, edges: np.ndarray) -> "MassAction":
        return MassAction(self.graph.part(edges), self.allows_zero, self.catalyses[edges]).to(self.ptr.device)

    def copies(self, number: int) -> "MassAction":
        return MassAction(self.graph.copies(number), self.allows_zero, np.tile(self.catalyses, number))

    def rates(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> Tensor:
        log_c = self._log_c(parameters, concentration, slice(0, len(self.metabolite)))
        return self._summed(self._powers(size)[:, None] * log_c).exp()

    def rates_of(self, reactions: Tensor, parameters: Parameters, concentration: Tensor, sizes: Tensor) -> Tensor:
        edges = self.substrates_of(reactions, sizes.shape[1])
        powers = sizes + self.is_catalyst[edges][:, None]
        return (powers @ self._log_c(parameters, concentration, edges)).exp()

    def derivatives(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_c = self._log_c(parameters, concentration, slice(0, len(self.metabolite)))
        rate = self._summed(self._powers(size)[:, None] * log_c).exp()
        return self._in_order, rate.new_zeros(len(rate), 0, rate.shape[1]), rate[self.reaction] * log_c

    def order(self, size: Tensor) -> Tensor:
        return self._summed(self._powers(size)[:, None])[:, 0]

    def _powers(self, size: Tensor) -> Tensor:
        """(S,) powers of the concentrations."""
        return size + self.is_catalyst

    def _log_c(self, parameters: Parameters, concentration: Tensor, edges: slice | Tensor) -> Tensor:
        """(*edges, frames) log of what the factor of a substrate edge depends on."""
        least = torch.finfo(concentration.dtype).tiny
        return concentration.T[self.metabolite[edges]].clamp(min=least).log()

    @property
    def _in_order(self) -> Tensor:
        """(R,) the reactions."""
        return torch.arange(len(self.ptr) - 1, device=self.ptr.device)

    def _summed(self, values: Tensor) -> Tensor:
        """(R, frames) sums over the substrates of each reaction of (S, frames); 0 without any."""
        return torch.zeros_like(values[:1]).expand(len(self.ptr) - 1, -1).index_add(0, self.reaction, values)


class ConvenienceKinetics(MassAction):
    """F_j = product over substrates of x^|S| / (A + C - 1), times 1 / (1 + x^h) of each catalyst, x = c / K.

    A is the product over substrates of 1 + x + ... + x^|S|, C that over products of 1 + x where the reaction runs both
    ways, and 1 where it does not: Michaelis-Menten for |S| = 1. Liebermeister and Klipp 2006, Theor. Biol. Med. Model.
    3:41, a product taken to be in the way of the substrates by one molecule, and activators, h < 0, and inhibitors,
    h > 0, with Hill coefficients. The factors of A are (x^(|S| + 1) - 1) / (x - 1), which real |S| have as well.

    Parameters:
        log_half_saturation: (S,) log10 of K [concentration], of each substrate edge; a product has that which it has as
            the other direction's substrate. Of a part of a graph, those of the whole.
        hill_coefficient: (catalysts,) h, where there are any; all of them are in every part.

    Args:
        catalyses: as of `RateLaw`.
        reverse_of: (R,) the reaction that a reaction is the other direction of, -1 for none; None: none is.
        place: (S,) where the K of each substrate edge stands; None: in order.
        n_constants: of the whole graph; None: S.
    """

    has_own = True
    place: Tensor
    product: Tensor
    product_of: Tensor

    def __init__(
        self,
        graph: Graph,
        allows_zero: bool = False,
        catalyses: np.ndarray | None = None,
        reverse_of: np.ndarray | None = None,
        place: np.ndarray | None = None,
        n_constants: int | None = None,
    ) -> None:
        super().__init__(graph, allows_zero, catalyses)
        self.reverse_of = np.full(graph.n_reactions, -1) if reverse_of is None else reverse_of
        backward = np.flatnonzero(self.reverse_of >= 0)
        other = np.full(graph.n_reactions, -1)
        other[backward], other[self.reverse_of[backward]] = self.reverse_of[backward], backward
        product_of = other[self.reaction.numpy()]
        product_of[self.catalyst] = -1
        product = np.flatnonzero(product_of >= 0)
        place = np.arange(len(self.metabolite)) if place is None else place
        # which substrate edges are products of the other direction, and of which reaction
        for name, values in (("place", place), ("product", product), ("product_of", product_of[product])):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.int64), persistent=False)
        self.shapes = {LOG_HALF_SATURATION: (len(place) if n_constants is None else n_constants,)}
        if len(self.catalyst):
            self.shapes[HILL] = (len(self.catalyst),)

    @classmethod
    def of(cls, space: ColumnSpace, shape: GraphModel) -> "ConvenienceKinetics":
        return cls(space.graph, shape.substrate_gate, space.catalyses, space.reverse_of)

    def part(self, edges: np.ndarray) -> "ConvenienceKinetics":
        kept = np.isin(self.graph.substrate_edges, edges)
        constants = self.place.cpu().numpy()[kept], self.shapes[LOG_HALF_SATURATION][0]
        own = self.allows_zero, self.catalyses[edges], self.reverse_of, *constants
        return ConvenienceKinetics(self.graph.part(edges), *own).to(self.ptr.device)

    def copies(self, number: int) -> "ConvenienceKinetics":
        own = self.allows_zero, np.tile(self.catalyses, number), side_by_side(self.reverse_of, number)
        return ConvenienceKinetics(self.graph.copies(number), *own)

    def initial(self, name: str, rng: np.random.Generator, typical: np.ndarray | None = None) -> np.ndarray:
        """K log-uniform within a decade about the typical concentrations (M,) of the metabolites; h 0: no effect."""
        if name == HILL:
            return np.zeros(self.shapes[name])
        middle = _TYPICAL if typical is None else typical[self.metabolite.cpu().numpy()]
        return np.log10(middle) + rng.uniform(-0.5, 0.5, self.shapes[name])

    def with_unit(self, parameters: Parameters, unit: float) -> dict[str, Tensor]:
        return dict(parameters) | {LOG_HALF_SATURATION: parameters[LOG_HALF_SATURATION] + math.log10(unit)}

    def within(self, vector: Tensor, concentration: Tensor) -> Tensor:
        most = concentration.amax(0)[self.metabolite]
        log_c = torch.where(most > 0, most, most.amax()).log10()
        constants, rest = vector.tensor_split([self.shapes[LOG_HALF_SATURATION][0]])
        own = constants[self.place].clamp(log_c - _FARTHEST, log_c + _FARTHEST)
        return torch.cat([constants.index_copy(0, self.place, own), rest])

    def roused(self, vector: Tensor, concentration: Tensor) -> Tensor:
        """A catalyst that does nothing is back at h = 0, among its concentrations: there it has a slope, either way."""
        if HILL not in self.shapes:
            return vector
        constants, hill = (part.clone() for part in vector.tensor_split([self.shapes[LOG_HALF_SATURATION][0]]))
        log_c = super()._log_c({}, concentration, self.catalyst)
        log_x = log_c - _LN10 * constants[self.place[self.catalyst], None]
        idle = nn.functional.softplus(hill[:, None] * log_x).std(1) < _IDLE
        hill[idle] = 0.0
        constants[self.place[self.catalyst[idle]]] = log_c[idle].mean(1) / _LN10
        return torch.cat([constants, hill])

    def order(self, size: Tensor) -> Tensor:
        return torch.zeros_like(super().order(size))

    def rates(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> Tensor:
        log_x, size = self._log_c(parameters, concentration, slice(0, len(self.metabolite))), size[:, None]
        free, products = self._summed(_log_geometric(log_x, size + 1)), self._products(log_x)
        powers = self._summed(size * log_x) + self._catalysis(parameters, log_x)
        return (powers - _log_less_one(free, products)).exp()

    def rates_of(self, reactions: Tensor, parameters: Parameters, concentration: Tensor, sizes: Tensor) -> Tensor:
        own = self.own(reactions, sizes.shape[1], parameters)
        return self.rates_by_own(reactions, parameters, concentration, sizes, own[:, None].expand(-1, len(sizes), -1))

    def own(self, reactions: Tensor, number: int, parameters: Parameters) -> Tensor:
        return parameters[LOG_HALF_SATURATION][self.place[self.substrates_of(reactions, number)]]

    def rates_by_own(
        self, reactions: Tensor, parameters: Parameters, concentration: Tensor, sizes: Tensor, own: Tensor
    ) -> Tensor:
        edges, size = self.substrates_of(reactions, sizes.shape[1]), sizes[..., None]
        log_x = super()._log_c(parameters, concentration, edges)[:, None] - _LN10 * own[..., None]
        every = self._log_c(parameters, concentration, slice(0, len(self.metabolite)))
        free, products = _log_geometric(log_x, size + 1).sum(2), self._products(every)[reactions, None]
        powers = (size * log_x).sum(2) + self._catalysis(parameters, every)[reactions, None]
        return (powers - _log_less_one(free, products)).exp()

    def derivatives(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_x, size = self._log_c(parameters, concentration, slice(0, len(self.metabolite))), size[:, None]
        free, products = self._summed(_log_geometric(log_x, size + 1)), self._products(log_x)
        log_all = _log_less_one(free, products)
        rate = (self._summed(size * log_x) + self._catalysis(parameters, log_x) - log_all).exp()
        of_free, of_products = (free - log_all).exp()[self.reaction], (products - log_all).exp()[self.product_of]
        by_log_x = size - of_free * _geometric_slope(log_x, size + 1)
        n_parameters = sum(math.prod(shape) for shape in self.shapes.values())
        found = rate.new_zeros(len(rate), n_parameters, rate.shape[1])
        if HILL in self.shapes:
            hill, of_catalyst = parameters[HILL][:, None], log_x[self.catalyst]
            bound, place = torch.sigmoid(hill * of_catalyst), torch.arange(len(hill), device=hill.device)
            by_log_x[self.catalyst] -= hill * bound
            of_hill = self.shapes[LOG_HALF_SATURATION][0] + place
            found[self.reaction[self.catalyst], of_hill] = -rate[self.reaction[self.catalyst]] * of_catalyst * bound
        found[self.reaction, self.place] = -_LN10 * rate[self.reaction] * by_log_x
        in_the_way = _LN10 * rate[self.product_of] * of_products * torch.sigmoid(log_x[self.product])
        found[self.product_of, self.place[self.product]] = in_the_way
        # d/dn log (x^n - 1) = log x + n log x / (x^n - 1) / n, n = |S| + 1; 1 / n at x = 1
        n = size + 1
        by_size = (1 - of_free) * log_x - of_free * _over_expm1(n * log_x) / n
        return self._in_order, found, rate[self.reaction] * by_size

    def _log_c(self, parameters: Parameters, concentration: Tensor, edges: slice | Tensor) -> Tensor:
        constant = _LN10 * parameters[LOG_HALF_SATURATION][self.place[edges]][..., None]
        return super()._log_c(parameters, concentration, edges) - constant

    def _products(self, log_x: Tensor) -> Tensor:
        """(R, frames) log C from log x (S, frames) of all substrate edges."""
        found = log_x.new_zeros(len(self.ptr) - 1, log_x.shape[1])
        return found.index_add(0, self.product_of, nn.functional.softplus(log_x[self.product]))

    def _catalysis(self, parameters: Parameters, log_x: Tensor) -> Tensor:
        """(R, frames) log of the factors of catalysts from log x (S, frames) of all substrate edges."""
        found = log_x.new_zeros(len(self.ptr) - 1, log_x.shape[1])
        if HILL not in self.shapes:
            return found
        of_each = nn.functional.softplus(parameters[HILL][:, None] * log_x[self.catalyst])
        return found.index_add(0, self.reaction[self.catalyst], -of_each)


def _log_less_one(one: Tensor, other: Tensor) -> Tensor:
    """log (e^one + e^other - 1) of numbers that are not negative; the one if the other is 0."""
    most, least = torch.maximum(one, other), torch.minimum(one, other)
    return most + torch.log1p((least - most).exp() - (-most).exp())


def _geometric_slope(log_x: Tensor, n: Tensor) -> Tensor:
    """Derivative of log (1 + x + ... + x^(n - 1)) by log x, n real."""
    # n e^(nL) / (e^(nL) - 1) - e^L / (e^L - 1), and z e^z / (e^z - 1) = z + z / (e^z - 1)
    small = log_x.abs() < _NEAR_ZERO
    safe = torch.where(small, _NEAR_ZERO, log_x)
    found = n - 1 + (_over_expm1(n * safe) - _over_expm1(safe)) / safe
    return torch.where(small, (n - 1) / 2 + log_x * (n.square() - 1) / 12, found)


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
