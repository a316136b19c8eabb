"""Which device a job runs on; one GPU per local job."""

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from stoirec.errors import BadInput

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def device(name: str) -> Iterator[torch.device]:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`, held for the length of the block.

    Snakemake counts GPUs but hands out no indices. `auto` and `cuda` therefore hold a file lock per GPU, so that
    local jobs that run at the same time take different ones. Where Slurm shows a job its one GPU, that is the choice.

    Raises:
        BadInput: unknown name, or CUDA asked for and absent.
    """
    if name not in ("auto", "cpu", "cuda") and not (name.startswith("cuda:") and name[5:].isdigit()):
        raise BadInput("command line", "--device", name, "auto, cpu, cuda or cuda:N")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and n_gpus == 0):
        yield torch.device("cpu")
    elif n_gpus == 0:
        raise BadInput("command line", "--device", name, "cpu or auto: no GPU is seen here")
    elif name.startswith("cuda:"):
        if int(name[5:]) >= n_gpus:
            raise BadInput("command line", "--device", name, f"cpu, or an index below {n_gpus} (the GPUs seen here)")
        yield torch.device(name)
    elif n_gpus == 1 and "SLURM_JOB_ID" in os.environ:
        yield torch.device("cuda", 0)
    else:
        with gpu_slot([str(torch.cuda.get_device_properties(index).uuid) for index in range(n_gpus)]) as index:
            yield torch.device("cuda", index)


@contextlib.contextmanager
def gpu_slot(names: list[str], folder: Path | None = None) -> Iterator[int]:
    """Hold the first free of `names`, or wait for one; yields its position.

    Args:
        names: a GPU's name is the same in every process, whatever CUDA_VISIBLE_DEVICES hides.
        folder: where the locks lie. They are the operating system's: they end with the process, killed or not.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"stoirec-gpu-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    locks = [FileLock(folder / f"{name}.lock") for name in names]
    held = _acquire_first_free(locks)
    try:
        yield held
    finally:
        locks[held].release()


def _acquire_first_free(locks: list[FileLock]) -> int:
    waiting = False
    while True:
        for index, lock in enumerate(locks):
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                return index
        if not waiting:
            _log.info("waiting for a free GPU")
        waiting = True
        time.sleep(0.5)
