"""A study and its notebooks -> report.html."""

from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import RESULTS, StoreFolder, folder_name, to_write
from stoirec.files import outputs
from stoirec.study.store import StudyFolder

_TABLES = StudyFolder(RESULTS)
app = typer.Typer()


@app.command(
    epilog="Example: stoirec report config/studies/default.yaml --store results --notebooks results/notebooks "
    "-o results/report.html"
)
def report(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml")],
    notebooks: Annotated[
        Path, typer.Option(parser=folder_name, metavar="DIR", help="Folder of the executed notebooks.")
    ],
    output: Annotated[Path, to_write("REPORT.html", "Page")],
    store: StoreFolder = RESULTS,
    metrics: Annotated[Path, typer.Option(metavar="METRICS.csv")] = _TABLES.metrics,
    baselines: Annotated[Path, typer.Option(metavar="BASELINES.csv")] = _TABLES.baselines,
) -> None:
    """Join a study's executed notebooks into one offline page: answer, chapters, provenance (wall times [s])."""
    from stoirec.report import page
    from stoirec.report.results import load

    read = [study, metrics, baselines, *notebooks.glob("*.ipynb")]
    outputs.check(read, [outputs.Output(output, outputs.REPORT)])
    page.write(load(study, store, metrics, baselines), notebooks, study, output)
