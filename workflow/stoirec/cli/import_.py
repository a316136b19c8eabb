"""A model, and time courses from tables or from its own kinetic laws -> data.nc."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stoirec.cli.options import Json, Output, Quiet
from stoirec.cli.printing import print_json
from stoirec.cli.progress import Bar
from stoirec.config.bounds import MOST
from stoirec.errors import BadInput, from_file
from stoirec.files import outputs
from stoirec.files.atomic import replacing
from stoirec.streams import MAX_SEED

if TYPE_CHECKING:
    from stoirec.data.tables import MeasuredRuns
    from stoirec.models.model import Model
    from stoirec.models.posed import Posed
    from stoirec.simulate.kinetic_laws import Trajectories

_log = logging.getLogger(__name__)
app = typer.Typer()
_Validation = Annotated[
    str | None,
    typer.Option(metavar="RUN", help="Run of the tables that nothing is trained on; default: the last of three."),
]
_Variation = Annotated[
    float, typer.Option(min=0.0, max=1e6, help="Initial amounts: those of the model within 1 + this.")
]


@app.command("import", epilog="Example: stoirec import model.xml --table runs.csv -o data.nc")
def import_(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="SBML (.xml, .sbml, or .gz), or table: R1, A + ? B -> 2 C.")
    ],
    output: Output,
    species: Annotated[
        Path | None,
        typer.Option(metavar="TABLE.csv", help="For a table of reactions: species, formula, charge, mass [g/mol]."),
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A reaction whose column is known, or all; can be given again."),
    ] = None,
    table: Annotated[
        list[Path] | None,
        typer.Option(metavar="TABLE", help="Time courses: .csv, .tsv or .xlsx, wide or long; can be given again."),
    ] = None,
    validation: _Validation = None,
    template: Annotated[
        bool, typer.Option("--template", help="Write a table for --table to --output (.csv), to be filled in.")
    ] = False,
    simulate: Annotated[bool, typer.Option("--simulate", help="Integrate the kinetic laws of the SBML file.")] = False,
    runs: Annotated[int, typer.Option(min=1, max=MOST, help="Training runs; one more is for validation.")] = 5,
    duration: Annotated[float, typer.Option(help="Of a run [time unit of the model].")] = 100.0,
    frames: Annotated[int, typer.Option(min=5, max=MOST, help="Per run, equally spaced.")] = 1000,
    variation: _Variation = 0.5,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the initial amounts.")] = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pose a model as a question: its reactions as candidate edges, elements and charge as what is conserved.

    With --table, beside what was measured; derivatives are estimated when it is read.
    """
    from stoirec.data.data_file import network_dataset
    from stoirec.files import netcdf
    from stoirec.models.measured import followed_alone, with_courses

    kind = outputs.TEMPLATE if template else outputs.DATA
    outputs.check([model, species, *(table or ())], [outputs.Output(output, kind)])
    content, trajectories = _model(model, species, simulate), None
    if template:
        return _write_template(output, content, simulate or bool(table))
    measured = _measured(table, content, simulate, validation)
    if simulate:
        trajectories = _integrated(model, content, runs, duration, frames, variation, seed)
        content = trajectories.both_ways(content)
    if measured is not None:
        content = followed_alone(content, measured)
    posed = _posed(model, content, known or ())
    dataset = network_dataset(posed.space, "network of a user's model")
    if measured is not None:
        dataset = with_courses(dataset, posed.space.graph, measured, validation)
    dataset, groups = (dataset, {}) if trajectories is None else trajectories.beside(dataset, posed)
    netcdf.write(output, dataset, **groups)
    if json_:
        print_json({"data": str(output)} | posed.counts | {"remarks": list(posed.remarks)})


def _posed(path: Path, model: "Model", known: Sequence[str]) -> "Posed":
    """The question that a model poses; says what was taken of it."""
    from stoirec.models.posed import pose

    with from_file(path):
        posed = pose(model, known)
    for remark in posed.remarks:
        _log.info("%s: %s", path, remark)
    _log.info("%s", posed.summary)
    return posed


def _write_template(output: Path, model: "Model", more: bool) -> None:
    """A table of time courses to be filled in; `more`: something else was asked for as well."""
    from stoirec.models.measured import template

    if more:
        raise BadInput("command line", "--template", "--table or --simulate as well", "one of them")
    if output.suffix.lower() != ".csv":
        raise BadInput("command line", "--output", output.name, "a name with .csv, for --template")
    with replacing(output) as temporary:
        temporary.write_text(template(model), encoding="utf-8")
    _log.info("%s: to be filled in; units in brackets, in its header: time [min], ATP [mM], one of all values", output)


def _measured(
    tables: list[Path] | None, model: "Model", simulate: bool, validation: str | None
) -> "MeasuredRuns | None":
    """The runs of time courses, if there are any."""
    from stoirec.data.tables import read_tables

    if tables and simulate:
        raise BadInput("command line", "--simulate", "--table as well", "one of the two")
    if validation is not None and not tables:
        raise BadInput("command line", "--validation", validation, "a run of a --table")
    return read_tables(tables, {name for each in model.species for name in (each.id, each.name)}) if tables else None


def _model(path: Path, species: Path | None, simulate: bool) -> "Model":
    """The network in SBML or in a table of reactions, and its species in another."""
    from stoirec.models.reaction_table import read_reactions
    from stoirec.models.sbml import is_sbml, read_sbml

    if not is_sbml(path):
        if simulate:
            raise BadInput(path, "--simulate", "a table of reactions", "SBML, with kinetic laws")
        return read_reactions(path, species)
    if species is not None:
        raise BadInput(path, "--species", species, "a table of reactions; SBML has its own formulas")
    return read_sbml(path)


def _integrated(
    path: Path, model: "Model", runs: int, duration: float, frames: int, variation: float, seed: int
) -> "Trajectories":
    import numpy as np

    from stoirec.simulate.kinetic_laws import integrate

    if not 0 < duration < float("inf"):
        raise BadInput("command line", "--duration", duration, "above 0")
    with Bar(runs + 1, "import", "run") as bar:
        times = np.linspace(0.0, duration, frames)
        return integrate(path, model, times, runs + 1, variation, seed, lambda _: bar.update(1))
