"""What data.nc can tell, before anything is trained."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stoirec.cli.options import Json, file_name
from stoirec.cli.printing import print_json
from stoirec.errors import from_file
from stoirec.files import outputs

if TYPE_CHECKING:
    from stoirec.data.overview import TimeCourses

app = typer.Typer()


@app.command(epilog="Example: stoirec check data.nc -o check.html")
def check(
    data: Annotated[Path, typer.Argument(metavar="DATA.nc", help="A network, with or without time courses.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", parser=file_name, metavar="CHECK.html", help="A page to read, with all of it by name."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Say what is known before anything is trained: of each column by what is conserved, and of the time courses."""
    from stoirec.data.graph_variables import space_of
    from stoirec.files.contents import NETWORK
    from stoirec.files.netcdf import read
    from stoirec.models.model import listing
    from stoirec.network.balance import NONE, SAYS, SOME, balances

    outputs.check([data], [] if output is None else [outputs.Output(output, outputs.CHECK_PAGE)])
    file = read(data, NETWORK)
    space = space_of(file, data)
    found = dict(zip(map(space.graph.reaction_name, range(space.graph.n_reactions)), balances(space)))
    courses = _time_courses(data) if "concentration" in file else None
    if output is not None:
        from stoirec.report.beforehand import page

        page.write(output, data.name, space, list(found.values()), courses)
    if json_:
        columns = {name: each.as_dict(space.graph, j) for j, (name, each) in enumerate(found.items())}
        print_json({"columns": columns, "time_courses": None if courses is None else courses.as_dict()})
        return
    print("columns of S, by what is known of them before anything is trained:")
    for says, text in SAYS.items():
        names = [name for name, each in found.items() if each.says == says]
        shown = f": {listing(names)}" if says in (NONE, SOME) else ""
        if names:
            print(f"{len(names):6d} {text}{shown}")
    if courses is not None:
        print("\n".join([*courses.sentences(), *(f"would help: {line}" for line in courses.advice)]))


def _time_courses(path: Path) -> "TimeCourses":
    """What the time courses of a file can tell, the recipe they call for, and what that takes."""
    from stoirec.data.dataset import read_data
    from stoirec.data.overview import TimeCourses
    from stoirec.learn import recipe
    from stoirec.learn.cost import expected

    with from_file(path):
        data = read_data(path)
        name, why = recipe.choose(data)
        return TimeCourses.of(data, (name, why), asdict(expected(data, recipe.configured(name, data, "pde_m1", 1))))
