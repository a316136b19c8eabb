"""Rules of the house: who may import whom, one door per outside thing, functions that fit on a screen."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import typer

from stoirec.cli import app

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "workflow/stoirec"
MODULES = sorted(PACKAGE.rglob("*.py"))
# The command line calls everything, and nothing calls it.
COMMAND_LINE = {"cli", "__main__"}
SHARED_BY_COMMANDS = {"edge", "options", "printing", "progress", "training"}

LEARNER = ["network", "kinetics", "data", "learn", "refine", "answer"]
KNOWS_THE_TRUTH = {"simulate", "score", "study", "report"}
FOUNDATION = {
    "config": {"config", "files", "errors", "streams"},
    "files": {"config", "files", "errors", "signals", "streams"},
}

# what is outside: the one module that may use it (None: nobody yet)
DOORS = {
    "netCDF4": "files/netcdf.py",
    "torch_scatter": "kinetics/segments.py",
    "ruamel": "config/reading.py",
    "optuna": "study/search.py",
    "libsbml": "models/sbml.py",
    "roadrunner": "simulate/kinetic_laws.py",
}
# an xarray door: reading and writing files, not labelled arrays as such
NETCDF_CALLS = {
    "load_dataarray",
    "load_dataset",
    "open_dataarray",
    "open_dataset",
    "open_datatree",
    "open_groups",
    "open_mfdataset",
    "save_mfdataset",
    "to_netcdf",
}
OUTSIDE_A_RULE = ("matplotlib", "numpy", "pandas", "scipy", "torch", "xarray")

LONGEST = 60  # lines of a function


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def wing(path: Path) -> str:
    """The folder in the package, or the module that lies beside the folders."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imported(path: Path) -> Iterator[str]:
    """Full dotted names of all that a module imports, anywhere in it: in functions, too."""
    folder = ["stoirec", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = folder[: len(folder) + 1 - node.level] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def wings_of(path: Path) -> set[str]:
    """The wings a module imports from, its own included."""
    names = (name.split(".") for name in imported(path))
    known = {wing(module) for module in MODULES}
    return {parts[1] for parts in names if parts[0] == "stoirec" and len(parts) > 1} & known


def test_imports_are_seen_wherever_they_stand(tmp_path, monkeypatch):
    source = "import a.b\nfrom . import c\nfrom ..d import e\ndef f():\n    if g:\n        from stoirec.h import i\n"
    (tmp_path / "wing").mkdir()
    path = tmp_path / "wing/module.py"
    path.write_text(source)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert sorted(imported(path)) == ["a.b", "stoirec.d.e", "stoirec.h.i", "stoirec.wing.c"]


@pytest.mark.parametrize("name", LEARNER)
def test_a_learner_knows_nothing_of_the_truth(name):
    paths = [path for path in MODULES if wing(path) == name]
    assert paths
    assert {name_of(path): found for path in paths if (found := wings_of(path) & KNOWS_THE_TRUTH)} == {}


@pytest.mark.parametrize("name", FOUNDATION)
def test_configuration_and_files_stand_on_no_wing(name):
    paths = [path for path in MODULES if wing(path) == name]
    assert paths
    assert {name_of(path): found for path in paths if (found := wings_of(path) - FOUNDATION[name])} == {}


def test_wings_import_in_one_direction():
    graph = defaultdict(set)
    for path in MODULES:
        graph[wing(path)] |= wings_of(path) - {wing(path)}
    list(TopologicalSorter(graph).static_order())  # a CycleError names the cycle
    assert {name for name, wings in graph.items() if wings & COMMAND_LINE} <= COMMAND_LINE


def test_a_command_is_a_module_that_no_other_one_uses():
    paths = {path.stem: path for path in MODULES if wing(path) == "cli" and path.stem != "__init__"}
    commands = paths.keys() - SHARED_BY_COMMANDS
    assert {name.removesuffix("_") for name in commands} == {*typer.main.get_command(app).commands}
    used = {each.split(".")[2] for path in paths.values() for each in imported(path) if each.startswith("stoirec.cli.")}
    assert used <= SHARED_BY_COMMANDS


def test_no_module_knows_the_workflow():
    assert [
        name_of(path) for path in MODULES if any(name.split(".")[0] == "snakemake" for name in imported(path))
    ] == []


def test_no_rule_holds_science():
    rules = [ROOT / "Snakefile", ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    pattern = re.compile(rf"\b({'|'.join(OUTSIDE_A_RULE)})\b")
    assert {path.name: found for path in rules if (found := pattern.findall(path.read_text()))} == {}


@pytest.mark.parametrize("package", DOORS)
def test_one_door_per_outside_thing(package):
    users = {name_of(path) for path in MODULES for name in imported(path) if name.split(".")[0] == package}
    assert users <= {DOORS[package]}


def test_one_door_for_netcdf_files():
    users = {
        name_of(path)
        for path in MODULES
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Attribute) and node.attr in NETCDF_CALLS)
        or (
            isinstance(node, ast.ImportFrom) and node.module == "xarray" and NETCDF_CALLS & {a.name for a in node.names}
        )
    }
    assert users == {DOORS["netCDF4"]}


def test_a_module_is_named_for_what_it_holds():
    parts = {part.removesuffix(".py").strip("_") for path in MODULES for part in path.relative_to(PACKAGE).parts}
    assert parts & {"common", "helper", "helpers", "misc", "util", "utils"} == set()


def test_a_function_fits_on_a_screen():
    found = {
        f"{name_of(path)} {node.name}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > LONGEST
    }
    assert not found
