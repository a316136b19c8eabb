"""Every value on the command line of every command, spoilt in every way: refused in one line, nothing lost or made."""

import os
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import LONGEST, files_in, quick_recipes, there

COMMANDS = [  # with a value for each option; what they write is called out, and what they write beside it
    "simulate regime.yaml --seed 1 -o out.nc",
    "import model.csv --species species.csv --table runs.csv --validation 3 --known R1 -o out.nc",
    "import laws.xml --simulate --runs 1 --duration 1 --frames 5 --variation 0.1 --seed 1 -o out.nc",
    "export recovery.nc --format sbml -o out.xml",
    "train data.nc --config fit.yaml --device cpu --threads 1 --checkpoint-seconds 1 -o out.nc",
    "round fit.nc --decoder nearest --data data.nc -o out.nc",
    "score recovery.nc --truth data.nc",
    "recover data.nc --recipe best --rate-law pde_m1 --starts 1 --device cpu --threads 1 --checkpoint-seconds 1 "
    "-o out.nc",
    "check data.nc -o out.html",
    "oracle data.nc",
    "plan study.yaml --store results",
    "schema fit",
    "choose study.yaml --wave b --store results -o out.json",
    "fits results --sort entry_exact --filter n_runs=2",
    "collect study.yaml --store results --baselines out.baselines --costs out.costs -o out.csv",
    "report study.yaml --store results --notebooks notebooks --metrics results/metrics.csv "
    "--baselines results/baselines.csv -o out.html",
]
LAWS = """<?xml version="1.0" encoding="UTF-8"?>
<sbml xmlns="http://www.sbml.org/sbml/level3/version1/core" level="3" version="1"><model>
<listOfCompartments><compartment id="c" constant="true" size="1"/></listOfCompartments>
<listOfSpecies>{}</listOfSpecies>
<listOfReactions><reaction id="R" reversible="false" fast="false">
<listOfReactants><speciesReference species="A" stoichiometry="1" constant="true"/></listOfReactants>
<listOfProducts><speciesReference species="B" stoichiometry="1" constant="true"/></listOfProducts>
<kineticLaw><math xmlns="http://www.w3.org/1998/Math/MathML"><ci>A</ci></math></kineticLaw>
</reaction></listOfReactions></model></sbml>
""".format(
    "".join(
        f'<species id="{name}" compartment="c" initialConcentration="1" hasOnlySubstanceUnits="false" '
        'boundaryCondition="false" constant="false"/>'
        for name in "AB"
    )
)
NO_PLACE = [
    *("", ".", "/", "results", "/dev/null", "/dev/full", "closed.nc", "fit.yaml/out.nc", "x" * 300, "a/" * 3000),
    *("\udcff", "a\nb", "\x1b[31m"),
]
SPOILT = {  # by what a value is
    "output": [*NO_PLACE, "pipe"],
    "input": [*NO_PLACE, "nowhere", " ", "\u2028", "/dev/zero", "/proc/self/mem", "empty"],
    "folder": [*NO_PLACE[4:], "nowhere", "\u2028", "fit.yaml", "/dev/zero"],
    "other": [*NO_PLACE, "nan", "-1", "1.5e3.2", "9" * 30, "two", "{x}", "$(id)", "=", "1;2", "<b>"],
}
TAKEN = {  # what is no mistake there
    ("plan", "--store"): {"nowhere", "fit.yaml/out.nc", "\u2028"},  # where nothing is done yet
    ("train", "--checkpoint-seconds"): {"9" * 30},
    ("recover", "--checkpoint-seconds"): {"9" * 30},
}


@pytest.fixture(scope="module")
def folder(good, tmp_path_factory) -> Path:
    path = Path(shutil.copytree(good, tmp_path_factory.mktemp("values") / "here"))
    os.mkfifo(path / "pipe")
    (path / "laws.xml").write_text(LAWS)
    (path / "empty").touch()
    (path / "closed.nc").touch(0o400)
    return path


def kind(folder: Path, value: str) -> str:
    if value.startswith("out"):
        return "output"
    path = folder / value
    return "folder" if path.is_dir() else "input" if path.is_file() else "other"


def cases(folder: Path, command: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """(option or argument, its value, the command with it) for everything that may be wrong there."""
    for place, value in enumerate(command[1:], start=1):
        if value.startswith("-"):
            continue
        option = command[place - 1] if command[place - 1].startswith("-") else "argument"
        what = kind(folder, value)
        inputs = [each for each in command if what == "output" and kind(folder, each) == "input"]
        for spoilt in (each for each in [*SPOILT[what], *inputs] if each not in TAKEN.get((command[0], option), ())):
            yield option, spoilt, [*command[:place], spoilt, *command[place + 1 :]]


@pytest.mark.parametrize("command", [shlex.split(each) for each in COMMANDS], ids=lambda command: command[0])
def test_a_wrong_value_is_refused_in_one_line(folder, command):
    before, codes, wrong = files_in(folder), Counter(), []
    for option, spoilt, line in cases(folder, command):
        code, said = there(folder, line, quick_recipes).ended(LONGEST)
        codes[code] += 1
        errors = [each for each in said if each.startswith("error: ")]
        if code != 2 or errors != said[-1:] or not errors[0].isprintable():
            wrong.append(f"{option} {spoilt[:50]!r}: exit {code}: {said[-2:]}")
        for path in files_in(folder).keys() - before.keys():
            (folder / path).unlink()
            if code:
                wrong.append(f"{option} {spoilt[:50]!r} left {path}")
    assert files_in(folder) == before
    print(f"{command[0]}: by exit code {dict(codes)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("command", [shlex.split(each) for each in COMMANDS], ids=lambda command: command[0])
def test_the_values_were_good(folder, command):
    code, said = there(folder, command, quick_recipes).ended(LONGEST)
    for path in folder.glob("out*"):
        path.unlink()
    assert code == 0, said
