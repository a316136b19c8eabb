"""The kinetics of a simulated network: random frozen functions on its matrix, which a learner has to find."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from stoirec.config.regime import Regime
from stoirec.kinetics.laws import LAWS
from stoirec.kinetics.limiter import FluxLimiter
from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.kinetics.rate_law import RateLaw
from stoirec.network.columns import LUMPED
from stoirec.network.graph import Graph, from_pairs
from stoirec.streams import generator_stream

_STOPPED = -6.0  # rate before softplus below which a reaction stands still: softplus(-6) = 0.0025
_CHUNK, _MESSAGES = 1000, 1 << 20  # frames, and substrates of them, per evaluation: bound memory


@dataclass(frozen=True)
class TrueKinetics:
    """Fluxes of a stoichiometric matrix by a rate law with known parameters.

    Attributes:
        stoichiometry: (M, R) signed coefficients.
        log_k: (R,) log10 of the rate constants [1/time].
        law: of the graph of the nonzero coefficients.
        parameters: name -> array, as law.shapes.
        dt: step of the explicit Euler scheme in which no substrate may be used up; None: no flux limiter.
    """

    stoichiometry: np.ndarray
    log_k: np.ndarray
    law: RateLaw
    parameters: dict[str, np.ndarray]
    dt: float | None = None

    def flux(self, concentration: np.ndarray) -> np.ndarray:
        """(..., M) concentrations -> (..., R) fluxes v [concentration/time]; limited, if there is a limiter."""
        frames = torch.as_tensor(concentration.reshape(-1, len(self.stoichiometry)), dtype=torch.float64)
        at_once = min(_CHUNK, max(1, _MESSAGES // max(1, len(self._size))))
        with torch.no_grad():
            parts = [self._flux(part) for part in frames.split(at_once)]
        return torch.cat(parts, dim=1).T.reshape(*concentration.shape[:-1], -1).numpy()

    def _flux(self, concentration: torch.Tensor) -> torch.Tensor:
        """(frames, M) -> (R, frames)."""
        flux = self._k * self.law.rates(self._tensors, concentration, self._size)
        return flux if self._limiter is None else self._limiter(flux, self._size, concentration)[0] * flux

    def derivative(self, flux: np.ndarray) -> np.ndarray:
        """(..., R) fluxes -> (..., M) dc/dt."""
        return flux @ self._matrix.T

    @cached_property
    def _matrix(self) -> np.ndarray:
        return self.stoichiometry.astype(float)

    @cached_property
    def _k(self) -> torch.Tensor:
        return torch.as_tensor(10.0**self.log_k)[:, None]

    @cached_property
    def _size(self) -> torch.Tensor:
        """(S,) |S| of the substrate edges."""
        graph = self.law.graph
        return torch.as_tensor(np.abs(graph.on_edges(self._matrix))[graph.substrate_edges])

    @cached_property
    def _tensors(self) -> dict[str, torch.Tensor]:
        return {name: torch.as_tensor(values) for name, values in self.parameters.items()}

    @cached_property
    def _limiter(self) -> FluxLimiter | None:
        return None if self.dt is None else FluxLimiter(self.law.graph, self.dt)


def true_graph(stoichiometry: np.ndarray) -> Graph:
    """The graph of the nonzero entries of (M, R), in the roles of their signs."""
    metabolite, reaction = np.nonzero(stoichiometry)
    return from_pairs(*stoichiometry.shape, metabolite, reaction, stoichiometry[metabolite, reaction] < 0)


def true_law(name: str, stoichiometry: np.ndarray, hidden: int, out: int) -> RateLaw:
    """The rate law of that name on the graph of (M, R); `hidden`, `out`: sizes of PDE_M1's functions."""
    graph = true_graph(stoichiometry)
    return PdeM1(graph, hidden, out) if name == "pde_m1" else LAWS[name](graph)


def monotone_substrate_func(rng: np.random.Generator, n_hidden: int, n_out: int) -> dict[str, np.ndarray]:
    """A random message that rises and saturates with c: from about -2.2 without substrate to about +0.5.

    Weights on c are log-uniform in [0.15, 1.5] (half-saturation between about 1 and 10), output weights are
    non-negative. Weights on |S| have either sign, so that the coefficient shifts the curve.
    """
    on_c = np.exp(rng.uniform(np.log(0.15), np.log(1.5), n_hidden))
    on_coefficient = rng.uniform(-0.6, 0.6, n_hidden)
    bias = rng.uniform(-0.3, 0.3, n_hidden)
    weight2 = rng.exponential(1.0, (n_out, n_hidden))
    weight2 /= weight2.sum(axis=1, keepdims=True)
    bias2 = rng.uniform(-2.4, -2.0, n_out)
    return _named("substrate_func", np.column_stack([on_c, on_coefficient]), bias, 2.7 * weight2, bias2)


def monotone_rate_func(rng: np.random.Generator, n_in: int, n_hidden: int) -> dict[str, np.ndarray]:
    """A random rate rising in every message: -7 (no flux) to 2.5 before softplus."""
    weight1 = rng.exponential(1.0, (n_hidden, n_in))
    weight1 *= rng.uniform(1.0, 3.0, (n_hidden, 1)) / weight1.sum(axis=1, keepdims=True)
    bias1 = rng.uniform(0.3, 1.2, n_hidden)
    weight2 = rng.exponential(1.0, n_hidden)
    weight2 *= 5.0 / weight2.sum()
    return _named("rate_func", weight1, bias1, weight2[None], np.array([-2.5]))


def _named(function: str, *layers: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters of a function by the names of PdeM1."""
    return {f"{function}_{name}": values for name, values in zip(("0_weight", "0_bias", "2_weight", "2_bias"), layers)}


def _vanishes(law: PdeM1, parameters: dict[str, np.ndarray], largest: int) -> bool:
    """Whether a reaction of up to three substrates stops when one is gone, however much there is of the others."""
    own = {name: torch.as_tensor(values) for name, values in parameters.items()}
    size = torch.arange(1, largest + 1, dtype=torch.float64)[:, None]
    metabolite = torch.zeros(largest, dtype=torch.int64)
    none, plenty = (law.messages(own, torch.full_like(size, c), size, metabolite) for c in (0.0, 1e3))
    most = plenty.max(dim=1, keepdim=True).values
    highest = [law.responses(own, none + others * most).max() for others in (0, 1, 2)]
    return bool(max(highest) < np.logaddexp(0.0, _STOPPED))


def random_kinetics(regime: Regime, stoichiometry: np.ndarray) -> TrueKinetics:
    """The regime's kinetics on `stoichiometry`: log-uniform rate constants and a rate law with random parameters.

    Those of lumped reactions, such as biomass, are as much smaller as their coefficients are larger.

    Monotone functions are drawn again until every reaction stops when a substrate is gone: concentrations stay
    positive.
    """
    log_k = generator_stream("rate constants", regime.seeds.rate_constants).uniform(
        *regime.log_k, stoichiometry.shape[1]
    )
    size = np.abs(stoichiometry).max(0, initial=1)
    lumped = size > LUMPED
    log_k = log_k - np.where(lumped, np.log10(size / regime.max_coefficient), 0.0)
    rng = generator_stream("mlps", regime.seeds.mlps)
    hidden, out = regime.kinetics.hidden_dim, regime.kinetics.output_size
    law = true_law(regime.kinetics.rate_law, stoichiometry, hidden, out)
    if regime.kinetics.rate_law != "pde_m1" or regime.kinetics.initialisation == "default":
        parameters = {name: law.initial(name, rng) for name in law.shapes}
    else:
        parameters = monotone_substrate_func(rng, hidden, out) | monotone_rate_func(rng, out, hidden)
        largest = max(regime.max_coefficient, *np.abs(stoichiometry[:, ~lumped]).max(0, initial=1))
        while not _vanishes(law, parameters, int(largest)):
            parameters = monotone_substrate_func(rng, hidden, out) | monotone_rate_func(rng, out, hidden)
    return TrueKinetics(stoichiometry, log_k, law, parameters, regime.dt if regime.kinetics.flux_limiter else None)
