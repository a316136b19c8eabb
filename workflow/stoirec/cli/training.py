"""Fits that a command trains, with their checkpoints."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from stoirec.cli.edge import UNBROKEN
from stoirec.cli.progress import Bar
from stoirec.files import outputs
from stoirec.signals import Stopped
from stoirec.study.store import checkpoint_of


def fit_files(fit: Path, beside: Path | None = None) -> list[outputs.Output]:
    """What `write_fit` writes: `fit`, named after `beside` if not by the user, and its checkpoint."""
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


def write_fit(data, config, device_name: str, threads: int, output: Path, checkpoint_seconds: float) -> None:
    """Train and write fit.nc."""
    import torch

    from stoirec.files import netcdf
    from stoirec.learn.devices import device
    from stoirec.learn.memory import keep_freed
    from stoirec.learn.training import train as train_fit

    keep_freed()
    torch.set_num_threads(threads)
    with device(device_name) as chosen, Bar(config.n_steps(data.n_frames), "train", "step") as bar:

        def progress(step: int, n_steps: int, record: dict[str, float] | None) -> None:
            bar.update(step - bar.n)
            if record:
                bar.note(f"L_pred {record['prediction']:.2e}, val_loss {record['val_loss']:.2e}")

        fit = train_fit(data, config, chosen, checkpoint_of(output), checkpoint_seconds, progress, UNBROKEN)
    netcdf.write(output, fit)
