"""Few of many changes that together leave least: what single changes do not find."""

import math

import torch
from torch import Tensor

_LARGEST = 4  # changes at once
_TRIED = 200_000  # subsets of a size, at most


def best_subsets(slope: Tensor, gram: Tensor, group: Tensor) -> list[Tensor]:
    """The subsets of 2, 3, ... changes, of which no two are of one group, that gain most; as long as all can be tried.

    A subset A gains 2 sum of slope over A - sum of gram over A x A.

    Args:
        slope: (n,); gram: (n, n).
        group: (n,) int.
    """
    found = []
    for size in range(2, _LARGEST + 1):
        if len(slope) < size or math.comb(len(slope), size) > _TRIED:
            break
        subset = torch.combinations(torch.arange(len(slope), device=slope.device), size)
        groups = group[subset].sort(1).values
        subset = subset[(groups[:, 1:] != groups[:, :-1]).all(1)]
        if not len(subset):
            break
        gain = 2 * slope[subset].sum(1) - gram[subset[:, :, None], subset[:, None]].sum((1, 2))
        found.append(subset[gain.argmax()])
    return found
