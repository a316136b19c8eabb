"""data.nc -> fit.nc."""

from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import Device, Json, Outputs, Quiet, Threads
from stoirec.cli.printing import print_json
from stoirec.cli.training import fit_files, until_all_is_written, write_fits
from stoirec.errors import BadInput, from_file
from stoirec.files import outputs

app = typer.Typer()


@app.command(epilog="Example: stoirec train data.nc --config fit.yaml --device auto -o fit.nc")
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA.nc")],
    config: Annotated[
        list[Path],
        typer.Option(
            metavar="FIT.yaml",
            help="Training parameters; what it leaves out has the plain recipe's value. Can be given again, with as "
            "many -o: a pack, whose fits take their steps at once.",
        ),
    ],
    output: Outputs,
    device: Device = "auto",
    threads: Threads = 1,
    checkpoint_seconds: Annotated[float, typer.Option(min=0.0, help="Least time between checkpoints [s].")] = 30.0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit the graph neural network; resumes from its checkpoint (FIT.ckpt beside the output). Never reads /truth."""
    from stoirec.config.fit import load_fit_config
    from stoirec.data.dataset import read_data

    if len(config) != len(output):
        raise BadInput("command line", "--output", f"{len(output)} of them", f"as many as --config, {len(config)}")
    outputs.check([data, *config], [file for path in output for file in fit_files(path)])
    configs = [load_fit_config(path) for path in config]
    first = configs[0].together
    for path, each in zip(config, configs):
        for key, value in each.together.items():
            if value != first[key]:
                raise BadInput(path, key, value, f"{first[key]}, as in {config[0]}: a pack has one")
    with from_file(data), until_all_is_written(*output):
        fits = write_fits(read_data(data), configs, device, threads, output, checkpoint_seconds)
    if json_:
        losses = [{name: float(fit[name]) for name in ("train_loss", "val_loss")} for fit in fits]
        statuses = ({"fit": str(path), "status": fit.attrs["status"]} for path, fit in zip(output, fits))
        print_json({"fits": [status | of_fit for status, of_fit in zip(statuses, losses)]})
