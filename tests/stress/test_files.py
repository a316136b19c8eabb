"""Files with random damage, to every command that reads them: an answer, or one line; never a traceback, nothing lost.

STRESS_FILES (1300) damaged files, by STRESS_SEED (1).
"""

import contextlib
import datetime
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from random import Random

import netCDF4
import numpy as np
import openpyxl

from processes import LONGEST, SEED, difference, files_in, quick_recipes, there

FILES = int(os.environ.get("STRESS_FILES", 1300))

REPORT = "report study.yaml --notebooks notebooks --metrics results/metrics.csv --baselines results/baselines.csv"
TABLES = "collect study.yaml -o out.csv --baselines out.other.csv"
STUDY = ["plan study.yaml", TABLES, "choose study.yaml --wave b -o out.json", f"{REPORT} -o out.html"]
ANSWERS = ["score recovery.nc --truth data.nc", "export recovery.nc -o out.xml", "export recovery.nc -o S.csv"]
READERS = {  # by what is damaged
    "regime.yaml": ["simulate regime.yaml -o out.nc", *STUDY],
    "fit.yaml": [
        "train data.nc --config fit.yaml -o out.nc",
        "train data.nc --config fit.yaml -o out.nc --config long.yaml -o out.other.nc",
    ],
    "study.yaml": STUDY,
    "model.csv": ["import model.csv -o out.nc", "import model.csv --table runs.csv -o out.nc"],
    "model.xml": ["import model.xml -o out.nc", "import model.xml --table runs.csv -o out.nc"],
    "species.csv": ["import model.csv --species species.csv -o out.nc"],
    "runs.csv": ["import model.csv --table runs.csv -o out.nc"],
    "runs.xlsx": ["import model.csv --table runs.xlsx -o out.nc"],
    "own.nc": ["check own.nc -o out.html", "recover own.nc -o out.nc"],
    "data.nc": [
        "check data.nc -o out.html",
        "train data.nc --config fit.yaml -o out.nc",
        "recover data.nc -o out.nc",
        "round fit.nc --data data.nc -o out.nc",
        "score recovery.nc --truth data.nc --json",
        "oracle data.nc --json",
    ],
    "kept.ckpt": ["train data.nc --config long.yaml -o kept.nc"],
    "fit.nc": ["round fit.nc -o out.nc", "round fit.nc --data data.nc -o out.nc"],
    "recovery.nc": ANSWERS,
    "results/data/*.nc": STUDY,
    "results/waves/b.json": STUDY,
    "results/fits/*/*/fit.yaml": ["fits results"],
    "results/fits/*/*/fit.nc": ["fits results", f"{TABLES} --costs out.costs.csv", *STUDY],
    "results/fits/*/*/recovery.nc": ["fits results --json", *STUDY],
    "results/fits/*/*.txt": ["fits results", "plan study.yaml"],
    "results/metrics.csv": ["fits results", f"{REPORT} -o out.html"],
    "results/baselines.csv": [f"{REPORT} -o out.html"],
    "results/benchmarks/*/*.tsv": [f"{REPORT} -o out.html"],
    "notebooks/*.ipynb": [f"{REPORT} -o out.html"],
}
WORDS = [b"nan", b"1e999", b"-1", b"[]", b"{}", b"\0", b"\xff", "é".encode(), b"9" * 400, b"null", b":", b"\t", b"''"]
CELLS = ["", "nan", "-", "<0.1", "time", "A", "=1/0", -1, 1e300, True, datetime.datetime(2026, 1, 2)]


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


def damaged_cell(path: Path, random: Random) -> str:
    """Write something else into a cell of a workbook; says which."""
    book = openpyxl.load_workbook(path)
    sheet = random.choice(book.worksheets)
    cell = sheet.cell(random.randint(1, sheet.max_row + 1), random.randint(1, sheet.max_column + 1))
    cell.value = random.choice(CELLS)
    book.save(path)
    return f"{sheet.title}!{cell.coordinate}: {cell.value}"


def damage(path: Path, random: Random) -> str:
    """Damage a file; says how."""
    if path.suffix == ".xlsx" and random.random() < 0.7:
        return damaged_cell(path, random)
    if path.suffix == ".nc" and random.random() < 0.7:
        with contextlib.suppress(RuntimeError):  # the library does not get through with all of it: a damaged file, too
            return damaged_variable(path, random)
        content = path.read_bytes()
        path.unlink()  # the library still writes to it, whenever it is closed
        path.write_bytes(content)
        return "by the library"
    good = path.read_bytes()
    while (content := random.choice(BYTES)(good, random)) == good:
        pass
    path.write_bytes(content)
    return f"{len(good)} bytes are {len(content)}"


def started_over(good: Path, here: Path, said: list[str]) -> str | None:
    """What is wrong with a training that found a damaged checkpoint, if anything is."""
    if len([line for line in said if "set aside" in line]) != 1:
        return f"not named in a line: {said}"
    return difference(good / "whole.nc", here / "kept.nc")


def faults(good: Path, here: Path, name: str, command: str) -> tuple[int, str | None]:
    """(exit code, what is wrong) of a command in a folder where the file `name` is damaged."""
    before = files_in(here)
    code, said = there(here, command.split(), quick_recipes).ended(LONGEST)
    after = {path: found for path, found in files_in(here).items() if not path.endswith(".tmp")}
    lost = [each for each in before if before[each] not in (after.get(each), after.get(f"{each}.aside1"))]
    more = after.keys() - before.keys()
    errors = [line for line in said if line.startswith("error: ")]
    # one that is stopped for its length has not started over to the end
    problem = started_over(good, here, said) if name == "kept.ckpt" and code == 0 else None
    if problem or lost or code not in (0, 2, -signal.SIGKILL) or (code == 2 and (errors != said[-1:] or more)):
        return code, f"exit {code}, lost {lost}, made {more}: {problem or said[-3:]}"
    return code, None


def test_damaged_files_end_in_an_answer_or_one_line(good, tmp_path):
    random, codes, wrong = Random(SEED), Counter(), []
    for number in range(FILES):
        here = tmp_path / "here"
        shutil.copytree(good, here)
        pattern = random.choice([*READERS])
        path = random.choice(sorted(here.glob(pattern)))
        how, command = damage(path, random), random.choice(READERS[pattern])
        code, fault = faults(good, here, pattern, command)
        codes[code] += 1
        if fault is not None:
            wrong.append(f"{number}: {command}, {path.relative_to(here)}: {how}: {fault}")
        shutil.rmtree(here)
    print(f"seed {SEED}: {FILES} files, by exit code {dict(codes)}")
    assert not wrong, "\n".join(wrong)
