"""What a fit takes, before it is begun: an order of magnitude, for a core at about 3 GHz and one thread."""

import math
from dataclasses import dataclass

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import Data
from stoirec.kinetics.laws import rate_law

# Fitted to runs of `recover` on networks of 8 to 256 reactions (docs/benchmarks.md).
_START = 8.0  # seconds: reading, rounding, the page
_EARLY = 0.2  # of the steps of gradient descent, where it may end early
_STEP, _PER_MESSAGE = 7e-4, 2.4e-10  # of gradient descent: whatever it is of; for each weight, frame and edge
_PER_PAIR, _PER_TRIPLE = 2.2e-6, 1.5e-10  # of a round of refinement: by unknowns squared, and cubed
_HARDER = 3  # where reactions run both ways, or unmeasured concentrations are unknowns as well
_LEAST_ROUNDS, _TRIALS = 3, 3  # where all is clear; over all that are allowed, where much is not
_BYTES_AT_START, _NUMBER = 7e8, 8
_WINDOWS_AT_ONCE, _MATRICES = 120, 12  # whose derivatives are held, and square matrices beside them


@dataclass(frozen=True)
class Cost:
    """Of `stoirec recover`.

    Attributes:
        least_seconds: of processor time where all columns are soon clear; most_seconds: where many stay unsure.
        bytes: of memory at the peak.
    """

    least_seconds: float
    most_seconds: float
    bytes: float


def expected(data: Data, config: FitConfig) -> Cost:
    """What recovering S from `data` takes."""
    graph = data.graph
    n_weights = sum(math.prod(shape) for shape in rate_law(data.space, config.graph_model).shapes.values())
    n_unknowns = n_weights + graph.n_edges + graph.n_reactions
    step = _STEP + _PER_MESSAGE * n_weights * config.batch_size * graph.n_edges
    descent = config.n_steps(data.n_frames) * step
    early = _EARLY * descent if config.enough_val_loss else descent
    a_round = _PER_PAIR * n_unknowns**2 + _PER_TRIPLE * n_unknowns**3
    if data.space.reverse_of is not None or len(data.unmeasured):
        a_round *= _HARDER
    derivatives = _WINDOWS_AT_ONCE * graph.n_metabolites * n_weights
    return Cost(
        _START + early + min(_LEAST_ROUNDS, config.refinement_rounds) * a_round,
        _START + descent + _TRIALS * config.refinement_rounds * a_round,
        _BYTES_AT_START + _NUMBER * (derivatives + _MATRICES * n_unknowns**2),
    )
