"""Slurm on this machine alone, with files, ports and a munge of its own: another Slurm is neither used nor touched."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")  # as Debian calls them; .ci/run installs them
DAEMONS = ("munged", "slurmctld", "slurmd")
PATH = os.pathsep.join([os.defpath, "/usr/sbin", "/sbin"])

# One node with two pretend GPUs and no accounting. Jobs of `shared` are preempted by those of `urgent`; nothing is
# requeued that does not ask for it.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={path}/munge.socket
StateSaveLocation={path}/state
SlurmdSpoolDir={path}/spool
SlurmctldPidFile={path}/slurmctld.pid
SlurmdPidFile={path}/slurmd.pid
ProctrackType=proctrack/linuxproc
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=0
MinJobAge=86400
MessageTimeout=100
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:2
PartitionName=shared Nodes=ALL Default=YES PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=2
"""
GRES_CONF = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"

# The plugin takes SLURM_CONF out of the environment of a job's srun.
SRUN = '#!/bin/sh\nSLURM_CONF={path}/slurm.conf exec {srun} "$@"\n'


class DoesNotStart(Exception):
    """A daemon ended, or the node did not come up."""


@dataclass
class Job:
    """What Slurm knows of a job; `rule` is empty where it is none of a workflow."""

    id: str
    state: str
    comment: str
    gpus: str
    restarts: int

    @property
    def rule(self) -> str:
        return self.comment.split("_")[1] if self.comment.startswith("rule_") else ""


@dataclass
class Cluster:
    """A running one."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": f"{self.path}/slurm.conf", "PATH": f"{self.path}/bin{os.pathsep}{PATH}"}

    def run(self, *command: str) -> str:
        shown = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True, timeout=300)
        return shown.stdout

    def jobs(self) -> list[Job]:
        """All that there were."""
        columns = "JobID:|,State:|,Comment:|,tres-per-job:|,RestartCnt:|"
        lines = self.run("squeue", "--states=all", "--noheader", "--Format", columns).splitlines()
        rows = [[each.strip() for each in line.split("|")] for line in lines]
        return [Job(id, state, comment, gpus, int(restarts)) for id, state, comment, gpus, restarts, *_ in rows]

    def preempt(self) -> None:
        """Take the node for a moment: what ran there is requeued and starts again."""
        for job in self.jobs():
            if job.state == "RUNNING":  # it would go on, perhaps to its end, until Slurm gets round to it
                self.run("scancel", "--signal=STOP", job.id)
        self.run("sbatch", "--wait", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
        for job in self.jobs():
            if job.state == "PENDING":  # Slurm would wait for two minutes
                self.run("scontrol", "update", f"JobId={job.id}", "StartTime=now")


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=PATH) is None]


@contextlib.contextmanager
def started() -> Iterator[Cluster]:
    """A cluster for the length of the block.

    Raises:
        DoesNotStart: with the last line of a log.
    """
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, contextlib.ExitStack() as daemons:
        cluster = Cluster(Path(folder))
        _configure(cluster.path)
        for command in (
            ["munged", "--foreground", "--force", *_munge_files(cluster.path)],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D", "-N", _host()],
        ):
            daemons.enter_context(_daemon(command, cluster))
        _wait_for_node(cluster)
        try:
            yield cluster
        finally:
            cluster.run("scancel", "--user", getpass.getuser())
            _wait(lambda: not cluster.run("squeue", "--noheader"), 60)


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _munge_files(path: Path) -> list[str]:
    files = {"key-file": "key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
    return [f"--{option}={path}/{name}" for option, name in (files | {"seed-file": "munge.seed"}).items()]


def _configure(path: Path) -> None:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in (one, other)]
    for name in ("bin", "state", "spool"):
        (path / name).mkdir()
    settings = SLURM_CONF.format(host=_host(), ports=ports, user=getpass.getuser(), path=path)
    (path / "slurm.conf").write_text(settings)
    (path / "gres.conf").write_text(GRES_CONF)
    (path / "key").write_bytes(os.urandom(128))
    (path / "key").chmod(0o600)
    (path / "bin/srun").write_text(SRUN.format(path=path, srun=shutil.which("srun", path=PATH)))
    (path / "bin/srun").chmod(0o700)


@contextlib.contextmanager
def _daemon(command: list[str], cluster: Cluster) -> Iterator[None]:
    log = cluster.path / f"{command[0]}.log"
    with (
        open(log, "w") as handle,
        subprocess.Popen(command, env=cluster.environment, stdout=handle, stderr=handle) as daemon,
    ):
        try:
            yield
        finally:
            daemon.terminate()


def _wait_for_node(cluster: Cluster) -> None:
    def idle() -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return cluster.run("sinfo", "--noheader", "--format=%T", "--partition=shared").strip() == "idle"
        return False

    if not _wait(idle, 60):
        logs = {name: (cluster.path / f"{name}.log").read_text().splitlines() for name in DAEMONS}
        raise DoesNotStart("; ".join(f"{name}: {lines[-1]}" for name, lines in logs.items() if lines))


def _wait(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False
