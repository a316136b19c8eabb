"""The kinetics of a simulated network: random frozen functions on its matrix, which a learner has to find."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from stoirec.config.regime import Regime
from stoirec.kinetics.laws import LAWS
from stoirec.kinetics.limiter import FluxLimiter
from stoirec.kinetics.mechanistic import HILL
from stoirec.kinetics.pde_m1 import REACTION_EMBEDDING, PdeM1
from stoirec.kinetics.rate_law import LearnableLaw, RateLaw
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


def true_graph(stoichiometry: np.ndarray, catalyses: np.ndarray | None = None) -> Graph:
    """The graph of the nonzero entries of (M, R), in the roles of their signs, and of catalysts, which drive."""
    catalyses = np.zeros(stoichiometry.shape, bool) if catalyses is None else catalyses
    metabolite, reaction = np.nonzero((stoichiometry != 0) | catalyses)
    drives = (stoichiometry < 0) | catalyses
    n_metabolites, n_reactions = stoichiometry.shape
    return from_pairs(n_metabolites, n_reactions, metabolite, reaction, drives[metabolite, reaction])


def true_law(
    name: str,
    stoichiometry: np.ndarray,
    hidden: int,
    out: int,
    enzyme_dim: int,
    reverse_of: np.ndarray | None = None,
    catalyses: np.ndarray | None = None,
) -> LearnableLaw:
    """The rate law of that name on the graph of (M, R).

    Args:
        hidden, out: sizes of PDE_M1's functions; enzyme_dim: numbers per reaction of pde_m1_enzymes.
        reverse_of: (R,) whose other direction a reaction is; catalyses: (M, R) bool, what drives without a change.
    """
    graph = true_graph(stoichiometry, catalyses)
    of_edges = None if catalyses is None else graph.on_edges(catalyses)
    own: dict[str, dict[str, Any]] = {
        "pde_m1": {"hidden_dim": hidden, "output_size": out},
        "pde_m1_enzymes": {"hidden_dim": hidden, "output_size": out, "enzyme_dim": enzyme_dim},
        "convenience": {"reverse_of": reverse_of},
    }
    return LAWS[name](graph, catalyses=of_edges, **own.get(name, {}))


def monotone_substrate_func(
    rng: np.random.Generator, n_hidden: int, n_out: int, embedding: int = 0
) -> dict[str, np.ndarray]:
    """A random message that rises and saturates with c: from about -2.2 without substrate to about +0.5.

    Weights on c are log-uniform in [0.15, 1.5] (half-saturation between about 1 and 10), output weights are
    non-negative. Weights on |S|, and on the `embedding` numbers of a reaction, have either sign: they shift the curve.
    """
    on_c = np.exp(rng.uniform(np.log(0.15), np.log(1.5), n_hidden))
    on_coefficient = rng.uniform(-0.6, 0.6, n_hidden)
    bias = rng.uniform(-0.3, 0.3, n_hidden)
    weight2 = rng.exponential(1.0, (n_out, n_hidden))
    weight2 /= weight2.sum(axis=1, keepdims=True)
    bias2 = rng.uniform(-2.4, -2.0, n_out)
    on_embedding = rng.uniform(-0.6, 0.6, (n_hidden, embedding))
    on_inputs = np.column_stack([on_c, on_coefficient, on_embedding])
    return _named("substrate_func", on_inputs, bias, 2.7 * weight2, bias2)


def monotone_rate_func(rng: np.random.Generator, n_in: int, n_hidden: int) -> dict[str, np.ndarray]:
    """A random rate rising in every message: -7 (no flux) to 2.5 before softplus."""
    weight1 = rng.exponential(1.0, (n_hidden, n_in))
    weight1 *= rng.uniform(1.0, 3.0, (n_hidden, 1)) / weight1.sum(axis=1, keepdims=True)
    bias1 = rng.uniform(0.3, 1.2, n_hidden)
    weight2 = rng.exponential(1.0, n_hidden)
    weight2 *= 5.0 / weight2.sum()
    return _named("rate_func", weight1, bias1, weight2[None], np.array([-2.5]))


def _monotone(rng: np.random.Generator, law: PdeM1) -> dict[str, np.ndarray]:
    """Both functions, and the embeddings of reactions, if the law has any."""
    hidden, out, _, _, embedding, _ = law.architecture
    found = monotone_substrate_func(rng, hidden, out, embedding) | monotone_rate_func(rng, out, hidden)
    if embedding:
        found[REACTION_EMBEDDING] = rng.standard_normal(law.shapes[REACTION_EMBEDDING])
    return found


def _named(function: str, *layers: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters of a function by the names of PdeM1."""
    return {f"{function}_{name}": values for name, values in zip(("0_weight", "0_bias", "2_weight", "2_bias"), layers)}


def _vanishes(law: PdeM1, parameters: dict[str, np.ndarray], largest: int) -> bool:
    """Whether a reaction of up to three substrates stops when one is gone, however much there is of the others."""
    own = {name: torch.as_tensor(values) for name, values in parameters.items()}
    edges = torch.arange(len(law.metabolite) if REACTION_EMBEDDING in own else 1)  # without, all have the same message
    size = torch.arange(1, largest + 1, dtype=torch.float64).repeat(len(edges))[:, None]
    edges = edges.repeat_interleave(largest)
    none, plenty = (law.messages(own, torch.full_like(size, c), size, edges) for c in (0.0, 1e3))
    most = plenty.max(dim=1, keepdim=True).values
    highest = [law.responses(own, none + others * most).max() for others in (0, 1, 2)]
    return bool(max(highest) < np.logaddexp(0.0, _STOPPED))


def random_kinetics(
    regime: Regime,
    stoichiometry: np.ndarray,
    reverse_of: np.ndarray | None = None,
    catalyses: np.ndarray | None = None,
) -> TrueKinetics:
    """The regime's kinetics on `stoichiometry`: log-uniform rate constants and a rate law with random parameters.

    `reverse_of` and `catalyses` as of `true_law`; half of the catalysts of convenience kinetics inhibit.

    Those of lumped reactions, such as biomass, are as much smaller as their coefficients are larger.

    Monotone functions are drawn again until every reaction stops when a substrate is gone: concentrations stay
    positive.
    """
    size = np.abs(stoichiometry).max(0, initial=1)
    low, high = regime.log_k
    log_k = generator_stream("rate constants", regime.seeds.rate_constants).uniform(low, high, len(size))
    lumped = size > LUMPED
    log_k = log_k - np.where(lumped, np.log10(size / regime.max_coefficient), 0.0)
    rng = generator_stream("mlps", regime.seeds.mlps)
    own = regime.kinetics
    sizes = own.hidden_dim, own.output_size, own.reaction_embedding_dim
    law = true_law(own.rate_law, stoichiometry, *sizes, reverse_of, catalyses)
    if not isinstance(law, PdeM1) or own.initialisation == "default":
        parameters = {name: law.initial(name, rng) for name in law.shapes}
        if HILL in parameters:
            parameters[HILL] = rng.permutation(np.where(np.arange(len(parameters[HILL])) % 2, -1.0, 1.0))
    else:
        parameters = _monotone(rng, law)
        largest = max(regime.max_coefficient, *np.abs(stoichiometry[:, ~lumped]).max(0, initial=1))
        while not _vanishes(law, parameters, int(largest)):
            parameters = _monotone(rng, law)
    return TrueKinetics(stoichiometry, log_k, law, parameters, regime.dt if regime.kinetics.flux_limiter else None)
