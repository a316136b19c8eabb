"""Commands of `stoirec` in processes of their own, forked from this one: no import of torch for each of hundreds.

There are STRESS_KILLS (100) kills in all, at moments that follow from STRESS_SEED (1).
"""

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import xarray as xr

import stoirec.report.beforehand.page
import stoirec.report.own_data.page
import stoirec.report.page  # noqa: F401
from stoirec import cli
from stoirec.learn import recipe

KILLS = int(os.environ.get("STRESS_KILLS", 100))
SEED = int(os.environ.get("STRESS_SEED", 1))
LONGEST = 20.0  # [s]: a digit more may be a valid configuration that takes days
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
        logging.getLogger().handlers.clear()  # nor the runner's handlers
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

    def ended(self, longest: float = 600.0) -> tuple[int, list[str]]:
        """(exit code, minus the signal that ended it; lines on stderr); killed after `longest` [s]."""
        clock = threading.Timer(longest, self.kill, [signal.SIGKILL])
        clock.start()
        with open(self.said, errors="replace") as pipe:
            lines = pipe.read().splitlines()
        clock.cancel()
        return os.waitstatus_to_exitcode(os.waitpid(self.number, 0)[1]), lines


def there(folder: Path, arguments: Sequence[str], before: Callable[[], object] = lambda: None) -> Process:
    """A command in `folder`."""

    def enter() -> None:
        os.chdir(folder)
        before()

    return Process.start(arguments, enter)


def quick_recipes() -> None:
    """The bundled ones with few steps."""
    load = recipe.load
    few = {"n_epochs": 1, "epoch_steps": 5, "refinement_rounds": 1, "refinement_steps": 1, "refinement_frames": 20}
    recipe.load = lambda name: load(name).model_copy(update=few)


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file in it and below."""
    return {os.fspath(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
