"""Random streams, keyed so that the learner's can never be the generator's.

A stream is named by (domain, name) and a seed. Both enter NumPy's SeedSequence: the seed as entropy (at most
63 bits, so it fills the first two of four words), the name as spawn key behind it. Two different
(domain, name, seed) therefore hash different word lists, whatever the seeds are.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # elsewhere where a stream is drawn: the command line needs MAX_SEED alone, and starts sooner
    import numpy as np

MAX_SEED = 2**63 - 1

_DOMAINS = {"generator": 1, "learner": 2}


def _sequence(domain: str, name: str, seed: int) -> "np.random.SeedSequence":
    import numpy as np

    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed {seed} is outside 0..2^63-1")
    return np.random.SeedSequence(entropy=seed, spawn_key=(_DOMAINS[domain], *name.encode()))


def generator_stream(name: str, seed: int) -> "np.random.Generator":
    """The generator's stream `name` (network, rate constants, ...) for `seed`."""
    import numpy as np

    return np.random.default_rng(_sequence("generator", name, seed))


def learner_stream(name: str, seed: int) -> "np.random.Generator":
    """The learner's stream `name` (initial weights, batches, ...) for `seed`."""
    import numpy as np

    return np.random.default_rng(_sequence("learner", name, seed))


def derived_seed(name: str, seed: int) -> int:
    """A seed of its own for the generator's part `name`, derived from one master seed (63 bits)."""
    return int(_sequence("generator", "derive " + name, seed).generate_state(1, "uint64")[0]) >> 1
