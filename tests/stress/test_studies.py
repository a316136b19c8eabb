"""Whole studies killed at random moments, alone or with all their jobs: the same tables byte for byte."""

import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from house import House
from processes import KILLS, SEED

TABLES = ("metrics.csv", "baselines.csv")
SHARE = 0.1  # of the kills
TARGET = "results/tiny/metrics.csv"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[House, float]:
    """A study that nothing interrupted, and the seconds it took."""
    house, started = House.furnish(tmp_path_factory.mktemp("whole")), time.monotonic()
    shown = house.snakemake(TARGET)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return house, time.monotonic() - started


def killed_alone(number: int) -> None:
    os.kill(number, signal.SIGKILL)


def killed_with_its_jobs(number: int) -> None:
    os.killpg(number, signal.SIGKILL)


def preempted(number: int) -> None:
    os.killpg(number, signal.SIGTERM)


@pytest.mark.parametrize("kill", [killed_alone, killed_with_its_jobs, preempted])
def test_a_killed_study_ends_with_the_same_tables(whole, tmp_path, kill):
    (uninterrupted, seconds), house = whole, House.furnish(tmp_path)
    random = Random(f"{SEED} {kill.__name__}")
    for _ in range(max(1, round(KILLS * SHARE / 3))):
        run = house.start(TARGET)
        time.sleep(random.uniform(0, seconds))
        kill(run.pid)
        run.wait()
    shown = house.snakemake(TARGET)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    tables = {name: table(house, name) for name in TABLES}
    assert tables == {name: table(uninterrupted, name) for name in TABLES}
    time.sleep(2 * seconds)  # for what a snakemake that was killed alone left behind
    assert tables == {name: table(house, name) for name in TABLES}


def table(house: House, name: str) -> bytes:
    return Path(house.results / "tiny" / name).read_bytes()
