"""PDE_M1: every reaction by the same two networks.

    F_j = softplus(rate_func(h_j))
    h_j = sum over substrates e of j: g(|S_e|) substrate_func([c_met(e), |S_e|, a_met(e), b_j])

The gate g is 1 unless zeros are allowed; embeddings a of metabolites are there if `embedding_dim` > 0, and b of
reactions, whose enzymes differ by them, if `enzyme_dim` > 0: then it is the law pde_m1_enzymes.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from stoirec.config.fit import GraphModel
from stoirec.kinetics.mlp import backward, fill, outputs, pulled_back, shapes, values
from stoirec.kinetics.rate_law import LearnableLaw, OnRates, Parameters
from stoirec.kinetics.segments import pointed_sum, segment_sum
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph

EMBEDDING, REACTION_EMBEDDING = EMBEDDINGS = "embedding", "reaction_embedding"
_PLACES = {EMBEDDING: "metabolite", REACTION_EMBEDDING: "reaction"}


class PdeM1(LearnableLaw):
    """The rate law of this project's networks.

    Args:
        graph: candidate edges.
        hidden_dim, output_size, n_layers: of substrate_func and rate_func; layers of units, input and output counted.
        embedding_dim, enzyme_dim: learnable numbers per metabolite, and per reaction.
        gate: whether messages are multiplied by g(|S|): then a coefficient of 0 silences a substrate.
        catalyses: (E,) bool, edges that no gate silences.
        copies: of the graph side by side, see `copies`; None: it is one.
    """

    learns_sizes = True
    reaction: Tensor
    message_row: Tensor
    message_ptr: Tensor

    def __init__(
        self,
        graph: Graph,
        hidden_dim: int = 32,
        output_size: int = 16,
        n_layers: int = 3,
        embedding_dim: int = 0,
        enzyme_dim: int = 0,
        gate: bool = False,
        catalyses: np.ndarray | None = None,
        copies: int | None = None,
    ) -> None:
        super().__init__(graph, catalyses)
        self.architecture = (hidden_dim, output_size, n_layers, embedding_dim, enzyme_dim, gate)
        self.allows_zero = gate
        n_features = 2 + embedding_dim + enzyme_dim
        functions = {
            "substrate_func": shapes(n_features, hidden_dim, n_layers, output_size),
            "rate_func": shapes(output_size, hidden_dim, n_layers, 1),
        }
        self.shapes = {
            f"{function}_{name}": shape for function, own in functions.items() for name, shape in own.items()
        }
        self._names = {function: [f"{function}_{name}" for name in own] for function, own in functions.items()}
        if embedding_dim:
            self.shapes[EMBEDDING] = (graph.n_metabolites, embedding_dim)
        self.has_own = enzyme_dim > 0
        if enzyme_dim:
            self.shapes[REACTION_EMBEDDING] = (graph.n_reactions, enzyme_dim)
        # by the names of the buffers that say whose each substrate edge is
        self._embeddings = {name: place for name, place in _PLACES.items() if name in self.shapes}
        if copies is not None:
            self.shapes = {name: (copies, *shape) for name, shape in self.shapes.items()}

        # messages (output_size, S) row by row, and where those for each number and reaction start
        n_rows = output_size * (copies or 1)
        message = np.arange(n_rows * len(self.metabolite))
        first = len(self.metabolite) * np.arange(n_rows)[:, None]
        starts = np.append(first + self.ptr[:-1].numpy(), message.size)
        buffers = {
            "reaction": graph.edge_reaction[graph.substrate_edges],  # (S,)
            "message_row": message,
            "message_ptr": starts,
        }
        for name, each in buffers.items():
            self.register_buffer(name, torch.as_tensor(each, dtype=torch.int64), persistent=False)

    @classmethod
    def of(cls, space: ColumnSpace, shape: GraphModel) -> "PdeM1":
        sizes = shape.hidden_dim, shape.output_size, shape.n_layers, shape.embedding_dim, shape.enzyme_dim
        return cls(space.graph, *sizes, shape.substrate_gate, space.catalyses)

    def part(self, edges: np.ndarray) -> "PdeM1":
        return PdeM1(self.graph.part(edges), *self.architecture, self.catalyses[edges]).to(self.ptr.device)

    def copies(self, number: int) -> "PdeM1":
        return PdeM1(self.graph, *self.architecture, self.catalyses, copies=number)

    def rates(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> Tensor:
        c = concentration.mT[..., self.metabolite, :]
        message = self.messages(parameters, c, size[..., None], slice(None))
        return self.responses(parameters, segment_sum(message, self.ptr))

    def linearised(
        self, parameters: Parameters, concentration: Tensor, size: Tensor, by_concentration: bool = False
    ) -> tuple[Tensor, OnRates]:
        substrate_func, rate_func = (self._own(function, parameters) for function in self._names)
        n_frames, copies = concentration.shape[0], substrate_func[0].shape[:-2]  # of which each has its own functions
        c = concentration.t().contiguous().view(*copies, -1, n_frames).index_select(-2, self.metabolite)
        size = size.view(*copies, -1, 1)
        features = self._features(parameters, c, size, slice(None))
        of_edges = values(substrate_func, features.flatten(-2))
        message = of_edges[-1].view(*copies, -1, *c.shape[-2:])
        gated = self._gated(size, slice(None)) if self.allows_zero else None
        silence = None if gated is None else gate(gated).unsqueeze(-3)
        rows = (message if silence is None else message * silence).view(-1, n_frames)
        summed = pointed_sum(rows, self.message_row, self.message_ptr)
        of_reactions = values(rate_func, summed.view(*message.shape[:-2], -1))
        before = of_reactions[-1].view(-1, n_frames)

        def on_rates(on: Tensor) -> tuple[dict[str, Tensor], Tensor | None, Tensor]:
            on_before = (on * torch.sigmoid(before)).view(of_reactions[-1].shape)
            on_rate_func, on_first = pulled_back(rate_func, of_reactions, on_before)
            on_summed = (rate_func[0].mT @ on_first).view(*message.shape[:-2], -1, n_frames)
            on_gated = on_summed.index_select(-2, self.reaction)
            on_message = on_gated if silence is None else on_gated * silence
            on_substrate_func, on_first = pulled_back(substrate_func, of_edges, on_message.flatten(-2))

            def by_edge(feature: int) -> Tensor:
                return (substrate_func[0][..., feature].unsqueeze(-2) @ on_first).view(c.shape)

            on_size = by_edge(1).sum(-1)
            if gated is not None:
                on_size += gate_slope(gated[..., 0]) * (message * on_gated).sum((-3, -1))
            found = dict(zip(self.shapes, (*on_substrate_func, *on_rate_func)))
            feature = 2
            for name, place in self._embeddings.items():
                embedding = parameters[name]
                on_edges = torch.stack([by_edge(feature + own).sum(-1) for own in range(embedding.shape[-1])], dim=-1)
                found[name] = torch.zeros_like(embedding).index_add(-2, getattr(self, place), on_edges)
                feature += embedding.shape[-1]
            if not by_concentration:
                return found, None, on_size.flatten()
            by_metabolite = c.new_zeros(*copies, concentration.shape[1] // math.prod(copies), n_frames)
            by_metabolite.index_add_(-2, self.metabolite, by_edge(0))
            return found, by_metabolite.view(-1, n_frames).t(), on_size.flatten()

        return nn.functional.softplus(before), on_rates

    def own(self, reactions: Tensor, number: int, parameters: Parameters) -> Tensor | None:
        return parameters[REACTION_EMBEDDING][reactions] if self.has_own else None

    def rates_of(self, reactions: Tensor, parameters: Parameters, concentration: Tensor, sizes: Tensor) -> Tensor:
        edges = self.substrates_of(reactions, sizes.shape[1])
        # a substrate has the same message in all columns in which its size is the same: messages come first
        levels, level = sizes.unique(return_inverse=True)
        each = edges.flatten().repeat_interleave(len(levels))
        c = concentration.T[self.metabolite[each]]
        message = self.messages(parameters, c, levels.repeat(edges.numel())[:, None], each)
        message = message.unflatten(1, (*edges.shape, len(levels)))
        # stays so without substrates
        summed = message.new_zeros(len(message), len(edges), len(sizes), len(concentration))
        for place, chosen in enumerate(level.T):
            summed += message[:, :, place, chosen]
        return self.responses(parameters, summed.flatten(1, 2)).unflatten(0, (len(edges), len(sizes)))

    def rates_by_own(
        self, reactions: Tensor, parameters: Parameters, concentration: Tensor, sizes: Tensor, own: Tensor
    ) -> Tensor:
        n = sizes.shape[1]
        edges = self.substrates_of(reactions, n)[:, None].expand(-1, len(sizes), -1).flatten()
        size = sizes.expand(len(reactions), -1, -1).reshape(-1, 1)
        embedding = own[:, :, None].expand(-1, -1, n, -1).flatten(0, 2)
        message = self.messages(parameters, concentration.T[self.metabolite[edges]], size, edges, embedding)
        summed = message.unflatten(1, (len(reactions) * len(sizes), n)).sum(2)
        return self.responses(parameters, summed).unflatten(0, (len(reactions), len(sizes)))

    def derivatives(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n_parameters = sum(math.prod(shape) for shape in self.shapes.values())
        by_parameters = size.new_empty(len(self.ptr) - 1, n_parameters, len(concentration))
        by_size = size.new_empty(len(size), len(concentration))
        number, order = self.ptr.diff().sort(stable=True)
        counts = number.unique_consecutive(return_counts=True)[1].tolist()
        for reactions, block in zip(order.split(counts), by_parameters.split(counts)):
            edges = self.substrates_of(reactions, int(self.ptr[reactions[0] + 1] - self.ptr[reactions[0]]))
            by_size[edges] = self._derivatives(parameters, concentration, size[edges], edges, block)
        return order, by_parameters, by_size

    def _derivatives(
        self, parameters: Parameters, concentration: Tensor, size: Tensor, edges: Tensor, by_parameters: Tensor
    ) -> Tensor:
        """(reactions, n, frames) dF/dsize of reactions with the substrate edges (reactions, n), at sizes of them.

        dF/dparameters is written into (reactions, P, frames).
        """
        inputs = (*edges.shape, len(concentration))
        substrate_func, rate_func = (self._own(function, parameters) for function in self._names)
        c = concentration.T[self.metabolite[edges.flatten()]]
        features = self._features(parameters, c, size.view(-1, 1), edges.flatten())
        substrates = values(substrate_func, features.flatten(1))
        message = substrates[-1].unflatten(1, inputs)
        gated = self._gated(size[..., None], edges) if self.allows_zero else torch.ones_like(size[..., None])
        silence = gate(gated)
        responses = values(rate_func, (silence * message).sum(2).flatten(1))

        of_responses, on_summed = backward(rate_func, responses, torch.sigmoid(responses[-1]))
        on_summed = on_summed.view(-1, len(edges), 1, inputs[2])
        on_message = (silence * on_summed).flatten(1)
        of_substrates, on_features = backward(substrate_func, substrates, on_message)
        on_features = on_features.unflatten(1, inputs)
        on_size = on_features[1]
        if self.allows_zero:
            on_size = on_size + gate_slope(gated) * (message * on_summed).sum(0)
        if not edges.shape[1]:
            by_parameters.zero_()
        first = fill(by_parameters, of_substrates, inputs)
        first += fill(by_parameters[:, first:], of_responses, (len(edges), 1, inputs[2]))
        self._fill_embeddings(parameters, by_parameters[:, first:], on_features[2:], edges)
        return on_size

    def _fill_embeddings(self, parameters: Parameters, found: Tensor, on_features: Tensor, edges: Tensor) -> None:
        """(reactions, numbers, frames) derivatives by each, from those by features (numbers, reactions, n, frames)."""
        own, first = torch.arange(len(edges), device=edges.device), 0
        for name, place in self._embeddings.items():
            number, dim = parameters[name].shape
            of_edges, on_features = on_features.tensor_split([dim])
            by_owner = found[:, first : first + number * dim].zero_().unflatten(1, (number, dim))
            for owner, of_substrate in zip(getattr(self, place)[edges].T, of_edges.unbind(2)):
                by_owner[own, owner] += of_substrate.transpose(0, 1)
            first += number * dim

    def with_sizes(self, parameters: Parameters, at_zero: Tensor, slope: Tensor) -> dict[str, Tensor]:
        weight, bias = self._names["substrate_func"][:2]
        on_size = parameters[weight][:, 1]
        scaled = parameters[weight].clone()
        scaled[:, 1] = slope * on_size
        return dict(parameters) | {weight: scaled, bias: parameters[bias] + at_zero * on_size}

    def with_unit(self, parameters: Parameters, unit: float) -> dict[str, Tensor]:
        weight = self._names["substrate_func"][0]
        scaled = parameters[weight].clone()
        scaled[:, 0] /= unit
        return dict(parameters) | {weight: scaled}

    def messages(
        self,
        parameters: Parameters,
        concentration: Tensor,
        size: Tensor,
        edges: Tensor | slice,
        own: Tensor | None = None,
    ) -> Tensor:
        """(..., output_size, edges, frames) of substrates at concentrations (..., edges, frames).

        Args:
            size: (..., edges, 1 or frames).
            edges: (edges,) positions among the substrate edges, for their embeddings.
            own: (edges, enzyme_dim) of their reactions, if others than these have.
        """
        features = self._features(parameters, concentration, size, edges, own)
        message = outputs(self._own("substrate_func", parameters), features.flatten(-2))
        message = message.unflatten(-1, concentration.shape[-2:])
        return message * gate(self._gated(size, edges)).unsqueeze(-3) if self.allows_zero else message

    def _gated(self, size: Tensor, edges: Tensor | slice) -> Tensor:
        """Sizes (..., edges, n) as gates take them: of a catalyst one that opens its gate."""
        return torch.where(self.is_catalyst[edges][..., None], 1.0, size) if len(self.catalyst) else size

    def _features(
        self,
        parameters: Parameters,
        concentration: Tensor,
        size: Tensor,
        edges: Tensor | slice,
        own: Tensor | None = None,
    ) -> Tensor:
        """(..., in, edges, frames) what substrate_func takes."""
        features = [concentration.unsqueeze(-3), size.expand_as(concentration).unsqueeze(-3)]
        for name, place in self._embeddings.items():
            is_own = own is not None and name == REACTION_EMBEDDING
            embedding = own if is_own else parameters[name][..., getattr(self, place)[edges], :]
            embedding = embedding.mT[..., None]
            features.append(embedding.expand(*embedding.shape[:-1], concentration.shape[-1]))
        return torch.cat(features, dim=-3)

    def responses(self, parameters: Parameters, summed: Tensor) -> Tensor:
        """(..., reactions, frames) F of summed messages (..., output_size, reactions, frames)."""
        found = outputs(self._own("rate_func", parameters), summed.flatten(-2))
        return nn.functional.softplus(found[..., 0, :].unflatten(-1, summed.shape[-2:]))

    def _own(self, function: str, parameters: Parameters) -> list[Tensor]:
        """The parameters of one of the two functions."""
        return [parameters[name] for name in self._names[function]]


def gate(size: Tensor) -> Tensor:
    """g(|S|): 0 at 0, 1 from 1 on: a zero coefficient silences a substrate."""
    return 1 - (1 - size.clamp(max=1)) ** 2


def gate_slope(size: Tensor) -> Tensor:
    """dg/d|S|."""
    return 2 * (1 - size.clamp(max=1))
