"""Files with random damage, to every command that reads them: an answer, or one line; never a traceback, nothing lost.

STRESS_FILES (1300) damaged files, by STRESS_SEED (1).
"""

import contextlib
import json
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import netCDF4
import numpy as np
import pytest

from processes import SEED, Process

FILES = int(os.environ.get("STRESS_FILES", 1300))
LONGEST = 20  # [s]: a digit more may be a valid configuration that takes days

FIT = {"n_runs": 2, "n_epochs": 1, "batch_size": 16, "data_augmentation_loop": 5, "n_snapshots": 2}
STUDY = {"name": "s", "regime": "regime.yaml", "network_seeds": [1], "base": FIT, "stages": [{"name": "a"}]}
MODEL = "reaction,equation\nR1,A + 2 B -> C\nR2,C <-> D\nR3,D -> A (? B)\n"
RUNS = "run,time [min],A [mM],B,C,D\n" + "".join(
    f"{run},{time},{1 + run / (1 + time)},{2 - time / 9},{time / 7},0.{time}\n"
    for run in (1, 2, 3)
    for time in range(8)
)
READERS = {
    "regime.yaml": ["simulate regime.yaml -o out.nc"],
    "fit.yaml": ["train data.nc --config fit.yaml -o out.nc"],
    "study.yaml": ["plan study.yaml"],
    "model.csv": ["import model.csv -o out.nc", "import model.csv --table runs.csv -o out.nc"],
    "model.xml": ["import model.xml -o out.nc", "import model.xml --table runs.csv -o out.nc"],
    "runs.csv": ["import model.csv --table runs.csv -o out.nc"],
    "data.nc": [
        "check data.nc -o out.html",
        "train data.nc --config fit.yaml -o out.nc",
        "round fit.nc --data data.nc -o out.nc",
        "score recovery.nc --truth data.nc --json",
        "oracle data.nc --json",
    ],
    "fit.nc": ["round fit.nc -o out.nc", "round fit.nc --data data.nc -o out.nc"],
    "recovery.nc": [
        "score recovery.nc --truth data.nc",
        "export recovery.nc -o out.xml",
        "export recovery.nc -o S.csv",
    ],
}
WORDS = [b"nan", b"1e999", b"-1", b"[]", b"{}", b"\0", b"\xff", "é".encode(), b"9" * 400, b"null", b":", b"\t", b"''"]


@pytest.fixture(scope="module")
def folder(tiny_regime, tmp_path_factory) -> Path:
    """Good files of every kind."""
    path = tmp_path_factory.mktemp("good")
    for name, content in (
        ("regime.yaml", tiny_regime.model_dump_json(indent=1)),
        ("fit.yaml", json.dumps(FIT, indent=1)),
        ("study.yaml", json.dumps(STUDY, indent=1)),
        ("model.csv", MODEL),
        ("runs.csv", RUNS),
    ):
        (path / name).write_text(content)
    for command in (
        "simulate regime.yaml -o data.nc",
        "train data.nc --config fit.yaml -o fit.nc",
        "round fit.nc -o recovery.nc",
        "export recovery.nc -o model.xml",
    ):
        code, said = Process.start(command.split(), lambda: os.chdir(path)).ended()
        assert code == 0, said
    return path


def flipped(content: bytes, random: Random) -> bytes:
    found = bytearray(content)
    for _ in range(random.choice((1, 1, 8, 64))):
        found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def without_a_piece(content: bytes, random: Random) -> bytes:
    first = random.randrange(len(content))
    return content[:first] + content[first + random.randrange(1, 200) :]


def twice_a_piece(content: bytes, random: Random) -> bytes:
    first = random.randrange(len(content))
    last = first + random.randrange(1, 200)
    return content[:last] + content[first:last] + content[last:]


def with_a_word(content: bytes, random: Random) -> bytes:
    first = random.randrange(len(content))
    return content[:first] + random.choice(WORDS) + content[first + random.choice((0, 1, 5)) :]


BYTES = [flipped, cut, without_a_piece, twice_a_piece, with_a_word]


def damaged_variable(path: Path, random: Random) -> str:
    """Damage one variable or attribute of a NetCDF file; says what."""
    with netCDF4.Dataset(path, "a") as file:
        group = random.choice([file, *file.groups.values()])
        name = random.choice([*group.variables])
        variable, what = group.variables[name], random.choice(("value", "values", "name", "attribute", "fileattribute"))
        if what == "name":
            group.renameVariable(name, f"{name}_other")
        elif what.endswith("attribute"):
            owner = group if what == "fileattribute" or not variable.ncattrs() else variable
            names = [each for each in owner.ncattrs() if each != "_FillValue"]
            if names:
                what = random.choice(names)
                owner.setncattr(what, random.choice(["", "two", -1, np.nan, [1.0, 2.0], "{}", 1e300]))
        elif variable.dtype is not str and variable.size:
            values = np.array(variable[:])
            bad = np.array(random.choice([np.nan, np.inf, -1, 0, 1e300, 0.5, 127]))
            with np.errstate(invalid="ignore", over="ignore"):
                bad = bad.astype(values.dtype)
            values.flat[random.randrange(values.size) if what == "value" else slice(None)] = bad
            variable[:] = values
        return f"{group.path}{name}: {what}"


def damage(path: Path, random: Random) -> str:
    """Damage a file; says how."""
    if path.suffix == ".nc" and random.random() < 0.7:
        with contextlib.suppress(RuntimeError):  # the library does not get through with all of it: a damaged file, too
            return damaged_variable(path, random)
        content = path.read_bytes()
        path.unlink()  # the library still writes to it, whenever it is closed
        path.write_bytes(content)
        return "by the library"
    change: Callable[[bytes, Random], bytes] = random.choice(BYTES)
    path.write_bytes(change(path.read_bytes(), random))
    return change.__name__


def test_damaged_files_end_in_an_answer_or_one_line(folder, tmp_path):
    random, found, wrong = Random(SEED), Counter(), []
    for number in range(FILES):
        here = tmp_path / "here"
        shutil.copytree(folder, here)
        name = random.choice([*READERS])
        how, command = damage(here / name, random), random.choice(READERS[name])
        before = {path.name: path.read_bytes() for path in here.iterdir()}
        process = Process.start(command.split(), lambda here=here: os.chdir(here))
        clock = threading.Timer(LONGEST, process.kill, [signal.SIGKILL])
        clock.start()
        code, said = process.ended()
        clock.cancel()
        after = {path.name: path.read_bytes() for path in here.iterdir() if not path.name.endswith(".tmp")}
        lost = [each for each in before if after.get(each) != before[each]]
        more = after.keys() - before.keys()
        errors = [line for line in said if line.startswith("error: ")]
        found[code] += 1
        if lost or code not in (0, 2, -signal.SIGKILL) or (code == 2 and (errors != said[-1:] or more)):
            wrong.append(f"{number}: {command}, {name}: {how}: exit {code}, lost {lost}, made {more}: {said[-3:]}")
        shutil.rmtree(here)
    print(f"seed {SEED}: {FILES} files, by exit code {dict(found)}")
    assert not wrong, "\n".join(wrong)
