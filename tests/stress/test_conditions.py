"""The road from a regime to a score where disks are full, folders closed, names odd and environments bare."""

import json
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from processes import Process, difference, files_in, there

FIT = {"n_runs": 2, "n_epochs": 1, "batch_size": 16, "data_augmentation_loop": 5, "n_snapshots": 2}
ROAD = {
    "data.nc": ["simulate", "regime.yaml", "-o", "data.nc"],
    "fit.nc": ["train", "data.nc", "--config", "fit.yaml", "-o", "fit.nc"],
    "recovery.nc": ["round", "fit.nc", "-o", "recovery.nc"],
    "model.xml": ["export", "recovery.nc", "-o", "model.xml"],
    "check.html": ["check", "data.nc", "-o", "check.html"],
}


@pytest.fixture(scope="module")
def inputs(tiny_regime) -> dict[str, str]:
    return {"regime.yaml": tiny_regime.model_dump_json(), "fit.yaml": json.dumps(FIT)}


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory) -> Path:
    """A folder in which the whole road was gone."""
    folder = furnished(tmp_path_factory.mktemp("whole"), inputs)
    for name in ROAD:
        code, said = on_the_road(folder, name).ended()
        assert code == 0, said
    return folder


def furnished(folder: Path, inputs: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in inputs.items():
        (folder / name).write_text(content)
    return folder


def on_the_road(folder: Path, name: str, before: Callable[[], object] = lambda: None) -> Process:
    """The command that makes `name`, in `folder`."""
    return there(folder, ROAD[name], before)


@pytest.mark.parametrize("limit", [0, 1_000, 20_000])
@pytest.mark.parametrize("name", ROAD)
def test_a_full_disk_ends_in_one_line_and_leaves_nothing(whole, tmp_path, name, limit):
    folder = tmp_path / "full"
    shutil.copytree(whole, folder)
    size = (folder / name).stat().st_size
    (folder / name).unlink()
    before = files_in(folder)

    def full() -> None:
        tempfile.gettempdir()  # has room
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    code, lines = on_the_road(folder, name, full).ended()
    if size <= limit:
        assert code == 0, lines
        return
    assert code == 2 and name in lines[-1] and not any("Traceback" in line for line in lines), lines
    assert files_in(folder) == before


@pytest.mark.parametrize("name", ROAD)
def test_a_folder_that_is_closed_ends_in_one_line(whole, tmp_path, permissions_hold, name):
    folder = tmp_path / "closed"
    shutil.copytree(whole, folder)
    (folder / name).unlink()
    before = files_in(folder)
    folder.chmod(0o555)
    code, lines = on_the_road(folder, name).ended()
    assert code == 2 and len(lines) == 1 and name in lines[0], lines
    assert files_in(folder) == before


@pytest.mark.parametrize(
    "odd",
    [
        *("two words", 'it\'s "quoted"', "$HOME `id` $(id)", "a;b&c|d", "<b>&amp;", "{data}", "%s%d", "[1]*?", "-o"),
        *("ü-µ-日本", "new\nline", "tab\t", ".hidden", "~", "x" * 200, "#comment", "a=b,c:d"),
    ],
)
def test_the_road_leads_through_folders_of_any_name(inputs, whole, tmp_path, odd):
    folder = furnished(tmp_path / odd, inputs)
    for name in ROAD:
        code, lines = on_the_road(folder, name).ended()
        assert code == 0, lines
        if name.endswith(".nc"):
            assert difference(whole / name, folder / name) is None
    assert set(files_in(folder)) == {*inputs, *ROAD}


def test_a_backslash_in_a_path_is_named(inputs, tmp_path):
    folder = furnished(tmp_path / "back\\slash", inputs)
    code, lines = on_the_road(folder, "data.nc").ended()
    assert code == 2 and len(lines) == 1 and "backslash" in lines[0], lines
    assert set(files_in(folder)) == {*inputs}


def bare_home() -> None:
    os.environ.pop("HOME", None)


def plain_language() -> None:
    os.environ.update(LANG="C", LC_ALL="C")


def closed_mask() -> None:
    os.umask(0o077)


@pytest.mark.parametrize("condition", [bare_home, plain_language, closed_mask])
def test_the_road_leads_through_bare_environments(inputs, whole, tmp_path, condition):
    folder = furnished(tmp_path / "bare", inputs)
    for name in ROAD:
        code, lines = on_the_road(folder, name, condition).ended()
        assert code == 0, lines
        if name.endswith(".nc"):
            assert difference(whole / name, folder / name) is None
        mode = (folder / name).stat().st_mode & 0o777
        assert mode == (0o600 if condition is closed_mask else 0o666 & ~current_mask())


def current_mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("name", ["data.nc", "fit.nc", "recovery.nc"])
def test_two_commands_with_one_output_leave_a_whole_file(whole, tmp_path, name):
    folder = tmp_path / "shared"
    shutil.copytree(whole, folder)
    (folder / name).unlink()
    both = [on_the_road(folder, name) for _ in range(2)]
    codes = [process.ended()[0] for process in both]
    assert 0 in codes and set(codes) <= {0, 2}
    assert difference(whole / name, folder / name) is None
    assert set(files_in(folder)) == set(files_in(whole))
