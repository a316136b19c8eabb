"""Commands killed at random moments: in the end the same numbers, and never half a file."""

import json
import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from processes import KILLS, SEED, Process, difference, moments

IN_A_ROW = 5  # before a command is left alone, so that it ends

FIT = {"n_runs": 2, "n_epochs": 2, "batch_size": 16, "data_augmentation_loop": 20, "n_snapshots": 4}
REFINED = FIT | {"role_prior": True, "refinement_rounds": 3, "graph_model": {"hidden_dim": 16, "output_size": 4}}
TRAIN = ["--checkpoint-seconds", "0"]
COMMANDS = {  # and their shares of the kills
    "simulate": (["simulate", "regime.yaml", "-o", "{}"], 0.15),
    "train": (["train", "data.nc", "--config", "fit.yaml", "-o", "{}", *TRAIN], 0.25),
    "refine": (["train", "data.nc", "--config", "refined.yaml", "-o", "{}", *TRAIN], 0.35),
    "round": (["round", "fit.nc", "-o", "{}", "--data", "data.nc"], 0.15),
}


@pytest.fixture(scope="module")
def folder(tiny_regime, tmp_path_factory) -> Path:
    """Inputs of every command, and what each makes of them: NAME.nc."""
    path = tmp_path_factory.mktemp("whole")
    for name, content in (
        ("regime.yaml", tiny_regime.model_dump_json()),
        ("fit.yaml", json.dumps(FIT)),
        ("refined.yaml", json.dumps(REFINED)),
    ):
        (path / name).write_text(content)
    here = os.getcwd()
    os.chdir(path)
    yield path
    os.chdir(here)


@pytest.fixture(scope="module")
def seconds(folder) -> dict[str, float]:
    """How long each command takes."""
    took = {}
    for name, output in (("simulate", "data.nc"), ("train", "fit.nc"), ("refine", "refine.nc"), ("round", "round.nc")):
        arguments = [argument.format(output) for argument in COMMANDS[name][0]]
        started = time.monotonic()
        code, said = Process.start(arguments).ended()
        took[name] = time.monotonic() - started
        assert code == 0, said
    for name, output in (("simulate", "data.nc"), ("train", "fit.nc")):
        (folder / f"{name}.nc").symlink_to(output)
    return took


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM], ids=lambda by: by.name)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_ends_with_the_same_numbers(folder, seconds, name, by):
    arguments, share = COMMANDS[name]
    random, whole, output = Random(f"{SEED} {name} {by}"), folder / f"{name}.nc", folder / f"{name}.{by.name}.nc"
    arguments = [argument.format(output) for argument in arguments]
    left = max(1, round(KILLS * share / 2))
    while left:
        for moment in moments(random, seconds[name], min(left, IN_A_ROW)):
            left -= 1
            process = Process.start(arguments)
            time.sleep(moment)
            process.kill(by)
            code, said = process.ended()
            assert code in (0, -by, 128 + by), said
            if output.exists():
                assert difference(whole, output) is None
                break
        code, said = Process.start(arguments).ended()
        assert code == 0, said
        assert difference(whole, output) is None
        if by is signal.SIGTERM:  # nobody cleans up after the other
            assert [path.name for path in folder.glob(f"*{output.stem}*")] == [output.name]
        output.unlink()
