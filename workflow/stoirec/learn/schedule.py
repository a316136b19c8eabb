"""When what happens in a fit: learning rates and loss weights by step, stages of refinement by round."""

import math
from dataclasses import dataclass

import numpy as np

from stoirec.config.fit import FitConfig
from stoirec.learn.losses import REGULARISERS
from stoirec.refine import Stage

_LAST_RATE = 0.01  # of the learning rates at the end of a cosine decay, over those at the start


@dataclass(frozen=True)
class Steps:
    """The steps of gradient descent on trajectories of `n_frames` frames."""

    config: FitConfig
    n_frames: int

    @property
    def n_steps(self) -> int:
        return self.config.n_steps(self.n_frames)

    def snapshots(self) -> set[int]:
        """Steps after which coefficients and losses are recorded."""
        return set(np.linspace(0, self.n_steps, self.config.n_snapshots + 1).round().astype(int).tolist())

    def rate_factor(self, step: int) -> float:
        """Factor on every learning rate: constant, or a cosine decay to 1 % of the start."""
        if self.config.schedule == "constant":
            return 1.0
        return _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / self.n_steps))

    def in_first_phase(self, step: int) -> bool:
        """Whether `step` is one of the first n_epochs_init epochs."""
        return step < self.config.n_epochs_init * self.config.steps_per_epoch(self.n_frames)

    def loss_weights(self, step: int) -> tuple[float, ...]:
        """Weights of losses.COMPONENTS."""
        first = self.in_first_phase(step)
        return 1.0, *(term.weight(self.config, first) for term in REGULARISERS)


def stage(round_: int, n_rounds: int, allows_zero: bool, contradicted: bool = False) -> Stage:
    """What a round of refinement does, from 0.

    Where edges may be decoys the first fifth of the rounds closes them. The last two fifths, at least the last round,
    conclude: more than most need, for refinement ends once nothing changes. While columns are `contradicted` by what
    was left without ties, these may still be released, but for the last sixth.
    """
    done = (round_ + 0.5) / n_rounds
    if done > (5 / 6 if contradicted else 0.6) or round_ + 1 == n_rounds:
        return "conclude"
    return "close" if allows_zero and done < 0.2 else "tie"
