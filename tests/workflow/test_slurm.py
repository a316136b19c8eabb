"""`snakemake --profile slurm`, as typed in the project's root, on a real Slurm."""

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

import cluster
from house import ROOT, House

TABLE = "results/tiny/metrics.csv"
WAIT_LESS = ("--slurm-init-seconds-before-status-checks", "1")  # for a test's sake
# with a checkpoint before every round
REFINED = "role_prior: true, refinement_rounds: 3, refinement_steps: 5, refinement_frames: 60"


@pytest.fixture
def slurm():
    absent = cluster.missing()
    if absent:
        pytest.skip(f"no {', '.join(absent)} here; on Debian: apt-get install {' '.join(cluster.PACKAGES)}")
    if torch.cuda.is_available():
        pytest.skip("beside real GPUs the pretended ones would send a fit to a device that the local run does not take")
    try:
        with cluster.started() as running:
            yield running
    except cluster.DoesNotStart as reason:
        pytest.skip(f"Slurm does not start here: {reason}")


def furnish(path: Path) -> House:
    path.mkdir()
    house = House.furnish(path)
    house.edit("study.yaml", "role_prior: true", REFINED)
    house.edit("study.yaml", "  - name: rates\n    variants: {diverging: {learning_rate_start: 1e8}}\n", "")
    return house


def furnish_root(path: Path) -> House:
    """The project's root with the tiny study for its own."""
    house = furnish(path)
    for name in ("Snakefile", "envs", "notebooks", "profiles", "slurm", "workflow"):
        (path / name).symlink_to(ROOT / name)
    (path / "config").mkdir()
    (path / "config.yaml").rename(path / "config/config.yaml")
    return house


@contextlib.contextmanager
def snakemake(house: House, slurm: cluster.Cluster):
    """The command as typed, in an environment as activated."""
    path = os.pathsep.join([str(Path(sys.executable).parent), slurm.environment["PATH"]])
    command = ["snakemake", "--profile", "slurm", TABLE, *WAIT_LESS]
    environment = house.environment | slurm.environment | {"PATH": path}
    with open(house.path / "shown.txt", "w") as shown:
        run = subprocess.Popen(command, cwd=house.path, env=environment, stdout=shown, stderr=shown)
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def test_preempted_and_cut_off_jobs_end_with_the_same_numbers(slurm, tmp_path):
    house, local = furnish_root(tmp_path / "root"), furnish(tmp_path / "local")
    with local.start(TABLE) as beside, snakemake(house, slurm) as run:
        wait(lambda: list(house.results.glob("fits/*/*/fit.ckpt")), run)
        fit = next(house.results.glob("fits/*/*/fit.ckpt")).parent.name
        log = house.results / f"logs/train/tiny-seed7/{fit}.log"
        slurm.preempt()  # Slurm itself starts both again
        wait(lambda: "resumed" in read(log), run)
        cut_off = next(job.id for job in slurm.jobs() if job.rule == "train" and fit in job.comment)
        slurm.run("scancel", "--signal=TERM", cut_off)  # as at a time limit: it fails, and snakemake submits another
        assert run.wait(900) == 0, (house.path / "shown.txt").read_text()
    states = Counter((job.rule, job.state) for job in slurm.jobs() if job.rule)
    once = dict.fromkeys([("simulate", "COMPLETED"), ("collect", "COMPLETED"), ("train", "FAILED")], 1)
    assert states == once | dict.fromkeys([("train", "COMPLETED"), ("round", "COMPLETED")], 2)
    assert any(job.restarts for job in slurm.jobs() if job.rule == "train")
    assert {job.rule for job in slurm.jobs() if job.gpus == "gres:gpu:1"} == {"train"}
    assert "resumed" in read(log)
    assert beside.wait() == 0
    assert (house.path / TABLE).read_bytes() == (local.path / TABLE).read_bytes()


def wait(condition, run: subprocess.Popen) -> None:
    while not condition():
        assert run.poll() is None
        time.sleep(0.05)


def read(log: Path) -> str:
    """What is there: a job's log goes when the job starts again."""
    with contextlib.suppress(FileNotFoundError):
        return log.read_text()
    return ""
