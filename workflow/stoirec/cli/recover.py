"""data.nc -> recovery.nc and a page: fits by a bundled recipe, of which the best is rounded."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from stoirec.cli.options import Device, Json, Output, Quiet, Threads
from stoirec.cli.printing import print_json
from stoirec.cli.training import fit_files, until_all_is_written, write_fits
from stoirec.config.fit import RecipeName
from stoirec.config.regime import RateLawName
from stoirec.errors import from_file
from stoirec.files import outputs

if TYPE_CHECKING:
    import xarray as xr

    from stoirec.data.dataset import Data
    from stoirec.learn.comparison import Start

_log = logging.getLogger(__name__)
app = typer.Typer()
_Starts = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1000,
        help="Fits from random starts, of which the best predicting is taken; without it one, and while that is "
        "contradicted by free columns or sure of nothing up to two more; other rate laws as well if functions that all "
        "reactions share hold on no run, or on the training runs alone.",
    ),
]


@app.command(epilog="Example: stoirec recover data.nc -o recovery.nc")
def recover(
    data: Annotated[Path, typer.Argument(metavar="DATA.nc")],
    output: Output,
    recipe: Annotated[
        RecipeName,
        typer.Option(
            help="auto: by the data; flux_limited: no substrate is used up within a time step; "
            "decoys: candidate edges may not be real; unsigned: who is consumed is not known; "
            "reversible: reactions run both ways."
        ),
    ] = "auto",
    rate_law: Annotated[
        Literal[RateLawName, "auto"],
        typer.Option(
            help="pde_m1: functions that all reactions share; pde_m1_enzymes: the same with a number of each reaction; "
            "mass_action; convenience: Michaelis-Menten, a constant for each substrate, both ways through one enzyme "
            "where a reaction is reversible; auto: all of them, and the one that predicts the validation runs best."
        ),
    ] = "pde_m1",
    json_: Json = False,
    starts: _Starts = None,
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
    from stoirec.data.overview import drift_sentence, drifting
    from stoirec.learn import comparison
    from stoirec.learn import recipe as recipes

    laws = [law for law in get_args(RateLawName) if rate_law in ("auto", law)]
    paths = _fit_paths(output, laws, comparison.possible(laws, starts))
    page = _beside(output, suffix=".html")
    beside = [outputs.Output(page, outputs.ANSWER_PAGE, beside=output)]
    for path in paths.values():
        beside += fit_files(path, beside=output)
    outputs.check([data], [outputs.Output(output, outputs.RECOVERY), *beside])
    content = read_data(data)
    if drifts := drifting(content):
        _log.warning("%s: %s", data, drift_sentence(drifts))
    name, reason = recipes.choose(content) if recipe == "auto" else (recipe, "as asked for")
    _log.info("recipe %s: %s", name, reason)
    with until_all_is_written(*paths.values()):
        fits: dict[Start, xr.Dataset] = {}
        for start in comparison.starts(laws, starts, fits):
            config = recipes.configured(name, content, *start)
            with from_file(data):
                write_fits(content, [config], device, threads, [paths[start]], checkpoint_seconds)
            fits[start] = read_fit(paths[start])
        best = _best(fits)
        found = _write_answer(output, page, data, content, fits[best], paths[best], f"{name}: {reason}")
    _print_answer(content, found, {"matrix": str(output), "page": str(page), "fit": str(paths[best])}, json_)


def _print_answer(content: "Data", found: "xr.Dataset", files: dict[str, str], json_: bool) -> None:
    """How many reactions are sure, and where everything is."""
    from stoirec.report.own_data import page as pages

    if json_:
        print_json(pages.counts(content, found) | files)
    else:
        print("\n".join([*pages.summary(content, found), *(f"{kind:>6s} {path}" for kind, path in files.items())]))


def _beside(output: Path, *parts: str, suffix: str) -> Path:
    """A file named after the output, and parts that are not empty."""
    return output.with_name(".".join([output.name.removesuffix(".nc"), *filter(None, parts)]) + suffix)


def _fit_paths(output: Path, laws: list[RateLawName], starts: list["Start"]) -> dict["Start", Path]:
    """Where each fit is written; its name says of law and seed what tells it from the first."""
    return {
        (law, seed): _beside(output, "" if [law] == laws else law, str(seed) if seed > 1 else "", suffix=".fit.nc")
        for law, seed in starts
    }


def _best(fits: dict["Start", "xr.Dataset"]) -> "Start":
    """Rate law and seed of the fit to believe; says why, if there are several, and what was not tried if it is poor."""
    from stoirec.learn.comparison import best_predicting, stuck, uncontradicted

    best = best_predicting(fits)
    if len(fits) > 1:
        losses = ", ".join(f"{law} {seed}: {float(each['val_loss']):.2g}" for (law, seed), each in fits.items())
        _log.info("%s, start %d, is taken: it predicts the validation runs best (val_loss: %s)", *best, losses)
        if contradicted := fits.keys() - uncontradicted(fits).keys():
            names = ", ".join(sorted(f"{law} {seed}" for law, seed in contradicted))
            _log.info("not compared, because the training runs contradict them: %s", names)
    untried = set(get_args(RateLawName)) - {law for law, _ in fits}
    if untried and (why := stuck(fits[best])):
        _log.info("%s: --rate-law auto compares other rate laws with %s", why, best[0])
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
