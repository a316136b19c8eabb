"""The real workflow on the tiny study, run once for all tests."""

import shutil

import pytest

from house import House


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> House:
    house = House.furnish(tmp_path_factory.mktemp("house"))
    shown = house.snakemake()
    assert shown.returncode == 0, shown.stdout + shown.stderr
    (house.path / "shown.txt").write_text(shown.stdout + shown.stderr)
    return house


@pytest.fixture
def house(finished, tmp_path) -> House:
    """A copy of the finished one, to be changed by a test."""
    shutil.copytree(finished.path, tmp_path / "copy", symlinks=True)
    return House(tmp_path / "copy")
