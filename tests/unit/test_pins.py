"""Versions are said once, in pyproject.toml; what must repeat them repeats them exactly."""

import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.split("==") for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]))
# what conda-forge calls them
CONDA = {"pytorch-cpu": "torch", "pytorch-gpu": "torch", "pytorch_scatter": "torch-scatter"}
# needed where Snakemake runs, or where a person opens a notebook or brings a model, not by a job
OUTSIDE = {"python-libsbml", "libroadrunner", "openpyxl", "jupyter", "snakemake", "snakemake-executor-plugin-slurm"}
CORE = {
    "numpy",
    "scipy",
    "torch",
    "torch-scatter",
    "xarray",
    "netcdf4",
    "pandas",
    "pydantic",
    "ruamel.yaml",
    "typer",
    "tqdm",
    "filelock",
    "optuna",
}


def conda_pins(path: Path) -> dict[str, str]:
    entries = YAML(typ="safe", pure=True).load(path)["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    pairs = [re.split("=+", entry) for entry in (*entries, *pip) if isinstance(entry, str) and entry != "pip"]
    return {CONDA.get(name, name): number for name, number in pairs}


@pytest.mark.parametrize("name", ["cpu", "gpu", "notebook"])
def test_conda_environments_repeat_the_pins(name):
    pins = conda_pins(ROOT / f"envs/{name}.yaml")
    assert pins.pop("python") == PROJECT["requires-python"].removeprefix(">=")
    assert pins == {package: PINS[package] for package in pins}
    assert set(pins) == (
        set(dict(line.split("==") for line in PROJECT["dependencies"])) - OUTSIDE if name == "notebook" else CORE
    )


def test_every_rule_names_an_environment_that_exists():
    named = [
        name
        for path in (ROOT / "workflow/rules").glob("*.smk")
        for name in re.findall(r'"../../envs/(\w+)\.yaml"', path.read_text())
    ]
    assert len(named) == 8 and set(named) == {path.stem for path in (ROOT / "envs").glob("*.yaml")}


def test_what_is_installed_is_what_is_pinned():
    # torch names its build after a plus: 2.13.0+cpu
    assert {package: version(package).split("+")[0] for package in PINS} == PINS


def test_the_container_is_installed_by_the_makefile_from_files_that_exist():
    definition = (ROOT / "envs/stoirec.def").read_text()
    sections = dict(re.findall(r"^%(\w+)\n((?: +.*\n)+)", definition, re.M))
    copied = [line.split() for line in sections["files"].splitlines()]
    assert all((ROOT / source).exists() and to == f"/opt/stoirec/{source}" for source, to in copied)
    needed = {"pyproject.toml", "Makefile", PROJECT["readme"], *PROJECT["license-files"], "workflow"}
    assert {source for source, _ in copied} == needed
    (made,) = re.findall(r"make (.*)", sections["post"].split("cd /opt/stoirec\n")[1])
    shown = subprocess.run(
        ["make", "-n", "-W", "pyproject.toml", *made.replace("python3.12", "python3").split()],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"torch=={PINS['torch']}" in shown and "touch .venv/installed" in shown
    assert "/opt/stoirec/.venv/bin:" in sections["environment"]


def test_make_installs_torch_first_and_in_the_pinned_version():
    shown = subprocess.run(
        ["make", "-n", "-W", "pyproject.toml", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    installs = re.findall(r"pip install --quiet (.*)", shown)
    assert installs[0].split()[0] == f"torch=={PINS['torch']}"
    assert '-e ".[test]"' in installs[1]
    assert installs[2].endswith(f" torch-scatter=={PINS['torch-scatter']}")
