"""fit.nc -> recovery.nc."""

from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import Json, Output, Quiet
from stoirec.cli.printing import print_json
from stoirec.config.fit import Decoder
from stoirec.errors import from_file
from stoirec.files import outputs

app = typer.Typer()


@app.command("round", epilog="Example: stoirec round fit.nc -o recovery.nc")
def round_(
    fit: Annotated[Path, typer.Argument(metavar="FIT.nc")],
    output: Output,
    decoder: Annotated[
        Decoder | None,
        typer.Option(
            help="The method of the answer (default: the fit's own). auto: what refinement decided, else mass_balanced."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA.nc", help="What the fit was trained on, to integrate its held-out runs: rollout_error."
        ),
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode a fit to integer stoichiometric coefficients by every rounding method, with a confidence per entry."""
    from stoirec.answer.prediction import with_rollout_errors
    from stoirec.answer.recovery import read_fit, recover
    from stoirec.data.dataset import read_data
    from stoirec.data.graph_variables import check_same_graph
    from stoirec.files import netcdf
    from stoirec.learn.fit_file import learned_model

    outputs.check([fit, data], [outputs.Output(output, outputs.RECOVERY)])
    trained = read_fit(fit)
    found = recover(trained, str(fit), decoder)
    if data is not None:
        content = read_data(data)
        check_same_graph(trained, content.graph, fit)
        if trained.attrs["status"] == "ok":
            with from_file(fit):
                learned_model(trained, content)
        with from_file(data):
            found = with_rollout_errors(found, trained, content)
    netcdf.write(output, found)
    if json_:
        answer = {name: found.attrs[name] for name in ("status", "method")}
        print_json({"matrix": str(output)} | answer | {"val_loss": float(found["val_loss"])})
