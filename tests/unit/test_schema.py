"""Files are checked where they enter: every kind of fault of every declared variable and attribute is refused.

The faults are made from the declarations themselves.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from stoirec.answer.decode import METHODS
from stoirec.answer.recovery import read_fit, recover
from stoirec.config.fit import FitConfig
from stoirec.data.dataset import read_data
from stoirec.data.graph_variables import space_of
from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.files.contents import DATA, FIT, NETWORK, RECOVERY, TRUTH
from stoirec.files.schema import ANY, INTEGER, NUMBER, OBJECT, TEXT, Attribute, Content, Variable
from stoirec.learn.training import train
from stoirec.report.reading import read_baselines
from stoirec.score.metrics import NAMES
from stoirec.score.scoring import read_recovery
from stoirec.simulate.truth import read_truth
from stoirec.study import listing
from stoirec.study.store import Store

FILE = "spoilt.nc"


@dataclass(frozen=True)
class Kind:
    """A kind of file: a good one, its declaration, and what reads it."""

    good: xr.Dataset
    schema: tuple
    read: Callable[[], object]
    group: str | None = None


# --- good files with everything that may be there ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def kinds(tiny_path, tiny_data) -> dict[str, Kind]:
    graph, (E, R) = tiny_data.graph, (tiny_data.graph.n_edges, tiny_data.graph.n_reactions)
    network = {
        "edge_sign": ("edge", graph.role_sign),
        "edge_bound": ("edge", np.full(E, 2)),
        "edge_known": ("edge", np.where(np.arange(E) == 3, graph.role_sign[3], np.nan)),
        "edge_is_real": ("edge", np.ones(E, np.int8)),
        "conserved": (("quantity", "metabolite"), np.ones((1, graph.n_metabolites))),
        "reaction_is_open": ("reaction", np.zeros(R, np.int8)),
        "reaction_reverse_of": ("reaction", np.full(R, -1)),
        "metabolite_label": ("metabolite", np.array([f"m {i}" for i in range(10)], object)),
        "reaction_label": ("reaction", np.array([f"r {j}" for j in range(R)], object)),
    }
    data = netcdf.read(tiny_path).assign(network)
    measured = data.drop_vars("dcdt").assign(concentration_se=0.1 + 0 * data["concentration"]).isel(time=slice(0, 20))
    truth = netcdf.read(tiny_path, group="truth")
    functions = [name for name in truth.variables if "func" in str(name)]
    substrates = int((truth["stoichiometry"] < 0).sum())
    flux = xr.Variable(("run", "time", "reaction"), np.ones((3, 200, R)))
    left_out = {
        "unmeasured_concentration": (("run", "frame", "unmeasured"), np.ones((3, 20, 1))),
        "unmeasured_time": (("run", "frame"), np.tile(np.arange(20.0), (3, 1))),
    }
    own = truth.drop_vars(functions).assign(log_half_saturation=("substrate_edge", np.zeros(substrates)))
    recorded = truth.drop_vars(functions).assign(flux=flux, log_k=np.nan * truth["log_k"])
    config = FitConfig(n_runs=2, n_epochs=1, batch_size=32, data_augmentation_loop=2, n_snapshots=2)
    fit = train(tiny_data, config, torch.device("cpu")).assign(network).assign(_refined(E, R))
    return {
        "data.nc": Kind(data, DATA, lambda: read_data(FILE)),
        "measured.nc": Kind(measured, DATA, lambda: space_of(netcdf.read(FILE, DATA), FILE)),  # smoothing takes long
        "network": Kind(data, NETWORK, lambda: space_of(netcdf.read(FILE, NETWORK), FILE)),
        "truth": Kind(truth.assign(left_out), TRUTH, lambda: read_truth(FILE, graph), "truth"),
        "convenience": Kind(own.assign_attrs(rate_law="convenience"), TRUTH, lambda: read_truth(FILE, graph), "truth"),
        "recorded": Kind(recorded.assign_attrs(rate_law="recorded"), TRUTH, lambda: read_truth(FILE, graph), "truth"),
        "fit.nc": Kind(fit, FIT, lambda: space_of(read_fit(FILE), FILE)),
        "recovery.nc": Kind(
            recover(fit, FILE).assign(rollout_error_nearest=((), 0.5)),
            RECOVERY,
            lambda: space_of(read_recovery(FILE), FILE),
        ),
    }


def _refined(E: int, R: int) -> dict[str, tuple]:
    """What a fit holds after refinement, and of metabolites that nobody measured."""
    return {
        "refined_coefficient": ("edge", np.ones(E, np.int8)),
        "integer_residual": ((), 0.1),
        "free_residual": ((), np.inf),
        "column": (("rank", "edge"), np.ones((2, E), np.int8)),
        "column_probability": (("rank", "reaction"), np.full((2, R), 0.5)),
        "no_column_probability": ("reaction", np.zeros(R)),
        "length_is_convention": ("reaction", np.zeros(R, np.int8)),
        "unmeasured": ("unmeasured", np.array([4])),
        "inferred_concentration": (("run", "frame", "unmeasured"), np.ones((3, 20, 1))),
        "inferred_dcdt": (("run", "frame", "unmeasured"), np.ones((3, 20, 1))),
    }


@pytest.fixture
def reading(kinds, tmp_path, monkeypatch):
    """Read a dataset as if a file held it: nothing, or the message of the refusal."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE).touch()
    opened = netcdf._opened

    def read(kind: Kind, dataset: xr.Dataset) -> str | None:
        held = {kind.group: dataset, None: dataset if kind.group is None else kinds["data.nc"].good}
        monkeypatch.setattr(netcdf, "_opened", lambda path, group=None: contextlib.nullcontext(held[group].copy()))
        try:
            kind.read()
        except BadInput as error:
            return str(error)
        finally:
            monkeypatch.setattr(netcdf, "_opened", opened)
        return None

    return read


KINDS = ["data.nc", "measured.nc", "network", "truth", "convenience", "recorded", "fit.nc", "recovery.nc"]


# --- faults -----------------------------------------------------------------------------------------------------------


def declared(kind: Kind) -> Iterator[tuple[Content, str]]:
    """What a good file holds, with its declarations."""
    for content in kind.schema:
        if isinstance(content, Content):
            found = kind.good.attrs if isinstance(content, Attribute) else kind.good.variables
            names = [str(name) for name in found if re.fullmatch(content.name.replace("*", ".*"), str(name))]
            yield from ((content, name) for name in names)


def faults(kind: Kind) -> Iterator[tuple[str, str, xr.Dataset]]:
    """(name, what is wrong, spoilt file) for everything declared."""
    for content, name in declared(kind):
        made = (
            _of_attribute(content, name, kind.good)
            if isinstance(content, Attribute)
            else _of_variable(content, name, kind.good)
        )
        yield from ((name, fault, spoilt) for fault, spoilt in made)


def _optional(content: Content, good: xr.Dataset) -> bool:
    if content.name.endswith("*"):
        return True
    # one of two that need each other is missing
    return content.optional(good) if callable(content.optional) else content.optional


def _of_attribute(content: Attribute, name: str, good: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    if not _optional(content, good):
        yield "missing", good.drop_attrs(deep=False).assign_attrs({k: v for k, v in good.attrs.items() if k != name})
    wrong = {"empty": "", "a list": np.array([1, 2])}
    if content.kind in (NUMBER, INTEGER):
        wrong |= {"text": "abc", "nan": np.nan, "inf": np.inf, "below": -1.5}
    else:
        wrong |= {"a number": 5}
    if content.kind == OBJECT:
        wrong |= {"no JSON": "{", "no object": "[1]"}
    if content.one_of:
        wrong |= {"another": "another"}
    if content.kind == TEXT and not content.one_of:
        wrong.pop("empty")
    yield from ((fault, good.assign_attrs({name: value})) for fault, value in wrong.items())


def _of_variable(content: Variable, name: str, good: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    found = good[name].variable
    if not _optional(content, good):
        yield "missing", good.drop_vars(name)
    changed = (
        dict(_other_forms(content, found))
        | dict(_other_types(content, found))
        | dict(_other_values(content, found, good))
    )
    for fault, variable in changed.items():
        yield fault, good.drop_vars(name).assign({name: variable})


def _other_forms(content: Variable, found: xr.Variable) -> Iterator[tuple[str, xr.Variable]]:
    if content.dims == "*":
        return
    dims, values = found.dims, found.values
    yield "a dimension more", xr.Variable((*dims, "further"), values[..., None])
    yield "another dimension more", xr.Variable(("further", *dims), np.stack([values, values]))
    if found.ndim:
        if content.name not in dims:  # NetCDF has no such coordinate
            yield "scalar", xr.Variable((), values.flat[0])
        yield "other dimensions", xr.Variable([f"other_{dim}" for dim in dims], values)
        yield "shorter", xr.Variable((*dims[:-1], "shorter"), values[..., :-1])
        yield "empty", xr.Variable((*dims[:-1], "nothing"), values[..., :0])
    if found.ndim > 1:
        yield "transposed", found.transpose()
        if "|" not in content.dims:
            yield "a dimension less", found[0]


def _other_types(content: Variable, found: xr.Variable) -> Iterator[tuple[str, xr.Variable]]:
    def of(values: np.ndarray) -> xr.Variable:
        return xr.Variable(found.dims, values)

    if content.kind == TEXT:
        yield "numbers", of(np.zeros(found.shape))
    if content.kind in (TEXT, ANY):
        return
    yield "text", of(found.values.astype(str))
    yield "objects", of(found.values.astype(str).astype(object))
    yield "complex", of(found.values.astype(complex))
    yield "dates", of(np.zeros(found.shape, "datetime64[s]"))
    yield "structures", of(np.zeros(found.shape, [("a", float)]))
    if not content.dates:
        yield "encoded dates", xr.Variable(found.dims, found.values, {"units": "days since 2020-01-01"})


def _other_values(content: Variable, found: xr.Variable, good: xr.Dataset) -> Iterator[tuple[str, xr.Variable]]:
    if content.kind in (TEXT, ANY) or not found.size:
        return

    def with_one(value: float) -> xr.Variable:
        values = found.values.astype(float)
        values[(-1,) * values.ndim] = value
        return xr.Variable(found.dims, values)

    def here(rule) -> bool:
        return bool(np.all(rule(good) if callable(rule) else rule))

    if not here(content.nan):
        yield "nan", with_one(np.nan)
    if not here(content.infinite):
        yield "inf", with_one(np.inf)
        yield "-inf", with_one(-np.inf)
    yield "below", with_one(content.low - 1 - abs(content.low))
    yield "above", with_one(content.high + 1 + abs(content.high))
    if content.kind == INTEGER:
        yield "fractional", xr.Variable(found.dims, found.values + 0.5)
    if content.one_of:
        yield "neither", with_one(7)
        yield "between", with_one(0.5)
    if content.index_of:
        yield "beyond", with_one(good.sizes[content.index_of])


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_of_what_is_declared_is_refused_in_one_line(kinds, reading, kind):
    own = kinds[kind]
    assert reading(own, own.good) is None
    wrong, count = [], 0
    for name, fault, spoilt in faults(own):
        message = reading(own, spoilt)  # anything but BadInput ends the test
        count += 1
        if message is None or "\n" in message or not message.startswith(f"{FILE}: ") or name not in message:
            wrong.append((name, fault, message))
    assert not wrong
    assert count > 3 * len(list(declared(own)))


# --- what no single declaration says ----------------------------------------------------------------------------------


def put(**variables) -> Callable[[xr.Dataset], xr.Dataset]:
    """A change of a file: other values, or functions of those there are."""

    def change(dataset: xr.Dataset) -> xr.Dataset:
        for name, value in variables.items():
            found = dataset[name].variable
            values = value(found.values.copy()) if callable(value) else np.broadcast_to(value, found.shape)
            dataset = dataset.assign({name: xr.Variable(found.dims, values)})
        return dataset

    return change


def at(place, value) -> Callable[[np.ndarray], np.ndarray]:
    """Values with another one at a place."""

    def change(values: np.ndarray) -> np.ndarray:
        values = values.astype(float)
        values[place] = value
        return values

    return change


def own_times(dataset: xr.Dataset) -> xr.Dataset:
    """Times of its own for each run; those of the last stand still."""
    time = np.tile(dataset["time"].values, (3, 1))
    time[2, 7:] = time[2, 7]
    return dataset.assign(time=(("run", "time"), time))


CROSSED = [
    # kind, change, what the message says
    ("data.nc", put(time=0.0), "time[time 1]: found 0 (199 such values); allowed: times that rise"),
    ("data.nc", put(time=lambda time: time[::-1]), "time[time 1]: found 19.8"),
    ("data.nc", put(time=lambda time: np.r_[time[1], time[0], time[2:]]), "time[time 1]: found 0; allowed"),
    ("data.nc", own_times, "time[run 2, time 8]: found 0.7 (192 such values); allowed: times that rise"),
    ("data.nc", put(concentration=np.nan, dcdt=np.nan), "concentration: found no value"),
    ("data.nc", put(concentration=at(np.s_[:, :, 2], np.nan)), "concentration[run 0, time 0, metabolite 2]: found nan"),
    ("data.nc", put(concentration=at((0, 3, 1), 1e200)), "concentration[run 0, time 3, metabolite 1]: found 1e+200"),
    ("measured.nc", put(time=at(5, np.nan)), "time[time 5]: found nan"),
    ("measured.nc", put(time=np.inf), "time[time 0]: found inf (20 such values)"),
    ("data.nc", put(run_role=1), "run_role: found [1, 1, 1]; allowed: 0 (training, at least one) or 1"),
    ("network", lambda d: d.isel(edge=slice(None, None, -1)), "edge_reaction[edge 1]: found 15 (55 such values)"),
    ("network", put(edge_metabolite=lambda e: e[[0, 0, *range(2, 56)]]), "edge_reaction[edge 1]: found 0; allowed"),
    ("network", lambda d: d.isel(edge=d["edge_reaction"].values != 5), "edge_reaction: found no edge of reaction 5"),
    ("network", lambda d: d.drop_vars("concentration").drop_dims("metabolite"), "metabolite: found nothing"),
    ("network", lambda d: d.assign_coords(reaction=["R"] * 16), "reaction: found R again; allowed: a name of its own"),
    ("network", put(edge_known=at(3, 1.5), edge_sign=-1), "edge_known[edge 3]: found 1.5; allowed: coefficients of"),
    ("network", put(reaction_reverse_of=at(4, 4)), "reaction_reverse_of[reaction 4]: found 4; allowed: another"),
    ("network", put(reaction_reverse_of=at([4, 5], 3)), "reaction_reverse_of[reaction 4]: found 3 (2 such values)"),
    ("network", put(reaction_reverse_of=at([4, 5], [5, 3])), "reaction_reverse_of[reaction 4]: found 5; allowed: for"),
    ("truth", lambda d: d.isel(substrate_func_input=[0]), "truth/substrate_func_weight1: found 1 inputs; allowed: 2"),
    ("truth", lambda d: d.isel(rate_func_input=[0]), "truth/rate_func_weight1: found 1 inputs; allowed: 6"),
    ("truth", lambda d: d.isel(rate_func_output=[0, 0]), "truth/rate_func_weight2: found 2 outputs; allowed: 1"),
    ("truth", put(unmeasured_time=0), "truth/unmeasured_time[run 0, frame 1]: found 0"),
    ("truth", put(stoichiometry=1), "truth/edge_is_true: found another network's truth"),
    ("truth", put(edge_is_true=at(3, 0)), "truth/edge_is_true: found another network's truth"),
    ("truth", lambda d: d.isel(reaction=slice(1, None)), "truth/stoichiometry: found shape (10, 15)"),
    ("truth", lambda d: d.assign_attrs(rate_law="convenience"), "truth/log_half_saturation: found nothing"),
    ("truth", lambda d: d.assign_attrs(rate_law="recorded"), "truth/flux: found nothing"),
    ("truth", lambda d: d.drop_attrs(), "truth/dt: found nothing; allowed: an attribute dt"),
    (
        "convenience",
        lambda d: d.isel(substrate_edge=slice(1, None)),
        "truth/log_half_saturation: found 31",
    ),
    ("recorded", lambda d: d.isel(time=slice(1, None)), "truth/flux: found other frames"),
    ("fit.nc", lambda d: d.assign_attrs(config='{"decoder": "best"}'), "config: decoder: found best; allowed: auto"),
    ("fit.nc", lambda d: d.drop_vars("column"), "column: found nothing"),
    ("recovery.nc", put(stoichiometry=1), "stoichiometry[metabolite 0, reaction 0]: found 1 (104 such values)"),
    ("recovery.nc", lambda d: d.assign_attrs(method="best"), "stoichiometry_best: found nothing"),
]


@pytest.mark.parametrize(("kind", "change", "named"), CROSSED)
def test_what_variables_say_of_each_other_is_checked(kinds, reading, kind, change, named):
    message = reading(kinds[kind], change(kinds[kind].good))
    assert message is not None and message.startswith(f"{FILE}: {named}"), message


def test_an_entry_is_named_by_its_coordinates(kinds, reading):
    own = kinds["data.nc"]
    names = {"metabolite": np.array([f"M-{i}" for i in range(10)], "S"), "run": np.array(["a", "b", "c"], object)}
    spoilt = put(concentration=at((1, 17, 4), -2.0))(own.good.assign_coords(names))
    expected = f"{FILE}: concentration[run b, time 17, metabolite M-4]: found -2; allowed: finite numbers >= 0"
    assert reading(own, spoilt) == expected


# --- what is right ----------------------------------------------------------------------------------------------------


def variants(kind: Kind) -> Iterator[tuple[str, xr.Dataset]]:
    """Files that say the same, or less, in other types."""
    good = kind.good
    for content, name in declared(kind):
        if isinstance(content, Variable) and _optional(content, good) and not name.endswith("_refined"):  # the answer's
            yield f"without {name}", good.drop_vars(name)
        if isinstance(content, Variable) and content.kind in (NUMBER, INTEGER):
            found = good[name].variable
            whole = np.isfinite(found.values).all() and (found.values == np.round(found.values)).all()
            types = ["f4", "f8", *(["i4", "i8"] if whole else [])]
            types += ["?"] if whole and np.isin(found.values, (0, 1)).all() else []
            for dtype in types:
                yield f"{name} as {dtype}", good.drop_vars(name).assign({name: found.astype(dtype)})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_right_is_taken_in_any_type(kinds, reading, kind):
    own = kinds[kind]
    refused = [(what, message) for what, right in variants(own) if (message := reading(own, right)) is not None]
    assert not refused


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("data.nc", lambda d: d.drop_vars(["metabolite", "reaction"]).drop_attrs()),
        ("data.nc", lambda d: d.assign(time=(("run", "time"), np.tile(d["time"].values, (3, 1))))),
        ("data.nc", lambda d: put(concentration=at(np.s_[:, :, 2], np.nan), dcdt=at(np.s_[:, :, 2], np.nan))(d)),
        ("data.nc", lambda d: d.assign(time=d["time"].assign_attrs(units="hours since 2020-01-01"))),
        ("data.nc", lambda d: d.assign(more=("anything", ["goes"]))),
        ("measured.nc", put(concentration=at(np.s_[:, 12:], np.nan), time=at(np.s_[12:], np.nan))),
        ("network", lambda d: d[["edge_metabolite", "edge_reaction", "edge_is_substrate", "metabolite"]]),
        ("fit.nc", lambda d: put(log_k=np.inf, coefficient=np.nan)(d).assign_attrs(status="diverged")),
        ("fit.nc", put(coefficient_se=np.inf)),
        ("recovery.nc", lambda d: d.drop_vars(["alternative", "alternative_cost"])),
        ("recovery.nc", lambda d: put(val_loss=np.nan, log_k_nearest=np.nan)(d).assign_attrs(status="diverged")),
    ],
)
def test_what_was_right_before_still_is(kinds, reading, kind, change):
    assert reading(kinds[kind], change(kinds[kind].good)) is None


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("entry_exact", "half", "entry_exact: found object values; allowed: numbers"),
        ("entry_exact", 1.5, "entry_exact[line 3]: found 1.5; allowed: finite numbers >= 0 and <= 1"),
        ("param.n_runs", 0, "param.n_runs[line 3]: found 0; allowed: integers >= 1"),
        ("r2", 2.0, "r2[line 3]: found 2"),
    ],
)
def test_a_table_is_checked_where_it_enters(tmp_path, monkeypatch, column, value, named):
    monkeypatch.chdir(tmp_path)
    row = {"fit_id": "data/baseline_unit", "method": "nearest", "variant": "baseline_unit", "param.n_runs": None}
    table = pd.DataFrame([row | dict.fromkeys(NAMES, 0.5)] * 2)
    table.to_csv("baselines.csv", index=False)
    assert len(read_baselines("baselines.csv", [("data", None)], "study.yaml")) == 2
    table.astype({column: object}).assign(**{column: [table[column][0], value]}).to_csv("baselines.csv", index=False)
    with pytest.raises(BadInput, match=re.escape(f"baselines.csv: {named}")):
        read_baselines("baselines.csv", [("data", None)], "study.yaml")


def test_a_table_with_a_row_too_few_or_too_many_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"fit_id": f"data/{name}", "method": method, "variant": name, "param.n_runs": None, "is_answer": False}
        for name in ("baseline_unit", "oracle")
        for method in METHODS
    ]
    table = pd.DataFrame(rows).assign(val_loss=0.5, **dict.fromkeys(NAMES, 0.5))
    asked = [("data", None)], "study.yaml", ["baseline_unit", "oracle"]
    table.to_csv("table.csv", index=False)
    assert len(read_baselines("table.csv", *asked)) == len(rows)
    table[:-1].to_csv("table.csv", index=False)
    with pytest.raises(
        BadInput, match=f"table.csv: fit_id: found no row for data, oracle, {METHODS[-1]}; allowed: rows"
    ):
        read_baselines("table.csv", *asked)
    table.assign(is_answer=[True, True, *[False] * (len(rows) - 2)]).to_csv("metrics.csv", index=False)
    Path("fits").mkdir()
    with pytest.raises(BadInput, match="metrics.csv: is_answer: found True in two rows of data/baseline_unit"):
        listing.fits(Store("."))
