"""data.nc -> fit.nc."""

from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import Device, Output, Quiet, Threads
from stoirec.cli.training import fit_files, until_all_is_written, write_fit
from stoirec.errors import from_file
from stoirec.files import outputs

app = typer.Typer()


@app.command(epilog="Example: stoirec train data.nc --config fit.yaml --device auto -o fit.nc")
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA.nc")],
    config: Annotated[
        Path,
        typer.Option(metavar="FIT.yaml", help="Training parameters; what it leaves out has the plain recipe's value."),
    ],
    output: Output,
    device: Device = "auto",
    threads: Threads = 1,
    checkpoint_seconds: Annotated[float, typer.Option(min=0.0, help="Least time between checkpoints [s].")] = 30.0,
    quiet: Quiet = False,
) -> None:
    """Fit the graph neural network; resumes from its checkpoint (FIT.ckpt beside the output). Never reads /truth."""
    from stoirec.config.fit import load_fit_config
    from stoirec.data.dataset import read_data

    outputs.check([data, config], fit_files(output))
    with from_file(data), until_all_is_written(output):
        write_fit(read_data(data), load_fit_config(config), device, threads, output, checkpoint_seconds)
