"""Commands of `stoirec` in processes of their own, forked from this one: no import of torch for each of hundreds.

There are STRESS_KILLS (100) kills in all, at moments that follow from STRESS_SEED (1).
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import xarray as xr

from stoirec import cli

KILLS = int(os.environ.get("STRESS_KILLS", 100))
SEED = int(os.environ.get("STRESS_SEED", 1))
NOT_COMPARED = ("wall_time_s",)  # attributes that differ from run to run


@dataclass(frozen=True)
class Process:
    """A command of `stoirec`, and the end of the pipe that its stderr comes out of."""

    number: int
    said: int

    @classmethod
    def start(cls, arguments: Sequence[str], before: Callable[[], object] = lambda: None) -> "Process":
        """In a session of its own; `before` is called in it, before the command."""
        said, stderr = os.pipe()
        number = os.fork()
        if number:
            os.close(stderr)
            return cls(number, said)
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(stderr, 2)
        sys.stderr = os.fdopen(2, "w", errors="replace")  # not the one that a test's runner captures
        code = 70
        try:
            before()
            sys.argv = ["stoirec", *arguments]
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def kill(self, by: signal.Signals) -> None:
        """Send a signal to the process and its children: it is there until it is waited for."""
        os.killpg(self.number, by)

    def ended(self) -> tuple[int, list[str]]:
        """(exit code, minus the signal that ended it; lines on stderr)."""
        with open(self.said, errors="replace") as pipe:
            lines = pipe.read().splitlines()
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1]), lines


def moments(random: Random, longest: float, number: int) -> list[float]:
    return [random.uniform(0, longest) for _ in range(number)]


def difference(one: Path, other: Path) -> str | None:
    """What two NetCDF files differ in, groups included; None if they are the same but for what time they took."""
    with xr.open_datatree(one, decode_times=False) as first, xr.open_datatree(other, decode_times=False) as second:
        if first.groups != second.groups:
            return f"groups {first.groups} and {second.groups}"
        for name in first.groups:
            parts = [tree[name].to_dataset().load() for tree in (first, second)]
            for part in parts:
                for attribute in NOT_COMPARED:
                    part.attrs.pop(attribute, None)
            if not parts[0].identical(parts[1]):
                return f"{name}: {parts[0]}\n{parts[1]}"
    return None
