"""Whole studies killed at random moments, alone or with all their jobs: the same tables byte for byte."""

import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from house import House
from processes import KILLS, SEED

SHARE = 0.15  # of the kills
STUDIES = {"alone": "study.yaml", "packed": "study.yaml", "staged": "staged.yaml"}


def furnished(path: Path, kind: str) -> tuple[House, str]:
    """A house with a study, and the folder of its tables."""
    house = House.furnish(path, STUDIES[kind])
    if kind == "packed":
        house.edit("study.yaml", "results_dir", "pack: 2\nresults_dir")
    return house, "results/tinystaged" if kind == "staged" else "results/tiny"


def tables(house: House, folder: str) -> dict[str, bytes]:
    """What is the same on every repetition, plans included."""
    found = [house.path / folder / name for name in ("metrics.csv", "baselines.csv")]
    return {path.name: path.read_bytes() for path in [*found, *(house.path / folder).glob("waves/*.json")]}


@pytest.fixture(scope="module", params=STUDIES)
def whole(request, tmp_path_factory) -> tuple[str, dict[str, bytes], float]:
    """A kind of study, its tables where nothing interrupted it, and the seconds it took."""
    (house, folder), started = furnished(tmp_path_factory.mktemp("whole"), request.param), time.monotonic()
    shown = house.snakemake(f"{folder}/metrics.csv")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return request.param, tables(house, folder), time.monotonic() - started


def killed_alone(number: int) -> None:
    os.kill(number, signal.SIGKILL)


def killed_with_its_jobs(number: int) -> None:
    os.killpg(number, signal.SIGKILL)


def preempted(number: int) -> None:
    os.killpg(number, signal.SIGTERM)


@pytest.mark.parametrize("kill", [killed_alone, killed_with_its_jobs, preempted])
def test_a_killed_study_ends_with_the_same_tables(whole, tmp_path, kill):
    (kind, uninterrupted, seconds), (house, folder) = whole, furnished(tmp_path, whole[0])
    random, target = Random(f"{SEED} {kind} {kill.__name__}"), f"{folder}/metrics.csv"
    moments = [random.uniform(0, seconds) for _ in range(max(1, round(KILLS * SHARE / 3 / len(STUDIES))))]
    for moment in moments:
        run = house.start(target)
        time.sleep(moment)
        kill(run.pid)
        run.wait()
    shown = house.snakemake(target)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert tables(house, folder) == uninterrupted
    assert house.planned(target) == []
    if kill is killed_alone:
        time.sleep(2 * seconds)  # for what it left behind
        assert tables(house, folder) == uninterrupted
    print(f"{kind}, {kill.__name__}: after {', '.join(f'{moment:.1f}' for moment in moments)} of {seconds:.1f} s")
