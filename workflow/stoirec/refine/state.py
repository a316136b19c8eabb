"""The numbers refinement works on."""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class State:
    """A model under refinement, all in double precision.

    Attributes:
        weights: (P,) the rate law's parameters, as RateLaw.pack orders them.
        linear: (E,) B, the coefficient of each edge times its reaction's rate constant.
        log_k: (R,) log10 rate constants.
        integers: (E,) integer coefficients inside the functions; None: |B| / k stands there.
        closed: (E,) bool, edges held at 0 because they seem to be decoys; None before any was judged.
        tied: (R,) bool, reactions whose B only moves along itself: their column seems known; None before any was
            judged.
        cost: mean squared residual, each metabolite divided by its std of dc/dt; inf before the first step.
        loose_cost: the least `cost` of any round before with reactions that were not tied; inf before the first.
        settled: rounds in a row that changed no column, or selection.SETTLED if all columns are clear as well.
        stalled: whether the last round left most of a residual that is not noise, so that some ties are wrong.
        spent: whether the last round without ties left most of what rounds before had left, so that no more will come.
    """

    weights: Tensor
    linear: Tensor
    log_k: Tensor
    integers: Tensor | None = None
    closed: Tensor | None = None
    tied: Tensor | None = None
    cost: float = math.inf
    loose_cost: float = math.inf
    settled: int = 0
    stalled: bool = False
    spent: bool = False
