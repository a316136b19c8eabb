"""Frames of trajectories: each knows its run, its time and the uninterrupted stretch it stands in."""

from dataclasses import dataclass

import numpy as np

ENOUGH_RUNS = 2.0  # on networks of the default kind two that start apart give nearly all of S, one does not


@dataclass(frozen=True)
class Frames:
    """Some frames of some runs, run after run and in the order of time.

    Attributes:
        concentration, dcdt: (frames, M) [concentration], [concentration/time unit], in double precision.
        run: (frames,) index of the run in its file.
        time: (frames,) [time unit].
        stretch: (frames,) frames of one number follow each other in one run without a gap; numbers rise from 0.
    """

    concentration: np.ndarray
    dcdt: np.ndarray
    run: np.ndarray
    time: np.ndarray
    stretch: np.ndarray

    def __len__(self) -> int:
        return len(self.concentration)


def frames_of(
    concentration: np.ndarray, dcdt: np.ndarray, time: np.ndarray, runs: np.ndarray, keep: np.ndarray
) -> Frames:
    """The frames `keep` of `runs`.

    Args:
        concentration, dcdt: (all runs, T, M); time: (T,) or (all runs, T); runs: indices; keep: (T,) bool.
    """
    place = np.flatnonzero(keep)
    width = concentration.shape[-1]
    begins = np.tile(np.diff(place, prepend=-2) > 1, len(runs))  # the first frame of each run is one
    return Frames(
        concentration[runs][:, place].reshape(-1, width),
        dcdt[runs][:, place].reshape(-1, width),
        np.repeat(runs, len(place)),
        np.broadcast_to(time, concentration.shape[:2])[runs][:, place].ravel(),
        np.cumsum(begins) - 1,
    )


def effective_runs(frames: Frames) -> float:
    """How many runs say something of their own: from 1, where all are alike, to their number, where all are different.

    1 and, for each other run, the share of a typical metabolite's variance that is between runs at the same time.
    """
    runs = [frames.concentration[frames.run == run] for run in np.unique(frames.run)]
    if len(runs) < 2 or len({len(run) for run in runs}) > 1:
        return float(len(runs))
    every = np.stack(runs)
    total = every.reshape(-1, every.shape[-1]).var(0)
    moves = total > 0
    share = every.var(0, ddof=1).mean(0)[moves] / total[moves]
    return 1 + (len(runs) - 1) * min(1.0, float(np.median(share))) if moves.any() else 1.0
