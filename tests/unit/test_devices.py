"""Devices: names, and one GPU per local job."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from filelock import Timeout

from stoirec.errors import BadInput
from stoirec.learn.devices import device, gpu_slot

NAMES = ["GPU-a", "GPU-b"]


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Pretend that there are that many GPUs."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"uuid-{index}"))

    return pretend


def test_auto_is_the_cpu_without_a_gpu(gpus):
    gpus(0)
    with device("auto") as chosen:
        assert chosen == torch.device("cpu")


def test_jobs_at_the_same_time_take_different_gpus(gpus):
    gpus(2)
    with device("auto") as one, device("cuda") as two:
        assert {one.index, two.index} == {0, 1} and one.type == two.type == "cuda"
    with device("auto") as again:
        assert again.index == 0


def test_a_named_device_is_taken_as_it_is(gpus):
    gpus(2)
    with device("cuda:1") as one, device("cuda:1") as two, device("cpu") as three:
        assert one == two == torch.device("cuda", 1) and three == torch.device("cpu")


def test_slurms_choice_stands(gpus, monkeypatch, tmp_path):
    gpus(1)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with device("auto") as one, device("auto") as two:  # no lock: neither waits
        assert one == two == torch.device("cuda", 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("count", "name", "named"),
    [
        (0, "cuda", "no GPU is seen here"),
        (0, "cuda:0", "no GPU is seen here"),
        (2, "cuda:2", "below 2"),
        (2, "gpu", "auto, cpu, cuda or cuda:N"),
        (2, "cuda:", "auto, cpu, cuda or cuda:N"),
        (2, "cuda:x", "auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_wrong_device_is_named(gpus, count, name, named):
    gpus(count)
    with pytest.raises(BadInput, match=named) as error, device(name):
        pass
    assert "--device" in str(error.value)


def test_a_slot_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError), gpu_slot(NAMES[:1], tmp_path):
        raise ValueError
    with gpu_slot(NAMES[:1], tmp_path) as index:
        assert index == 0


def test_a_timeout_of_the_job_itself_is_not_taken_for_a_busy_slot(tmp_path):
    with pytest.raises(Timeout), gpu_slot(NAMES, tmp_path):
        raise Timeout("something else")


HOLD = """
import sys
from pathlib import Path
from stoirec.learn.devices import gpu_slot
with gpu_slot(sys.argv[2:], Path(sys.argv[1])) as index:
    print(index, flush=True)
    sys.stdin.read()
"""


def test_slots_hold_between_processes_and_end_with_them(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), *NAMES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline().strip() == "0"
        with gpu_slot(NAMES, tmp_path) as index:
            assert index == 1
    finally:
        os.kill(holder.pid, signal.SIGKILL)  # no chance to clean up
        holder.communicate()
    with gpu_slot(NAMES[:1], tmp_path) as index:
        assert index == 0
