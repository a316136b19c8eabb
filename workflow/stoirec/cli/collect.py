"""A study -> metrics.csv, baselines.csv, costs.csv."""

from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import RESULTS, StoreFolder, file_name, to_write
from stoirec.files import outputs
from stoirec.files.atomic import replacing
from stoirec.study.store import Store

app = typer.Typer()


@app.command(
    epilog="Example: stoirec collect config/studies/default.yaml --store results "
    "-o metrics.csv --baselines baselines.csv"
)
def collect(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml")],
    output: Annotated[Path, to_write("METRICS.csv", None)],
    baselines: Annotated[Path, typer.Option(parser=file_name, metavar="BASELINES.csv")],
    costs: Annotated[
        Path | None,
        typer.Option(
            parser=file_name, metavar="COSTS.csv", help="Steps, wall time [s], threads and device of every fit."
        ),
    ] = None,
    store: StoreFolder = RESULTS,
) -> None:
    """Score a study into metrics.csv, baselines and oracles into baselines.csv, what it took into costs.csv."""
    from stoirec.study.expansion import expand
    from stoirec.study.tables import baselines_table, costs_table, metrics_table

    written = [outputs.Output(output, outputs.METRICS), outputs.Output(baselines, outputs.METRICS, "--baselines")]
    written += [] if costs is None else [outputs.Output(costs, outputs.COSTS, "--costs")]
    outputs.check([study], written)
    content, fits = expand(study)
    files = Store(store)
    tables = {output: metrics_table(content.name, fits, files), baselines: baselines_table(content.name, fits, files)}
    if costs is not None:
        tables[costs] = costs_table(fits, files)
    for path, table in tables.items():
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False)
