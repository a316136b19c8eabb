"""The rates F of all reactions and their derivatives, for weights given as one vector."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from stoirec.graph import Graph
from stoirec.model import gate
from stoirec.refine.frames import Frames
from stoirec.refine.state import State

_LOWEST, _BEND = 0.5, 0.3  # where a relaxed |S| levels off, and how sharply


class Functions:
    """F_j(c, q) of a graph's reactions.

    Args:
        graph: candidate edges.
        substrate_func, rate_func: the MLPs; only their shapes are used, the weights come as a vector.
        sign: (E,) -1 or +1, the sign every edge's coefficient is held to.
        gated: whether messages are multiplied by the gate of q, as in the model.
    """

    def __init__(self, graph: Graph, substrate_func: nn.Sequential, rate_func: nn.Sequential, sign: Tensor, gated: bool) -> None:
        self.sign, self.gated = sign, gated
        device = sign.device
        self.functions = nn.ModuleDict({"substrate": substrate_func, "rate": rate_func})
        self.shapes = {name: parameter.shape for name, parameter in self.functions.named_parameters()}
        self.graph = graph
        self.metabolite = torch.as_tensor(graph.edge_metabolite, dtype=torch.int64, device=device)
        self.reaction = torch.as_tensor(graph.edge_reaction, dtype=torch.int64, device=device)
        self.substrates = torch.as_tensor(graph.substrate_edges, dtype=torch.int64, device=device)  # (S,) edges
        rows = [np.flatnonzero(graph.edge_metabolite == i) for i in range(graph.n_metabolites)]
        self.edges_of_metabolite = [torch.as_tensor(edges, device=device) for edges in rows]

        # substrate edges of every reaction, padded to the same number; -1 is padding
        slots = graph.substrate_slots
        self.slot = torch.as_tensor(slots, device=device)
        self.position = torch.as_tensor(np.flatnonzero(slots.ravel() >= 0), device=device)  # of self.substrates in slot
        self.present = (self.slot >= 0).double()

    def order(self, state: State) -> Tensor:
        """(E,) q: |p|, or the relaxed |S| while there are no integer columns."""
        return state.pattern.abs() if state.pattern is not None else self.relaxed_order(state)[0]

    def relaxed_order(self, state: State) -> tuple[Tensor, Tensor]:
        """(E,) q for real coefficients s = B / k, signs taken off, and dq/ds.

        q is s where zeros are allowed. Where every |S| is at least 1 it is about s there, and levels off smoothly at
        _LOWEST below: |s| has a kink at 0, at which unresolved weak reactions would hold up the descent.
        """
        s = self.sign * state.linear / 10 ** state.log_k[self.reaction]
        if self.gated:
            return s, torch.ones_like(s)
        above = s - _LOWEST
        root = (above**2 + _BEND**2).sqrt()
        return _LOWEST + (above + root) / 2, (1 + above / root) / 2

    def rates(self, state: State, frames: Frames) -> Tensor:
        """(reactions, windows, nodes) F."""
        features = self._features(frames.concentration.flatten(0, 1), self.order(state))
        with torch.no_grad():
            rate = self._rates(state.weights, features, self.present[:, None])
        return rate.unflatten(1, frames.concentration.shape[:2])

    def rates_of(self, reaction: int, state: State, columns: Tensor, frames: Frames) -> Tensor:
        """(columns, windows, nodes) F of one reaction, were its column one of `columns` (columns, n)."""
        edges = self.slot[reaction][self.slot[reaction] >= 0]
        order = columns[:, edges - self.graph.edges_of(reaction).start].abs()[:, None, None]
        c = frames.concentration[..., self.metabolite[edges]].expand(len(columns), -1, -1, -1)
        with torch.no_grad():
            return self._rates(state.weights, torch.stack([c, order.expand_as(c)], dim=-1), torch.ones_like(order))

    def derivatives(self, state: State, concentration: Tensor) -> tuple[Tensor, Tensor]:
        """(reactions, frames, P) dF/dweights and (S, frames) dF/dq of every substrate edge, at `concentration` (frames, M)."""
        features = self._features(concentration, self.order(state))
        by_frame = vmap(grad(self._rates, argnums=(0, 1)), in_dims=(None, 0, None))
        on_weights, on_features = vmap(by_frame, in_dims=(None, 0, 0))(state.weights, features, self.present)
        return on_weights, on_features[..., 1].permute(0, 2, 1).flatten(0, 1)[self.position]

    def _features(self, concentration: Tensor, order: Tensor) -> Tensor:
        """(reactions, frames, substrates, 2) inputs of substrate_func."""
        c = concentration[:, self.metabolite[self.slot]].permute(1, 0, 2)
        return torch.stack([c, order[self.slot][:, None].expand_as(c)], dim=-1)

    def _rates(self, weights: Tensor, features: Tensor, present: Tensor) -> Tensor:
        """F for features (..., substrates, 2) and presence (..., substrates): (...)."""
        own: dict[str, dict[str, Tensor]] = {"substrate": {}, "rate": {}}
        for (name, shape), piece in zip(self.shapes.items(), weights.split([shape.numel() for shape in self.shapes.values()])):
            function, _, parameter = name.partition(".")
            own[function][parameter] = piece.reshape(shape)
        message = functional_call(self.functions["substrate"], own["substrate"], (features,))
        weight = present * gate(features[..., 1]) if self.gated else present
        return nn.functional.softplus(functional_call(self.functions["rate"], own["rate"], ((weight[..., None] * message).sum(-2),))[..., 0])
