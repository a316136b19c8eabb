"""A model beside the time courses of its species: which of them were measured, and what was."""

import csv
import difflib
import io
import logging
from dataclasses import replace

import numpy as np
import xarray as xr

from stoirec.data.data_file import with_trajectories
from stoirec.data.dataset import FEWEST
from stoirec.data.tables import MeasuredRun, MeasuredRuns, can_head_columns, filled
from stoirec.errors import BadInput
from stoirec.models.model import Model, listing
from stoirec.network.graph import Graph

_log = logging.getLogger(__name__)
_TWICE = 2  # values of a run, at least, of a species that is followed
_FEW = 0.1  # of the species that are followed: as many are inferred where nobody measured them
_CLOSE = 0.8  # of two names: a slip of the pen
_RUNS = 3  # of which the last is for validation


def followed_alone(model: Model, measured: MeasuredRuns) -> Model:
    """`model` with the species that were not measured in every run held from outside; says which, and what else.

    Raises:
        BadInput: no species of the model was measured.
    """
    for run in measured.runs:
        if len(run.times()) < FEWEST:
            raise BadInput("--table", f"run {run.name}", f"{len(run.times())} times", f"at least {FEWEST}")
    names = {each.id: {each.id, each.name} for each in model.species}
    taken = {id_ for id_, own in names.items() if all(_times(run, own) >= _TWICE for run in measured.runs)}
    followed = [each.id for each in model.species if each.followed]
    never = [id_ for id_ in followed if not any(_times(run, names[id_]) for run in measured.runs)]
    known = {name for own in names.values() for name in own}
    others = [name for name in dict.fromkeys(name for run in measured.runs for name in run.values) if name not in known]
    _refuse_other_spellings(others, [name for id_ in never for name in names[id_]])
    driving = {id_ for reaction in model.reactions for id_ in reaction.drives if taken & reaction.coefficients.keys()}
    inferred = [id_ for id_ in never if id_ in driving] if len(never) <= _FEW * len(followed) else []
    if inferred:
        text = "species that were never measured, to be inferred from what they drive: %s"
        _log.warning(text, listing([_or_misspelt(id_, model, others) for id_ in inferred]))
    dropped = [id_ for id_ in followed if id_ not in taken and id_ not in inferred]
    text = "species that were %s, as if held from outside: %s; reactions of theirs are open"
    if unseen := [id_ for id_ in dropped if id_ in never]:  # a slip of the pen looks like this
        _log.warning(text, "never measured", listing([_or_misspelt(id_, model, others) for id_ in unseen]))
    if partly := [id_ for id_ in dropped if id_ not in never]:
        _log.info(text, "not measured in every run", listing(partly))
    if others:
        _log.info("columns that are no species of the model, not taken: %s", listing(others))
    if not taken:
        found = listing(others) or "nothing"
        raise BadInput("--table", "species", found, f"species of the model, such as {listing(list(names))}")
    for number, text in (
        (
            sum(run.repeated() for run in measured.runs),
            "values beside others of the same run, time and species: means (a column run would tell runs apart)",
        ),
        (sum(run.below for run in measured.runs), "values below a limit of detection: taken as half of it"),
    ):
        if number:
            _log.info("%d %s", number, text)
    return replace(
        model, species=tuple(replace(each, followed=each.followed and each.id not in dropped) for each in model.species)
    )


def _or_misspelt(id_: str, model: Model, columns: list[str]) -> str:
    """A species that nobody measured; and what it may be a misspelling of, of the model or of the table."""
    meant = difflib.get_close_matches(
        id_, [*(each.id for each in model.species if each.id != id_), *columns], 1, _CLOSE
    )
    return f"{id_} (or is it {meant[0]}?)" if meant else id_


def _refuse_other_spellings(columns: list[str], unmeasured: list[str]) -> None:
    """Raise BadInput for a column G-6-P where the model has a G6P that nobody measured."""
    spelt = {_plain(name): name for name in unmeasured}
    for column in columns:
        if _plain(column) in spelt:
            raise BadInput("--table", "species", column, f"{spelt[_plain(column)]}, as the model calls it")


def _plain(name: str) -> str:
    """Its letters and digits alone."""
    return "".join(filter(str.isalnum, name.lower()))


def template(model: Model) -> str:
    """A table of time courses to be filled in: two runs, a column for each species that is followed, and its error.

    A row for each value where a species has a name that would head another column, such as `time`.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [each.id for each in model.species if each.followed]
    frames = [(run, time) for run in ("run 1", "run 2") for time in range(FEWEST)]
    if can_head_columns(names):
        table.writerow(["run", "time", *(column for name in names for column in (name, f"{name} se"))])
        table.writerows([*frame, *[""] * (2 * len(names))] for frame in frames)
    else:
        table.writerow(["run", "time", "species", "value", "se"])
        table.writerows([*frame, name, "", ""] for frame in frames for name in names)
    return text.getvalue()


def _times(run: MeasuredRun, names: set[str]) -> int:
    """At how many times a species was measured."""
    return len({time for name in names for time in run.values.get(name, ())})


def with_courses(network: xr.Dataset, graph: Graph, measured: MeasuredRuns, validation: str | None) -> xr.Dataset:
    """`network` with the time courses of its metabolites. Raises BadInput: no such run as `validation`."""
    names = [run.name for run in measured.runs]
    if validation is not None and validation not in names:
        raise BadInput("command line", "--validation", validation, f"one of the runs: {listing(names)}")
    if validation is not None and len(names) == 1:
        raise BadInput("command line", "--validation", validation, "one of several runs; this is the only one")
    if validation is None and len(names) >= _RUNS:
        validation = names[-1]
    species = [(graph.metabolite_name(place), graph.metabolite_label(place)) for place in range(graph.n_metabolites)]
    time, value, error = filled(measured.runs, species)
    roles = [int(name == validation) for name in names]
    units = {"time_unit": measured.time_unit or "time unit", "unit": measured.unit or "concentration unit"}
    found = with_trajectories(network, time, value, None, roles, **units).assign_coords(run=np.array(names, object))
    if np.isfinite(error).any():
        described = {"long_name": "standard error of the concentration", "units": units["unit"]}
        found = found.assign(concentration_se=(("run", "time", "metabolite"), error, described))
    text = "%d run%s of %s values, %s for validation; %.1f %% of the values are missing; times end at %s %s"
    number, end = _range(np.isfinite(time).sum(1)), _range(np.nanmax(time, axis=1))
    missing = np.isnan(value[np.isfinite(time)]).mean()
    held_out = f"run {validation}" if validation else "none"
    runs = (len(names), "s" * (len(names) > 1), number)
    _log.info(text, *runs, held_out, 100 * missing, end, units["time_unit"])
    return found


def _range(values: np.ndarray) -> str:
    least, most = f"{values.min():.4g}", f"{values.max():.4g}"
    return least if least == most else f"{least} to {most}"
