"""What a study needs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stoirec.cli.options import RESULTS, Json, StoreFolder
from stoirec.cli.printing import print_json
from stoirec.study.store import Store

app = typer.Typer()


@app.command(epilog="Example: stoirec plan config/studies/default.yaml")
def plan(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml")],
    store: StoreFolder = RESULTS,
    json_: Json = False,
) -> None:
    """Say in one line how many fits, steps and core hours a study needs, and what of it is done."""
    from stoirec.study.budget import budget, summary
    from stoirec.study.expansion import expand

    content, _ = expand(study)
    if json_:
        print_json({"study": content.name} | asdict(budget(content, study, Store(store))))
        return
    print(summary(content, study, Store(store)))
