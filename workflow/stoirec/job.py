"""A job of the workflow: `python -m stoirec.job PARENT MODULE ARGUMENT...` runs a module, and ends with its parent.

What Snakemake started would outlive a Snakemake that is killed, and write its results after the next one has made them.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2), of Linux alone: elsewhere a job outlives its parent


def end_with(parent: int) -> None:
    """SIGTERM to this process when its parent ends: now, if it has ended already and another took its place."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    _, given, module, *arguments = sys.argv
    end_with(int(given))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
