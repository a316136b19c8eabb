"""PDE_M1 kinetics with frozen random MLPs, in NumPy: the truth a learner has to find.

v_j = k_j softplus(rate_func(h_j))        h_j = sum over substrates e of j: substrate_func([c_met(e), |S_e|])
"""

from dataclasses import dataclass

import numpy as np

from stoirec.config.regime import Regime
from stoirec.streams import generator_stream

_STOPPED = -6.0  # rate before softplus below which a reaction stands still: softplus(-6) = 0.0025


@dataclass(frozen=True)
class MLP:
    """Two Linear layers with Tanh between: x -> tanh(x W1' + b1) W2' + b2. Weights are (out, in), as in PyTorch."""

    weight1: np.ndarray
    bias1: np.ndarray
    weight2: np.ndarray
    bias2: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(..., in) -> (..., out)."""
        return np.tanh(x @ self.weight1.T + self.bias1) @ self.weight2.T + self.bias2


@dataclass(frozen=True)
class PdeM1:
    """The generator's kinetics on a stoichiometric matrix.

    Attributes:
        stoichiometry: (M, R) signed integers.
        log_k: (R,) log10 of the rate constants [1/time].
        substrate_func: [c, |S|] -> message (output_size).
        rate_func: summed message -> rate before softplus (1).
    """

    stoichiometry: np.ndarray
    log_k: np.ndarray
    substrate_func: MLP
    rate_func: MLP

    def __post_init__(self) -> None:
        reaction, metabolite = np.nonzero(self.stoichiometry.T < 0)
        object.__setattr__(self, "_metabolite", metabolite)
        object.__setattr__(self, "_start", np.searchsorted(reaction, np.arange(self.stoichiometry.shape[1])))
        object.__setattr__(self, "_order", -self.stoichiometry[metabolite, reaction].astype(float))
        object.__setattr__(self, "_matrix", self.stoichiometry.astype(float))
        object.__setattr__(self, "_consumed", np.maximum(-self._matrix, 0))

    def flux(self, concentration: np.ndarray) -> np.ndarray:
        """(..., M) concentrations -> (..., R) fluxes v [concentration/time], without limiter."""
        c = concentration[..., self._metabolite]
        message = self.substrate_func(np.stack([c, np.broadcast_to(self._order, c.shape)], axis=-1))
        summed = np.add.reduceat(message, self._start, axis=-2)
        return 10.0**self.log_k * np.logaddexp(0.0, self.rate_func(summed)[..., 0])

    def limited_flux(self, concentration: np.ndarray, dt: float) -> np.ndarray:
        """Fluxes scaled so that no substrate is over-consumed within one Euler step of `dt`.

        v_j <- v_j min(1, min over substrates i of j of c_i / (dt sum_l |S-_il| v_l))
        """
        flux = self.flux(concentration)
        demand = dt * flux @ self._consumed.T
        share = np.minimum(1.0, np.divide(concentration, demand, out=np.ones_like(demand), where=demand > 0))
        return flux * np.minimum.reduceat(share[..., self._metabolite], self._start, axis=-1)

    def derivative(self, flux: np.ndarray) -> np.ndarray:
        """(..., R) fluxes -> (..., M) dc/dt."""
        return flux @ self._matrix.T


def _linear(rng: np.random.Generator, n_out: int, n_in: int) -> tuple[np.ndarray, np.ndarray]:
    bound = 1 / np.sqrt(n_in)  # PyTorch's default for nn.Linear
    return rng.uniform(-bound, bound, (n_out, n_in)), rng.uniform(-bound, bound, n_out)


def default_mlp(rng: np.random.Generator, n_in: int, n_hidden: int, n_out: int) -> MLP:
    """An MLP as PyTorch initialises it."""
    return MLP(*_linear(rng, n_hidden, n_in), *_linear(rng, n_out, n_hidden))


def monotone_substrate_func(rng: np.random.Generator, n_hidden: int, n_out: int) -> MLP:
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
    return MLP(np.column_stack([on_c, on_coefficient]), bias, 2.7 * weight2, bias2)


def monotone_rate_func(rng: np.random.Generator, n_in: int, n_hidden: int) -> MLP:
    """A random rate rising in every message: -7 (no flux) to 2.5 before softplus."""
    weight1 = rng.exponential(1.0, (n_hidden, n_in))
    weight1 *= rng.uniform(1.0, 3.0, (n_hidden, 1)) / weight1.sum(axis=1, keepdims=True)
    bias1 = rng.uniform(0.3, 1.2, n_hidden)
    weight2 = rng.exponential(1.0, n_hidden)
    weight2 *= 5.0 / weight2.sum()
    return MLP(weight1, bias1, weight2[None], np.array([-2.5]))


def _vanishes(substrate_func: MLP, rate_func: MLP, largest: int) -> bool:
    """Whether a reaction of up to three substrates stops when one is gone, however much there is of the others."""
    none, plenty = (np.stack([substrate_func(np.array([c, s])) for s in range(1, largest + 1)]) for c in (0.0, 1e3))
    highest = [rate_func(none + others * plenty.max(axis=0))[..., 0].max() for others in (0, 1, 2)]
    return max(highest) < _STOPPED


def random_kinetics(regime: Regime, stoichiometry: np.ndarray) -> PdeM1:
    """The regime's kinetics on `stoichiometry`: log-uniform rate constants and random frozen MLPs.

    Monotone MLPs are drawn again until every reaction stops when a substrate is gone: concentrations stay positive.
    """
    log_k = generator_stream("rate constants", regime.seeds.rate_constants).uniform(
        *regime.log_k, stoichiometry.shape[1]
    )
    rng = generator_stream("mlps", regime.seeds.mlps)
    hidden, out = regime.kinetics.hidden_dim, regime.kinetics.output_size
    if regime.kinetics.initialisation == "default":
        return PdeM1(stoichiometry, log_k, default_mlp(rng, 2, hidden, out), default_mlp(rng, out, hidden, 1))
    while True:
        functions = monotone_substrate_func(rng, hidden, out), monotone_rate_func(rng, out, hidden)
        if _vanishes(*functions, regime.max_coefficient):
            return PdeM1(stoichiometry, log_k, *functions)
