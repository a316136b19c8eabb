"""Textbook rate laws, irreversible: what the truth may follow where a learner has PDE_M1.

A learner's functions are shared by all reactions. They can hold mass action, which is one; not constants that differ
from reaction to reaction.
"""

import numpy as np
import torch
from torch import Tensor

from stoirec.kinetics.rate_law import Parameters, RateLaw
from stoirec.kinetics.segments import segment_expand
from stoirec.network.graph import Graph

HALF_SATURATION = "half_saturation"


class MassAction(RateLaw):
    """F_j = product over substrates of c^|S|."""

    def rates(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> Tensor:
        return self._product(concentration.T[self.metabolite] ** size[:, None])

    def _product(self, factor: Tensor) -> Tensor:
        """(R, frames) products over the substrates of each reaction of (S, frames); 1 without any."""
        return torch.segment_reduce(factor, "prod", offsets=self.ptr, axis=0, initial=1.0)


class ConvenienceKinetics(MassAction):
    """F_j = product over substrates of x^|S| / (1 + x + ... + x^|S|), x = c / K_j; Michaelis-Menten for |S| = 1.

    Liebermeister and Klipp 2006, Theor. Biol. Med. Model. 3:41, without products; sizes are whole numbers.

    Parameters:
        half_saturation: (R,) K_j > 0 [concentration].
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.shapes = {HALF_SATURATION: (graph.n_reactions,)}

    def rates(self, parameters: Parameters, concentration: Tensor, size: Tensor) -> Tensor:
        constant = segment_expand(parameters[HALF_SATURATION][:, None], self.ptr)
        x, size = concentration.T[self.metabolite] / constant, size[:, None]
        powers = torch.stack([torch.where(size >= n, x**n, 0.0) for n in range(int(size.max()) + 1)])
        return self._product(x**size / powers.sum(0))

    def initial(self, name: str, rng: np.random.Generator) -> np.ndarray:
        """Log-uniform within a decade about the concentrations of the regimes."""
        return 10.0 ** rng.uniform(0.0, 1.0, self.shapes[name])


MECHANISTIC: dict[str, type[RateLaw]] = {"mass_action": MassAction, "convenience": ConvenienceKinetics}
