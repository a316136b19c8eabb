"""Which device a job runs on; one GPU per local job."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from stoirec.errors import BadInput


@contextlib.contextmanager
def device(name: str) -> Iterator[torch.device]:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`, held for the length of the block.

    Snakemake counts GPUs but hands out no indices. `auto` and `cuda` therefore hold a file lock per index, so that
    local jobs that run at the same time take different GPUs. Under Slurm the scheduler has chosen already.

    Raises:
        BadInput: unknown name, or CUDA asked for and absent.
    """
    if name not in ("auto", "cpu", "cuda") and not (name.startswith("cuda:") and name[5:].isdigit()):
        raise BadInput("command line", "--device", name, "auto, cpu, cuda or cuda:N")
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and n_gpus == 0):
        yield torch.device("cpu")
    elif name.startswith("cuda:") or "SLURM_JOB_ID" in os.environ:
        index = int(name[5:]) if name.startswith("cuda:") else 0
        if index >= n_gpus:
            raise BadInput("command line", "--device", name, f"cpu, or an index below {n_gpus} (the GPUs seen here)")
        yield torch.device("cuda", index)
    elif n_gpus == 0:
        raise BadInput("command line", "--device", name, "cpu or auto: no GPU is seen here")
    else:
        with gpu_slot(_physical_names(n_gpus)) as index:
            yield torch.device("cuda", index)


def _physical_names(n_gpus: int) -> list[str]:
    """A name per visible GPU that is the same in every process, whatever CUDA_VISIBLE_DEVICES hides."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(n_gpus)]
    return [name.strip() for name in names[:n_gpus]]


@contextlib.contextmanager
def gpu_slot(names: list[str], folder: Path | None = None) -> Iterator[int]:
    """Hold the first free of `names`, or wait for the first of them; yields its position.

    The lock is the operating system's: it ends with the process, killed or not.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"stoirec-gpu-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        for index, name in enumerate(names):
            with contextlib.suppress(Timeout):
                with FileLock(folder / f"{name}.lock", timeout=0 if index < len(names) - 1 else 1):
                    yield index
                    return
