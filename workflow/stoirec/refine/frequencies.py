"""How frequent each |S| is in a network, and how likely that makes its columns before any data."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from stoirec.refine.functions import Functions, ReactionColumns


class SizeCounts:
    """How many entries of each |S| the columns have, of all reactions, that conserve what is conserved.

    Args:
        functions: whose columns; a reaction has N_j of them, in the order of its pairs.

    Attributes:
        reaction: (N,) whose column; counts: (N, largest + 1) its entries with an |S| of 0, 1, ...
        uninformative: (largest + 1,) log frequencies, where all |S| are alike.
    """

    def __init__(self, functions: Functions) -> None:
        n_sizes, reactions = functions.space.largest + 1, torch.arange(functions.graph.n_reactions)
        self.functions, sides = functions, [functions.sides(reaction) for reaction in reactions.tolist()]
        self.counts = torch.cat([_counted(each, n_sizes) for each in sides])
        number = torch.tensor([int(each.conserved.sum()) for each in sides])
        self.reaction = reactions.repeat_interleave(number).to(functions.device)
        self.log_number = number.clamp(min=1).log().to(functions.device)
        self.first = (number.cumsum(0) - number).to(functions.device)
        self.uninformative = self.counts.new_zeros(n_sizes)

    def log_prior(self, log_frequency: Tensor) -> Tensor:
        """(N,) log probabilities before any data, over those if all columns of a reaction were alike."""
        return self.counts @ log_frequency - self.log_average(log_frequency)[self.reaction]

    def log_average(self, log_frequency: Tensor) -> Tensor:
        """(R,) log of the mean over its columns of the product of the frequencies of their entries."""
        highest, total = self._exponentials(self.counts @ log_frequency)[1:]
        return torch.where(total > 0, highest + total.log() - self.log_number, 0.0)

    def of(self, reactions: Tensor, values: Tensor) -> Tensor:
        """(reactions, D, O) those of `values` (N,) of reactions with the same columns; -inf where not conserved."""
        conserved, places = self._places(reactions)
        found = values.new_full((len(reactions), *conserved.shape), -torch.inf)
        found[:, conserved] = values[places]
        return found

    def gathered(self, values: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """(N,) from those (reactions, D, O) of some reactions with the same columns; 0 of the others."""
        found = torch.zeros_like(self.reaction, dtype=self.counts.dtype)
        for reactions, own in values:
            conserved, places = self._places(reactions)
            found[places] = own[:, conserved]
        return found

    def _places(self, reactions: Tensor) -> tuple[Tensor, Tensor]:
        """(D, O) bool, which columns conserve, and (reactions, n) where these stand."""
        conserved = self.functions.sides(int(reactions[0])).conserved
        number = torch.arange(int(conserved.sum()), device=conserved.device)
        return conserved, self.first[reactions, None] + number

    def likeliest(self, log_likelihood: Tensor) -> Tensor:
        """(largest + 1,) log of how frequent each |S| is, over that if all were alike; 0 of an |S| of 0.

        The likeliest frequencies (empirical Bayes), for a log likelihood (N,) of the columns: in most real networks
        nearly all |S| are 1. At them as many of each are expected before any data as after. One of each is counted
        beforehand.
        """
        log_likelihood = log_likelihood - self._exponentials(log_likelihood)[1][self.reaction]  # differences are small

        def surprise(log_frequency: np.ndarray) -> tuple[float, np.ndarray]:
            """Minus the log probability of the data, and its gradient."""
            frequency = self.counts.new_tensor(log_frequency)
            before, expected = self._evidence(self.log_prior(self._of_all(frequency)))
            after, found = self._evidence(self.log_prior(self._of_all(frequency)) + log_likelihood)
            one_of_each = frequency.log_softmax(0)
            value = before - after - one_of_each.sum()
            return float(value), (expected - found - 1 + len(frequency) * one_of_each.exp()).numpy()

        found = minimize(surprise, np.zeros(self.counts.shape[1] - 1), jac=True, method="BFGS").x
        log_frequency = self.counts.new_tensor(found).log_softmax(0)
        return self._of_all(log_frequency + math.log(len(log_frequency)))

    def _of_all(self, log_frequency: Tensor) -> Tensor:
        """Those of an |S| of 1, 2, ..., with that of 0 before them."""
        return torch.cat([self.uninformative[:1], log_frequency])

    def _evidence(self, log_chance: Tensor) -> tuple[float, Tensor]:
        """Log of the sum over the columns of each reaction, summed, and the entries of each |S| expected at it."""
        each, highest, total = self._exponentials(log_chance)
        some = total > 0
        return float((highest[some] + total[some].log()).sum()), self.counts[:, 1:].T @ (each / total[self.reaction])

    def _exponentials(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N,) exponentials over the highest of their reaction, (R,) logs of these, and sums."""
        highest = values.new_full((len(self.log_number),), -torch.inf).scatter_reduce(0, self.reaction, values, "amax")
        each = (values - highest[self.reaction]).exp()
        return each, highest, torch.zeros_like(highest).index_add(0, self.reaction, each)


def sizes_of(column: Tensor, n_sizes: int) -> Tensor:
    """The |S| of coefficients as numbers below `n_sizes`; known ones may be fractional, and real ones larger."""
    return column.abs().round().clamp(max=n_sizes - 1).long()  # before, what is beyond any integer would be negative


def _counted(sides: ReactionColumns, n_sizes: int) -> Tensor:
    """(N_j, n_sizes) entries of each |S|, rounded, of the columns of a reaction that conserve."""

    def of(side: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(sizes_of(side, n_sizes), n_sizes).sum(1).double()

    driving, others = sides.conserved.nonzero(as_tuple=True)
    return of(sides.driving)[driving] + of(sides.others)[others]
