"""What a rate law is: the fluxes of a graph's reactions up to their rate constants, v_j = k_j F_j(c, |S|)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from stoirec.config.fit import GraphModel
from stoirec.kinetics.pullback import automatic
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph

Parameters = Mapping[str, Tensor]
# (R, frames) derivatives of a number by F -> those by each parameter, by concentration (frames, M) and by size (S,)
OnRates = Callable[[Tensor], tuple[dict[str, Tensor], Tensor | None, Tensor]]


class RateLaw(nn.Module, ABC):
    """F_j(c, |S|) of the reactions of a graph. Parameters are given at each call; the law itself has none.

    Sizes |S| come one per substrate edge, in the order of `graph.substrate_edges`.

    Args:
        graph: candidate edges; substrate edges drive the rates.
        catalyses: (E,) bool, those of them that drive a rate without a change, catalysts and inhibitors: their size is
            0, and they are felt all the same. None: none.

    Attributes:
        shapes: name -> shape of each parameter, in the order in which a vector holds them.
    """

    shapes: dict[str, tuple[int, ...]]
    metabolite: Tensor
    ptr: Tensor
    is_catalyst: Tensor
    catalyst: Tensor

    def __init__(self, graph: Graph, catalyses: np.ndarray | None = None) -> None:
        super().__init__()
        self.graph = graph
        self.catalyses = np.zeros(graph.n_edges, bool) if catalyses is None else catalyses
        self.shapes = {}
        substrates = graph.substrate_edges
        self.register_buffer("metabolite", _index(graph.edge_metabolite[substrates]), persistent=False)  # (S,)
        reaction = graph.edge_reaction[substrates]
        is_catalyst = self.catalyses[substrates]
        self.register_buffer("is_catalyst", torch.as_tensor(is_catalyst), persistent=False)  # (S,)
        self.register_buffer("catalyst", _index(np.flatnonzero(is_catalyst)), persistent=False)  # their positions
        ptr = np.searchsorted(reaction, np.arange(graph.n_reactions + 1))
        self.register_buffer("ptr", _index(ptr), persistent=False)  # (R + 1,) substrate edges by reaction

    @abstractmethod
    def rates(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> Tensor:
        """(R, frames) F at concentrations (frames, M) and sizes (S,)."""


class LearnableLaw(RateLaw):
    """A rate law that a model can have, and a refinement.

    Attributes:
        allows_zero: whether a substrate of size 0 leaves its reaction alone, as if it were none.
        learns_sizes: whether sizes are inputs of learned functions, to which other numbers could stand for 1, 2, ...
        by_consumption: whether an edge whose sign is not known drives the rate only as far as it consumes.
        has_own: whether a reaction has parameters that no others have.
    """

    allows_zero: bool = False
    learns_sizes: bool = False
    by_consumption: bool = False
    has_own: bool = False

    @classmethod
    @abstractmethod
    def of(cls, space: ColumnSpace, shape: GraphModel) -> "LearnableLaw":
        """The law on the graph of `space` as a configuration asks for it."""

    def linearised(
        self, parameters: Parameters, concentration: Tensor, size: Tensor, by_concentration: bool = False
    ) -> tuple[Tensor, OnRates]:
        """`rates`, and their pullback, which has derivatives by concentration where they are asked for.

        To be called under no_grad. Here by automatic differentiation; a law may write it out.
        """
        names = list(self.shapes)

        def rates(concentration: Tensor, size: Tensor, *own: Tensor) -> Tensor:
            return self.rates(dict(zip(names, own)), concentration, size)

        found, pullback = automatic(rates, concentration, size, *(parameters[name] for name in names))

        def on_rates(on: Tensor) -> tuple[dict[str, Tensor], Tensor | None, Tensor]:
            on_concentration, on_size, *on_parameters = pullback(on)
            return dict(zip(names, on_parameters)), on_concentration, on_size

        return found, on_rates

    @abstractmethod
    def rates_of(self, reactions: Tensor, parameters: Parameters, concentration: Tensor, sizes: Tensor) -> Tensor:
        """(reactions, columns, frames) F of some reactions with as many substrates.

        Were the sizes of these one of (columns, n_substrates).
        """

    def own(self, reactions: Tensor, number: int, parameters: Parameters) -> Tensor | None:
        """(reactions, n) parameters that no others have, of some with `number` substrates; None unless `has_own`."""
        return None

    def rates_by_own(
        self, reactions: Tensor, parameters: Parameters, concentration: Tensor, sizes: Tensor, own: Tensor
    ) -> Tensor:
        """As `rates_of`, were their own parameters (reactions, columns, n). Only of a law that has such."""
        raise NotImplementedError

    @abstractmethod
    def derivatives(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(R,) reactions in some order, (R, P, frames) their dF/dparameters, as one vector; (S, frames) dF/dsize."""

    def substrates_of(self, reactions: Tensor, number: int) -> Tensor:
        """(reactions, number) positions of their substrates among the substrate edges."""
        return self.ptr[reactions, None] + torch.arange(number, device=self.ptr.device)

    def sizes(self, coefficient: Tensor, sign: Tensor) -> Tensor:
        """Sizes of coefficients whose `sign` is known, or 0."""
        size = coefficient.abs()
        return torch.where((sign == 0) & (coefficient > 0), 0.0, size) if self.by_consumption else size

    def size_slopes(self, coefficient: Tensor, sign: Tensor) -> Tensor:
        """Derivatives of `sizes` by the coefficients."""
        slope = coefficient.sign()
        return torch.where((sign == 0) & (coefficient > 0), 0.0, slope) if self.by_consumption else slope

    def with_sizes(self, parameters: Parameters, at_zero: Tensor, slope: Tensor) -> dict[str, Tensor]:
        """Parameters that make of a size s what `parameters` make of at_zero + slope s, the silence of 0 aside.

        Only of a law that learns sizes.
        """
        raise NotImplementedError

    def with_unit(self, parameters: Parameters, unit: float) -> dict[str, Tensor]:
        """Parameters that make of concentrations c what `parameters` make of c / unit, up to unit^order."""
        return dict(parameters)

    def within(self, vector: Tensor, concentration: Tensor) -> Tensor:
        """(P,) parameters as near to `vector` as concentrations (frames, M) can tell apart."""
        return vector

    def roused(self, vector: Tensor, concentration: Tensor) -> Tensor:
        """(P,) parameters as `vector`, but for those that have come where they change no rate at all."""
        return vector

    def order(self, size: Tensor) -> Tensor:
        """(R,) power of the unit of concentration that rates are in, at sizes (S,)."""
        return size.new_zeros(len(self.ptr) - 1)

    @abstractmethod
    def part(self, edges: np.ndarray) -> "LearnableLaw":
        """The law on the graph with some of the edges (positions, in order)."""

    @abstractmethod
    def copies(self, number: int) -> "LearnableLaw":
        """The law on so many copies of the graph side by side, each with parameters of its own.

        They lie one after the other: `shapes` has them in a leading axis, or as one longer vector. For `linearised`
        alone; concentrations are then (frames, number * M).
        """

    def initial(self, name: str, rng: np.random.Generator, typical: np.ndarray | None = None) -> np.ndarray:
        """A random start of a parameter: uniform within 1/sqrt(fan-in), as PyTorch initialises nn.Linear.

        `typical`: (M,) concentrations, for laws whose constants are concentrations.
        """
        weight = self.shapes[name.removesuffix("bias") + "weight" if name.endswith("bias") else name]
        bound = 1 / math.sqrt(weight[1])
        return rng.uniform(-bound, bound, self.shapes[name])

    def unpack(self, vector: Tensor) -> dict[str, Tensor]:
        """Parameters from one vector (P,)."""
        pieces = vector.split([math.prod(shape) for shape in self.shapes.values()])
        return {name: piece.reshape(shape) for (name, shape), piece in zip(self.shapes.items(), pieces)}

    def pack(self, parameters: Parameters) -> Tensor:
        """(P,) one vector of parameters; a law without any has an empty one."""
        if not self.shapes:
            return torch.zeros(0, dtype=torch.float64, device=self.ptr.device)
        return torch.cat([parameters[name].detach().flatten() for name in self.shapes])


def _index(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.int64)
