"""What a laboratory measures of simulated trajectories: values at some times, with errors and gaps."""

import numpy as np

from stoirec.config.regime import Measured, Regime
from stoirec.simulate.trajectories import Simulation
from stoirec.streams import generator_stream


def measure(simulation: Simulation, regime: Regime) -> tuple[np.ndarray, np.ndarray]:
    """Times (runs, n) and concentrations (runs, n, M), NaN where nothing was measured; by `regime.measured`."""
    asked, seed = regime.measured, regime.seeds.initial_concentrations
    chosen, noise, gaps = (generator_stream(f"measured {name}", seed) for name in ("times", "noise", "gaps"))
    n_runs, n_frames, _ = simulation.concentration.shape
    places = np.stack([_frames(asked, n_frames, chosen) for _ in range(n_runs)])
    value = np.take_along_axis(simulation.concentration, places[:, :, None], axis=1)
    value = np.maximum(value * (1 + asked.noise * noise.normal(size=value.shape)), 0.0)
    value = np.where(gaps.random(value.shape) < asked.missing, np.nan, value)
    value[..., unmeasured(regime, value.shape[-1])] = np.nan
    return simulation.time[places], value


def unmeasured(regime: Regime, n_metabolites: int) -> np.ndarray:
    """Indices of the metabolites that are never measured, rising."""
    number = 0 if regime.measured is None else regime.measured.unmeasured
    drawn = generator_stream("unmeasured", regime.seeds.initial_concentrations)
    return np.sort(drawn.choice(n_metabolites, number, replace=False))


def _frames(asked: Measured, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) indices of the frames of one run, rising."""
    last = n_frames - 1
    if asked.spacing == "irregular":
        within = 1 + rng.choice(last - 1, asked.frames - 2, replace=False)
        return np.r_[0, np.sort(within), last]
    if asked.spacing == "even":
        return np.linspace(0, last, asked.frames).round().astype(int)
    # frame by frame as long as the next one of the geometric series is no further
    wanted = np.r_[0, np.geomspace(1, last, asked.frames - 1)].round().astype(int)
    rising = np.maximum.accumulate(wanted - np.arange(asked.frames)) + np.arange(asked.frames)
    return np.minimum(rising, last - np.arange(asked.frames)[::-1])
