"""The command line. Bad input ends in one line on stderr and exit code 2."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from stoirec.config.bounds import MOST, MOST_THREADS, UNPRINTABLE
from stoirec.config.fit import Decoder
from stoirec.config.regime import RateLawName
from stoirec.config.schemas import Kind
from stoirec.errors import BadInput, from_file, one_line
from stoirec.files import outputs
from stoirec.files.atomic import replacing
from stoirec.signals import Stopped, Unbroken
from stoirec.streams import MAX_SEED
from stoirec.study.store import Store, StudyFolder, checkpoint_of

if TYPE_CHECKING:
    import xarray as xr

    from stoirec.data.dataset import Data
    from stoirec.data.overview import TimeCourses
    from stoirec.data.tables import MeasuredRuns
    from stoirec.models.model import Model
    from stoirec.models.posed import Posed
    from stoirec.simulate.kinetic_laws import Trajectories

_log = logging.getLogger(__name__)
_UsageError: Any = typer.BadParameter.__mro__[1]  # typer bundles its own click and exports only this subclass

_RESULTS = Path("results")  # where the workflow writes
_TABLES = StudyFolder(_RESULTS)
_UNBROKEN = Unbroken()

app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Recover the stoichiometric matrix of a metabolic network, exactly, from its concentration dynamics.",
)


_ROAD = """\
Your own network          stoirec import model.xml --table runs.csv -o data.nc    a model and what was measured
                          stoirec check data.nc                                   what these data can tell
                          stoirec recover data.nc -o recovery.nc                  the matrix, and a page on it
                          stoirec export recovery.nc -o recovered.xml             SBML, or S.csv, or equations.txt

To learn about learning   stoirec simulate REGIME.yaml -o data.nc                 a network whose matrix is known
                          stoirec train data.nc --config fit.yaml -o fit.nc       one fit, by a recipe of your own
                          stoirec round fit.nc -o recovery.nc                     its coefficients as integers
                          stoirec score recovery.nc --truth data.nc               how many are right

All commands: stoirec --help. One of them: stoirec recover --help."""


@app.callback(invoke_without_command=True)
def road(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(_ROAD)


def main() -> None:
    """Entry point: one line and exit code 2 for a user's mistake, a traceback only for ours."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        _UNBROKEN.heed_signals()
        _check_arguments(sys.argv[1:])
        with _UNBROKEN.and_what_follows():
            code = app(standalone_mode=False, prog_name="stoirec")
    except BadInput as error:
        _end(str(error))
    except _UsageError as error:
        _end(
            f"command line: {error.format_message()} (see {error.ctx.command_path if error.ctx else 'stoirec'} --help)"
        )
    except OSError as error:  # a full disk, a folder in place of a file, no permission
        _end(
            f"{error.filename or 'file'}: file: found {error.strerror or error}; "
            "allowed: a path that can be read and written"
        )
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):  # torch has no MemoryError for the CPU
            raise
        _end(f"memory: space: found {str(error)[:200] or 'too little'}; allowed: what fits here")
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
    sys.exit(code or 0)


def _check_arguments(given: Sequence[str]) -> None:
    """Raises BadInput for one that is empty, as by a variable that is not set, or that no file can be called."""
    for name, value in zip(["argument", *given], given):
        name, value = value.split("=", 1) if value.startswith("--") and "=" in value else (name, value)
        if not value or UNPRINTABLE.search(value):
            allowed = "text in UTF-8 without control characters, and not empty"
            raise BadInput("command line", name if name.startswith("-") else "argument", repr(value), allowed)


def _end(message: str) -> None:
    print("error: " + one_line(message), file=sys.stderr)
    sys.exit(2)


def _file_name(given: str) -> Path:
    """The path of a file to write; pathlib takes '' for '.', which has no name, and 'name/' for 'name'."""
    path = Path(given)
    if not path.name or given.endswith("/"):
        raise typer.BadParameter(f"found {given!r}; allowed: the name of a file")
    return path


# --- options shared by the commands -----------------------------------------------------------------------------------

Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        parser=_file_name,
        help="NetCDF file to write (to a temporary name, then renamed).",
        metavar="FILE",
    ),
]
Device = Annotated[str, typer.Option(help="auto (a free GPU, else the CPU), cpu, cuda or cuda:N.")]
# one: a result must not depend on which cores are free, and threads that wait for a busy core cost more than they give
Threads = Annotated[int, typer.Option(min=1, max=MOST_THREADS, help="CPU threads.")]
StoreFolder = Annotated[Path, typer.Option("--store", help="Folder with data/ and fits/.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        callback=lambda quiet: logging.getLogger().setLevel(logging.WARNING if quiet else logging.INFO),
        help="Say nothing of the way, only warnings and the answer.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command(epilog="Example: stoirec simulate config/regimes/pde_m1.yaml --seed 101 -o data.nc")
def simulate(
    regime: Annotated[
        Path, typer.Argument(metavar="REGIME.yaml", help="The frozen simulation; the only source of its parameters.")
    ],
    output: Output,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Derives the regime's separate seeds (network, rate constants, MLPs, initial c).", min=0, max=MAX_SEED
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Simulate a regime: concentrations [concentration unit] and dc/dt [per time unit] over time, truth in /truth."""
    from stoirec.config.regime import load_regime
    from stoirec.simulate import trajectories as simulation
    from stoirec.simulate.truth import write_simulation

    outputs.check([regime], [outputs.Output(output, outputs.DATA)])
    settings = load_regime(regime)
    if seed is not None:
        settings = settings.with_master_seed(seed)
    with _Bar(settings.n_runs + 1, "simulate", "run") as bar:
        try:
            result = simulation.simulate(settings, progress=lambda _: bar.update(1))
        except ValueError as error:
            key, _, reason = str(error).partition(": ")
            raise BadInput(regime, key, reason, "a regime that can be simulated") from None
    write_simulation(output, result, settings, seed)


@app.command("import", epilog="Example: stoirec import model.xml --table runs.csv -o data.nc")
def import_(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="SBML (.xml, .sbml, or .gz), or table: R1, A + 2 B -> C (? B).")
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
    validation: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Run of the tables that nothing is trained on; default: the last of three."),
    ] = None,
    template: Annotated[
        bool, typer.Option("--template", help="Write a table for --table to --output (.csv), to be filled in.")
    ] = False,
    simulate: Annotated[bool, typer.Option("--simulate", help="Integrate the kinetic laws of the SBML file.")] = False,
    runs: Annotated[int, typer.Option(min=1, max=MOST, help="Training runs; one more is for validation.")] = 5,
    duration: Annotated[float, typer.Option(help="Of a run [time unit of the model].")] = 100.0,
    frames: Annotated[int, typer.Option(min=5, max=MOST, help="Per run, equally spaced.")] = 1000,
    variation: Annotated[
        float, typer.Option(min=0.0, help="Initial amounts: those of the model within 1 + this.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of the initial amounts.")] = 0,
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
    with _Bar(runs + 1, "import", "run") as bar:
        times = np.linspace(0.0, duration, frames)
        return integrate(path, model, times, runs + 1, variation, seed, lambda _: bar.update(1))


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
            "--output", "-o", parser=_file_name, metavar="FILE", help="To write (to a temporary name, then renamed)."
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


@app.command(epilog="Example: stoirec train data.nc --config fit.yaml --device auto -o fit.nc")
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA.nc")],
    config: Annotated[
        Path,
        typer.Option(metavar="FIT.yaml", help="Training parameters; what it leaves out has the plain recipe's value."),
    ],
    output: Output,
    device: Device = "auto",
    threads: Threads = 1,
    checkpoint_seconds: Annotated[float, typer.Option(min=0.0, help="Least time between checkpoints [s].")] = 30.0,
    quiet: Quiet = False,
) -> None:
    """Fit the graph neural network; resumes from its checkpoint (FIT.ckpt beside the output). Never reads /truth."""
    from stoirec.config.fit import load_fit_config
    from stoirec.data.dataset import read_data

    outputs.check([data, config], _fit_files(output))
    with from_file(data), _until_all_is_written(output):
        _train(read_data(data), load_fit_config(config), device, threads, output, checkpoint_seconds)


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


@app.command(epilog="Example: stoirec score recovery.nc --truth data.nc --json")
def score(
    recovery: Annotated[Path, typer.Argument(metavar="RECOVERY.nc")],
    truth: Annotated[Path, typer.Option(metavar="DATA.nc", help="The simulated data, with its /truth group.")],
    json_: Json = False,
) -> None:
    """Compare a recovered matrix with the truth: shares of exact entries, reactions, signs (0-1), R2 = 1 - SSE/SST."""
    from stoirec.data.dataset import read_data
    from stoirec.data.graph_variables import check_same_graph
    from stoirec.score import scoring as scores
    from stoirec.simulate.truth import read_truth

    graph = read_data(truth).graph
    found = scores.read_recovery(recovery)
    check_same_graph(found, graph, recovery)
    result = scores.score(found, read_truth(truth, graph), graph)
    if json_:
        _print_json(result)
        return
    print(f"status {result['status']}, answer by {result['method']}, val_loss {result['val_loss']:.3g}")
    _print_table(result["methods"])


class RateLaw(StrEnum):
    """What `graph_model.rate_law` may be, and the choice among them."""

    pde_m1 = "pde_m1"
    mass_action = "mass_action"
    convenience = "convenience"
    auto = "auto"


class Recipe(StrEnum):
    """The files in recipes/, and the choice among them."""

    auto = "auto"
    best = "best"
    flux_limited = "flux_limited"
    decoys = "decoys"
    unsigned = "unsigned"


@app.command(epilog="Example: stoirec recover data.nc -o recovery.nc")
def recover(
    data: Annotated[Path, typer.Argument(metavar="DATA.nc")],
    output: Output,
    recipe: Annotated[
        Recipe,
        typer.Option(
            help="auto: by the data; flux_limited: no substrate is used up within a time step; "
            "decoys: candidate edges may not be real; unsigned: who is consumed is not known."
        ),
    ] = Recipe.auto,
    rate_law: Annotated[
        RateLaw,
        typer.Option(
            help="pde_m1: functions that all reactions share; mass_action; convenience: Michaelis-Menten, a constant "
            "for each substrate; auto: all three, and the one that predicts the validation runs best."
        ),
    ] = RateLaw.pde_m1,
    json_: Json = False,
    starts: Annotated[
        int,
        typer.Option(min=1, max=MOST, help="Fits from random starts; that which predicts the validation runs best."),
    ] = 1,
    device: Device = "auto",
    threads: Threads = 1,
    checkpoint_seconds: Annotated[float, typer.Option(min=0.0, help="Least time between checkpoints [s].")] = 30.0,
    quiet: Quiet = False,
) -> None:
    """Recover S from data.nc: train with a bundled recipe, then round. Never reads /truth.

    Beside the output: the fit (.fit.nc), and a page to read (.html).
    """
    from stoirec.answer.recovery import read_fit
    from stoirec.data.dataset import read_data
    from stoirec.learn import recipe as recipes

    laws = [law for law in get_args(RateLawName) if rate_law in (RateLaw.auto, law)]
    tried = {law if starts == 1 else f"{law}.{seed}": (law, seed) for law in laws for seed in range(1, starts + 1)}
    base = output.name.removesuffix(".nc")
    paths = {fit: output.with_name(base + (f".{fit}.fit.nc" if len(tried) > 1 else ".fit.nc")) for fit in tried}
    page = output.with_name(base + ".html")
    beside = [outputs.Output(page, outputs.ANSWER_PAGE, beside=output)]
    for path in paths.values():
        beside += _fit_files(path, beside=output)
    outputs.check([data], [outputs.Output(output, outputs.RECOVERY), *beside])
    content = read_data(data)
    name, reason = recipes.choose(content) if recipe is Recipe.auto else (recipe.value, "as asked for")
    _log.info("recipe %s: %s", name, reason)
    with _until_all_is_written(*paths.values()):
        for fit, (law, seed) in tried.items():
            config = recipes.configured(name, content, law, seed)
            with from_file(data):
                _train(content, config, device, threads, paths[fit], checkpoint_seconds)
        fits = {fit: read_fit(path) for fit, path in paths.items()}
        best = _best(fits)
        found = _write_answer(output, page, data, content, fits[best], paths[best], f"{name}: {reason}")
    _print_answer(content, found, {"matrix": str(output), "page": str(page), "fit": str(paths[best])}, json_)


def _print_answer(content: "Data", found: "xr.Dataset", files: dict[str, str], json_: bool) -> None:
    """How many reactions are sure, and where everything is."""
    from stoirec.report.own_data import page as pages

    if json_:
        _print_json(pages.counts(content, found) | files)
    else:
        print("\n".join([*pages.summary(content, found), *(f"{kind:>6s} {path}" for kind, path in files.items())]))


def _best(fits: dict[str, "xr.Dataset"]) -> str:
    """The fit to believe; says why, if there are several."""
    from stoirec.learn.comparison import best_predicting

    best = best_predicting(fits)
    if len(fits) > 1:
        losses = ", ".join(f"{fit} {float(each['val_loss']):.2g}" for fit, each in fits.items())
        _log.info("%s is taken: it predicts the validation runs best (val_loss: %s)", best, losses)
    return best


def _write_answer(
    output: Path, page: Path, data: Path, content: "Data", fit: "xr.Dataset", path: Path, recipe: str
) -> "xr.Dataset":
    """recovery.nc, which is returned, and the page of a fit, in the file `path`."""
    from stoirec.answer.prediction import with_rollout_errors
    from stoirec.answer.recovery import recover as decode_fit
    from stoirec.files import netcdf
    from stoirec.report.own_data import page as pages

    with from_file(data):
        found = with_rollout_errors(decode_fit(fit, str(path), fall_back=True), fit, content)
    netcdf.write(output, found)
    pages.write(page, data, content, fit, found, recipe)
    return found


@app.command(epilog="Example: stoirec check data.nc -o check.html")
def check(
    data: Annotated[Path, typer.Argument(metavar="DATA.nc", help="A network, with or without time courses.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", parser=_file_name, metavar="CHECK.html", help="A page to read, with all of it by name."
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
        _print_json({"columns": columns, "time_courses": None if courses is None else courses.as_dict()})
        return
    for says, text in SAYS.items():
        names = [name for name, each in found.items() if each.says == says]
        shown = f": {listing(names)}" if says in (NONE, SOME) and names else ""
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
        return TimeCourses.of(data, (name, why), asdict(expected(data, recipe.load(name))))


@app.command(epilog="Example: stoirec oracle data.nc --json")
def oracle(
    data: Annotated[Path, typer.Argument(metavar="DATA.nc", help="A simulated file, with its /truth group.")],
    json_: Json = False,
) -> None:
    """Ceilings on a simulated data set: least squares on the true fluxes, the scale-blind oracle, trivial baselines."""
    from stoirec.data.dataset import read_data
    from stoirec.score.oracle import diagnosis, true_frames
    from stoirec.score.references import reference_metrics
    from stoirec.simulate.truth import read_truth

    content = read_data(data)
    graph, truth = content.graph, read_truth(data, content.graph)
    with from_file(data):
        flux, dcdt = true_frames(content, truth)
    references = reference_metrics(content.space, truth, flux, dcdt)
    found = diagnosis(graph, flux)
    if json_:
        _print_json(found | references)
        return
    print(
        f"condition number per metabolite: median {found['condition_median']:.3g}, "
        f"90th percentile {found['condition_p90']:.3g}"
    )
    groups = found["indistinguishable_reactions"]
    print(f"reactions whose fluxes are the same up to a factor: {sum(map(len, groups))} in {len(groups)} groups")
    _print_table(
        {f"{name}, {method}": metrics for name, methods in references.items() for method, metrics in methods.items()}
    )


@app.command(epilog="Example: stoirec plan config/studies/default.yaml")
def plan(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml")],
    store: StoreFolder = _RESULTS,
    json_: Json = False,
) -> None:
    """Say in one line how many fits, steps and core hours a study needs, and what of it is done."""
    from stoirec.study.budget import budget, summary
    from stoirec.study.expansion import expand

    content, _ = expand(study)
    if json_:
        _print_json({"study": content.name} | asdict(budget(content, study, Store(store))))
        return
    print(summary(content, study, Store(store)))


@app.command(epilog="Example: stoirec schema study > config/schemas/study.json")
def schema(kind: Annotated[Kind, typer.Argument(help="Of which kind of file.")]) -> None:
    """Print what a configuration file may hold, as JSON Schema, by which editors complete and check."""
    from stoirec.config.schemas import json_schema

    print(json.dumps(json_schema(kind), indent=2, ensure_ascii=False))


@app.command(
    epilog="Example: stoirec choose config/studies/staged.yaml --wave regularisation --store results "
    "-o results/staged/waves/regularisation.json"
)
def choose(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="A study with select_by.")],
    wave: Annotated[str, typer.Option(help="A stage but the first, STAGE-BATCH of a search, or evaluation.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            parser=_file_name,
            metavar="PLAN.json",
            help="Plan to write (to a temporary name, then renamed).",
        ),
    ],
    store: StoreFolder = _RESULTS,
) -> None:
    """Plan a wave of a staged study: choose the winner of the waves before it, and the fits around it."""
    from stoirec.study import waves
    from stoirec.study.expansion import expand
    from stoirec.study.expansion import waves as planned_waves
    from stoirec.study.plans import plan_path, write_plan
    from stoirec.study.tables import metrics_table

    content, _ = expand(study)
    which = waves.wave_of(content, wave, study)
    others = [plan_path(content, each.name) for each in planned_waves(content) if each != which]
    outputs.check([study, *others], [outputs.Output(output, outputs.PLAN)])
    before = waves.fits_before(content, which, study)
    answers = None
    if before:
        answers = metrics_table(content.name, before, Store(store)).query("is_answer").set_index("fit_id")
    write_plan(output, waves.decide(content, which, answers, study))


@app.command(
    epilog="Example: stoirec fits results/ --filter role_prior=True --filter 'val_loss<0.01' "
    "--sort entry_exact --descending"
)
def fits(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="Folder with fits/, and the tables of the studies below it.")
    ] = _RESULTS,
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
        _print_json({"fits": table.astype(object).where(table.notna(), None).to_dict("records")})
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


@app.command(
    epilog="Example: stoirec collect config/studies/default.yaml --store results "
    "-o metrics.csv --baselines baselines.csv"
)
def collect(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml")],
    output: Annotated[Path, typer.Option("--output", "-o", parser=_file_name, metavar="METRICS.csv")],
    baselines: Annotated[Path, typer.Option(parser=_file_name, metavar="BASELINES.csv")],
    costs: Annotated[
        Path | None,
        typer.Option(
            parser=_file_name, metavar="COSTS.csv", help="Steps, wall time [s], threads and device of every fit."
        ),
    ] = None,
    store: StoreFolder = _RESULTS,
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


@app.command(
    epilog="Example: stoirec report config/studies/default.yaml --store results --notebooks results/notebooks "
    "-o results/report.html"
)
def report(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml")],
    notebooks: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the executed notebooks.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            parser=_file_name,
            metavar="REPORT.html",
            help="Page to write (to a temporary name, then renamed).",
        ),
    ],
    store: StoreFolder = _RESULTS,
    metrics: Annotated[Path, typer.Option(metavar="METRICS.csv")] = _TABLES.metrics,
    baselines: Annotated[Path, typer.Option(metavar="BASELINES.csv")] = _TABLES.baselines,
) -> None:
    """Join a study's executed notebooks into one offline page: answer, chapters, provenance (wall times [s])."""
    from stoirec.report import page
    from stoirec.report.results import load

    read = [study, metrics, baselines, *notebooks.glob("*.ipynb")]
    outputs.check(read, [outputs.Output(output, outputs.REPORT)])
    page.write(load(study, store, metrics, baselines), notebooks, study, output)


# --- what the commands share ------------------------------------------------------------------------------------------


def _fit_files(fit: Path, beside: Path | None = None) -> list[outputs.Output]:
    """What `_train` writes: `fit`, named after `beside` if not by the user, and its checkpoint."""
    checkpoint = outputs.Output(checkpoint_of(fit), outputs.CHECKPOINT, beside=beside or fit)
    return [outputs.Output(fit, outputs.FIT, beside=beside), checkpoint]


@contextlib.contextmanager
def _until_all_is_written(*fits: Path) -> Iterator[None]:
    """Keep the checkpoints of fits for the length of the block, and for longer where it is cut off."""
    checkpoints = [checkpoint_of(fit) for fit in fits]
    try:
        yield
    except Stopped as stopped:
        if there := ", ".join(str(path) for path in checkpoints if path.exists()):
            stopped.rest = f": saved in {there}; the same command goes on from there"
        raise
    for path in checkpoints:
        path.unlink(missing_ok=True)


def _train(data, config, device_name: str, threads: int, output: Path, checkpoint_seconds: float) -> None:
    """Train and write fit.nc."""
    import torch

    from stoirec.files import netcdf
    from stoirec.learn.devices import device
    from stoirec.learn.memory import keep_freed
    from stoirec.learn.training import train as train_fit

    keep_freed()
    torch.set_num_threads(threads)
    with device(device_name) as chosen, _Bar(config.n_steps(data.n_frames), "train", "step") as bar:

        def progress(step: int, n_steps: int, record: dict[str, float] | None) -> None:
            bar.update(step - bar.n)
            if record:
                bar.note(f"L_pred {record['prediction']:.2e}, val_loss {record['val_loss']:.2e}")

        fit = train_fit(data, config, chosen, checkpoint_of(output), checkpoint_seconds, progress, _UNBROKEN)
    netcdf.write(output, fit)


class _Bar:
    """A tqdm bar on a terminal; elsewhere a plain line for every tenth of the work."""

    def __init__(self, total: int, title: str, unit: str) -> None:
        from tqdm import tqdm

        self.total, self.title, self.unit, self.n = total, title, unit, 0
        self.text, self.started = "", time.monotonic()
        self.bar = tqdm(total=total, desc=title, unit=unit, disable=None if _log.isEnabledFor(logging.INFO) else True)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def update(self, n: int) -> None:
        tenth = self.n * 10 // self.total
        self.n += n
        self.bar.update(n)
        if self.bar.disable and self.n * 10 // self.total > tenth:
            seconds = time.monotonic() - self.started
            left = seconds / self.n * (self.total - self.n)
            done = f"{self.title}: {self.unit} {self.n}/{self.total}, {seconds:.0f} s, about {left:.0f} s left"
            _log.info("%s%s", done, f", {self.text}" if self.text else "")

    def note(self, text: str) -> None:
        self.text = text
        self.bar.set_postfix_str(text, refresh=False)


def _print_json(result: dict) -> None:
    """JSON has no NaN: such figures become null."""
    import math

    def clean(value):
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [clean(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(clean(result)))


def _print_table(rows: dict[str, dict[str, float]]) -> None:
    import pandas as pd

    print(pd.DataFrame(rows).T.to_string(float_format="%.4f"))
