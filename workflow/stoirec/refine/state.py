"""The numbers refinement works on."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

DAMPING = 1e-3  # of the first step, and the most that is passed on
FAR_MORE = 4.0  # times the mean squared residual


@dataclass(frozen=True)
class State:
    """A model under refinement, all in double precision.

    Attributes:
        weights: (P,) the rate law's parameters, as LearnableLaw.pack orders them.
        linear: (E,) B, the coefficient of each edge times its reaction's rate constant.
        log_k: (R,) log10 rate constants.
        integers: (E,) integer coefficients inside the functions; None: |B| / k stands there.
        closed: (E,) bool, edges held at 0 because they seem to be decoys; None before any was judged.
        tied: (R,) bool, reactions whose B only moves along itself: their column seems known; None before any was
            judged.
        outside: (R,) bool, reactions whose column seems to be none of those allowed: real, and nothing is conserved;
            None before any was judged.
        cost: mean squared residual, each metabolite divided by its std of dc/dt; inf before the first step.
        loose_cost: the least `cost` of any round before with reactions that were not tied; inf before the first.
        settled: rounds in a row that changed no column and little of the residual, or selection.SETTLED if all columns
            are clear as well.
        stalled: whether the last round left most of a residual that is not noise, so that some ties are wrong.
        slow: whether the second half of the steps of a descent gained little: something that no step changes is wrong.
        damping: of the next Levenberg-Marquardt step.
        spent: whether the last round without ties left most of what rounds before had left, so that no more will come.
    """

    weights: Tensor
    linear: Tensor
    log_k: Tensor
    integers: Tensor | None = None
    closed: Tensor | None = None
    tied: Tensor | None = None
    outside: Tensor | None = None
    cost: float = math.inf
    loose_cost: float = math.inf
    settled: int = 0
    stalled: bool = False
    slow: bool = False
    damping: float = DAMPING
    spent: bool = False

    def to(self, device: torch.device) -> "State":
        """The same on another device."""
        moved: dict[str, Any] = {name: part.to(device) for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **moved)

    def has_same_columns(self, other: "State") -> bool:
        """Whether it is the other one, but for what tells how the descents went."""
        parts = (vars(state).values() for state in (self, other))
        same = all(one is two for one, two in zip(*parts) if isinstance(one, Tensor) or isinstance(two, Tensor))
        return same and self.contradicted == other.contradicted

    @property
    def committed(self) -> bool:
        """Whether every reaction is tied to a column, but those that none is right for."""
        if self.tied is None:
            return False
        return bool((self.tied | self.is_outside).all())

    @property
    def contradicted(self) -> bool:
        """Whether all are tied, and that leaves far more than was left without: not all columns can be right."""
        return self.committed and self.cost > FAR_MORE * self.loose_cost

    @property
    def is_outside(self) -> Tensor:
        """(R,) bool, `outside`; none before any was judged."""
        return torch.zeros_like(self.log_k, dtype=torch.bool) if self.outside is None else self.outside
