"""The graph neural network: a rate law with everything but the graph learnable."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import TRAINING, Data
from stoirec.errors import Unsuitable
from stoirec.kinetics.laws import rate_law
from stoirec.kinetics.limiter import FluxLimiter
from stoirec.kinetics.pde_m1 import EMBEDDINGS
from stoirec.kinetics.pullback import automatic
from stoirec.kinetics.segments import pointed_sum
from stoirec.network.columns import ColumnSpace
from stoirec.streams import learner_stream

# (frames, M) derivatives of a number by dc/dt, (E,) further ones by the coefficients -> by parameter, by concentration
OnDcdt = Callable[[Tensor, Tensor], tuple[dict[str, Tensor], Tensor | None]]
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class MetabolismPropagation(nn.Module):
    """c -> dc/dt on a metabolic graph.

        dc_i/dt = sum_j S_ij v_j      v_j = 10^log_k_j F_j(c, |S|)

    With `graph_model.flux_limiter` each v_j is multiplied by the share that FluxLimiter leaves it in a step of `dt`.
    Edges come in the graph's order, by reaction; `by_metabolite` sorts them by metabolite.

    Parameters:
        sto_all: (E,) signed stoichiometric coefficient of each edge; a backward reaction has those of the forward one
            with the other sign, see `coefficient`, and its own say nothing. That of a catalyst stays 0.
        log_k: (R,) log10 rate constants [1/time unit].
        rate_parameters: those of the rate law, by its names.

    With `copies` it is the model of so many fits at once, as many networks side by side, for `linearised` alone. Each
    has parameters of its own, not initialised, one after the other; concentrations are (frames, copies * M).

    Buffers:
        sign: (E,) signs that the fit is told, 0 unknown.
        substrates: (E_sub,) positions of the substrate edges among all edges.
        reaction_ptr: (R + 1,) edges by reaction; metabolite_ptr: (M + 1,) of `by_metabolite` by metabolite.
    """

    is_turned: Tensor
    sign: Tensor
    substrate_sign: Tensor
    substrates: Tensor
    metabolite: Tensor
    reaction: Tensor
    reaction_by_metabolite: Tensor
    reaction_ptr: Tensor
    by_metabolite: Tensor
    stands_in: Tensor
    metabolite_ptr: Tensor
    catalyses: Tensor

    def __init__(
        self,
        space: ColumnSpace,
        config: FitConfig,
        dt: float | None = None,
        log_k: float = -2.0,
        typical: np.ndarray | None = None,
        copies: int | None = None,
    ) -> None:
        super().__init__()
        self.law = rate_law(space, config.graph_model)
        if copies is not None:
            self.law, space = self.law.copies(copies), space.copies(copies)
        graph = space.graph
        self.rate_parameters = nn.ParameterDict()
        for name, shape in self.law.shapes.items():
            self.rate_parameters[name] = nn.Parameter(torch.empty(shape))
        self.sto_all = nn.Parameter(torch.empty(graph.n_edges))
        self.log_k = nn.Parameter(torch.empty(graph.n_reactions))
        self.limiter = FluxLimiter(graph, dt) if config.graph_model.flux_limiter else None

        self.turns, own = bool((space.opposite_edge >= 0).any()), np.arange(graph.n_edges)
        self.register_buffer("is_turned", torch.as_tensor(space.opposite_edge >= 0), persistent=False)
        self.register_buffer("catalyses", torch.as_tensor(np.flatnonzero(space.catalyses)), persistent=False)
        order = np.argsort(graph.edge_metabolite, kind="stable")
        buffers = {
            "metabolite": graph.edge_metabolite,
            "reaction": graph.edge_reaction,
            "reaction_by_metabolite": graph.edge_reaction[order],
            "substrates": graph.substrate_edges,
            "reaction_ptr": graph.reaction_ptr,
            "by_metabolite": order,
            "stands_in": np.where(space.opposite_edge >= 0, space.opposite_edge, own),
            "metabolite_ptr": np.searchsorted(graph.edge_metabolite[order], np.arange(graph.n_metabolites + 1)),
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.int64), persistent=False)
        self.register_buffer("sign", torch.as_tensor(sign := told(space, config).sign), persistent=False)
        self.register_buffer("substrate_sign", self.sign[self.substrates], persistent=False)
        self._by_name = dict(self.rate_parameters)  # the same, sooner to read
        self.to(DTYPES[config.precision])
        if copies is None:
            self._initialise(sign, config, log_k, typical)

    @torch.no_grad()
    def _initialise(self, sign: np.ndarray, config: FitConfig, log_k: float, typical: np.ndarray | None) -> None:
        """Draw every parameter from the learner's streams; `log_k` is the same for all reactions.

        Coefficients whose `sign` (E,) the fit is told have it; the others, where it is 0, have either.
        """
        rng = learner_stream("initial weights", config.seed)
        for name, parameter in self.rate_parameters.items():
            if name not in EMBEDDINGS:
                parameter.copy_(torch.as_tensor(self.law.initial(name, rng, typical)))
        self.log_k.fill_(log_k)
        start = sign * config.initial_magnitude
        if not sign.all():
            start = np.where(sign == 0, rng.normal(0.0, config.initial_magnitude, len(sign)), start)
        self.sto_all.copy_(torch.as_tensor(start))
        self.sto_all[self.catalyses] = 0.0
        for embedding in (self.rate_parameters[name] for name in EMBEDDINGS if name in self.rate_parameters):
            embedding.copy_(torch.as_tensor(rng.normal(0.0, 0.1, embedding.shape)))

    @property
    def coefficient(self) -> Tensor:
        """(E,) signed stoichiometric coefficients."""
        return torch.where(self.is_turned, -self.sto_all[self.stands_in], self.sto_all) if self.turns else self.sto_all

    @property
    def dtype(self) -> torch.dtype:
        return self.sto_all.dtype

    def flux(self, concentration: Tensor) -> Tensor:
        """(frames, M) concentrations -> (R, frames) fluxes, limited if the model has the limiter."""
        coefficient = self.coefficient[self.substrates]
        size = self.law.sizes(coefficient, self.substrate_sign)
        flux = 10.0 ** self.log_k[:, None] * self.law.rates(self._by_name, concentration, size)
        return flux if self.limiter is None else self._limited(flux, coefficient, concentration)

    def _limited(self, flux: Tensor, coefficient: Tensor, concentration: Tensor) -> Tensor:
        """What the limiter leaves of fluxes (R, frames), at coefficients (S,) of substrate edges."""
        share, _ = self.limiter(flux, -coefficient.clamp(max=0), concentration)
        return share * flux

    def forward(self, concentration: Tensor) -> Tensor:
        """(frames, M) concentrations -> (frames, M) dc/dt."""
        return self._through(self.coefficient, self.flux(concentration))

    def _through(self, coefficient: Tensor, flux: Tensor) -> Tensor:
        """(frames, M) S v of coefficients (E,) and fluxes (R, frames)."""
        weight = coefficient.index_select(0, self.by_metabolite)
        return pointed_sum(flux, self.reaction_by_metabolite, self.metabolite_ptr, weight).t()

    def linearised(self, concentration: Tensor, by_concentration: bool = False) -> tuple[Tensor, OnDcdt]:
        """dc/dt as `forward` gives it, and its pullback, which has derivatives by concentration where asked for.

        To be called under no_grad: with automatic differentiation a step would be bookkeeping for the most part.
        """
        coefficient, k = self.coefficient, (math.log(10) * self.log_k).exp().unsqueeze(1)
        driving = coefficient.index_select(0, self.substrates)
        size = self.law.sizes(driving, self.substrate_sign)
        rates, on_rates = self.law.linearised(self._by_name, concentration, size, by_concentration)
        flux = free = k * rates
        if self.limiter is not None:
            flux, on_limited = automatic(self._limited, free, driving, concentration)

        def on_dcdt(on: Tensor, on_coefficient: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
            on = on.t().contiguous()
            at_edge = on.index_select(0, self.metabolite) * flux.index_select(0, self.reaction)
            on_coefficient = on_coefficient + at_edge.sum(1)
            on_flux = pointed_sum(on, self.metabolite, self.reaction_ptr, coefficient)
            if self.limiter is not None:
                on_flux, on_driving, on_limit = on_limited(on_flux)
                on_coefficient.index_add_(0, self.substrates, on_driving)
            of_law, on_concentration, on_size = on_rates(k * on_flux)
            if by_concentration and self.limiter is not None:
                on_concentration = on_concentration + on_limit
            slope = self.law.size_slopes(driving, self.substrate_sign)
            on_coefficient.index_add_(0, self.substrates, on_size * slope)
            found = {f"rate_parameters.{name}": each for name, each in of_law.items()}
            found["log_k"] = math.log(10) * (on_flux * free).sum(1)
            found["sto_all"] = self._on_sto_all(on_coefficient)
            return found, on_concentration

        return self._through(coefficient, flux), on_dcdt

    def _on_sto_all(self, on_coefficient: Tensor) -> Tensor:
        """(E,) derivatives by `sto_all` from those by `coefficient`."""
        if len(self.catalyses):
            on_coefficient = on_coefficient.index_fill(0, self.catalyses, 0.0)
        if not self.turns:
            return on_coefficient
        turned = torch.where(self.is_turned, -on_coefficient, on_coefficient)
        return torch.zeros_like(turned).index_add(0, self.stands_in, turned)


def told(space: ColumnSpace, config: FitConfig) -> ColumnSpace:
    """What a fit is told of the columns: without role_prior, no signs."""
    return space if config.role_prior else space.without_signs()


def new_model(data: Data, config: FitConfig) -> MetabolismPropagation:
    """The untrained model of a fit.

    Raises:
        Unsuitable: it has the limiter and the frames are not equally spaced; no rate depends on anything.
    """
    driven = data.graph.edge_is_substrate.any()
    if not driven and (config.refinement_rounds or not config.graph_model.rate_law.startswith("pde_m1")):
        allowed = "1 for what drives a rate, for refinement and for all rate laws but pde_m1"
        raise Unsuitable("edge_is_substrate", "0 throughout", allowed)
    dt = data.dt if config.graph_model.flux_limiter else None
    training = data.run_role == TRAINING
    typical = typical_concentration(data.concentration[training])
    return MetabolismPropagation(data.space, config, dt, initial_log_k(data.dcdt[training]), typical)


def typical_concentration(concentration: np.ndarray) -> np.ndarray:
    """(M,) RMS of concentrations (..., M); of a metabolite that is never there, that of all."""
    size = np.sqrt(np.mean(concentration**2, axis=tuple(range(concentration.ndim - 1))))
    return np.where(size > 0, size, max(float(np.sqrt(np.mean(size**2))), 1e-100))


def initial_log_k(dcdt: np.ndarray) -> float:
    """log10 of the rate constants at the start: an even power of ten below dc/dt, whatever the unit of time.

    The descent crosses a decade either way.
    """
    size = float(np.sqrt(np.mean(dcdt**2)))
    return 2.0 * round((np.log10(size) - 0.5) / 2) if size > 0 else -2.0
