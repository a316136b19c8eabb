"""What ends a training job before its time, and how it goes on: damaged checkpoints, full disks, signals."""

import errno
import io
import json
import logging
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from stoirec.config.fit import FitConfig
from stoirec.files import netcdf
from stoirec.learn import checkpoint
from stoirec.learn.training import train
from stoirec.signals import Stopped, Unbroken

CPU = torch.device("cpu")
STATE = {"step": 7, "sto_all": torch.arange(5.0), "records": [{"loss": 0.5, "seen": None}]}


def same(one: xr.Dataset, two: xr.Dataset) -> bool:
    return set(one.variables) == set(two.variables) and all(
        np.array_equal(one[name], two[name], equal_nan=True) for name in one.variables
    )


# --- checkpoints that nobody can go on from ---------------------------------------------------------------------------


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path):
    path = tmp_path / "fit.ckpt"
    checkpoint.save(path, "job", STATE)
    whole, draw = path.read_bytes(), random.Random(0)
    assert torch.equal(checkpoint.load(path, "job")["sto_all"], STATE["sto_all"])
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        assert checkpoint.load(path, "job") is None
        assert (tmp_path / "fit.ckpt.aside1").read_bytes() == flipped
        (tmp_path / "fit.ckpt.aside1").unlink()


@pytest.fixture(scope="module")
def short(tiny_data, tmp_path_factory):
    """A configuration of ten steps and a round, its fit, and its checkpoints after six steps and at the end."""
    steps = {"n_epochs": 1, "epoch_steps": 10, "batch_size": 16, "n_runs": 2, "n_snapshots": 2}
    refinement = {"refinement_rounds": 1, "refinement_steps": 1, "refinement_frames": 20, "role_prior": True}
    config = FitConfig(**steps, **refinement, graph_model={"hidden_dim": 4, "output_size": 2})
    path = tmp_path_factory.mktemp("short") / "fit.ckpt"
    with pytest.raises(Stopped):
        train(tiny_data, config, CPU, path, progress=stop_at(6))
    stopped = path.read_bytes()
    return config, train(tiny_data, config, CPU, path), {"stopped": stopped, "ended": path.read_bytes()}


def stop_at(last: int):
    def progress(step, *_):
        if step == last:
            raise Stopped(signal.SIGTERM)

    return progress


def before_checksums(content: bytes) -> bytes:
    """The same as an earlier version wrote it."""
    return content[content.index(b"PK") :]


DAMAGED = {
    "empty": lambda whole: b"",
    "truncated": lambda whole: whole[: len(whole) // 2],
    "longer": lambda whole: whole + b"\0",
    "its header alone": lambda whole: whole[:60],
    "older": before_checksums,
    "text": lambda whole: b"not a checkpoint",
    "a pickle of something else": lambda whole: pickle.dumps(Stopped(2)),
    "a file of torch": lambda whole: torch_file([1, 2, 3]),
}


def torch_file(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_checkpoint_is_set_aside_and_the_fit_starts_over(kind, short, tiny_data, tmp_path, caplog):
    config, fit, saved = short
    path, damaged = tmp_path / "fit.ckpt", DAMAGED[kind](saved["stopped"])
    path.write_bytes(damaged)
    (tmp_path / "fit.ckpt.aside1").write_text("an earlier one")
    assert_starts_over(tiny_data, config, fit, path, caplog)
    assert (tmp_path / "fit.ckpt.aside1").read_text() == "an earlier one"
    assert (tmp_path / "fit.ckpt.aside2").read_bytes() == damaged


def assert_starts_over(data, config, fit, path, caplog):
    with caplog.at_level(logging.WARNING):
        steps = []
        assert same(fit, train(data, config, CPU, path, progress=lambda step, *_: steps.append(step)))
    assert steps[0] == 1
    (warning,) = caplog.messages
    assert warning.startswith(f"{path}: ") and "set aside as fit.ckpt.aside" in warning and "starting over" in warning


def without(*keys):
    def change(state):
        for key in keys[:-1]:
            state = state[key]
        del state[keys[-1]]

    return change


def with_(value, *keys):
    def change(state):
        for key in keys[:-1]:
            state = state[key]
        state[keys[-1]] = value(state[keys[-1]]) if callable(value) else value

    return change


OTHER_FORMS = {
    **{f"no {key}": without(key) for key in ("model", "descent", "rounds", "history", "seconds")},
    "no rate constants": without("model", "log_k"),
    "no random state": without("descent", "rng"),
    "no losses": without("history", "records", 0, "val_loss"),
    "other generator": with_(np.random.PCG64DXSM(1).state, "descent", "rng"),
    "other network": with_(lambda old: old[:-1], "model", "sto_all"),
    "other moments": with_(lambda old: old[:-1], "descent", "optimiser", "state", 0, "exp_avg"),
    "other losses": with_(lambda old: old[:1], "history", "sums"),
    "list of steps": with_(lambda old: [old], "descent", "step"),
    "list of rounds": with_(lambda old: list(old.values()), "rounds"),
    "list of all": list,
    "refined otherwise": with_(lambda old: old[:-1], "rounds", "state", "weights"),
    "refined, with less known": without("rounds", "state", "damping"),
    "refined, without evidence": without("rounds", "evidence", "chances"),
}


@pytest.mark.parametrize("kind", OTHER_FORMS)
def test_a_state_of_another_form_is_set_aside_and_the_fit_starts_over(kind, short, tiny_data, tmp_path, caplog):
    config, fit, saved = short
    path = tmp_path / "fit.ckpt"
    path.write_bytes(saved["ended" if "refined" in kind else "stopped"])
    job = checkpoint.fingerprint(tiny_data, config)
    state = checkpoint.load(path, job)
    changed = OTHER_FORMS[kind](state)
    checkpoint.save(path, job, state if changed is None else changed)
    assert_starts_over(tiny_data, config, fit, path, caplog)


def test_another_graph_another_job(tiny_data):
    """What tells two data files apart is not only what was measured."""
    space, config = tiny_data.space, FitConfig()
    pairs = np.full(tiny_data.graph.n_reactions, -1)
    for other in (
        replace(tiny_data, space=replace(space, reverse_of=pairs)),
        replace(tiny_data, space=replace(space, real=np.ones(tiny_data.graph.n_edges, bool))),
        replace(tiny_data, space=replace(space, allows_zero=True)),
        replace(tiny_data, unmeasured=np.array([3])),
    ):
        assert checkpoint.fingerprint(other, config) != checkpoint.fingerprint(tiny_data, config)


def test_a_full_disk_does_not_end_a_fit(short, tiny_data, tmp_path, monkeypatch, caplog):
    config, fit, _ = short

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    with caplog.at_level(logging.WARNING):
        assert same(fit, train(tiny_data, config, CPU, tmp_path / "fit.ckpt", 0.0))
    assert caplog.messages == [
        f"{tmp_path / 'fit.ckpt'}: no checkpoint (No space left on device); the fit goes on without"
    ]


# --- signals ----------------------------------------------------------------------------------------------------------


def test_a_stopped_fit_and_one_at_its_end_go_on_to_the_same_numbers(short, tiny_data, tmp_path):
    config, fit, saved = short
    steps = []
    for content in saved.values():
        (tmp_path / "fit.ckpt").write_bytes(content)
        progress = lambda step, *_: steps.append(step)  # noqa: E731
        assert same(fit, train(tiny_data, config, CPU, tmp_path / "fit.ckpt", progress=progress))
    assert steps == [7, 8, 9, 10]


class Command:
    """`stoirec` as a process of its own, and the lines that it says."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "stoirec", *map(str, arguments)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def until(self, text: str) -> "Command":
        for line in self.process.stderr:
            if text in line:
                return self
        raise AssertionError(f"ended without {text}")

    def ended_by(self, number: int | None) -> str:
        """The last line of what it says after a signal."""
        if number is not None:
            self.process.send_signal(number)
        lines = self.process.communicate(timeout=120)[1].splitlines()
        assert self.process.returncode == (128 + number if number else 0), lines
        return lines[-1]


@pytest.fixture(scope="module")
def job(tiny_path, tmp_path_factory):
    """Arguments of a training, without the output, and its fit."""
    folder = tmp_path_factory.mktemp("job")
    steps = {"n_epochs": 1, "epoch_steps": 1000, "batch_size": 16, "n_runs": 2, "n_snapshots": 4, "role_prior": True}
    refinement = {"refinement_rounds": 6, "refinement_steps": 4, "refinement_frames": 40}
    shape = {"graph_model": {"hidden_dim": 8, "output_size": 4}}
    (folder / "fit.yaml").write_text(json.dumps(steps | refinement | shape))
    arguments = ("train", tiny_path, "--config", folder / "fit.yaml", "--device", "cpu", "--threads", 1, "-o")
    Command(*arguments, folder / "whole.nc").ended_by(None)
    with xr.open_dataset(folder / "whole.nc") as fit:
        return arguments, fit.load()


@pytest.mark.parametrize(
    "number, reached, goes_on",
    [(signal.SIGTERM, "train: step 200/1000", r"resumed at step [2-9]\d\d of 1000, 0 rounds"),
     (signal.SIGINT, "refinement round 2", "resumed at step 1000 of 1000, [1-6] rounds")],
)  # fmt: skip
def test_a_signal_ends_a_training_that_the_same_command_ends_well(number, reached, goes_on, job, tmp_path):
    arguments, whole = job
    output, saved = tmp_path / "fit.nc", tmp_path / "fit.ckpt"
    last = Command(*arguments, output).until(reached).ended_by(number)
    assert last == f"stopped by {number.name}: saved in {saved}; the same command goes on from there"
    assert list(tmp_path.iterdir()) == [saved]
    second = Command(*arguments, output)
    assert re.search(goes_on, second.process.stderr.readline())
    second.ended_by(None)
    assert list(tmp_path.iterdir()) == [output]
    with xr.open_dataset(output) as fit:
        assert same(fit, whole)


def test_a_command_without_checkpoints_leaves_nothing_half_written(tiny_regime, tmp_path):
    regime = tmp_path / "regime.yaml"
    regime.write_text(tiny_regime.model_copy(update={"n_runs": 200}).model_dump_json())
    command = Command("simulate", regime, "-o", tmp_path / "data.nc").until("simulate: run")
    assert command.ended_by(signal.SIGTERM) == "stopped by SIGTERM"
    assert list(tmp_path.iterdir()) == [regime]


BLOCK = """
import sys, time
from stoirec.signals import Stopped, Unbroken
unbroken = Unbroken()
unbroken.heed_signals()
try:
    with unbroken:
        print("within", file=sys.stderr, flush=True)
        time.sleep(float(sys.argv[1]))
        print("whole", file=sys.stderr, flush=True)
except Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_block_ends_as_a_whole_and_a_second_signal_ends_at_once(number):
    def start(seconds: float) -> subprocess.Popen:
        run = subprocess.Popen([sys.executable, "-c", BLOCK, str(seconds)], stderr=subprocess.PIPE, text=True)
        assert run.stderr.readline() == "within\n"
        return run

    twice = start(60)
    for _ in range(2):
        twice.send_signal(number)
        time.sleep(0.5)
    assert twice.wait(timeout=10) == -number
    sent_twice = start(2)
    for _ in range(2):  # by a scheduler, and by what started it
        sent_twice.send_signal(number)
    said = sent_twice.communicate(timeout=60)[1]
    assert (said, sent_twice.returncode) == (f"whole\nstopped by {number.name}\n", 128 + number)


def test_a_signal_waits_for_the_library_that_reads_or_writes_a_file(monkeypatch, tmp_path):
    """Within its locks it would leave them taken, and the clean-up waits for them for ever."""
    unbroken, path, done = Unbroken(), tmp_path / "data.nc", []
    monkeypatch.setattr(netcdf, "UNBROKEN", unbroken)
    netcdf.write(path, xr.Dataset({"a": 1.0}))

    def interrupted(name, function):
        def call(*arguments, **options):
            unbroken._receive(signal.SIGTERM, None)
            found = function(*arguments, **options)
            done.append(name)
            return found

        return call

    for owner, name in ((xr.Dataset, "to_netcdf"), (xr.Dataset, "load")):
        monkeypatch.setattr(owner, name, interrupted(name, getattr(owner, name)))
    for work in (lambda: netcdf.write(tmp_path / "other.nc", xr.Dataset({"a": 2.0})), lambda: netcdf.read(path)):
        unbroken.__init__()
        with pytest.raises(Stopped):
            work()
    assert done == ["to_netcdf", "load"] and list(tmp_path.iterdir()) == [path]


def test_a_block_within_a_block_ends_with_the_outer_one():
    unbroken = Unbroken()
    with pytest.raises(Stopped), unbroken:
        with unbroken:
            unbroken._receive(signal.SIGTERM, None)
        within = "whole"
    assert within == "whole"


def test_what_was_started_to_ignore_a_signal_ignores_it():
    run = subprocess.Popen(["nohup", sys.executable, "-c", BLOCK, "1"], stderr=subprocess.PIPE, text=True)
    while run.stderr.readline() != "within\n":
        pass
    run.send_signal(signal.SIGHUP)
    assert run.communicate(timeout=60)[1] == "whole\n" and run.returncode == 0


def test_what_a_signal_makes_a_library_raise_is_the_signal():
    unbroken = Unbroken()
    with pytest.raises(Stopped, match="SIGTERM"), unbroken.and_what_follows():
        try:
            unbroken._receive(signal.SIGTERM, None)
        except Stopped:
            raise KeyError("clean-up that fails half-way") from None
    with pytest.raises(KeyError), Unbroken().and_what_follows():
        raise KeyError("of its own")
