"""The page of one answer: what is sure, what is not, and how well it predicts; no truth, no fits to compare."""

import datetime
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import xarray as xr

from stoirec.answer.prediction import ROLLOUT
from stoirec.config.fit import FitConfig
from stoirec.data.dataset import Data
from stoirec.files.atomic import replacing
from stoirec.files.provenance import git_commit
from stoirec.files.provenance import versions as package_versions
from stoirec.report.explore import scripts
from stoirec.report.map.browser import browser, fluxes
from stoirec.report.map.drawing import MOST_DRAWN, anchor, drawing
from stoirec.report.map.layout import layout
from stoirec.report.map.reactions import NONE_FITS, SURE_OF, UNSURE, RecoveredReaction, listed, recovered_reactions
from stoirec.report.own_data import figures, numbers
from stoirec.report.own_data.predictions import Prediction, predictions
from stoirec.report.present import Html, figure, rendered, table
from stoirec.report.provenance import duration

_DRAWN = 3  # runs; of more, the held-out ones and those that are predicted worst
_TITLE = "What these time courses say of the stoichiometric matrix"


def write(output: Path, source: Path, data: Data, fit: xr.Dataset, recovery: xr.Dataset, recipe: str) -> None:
    """Write the page of an answer: all of it, or nothing.

    Args:
        source: the data's file, to name it; data: what the learner saw; fit, recovery: content of fit.nc, recovery.nc.
        recipe: what the fit's configuration is called, and why it was taken.
    """
    page = render(source.name, data, fit, recovery, recipe)
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render(name: str, data: Data, fit: xr.Dataset, recovery: xr.Dataset, recipe: str) -> str:
    """The page as text."""
    reactions = recovered_reactions(data.space, recovery) if fit.attrs["status"] == "ok" else []
    runs = predictions(data, fit, recovery) if fit.attrs["status"] == "ok" else []
    names = [data.graph.metabolite_name(place) for place in range(data.graph.n_metabolites)]
    listing = _list(reactions).html if reactions else ""
    browsed = browser(data.graph, reactions, fluxes(data, fit, recovery)).html if reactions else ""
    return rendered(
        "own_data.html",
        title=_TITLE,
        name=name,
        graph=data.graph,
        answer=numbers.answer(data, recovery, reactions, runs) if runs else None,
        untold=numbers.untold(data, fit, recovery, reactions),
        map=_map(data, reactions).html if 0 < len(reactions) <= MOST_DRAWN else None,
        reactions=listing,
        browser=browsed,
        scripts=scripts(browsed),
        runs=_runs(runs, names, data.time_unit).html if runs else None,
        courses=[_courses(run, names, data.time_unit).html for run in _drawn(runs)],
        n_runs=len(runs),
        made=_made(fit, recovery, recipe),
        config=json.dumps(_changed(fit), indent=2),
        written=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    )


def counts(data: Data, recovery: xr.Dataset) -> dict[str, str | int | float]:
    """The answer in a few numbers: how many reactions are sure, unsure, or seem to have none of the allowed columns."""
    status = str(recovery.attrs["status"])
    if status != "ok":
        return {"status": status}
    states = Counter(reaction.state for reaction in recovered_reactions(data.space, recovery))
    return {
        "status": status,
        "sure": states[SURE_OF],
        "unsure": states[UNSURE],
        "none_of_these": states[NONE_FITS],
        ROLLOUT: float(recovery[f"{ROLLOUT}_{recovery.attrs['method']}"]),
    }


def summary(data: Data, recovery: xr.Dataset) -> list[str]:
    """The answer in a few lines, for a terminal."""
    found = counts(data, recovery)
    if found["status"] != "ok":
        return ["the fit diverged: nothing was found"]
    reactions = recovered_reactions(data.space, recovery)
    by_length, others = numbers.unsure(data.space, recovery, reactions)
    none = [each.name for each in reactions if each.state == NONE_FITS]
    lines = [
        f"{found['sure']:6d} reactions sure, in every coefficient",
        _line(by_length, "reactions sure but for a common factor of their coefficients"),
        _line(others, "reactions unsure, as other columns may be right"),
        _line(none, "reactions of which no allowed column seems right"),
    ]
    if not math.isfinite(float(found[ROLLOUT])):
        return [*lines, "       the held-out courses cannot be predicted from their first frame"]
    what = "of the error of constants, where the held-out courses are predicted from their first frame"
    return [*lines, f"{found[ROLLOUT]:6.3f} {what}"]


def _line(names: list[str], what: str) -> str:
    return f"{len(names):6d} {what}" + (f": {numbers.named(names)}" if names else "")


def _map(data: Data, reactions: list[RecoveredReaction]) -> Html:
    return drawing(data.graph, reactions, layout(reactions), "The recovered network.")


def _list(reactions: list[RecoveredReaction]) -> Html:
    return table(
        listed(reactions),
        "Every reaction as it was recovered. confidence: the lowest of its coefficients; next best: other columns, "
        "with their probabilities, where it is under 0.99.",
        index="reaction",
        anchors=[anchor(index) for index in range(len(reactions))],
        unfolded=True,
    )


def _runs(runs: list[Prediction], names: list[str], time_unit: str) -> Html:
    return table(
        numbers.by_run(runs, names, time_unit),
        "Every run, integrated from its first frame with the recovered matrix. error: RMS of the difference from what "
        "was measured, noise included, over that of a constant for each metabolite; worst: metabolites whose "
        "difference is the largest part of their standard deviation.",
        marked=tuple(f"run {run.name}" for run in runs if run.held_out),
        index="run",
    )


def _drawn(runs: list[Prediction]) -> list[Prediction]:
    """The runs that have a figure, held-out ones first."""
    return sorted(runs, key=lambda run: (not run.held_out, -run.relative))[:_DRAWN]


def _courses(run: Prediction, names: list[str], time_unit: str) -> Html:
    kind = "which nothing was trained on" if run.held_out else "one of those trained on"
    some = f" The {figures.MOST} metabolites of the largest error." if len(names) > figures.MOST else ""
    caption = (
        f"Run {run.name}, {kind}: measured values (dots), and the course from its first frame (line), each metabolite "
        f"between its least and its largest value, time {run.time[0]:.4g} to {run.time[-1]:.4g} {time_unit}; "
        f"the number is its error over its standard deviation in all runs; a frame without dots was inferred.{some}"
    )
    return figure(figures.courses(run, names), caption, f"Measured and predicted courses of run {run.name}")


def _changed(fit: xr.Dataset) -> dict[str, object]:
    """The training parameters that are no defaults."""
    return FitConfig.model_validate_json(fit.attrs["config"]).model_dump(exclude_defaults=True)


def _made(fit: xr.Dataset, recovery: xr.Dataset, recipe: str) -> dict[str, str]:
    """How the answer came about, in rows."""
    config, versions = FitConfig.model_validate_json(fit.attrs["config"]), package_versions()
    losses = ", ".join(f"{name} {float(fit[name]):.2g}" for name in ("val_loss", "train_loss"))
    return {
        "recipe": recipe,
        "rate law": config.graph_model.rate_law,
        "answer by": recovery.attrs["method"],
        "loss": f"{losses} (squared residual over the variance of dc/dt, or of changes of concentrations)",
        "time": f"{duration(float(fit.attrs['wall_time_s']))} on {fit.attrs['device']}, "
        f"{int(np.asarray(fit.attrs['n_steps'])):,} steps",
        "by": f"stoirec {versions['stoirec']}, source commit {git_commit()}, torch {versions['torch']}, "
        f"Python {versions['python']}",
    }
