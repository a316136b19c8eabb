"""The form of a configuration file."""

import json
from typing import Annotated

import typer

from stoirec.config.schemas import Kind

app = typer.Typer()


@app.command(epilog="Example: stoirec schema study > config/schemas/study.json")
def schema(kind: Annotated[Kind, typer.Argument(help="Of which kind of file.")]) -> None:
    """Print what a configuration file may hold, as JSON Schema, by which editors complete and check."""
    from stoirec.config.schemas import json_schema

    print(json.dumps(json_schema(kind), indent=2, ensure_ascii=False))
