"""The fits of a results folder."""

from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import RESULTS, Json, folder_name
from stoirec.cli.printing import print_json
from stoirec.study.store import Store

app = typer.Typer()


@app.command(
    epilog="Example: stoirec fits results/ --filter role_prior=True --filter 'val_loss<0.01' "
    "--sort entry_exact --descending"
)
def fits(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS", parser=folder_name, help="Folder with fits/, and the tables of the studies below it."
        ),
    ] = RESULTS,
    sort: Annotated[
        str,
        typer.Option(
            metavar="COLUMN", help="fit_id, state, a metric, wall_time_s [s], n_steps, or a training parameter."
        ),
    ] = "fit_id",
    descending: Annotated[bool, typer.Option("--descending", help="Largest first.")] = False,
    filter_: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="CONDITION", help="key=value; also !=, >, <, >=, <=. May be repeated."),
    ] = None,
    json_: Json = False,
) -> None:
    """List all fits of a results folder: state, parameters that are no defaults, metrics (shares 0-1) if scored."""
    from stoirec.study import listing

    table = listing.ordered(listing.filtered(listing.fits(Store(results)), filter_ or []), sort, descending)
    if json_:
        print_json({"fits": table.astype(object).where(table.notna(), None).to_dict("records")})
        return
    shown = table[["entry_exact", "reaction_exact", "val_loss", "wall_time_s", "state", "fit_id", "parameters"]].fillna(
        {"parameters": ""}
    )
    left = (
        {name: f"{{:<{shown[name].str.len().max()}}}".format for name in ("state", "fit_id", "parameters")}
        if len(shown)
        else {}
    )
    print(
        shown.to_string(index=False, na_rep="-", float_format="%.4g", justify="left", formatters=left)
        if len(shown)
        else "no such fits"
    )
