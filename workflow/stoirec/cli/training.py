"""Fits that a command trains, with their checkpoints."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stoirec.cli.progress import Bar
from stoirec.files import outputs
from stoirec.signals import UNBROKEN, Stopped
from stoirec.study.store import checkpoint_of

if TYPE_CHECKING:
    import xarray as xr

    from stoirec.config.fit import FitConfig
    from stoirec.data.dataset import Data


def fit_files(fit: Path, beside: Path | None = None) -> list[outputs.Output]:
    """What `write_fits` writes of each fit: `fit`, named after `beside` if not by the user, and its checkpoint."""
    checkpoint = outputs.Output(checkpoint_of(fit), outputs.CHECKPOINT, beside=beside or fit)
    return [outputs.Output(fit, outputs.FIT, beside=beside), checkpoint]


@contextlib.contextmanager
def until_all_is_written(*fits: Path) -> Iterator[None]:
    """Keep the checkpoints of fits for the length of the block, and for longer where it is cut off."""
    checkpoints = [checkpoint_of(fit) for fit in fits]
    try:
        yield
    except Stopped as stopped:
        if there := ", ".join(str(path) for path in checkpoints if path.exists()):
            stopped.rest = f": saved in {there}; the same command goes on from there"
        raise
    for path in checkpoints:
        path.unlink(missing_ok=True)


def write_fits(
    data: "Data",
    configs: "Sequence[FitConfig]",
    device_name: str,
    threads: int,
    paths: Sequence[Path],
    checkpoint_seconds: float,
) -> "list[xr.Dataset]":
    """Train, as one pack, and write the fit.nc of each configuration, which are returned."""
    import torch

    from stoirec.files import netcdf
    from stoirec.learn.devices import device
    from stoirec.learn.memory import keep_freed
    from stoirec.learn.training import train_all

    keep_freed()
    torch.set_num_threads(threads)
    longest = max(config.n_steps(data.n_frames) for config in configs)
    with device(device_name) as chosen, Bar(longest, "train", "step") as bar:

        def progress(step: int, n_steps: int, record: dict[str, float] | None) -> None:
            bar.update(step - bar.n)
            if record:
                bar.note(f"L_pred {record['prediction']:.2e}, val_loss {record['val_loss']:.2e}")

        saved = [checkpoint_of(path) for path in paths]
        written = []
        for path, fit in zip(paths, train_all(data, configs, chosen, saved, checkpoint_seconds, progress, UNBROKEN)):
            netcdf.write(path, fit)
            written.append(fit)
    return written
