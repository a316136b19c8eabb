"""recovery.nc -> a file in one of the field's formats."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import file_name
from stoirec.errors import BadInput
from stoirec.files import outputs
from stoirec.files.atomic import replacing

app = typer.Typer()


class ExportFormat(StrEnum):
    """What `export` writes."""

    sbml = "sbml"
    matrix = "matrix"
    equations = "equations"


@app.command(epilog="Example: stoirec export recovery.nc -o recovered.xml; stoirec export recovery.nc -o S.csv")
def export(
    recovery: Annotated[Path, typer.Argument(metavar="RECOVERY.nc")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", parser=file_name, metavar="FILE", help="To write (to a temporary name, then renamed)."
        ),
    ],
    format_: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format",
            help="sbml: a model with confidence as notes; matrix: S, named rows and columns; equations: a table that "
            "import reads. Default: sbml for .xml and .sbml, matrix for .csv, equations for .txt.",
        ),
    ] = None,
) -> None:
    """Write a recovered matrix in the field's formats."""
    from stoirec.answer.exported import export_text
    from stoirec.files.contents import RECOVERY
    from stoirec.files.netcdf import read
    from stoirec.files.schema import required

    by_suffix = {".xml": "sbml", ".sbml": "sbml", ".csv": "matrix", ".txt": "equations"}
    kind = format_.value if format_ else by_suffix.get(output.suffix.lower())
    if kind is None:
        raise BadInput("command line", "--output", output.name, f"a name with {', '.join(by_suffix)}, or --format")
    written = {"sbml": outputs.SBML, "matrix": outputs.MATRIX, "equations": outputs.EQUATIONS}
    outputs.check([recovery], [outputs.Output(output, written[kind])])
    text = export_text(read(recovery, required(RECOVERY, "alternative")), recovery, kind)
    with replacing(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
