"""The graph neural network: PDE_M1 with everything but the graph learnable."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from stoirec.config.fit import FitConfig
from stoirec.kinetics.limiter import FluxLimiter
from stoirec.kinetics.segments import segment_expand, segment_sum
from stoirec.network.graph import Graph
from stoirec.streams import learner_stream


class MetabolismPropagation(nn.Module):
    """c -> dc/dt on a metabolic graph.

        dc_i/dt = sum_j S_ij v_j      v_j = 10^log_k_j softplus(rate_func(h_j))
        h_j     = sum over substrate edges e of j: g(|S_e|) substrate_func([c_met(e), |S_e|, a_met(e)])

    With `graph_model.flux_limiter` each v_j is multiplied by the share that FluxLimiter leaves it in a step of `dt`.
    Edges come in the graph's order, by reaction; `met_order` sorts them by metabolite. The gate g is 1 unless
    `graph_model.substrate_gate`; embeddings a are there if `graph_model.embedding_dim` > 0.

    Parameters:
        sto_all: (E,) signed stoichiometric coefficient of each edge.
        log_k: (R,) log10 rate constants [1/time unit].
        substrate_func, rate_func: the shared MLPs.
        embedding: (M, embedding_dim) or None.

    Buffers:
        met_sub, rxn_sub: (E_sub,) ends of the substrate edges; sub_to_all: their positions among all edges.
        met_all, rxn_all: (E,) ends of all edges.
        sub_ptr: (R + 1,) segments of substrate edges by reaction; met_ptr: (M + 1,) of `met_order` by metabolite.
    """

    def __init__(self, graph: Graph, config: FitConfig, dt: float | None = None) -> None:
        super().__init__()
        shape = config.graph_model
        self.substrate_func = _mlp(2 + shape.embedding_dim, shape.hidden_dim, shape.n_layers, shape.output_size)
        self.rate_func = _mlp(shape.output_size, shape.hidden_dim, shape.n_layers, 1)
        self.sto_all = nn.Parameter(torch.empty(graph.n_edges))
        self.log_k = nn.Parameter(torch.empty(graph.n_reactions))
        self.embedding = (
            nn.Parameter(torch.empty(graph.n_metabolites, shape.embedding_dim)) if shape.embedding_dim else None
        )
        self.gated = shape.substrate_gate
        self.limiter = FluxLimiter(graph, dt) if shape.flux_limiter else None

        substrates = graph.substrate_edges
        order = np.argsort(graph.edge_metabolite, kind="stable")
        buffers = {
            "met_sub": graph.edge_metabolite[substrates],
            "rxn_sub": graph.edge_reaction[substrates],
            "met_all": graph.edge_metabolite,
            "rxn_all": graph.edge_reaction,
            "sub_to_all": substrates,
            "sub_ptr": np.searchsorted(graph.edge_reaction[substrates], np.arange(graph.n_reactions + 1)),
            "all_ptr": graph.reaction_ptr,
            "met_order": order,
            "met_ptr": np.searchsorted(graph.edge_metabolite[order], np.arange(graph.n_metabolites + 1)),
        }
        for name, values in buffers.items():
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.int64), persistent=False)
        self.to(torch.float64 if config.precision == "float64" else torch.float32)
        self._initialise(graph, config)

    @torch.no_grad()
    def _initialise(self, graph: Graph, config: FitConfig) -> None:
        """Draw every parameter from the learner's streams: MLPs as PyTorch does, log_k = -2 for all reactions."""
        rng = learner_stream("initial weights", config.seed)
        for module in (*self.substrate_func, *self.rate_func):
            if isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.in_features)
                module.weight.copy_(torch.as_tensor(rng.uniform(-bound, bound, module.weight.shape)))
                module.bias.copy_(torch.as_tensor(rng.uniform(-bound, bound, module.bias.shape)))
        self.log_k.fill_(-2.0)
        if config.role_prior:
            start = np.where(graph.edge_is_substrate, -config.initial_magnitude, config.initial_magnitude)
        else:
            start = rng.normal(0.0, config.initial_magnitude, graph.n_edges)
        self.sto_all.copy_(torch.as_tensor(start))
        if self.embedding is not None:
            self.embedding.copy_(torch.as_tensor(rng.normal(0.0, 0.1, self.embedding.shape)))

    def flux(self, concentration: Tensor) -> Tensor:
        """(frames, M) concentrations -> (R, frames) fluxes, limited if the model has the limiter."""
        flux = self._unlimited(concentration)
        if self.limiter is None:
            return flux
        share, _ = self.limiter(flux, -self.sto_all[self.sub_to_all].clamp(max=0), concentration)
        return share * flux

    def _unlimited(self, concentration: Tensor) -> Tensor:
        order = self.sto_all[self.sub_to_all].abs()[:, None]
        features = [concentration.T[self.met_sub], order.expand(-1, len(concentration))]
        if self.embedding is not None:
            features += [column[:, None].expand_as(features[0]) for column in self.embedding[self.met_sub].T]
        message = self.substrate_func(torch.stack(features, dim=-1))
        if self.gated:
            message = message * gate(order)[..., None]
        summed = segment_sum(message, self.sub_ptr)
        rate = nn.functional.softplus(self.rate_func(summed)[..., 0])
        return 10.0 ** self.log_k[:, None] * rate

    def forward(self, concentration: Tensor) -> Tensor:
        """(frames, M) concentrations -> (frames, M) dc/dt."""
        contribution = self.sto_all[:, None] * segment_expand(self.flux(concentration), self.all_ptr)
        return segment_sum(contribution[self.met_order], self.met_ptr).T


def gate(order: Tensor) -> Tensor:
    """g(|S|): 0 at 0, 1 from 1 on: a zero coefficient silences a substrate."""
    return 1 - (1 - order.clamp(max=1)) ** 2


def gate_slope(order: Tensor) -> Tensor:
    """dg/d|S|."""
    return 2 * (1 - order.clamp(max=1))


def _mlp(n_in: int, n_hidden: int, n_layers: int, n_out: int) -> nn.Sequential:
    """`n_layers` layers of units, input and output counted, with Tanh between the Linear maps."""
    sizes = [n_in, *[n_hidden] * (n_layers - 2), n_out]
    layers: list[nn.Module] = []
    for size_in, size_out in zip(sizes, sizes[1:]):
        layers += [nn.Linear(size_in, size_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
