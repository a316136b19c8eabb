"""Frames of trajectories: each knows its run, its time and the uninterrupted stretch it stands in."""

from dataclasses import dataclass

import numpy as np


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
        concentration, dcdt: (all runs, T, M); time: (T,); runs: indices; keep: (T,) bool.
    """
    place = np.flatnonzero(keep)
    width = concentration.shape[-1]
    begins = np.tile(np.diff(place, prepend=-2) > 1, len(runs))  # the first frame of each run is one
    return Frames(
        concentration[runs][:, place].reshape(-1, width),
        dcdt[runs][:, place].reshape(-1, width),
        np.repeat(runs, len(place)),
        np.tile(time[place], len(runs)),
        np.cumsum(begins) - 1,
    )
