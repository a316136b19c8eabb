"""The rates F of all reactions and their derivatives, for weights given as one vector."""

import numpy as np
import torch
from torch import Tensor, nn

from stoirec.learn.model import gate, gate_slope
from stoirec.network.graph import Graph
from stoirec.refine.frames import Frames
from stoirec.refine.mlp import backward, forward
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

    def __init__(
        self, graph: Graph, substrate_func: nn.Sequential, rate_func: nn.Sequential, sign: Tensor, gated: bool
    ) -> None:
        self.sign, self.gated = sign, gated
        self.mlps = substrate_func, rate_func
        device = sign.device
        functions = {"substrate": substrate_func, "rate": rate_func}
        self.shapes = {
            f"{function}.{name}": own.shape
            for function, mlp in functions.items()
            for name, own in mlp.named_parameters()
        }
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

    def with_unit(self, weights: Tensor, unit: Tensor) -> Tensor:
        """(P,) weights that make of an |S| of 1 what `weights` make of `unit`, the gate aside."""
        own = self._own("substrate", weights)
        scale = torch.ones_like(own["0.weight"])
        scale[:, 1] = unit
        return torch.cat([(scale * own["0.weight"]).flatten(), weights[scale.numel() :]])

    def part(self, edges: Tensor) -> "Functions":
        """Those of the graph with `edges` (positions) alone."""
        return Functions(self.graph.part(edges.cpu().numpy()), *self.mlps, self.sign[edges], self.gated)

    def rates(self, state: State, frames: Frames) -> Tensor:
        """(reactions, windows, nodes) F."""
        features = self._features(frames.concentration.flatten(0, 1), self.order(state))
        with torch.no_grad():
            rate = self._rates(state.weights, features, self.present[:, None])
        return rate.unflatten(1, frames.concentration.shape[:2])

    def rates_of(self, reaction: int, state: State, columns: Tensor, frames: Frames) -> Tensor:
        """(columns, windows, nodes) F of one reaction, were its column one of `columns` (columns, n).

        A substrate has the same message in all columns in which its coefficient is the same: messages come first.
        """
        edges = self.slot[reaction][self.slot[reaction] >= 0]
        size = columns[:, edges - self.graph.edges_of(reaction).start].abs()
        levels, level = size.unique(return_inverse=True)
        c = frames.concentration[..., self.metabolite[edges]].movedim(-1, 0)[:, None].expand(-1, len(levels), -1, -1)
        with torch.no_grad():
            message = self._messages(state.weights, torch.stack([c, levels[:, None, None].expand_as(c)], dim=-1))
            summed = message.new_zeros(len(columns), *message.shape[2:])  # stays so without substrates
            for own, chosen in zip(message, level.T):
                summed += own[chosen]
            return self._rates_at(state.weights, summed)

    def derivatives(self, state: State, concentration: Tensor) -> tuple[Tensor, Tensor]:
        """(reactions, frames, P) dF/dweights and (S, frames) dF/dq of every substrate edge, at `concentration` (frames, M)."""
        order = self.order(state)[self.slot][:, None]  # (reactions, 1, substrates)
        silence = self.present[:, None] * gate(order) if self.gated else self.present[:, None]
        messages = forward(self._own("substrate", state.weights), self._features(concentration, self.order(state)))
        rates = forward(self._own("rate", state.weights), (silence[..., None] * messages[-1].output).sum(-2))

        on_rate, on_summed = backward(rates, torch.sigmoid(rates[-1].output))
        on_message = silence[..., None] * on_summed[..., None, :]
        on_substrate, on_features = backward(messages, on_message)
        on_order = on_features[..., 1]
        if self.gated:
            on_order = (
                on_order
                + self.present[:, None] * gate_slope(order) * (messages[-1].output @ on_summed[..., None])[..., 0]
            )
        return torch.cat([*on_substrate, *on_rate], dim=-1), on_order.permute(0, 2, 1).flatten(0, 1)[self.position]

    def _features(self, concentration: Tensor, order: Tensor) -> Tensor:
        """(reactions, frames, substrates, 2) inputs of substrate_func."""
        c = concentration[:, self.metabolite[self.slot]].permute(1, 0, 2)
        return torch.stack([c, order[self.slot][:, None].expand_as(c)], dim=-1)

    def _rates(self, weights: Tensor, features: Tensor, present: Tensor) -> Tensor:
        """F for features (..., substrates, 2) and presence (..., substrates): (...)."""
        return self._rates_at(weights, (present[..., None] * self._messages(weights, features)).sum(-2))

    def _messages(self, weights: Tensor, features: Tensor) -> Tensor:
        """(..., output_size) messages of substrates with features (..., 2), silenced by the gate."""
        message = forward(self._own("substrate", weights), features)[-1].output
        return gate(features[..., 1])[..., None] * message if self.gated else message

    def _rates_at(self, weights: Tensor, summed: Tensor) -> Tensor:
        """F (...) for summed messages (..., output_size)."""
        return nn.functional.softplus(forward(self._own("rate", weights), summed)[-1].output[..., 0])

    def _own(self, function: str, weights: Tensor) -> dict[str, Tensor]:
        """The parameters of one of the two MLPs."""
        pieces = zip(self.shapes.items(), weights.split([shape.numel() for shape in self.shapes.values()]))
        return {
            name.removeprefix(f"{function}."): piece.reshape(shape)
            for (name, shape), piece in pieces
            if name.startswith(f"{function}.")
        }
