"""Files are checked where they enter: every kind of fault of every declared variable and attribute is refused.

The faults are made from the declarations themselves.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import xarray as xr

from stoirec.answer.recovery import read_fit, recover
from stoirec.config.fit import FitConfig
from stoirec.data.dataset import read_data
from stoirec.data.graph_variables import space_of, space_variables
from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.files.contents import DATA, FIT, NETWORK, RECOVERY, TRUTH
from stoirec.files.schema import INTEGER, NUMBER, OBJECT, TEXT, Attribute, Content, Variable
from stoirec.learn.training import train
from stoirec.score.scoring import read_recovery
from stoirec.simulate.truth import read_truth

FILE = "spoilt.nc"


@dataclass(frozen=True)
class Kind:
    """A kind of file: a good one, its declaration, and what reads it."""

    good: xr.Dataset
    schema: tuple
    read: Callable[[], object]
    group: str | None = None


# --- good files with everything that may be there ---------------------------------------------------------------------


def _described(dims, values):
    return dims, np.asarray(values)


@pytest.fixture(scope="module")
def kinds(tiny_path, tiny_data) -> dict[str, Kind]:
    graph, (E, R) = tiny_data.graph, (tiny_data.graph.n_edges, tiny_data.graph.n_reactions)
    network = {
        "edge_sign": _described("edge", graph.role_sign),
        "edge_bound": _described("edge", np.full(E, 2)),
        "edge_known": _described("edge", np.where(np.arange(E) == 3, graph.role_sign[3], np.nan)),
        "edge_is_real": _described("edge", np.ones(E, np.int8)),
        "conserved": _described(("quantity", "metabolite"), np.ones((1, graph.n_metabolites))),
        "reaction_is_open": _described("reaction", np.zeros(R, np.int8)),
        "reaction_reverse_of": _described("reaction", np.full(R, -1)),
        "metabolite_label": _described("metabolite", np.array([f"m {i}" for i in range(10)], object)),
        "reaction_label": _described("reaction", np.array([f"r {j}" for j in range(R)], object)),
    }
    data = netcdf.read(tiny_path).assign(network)
    measured = data.drop_vars("dcdt").assign(concentration_se=0.1 + 0 * data["concentration"])
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
        "measured.nc": Kind(measured, DATA, lambda: read_data(FILE)),
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
    wrong = {"empty": "", "a list": [1, 2]}
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
        return
    yield "text", of(found.values.astype(str))
    yield "objects", of(found.values.astype(str).astype(object))
    yield "complex", of(found.values.astype(complex))
    yield "dates", of(np.zeros(found.shape, "datetime64[s]"))
    yield "structures", of(np.zeros(found.shape, [("a", float)]))
    if "time" not in str(content.name):
        yield "encoded dates", xr.Variable(found.dims, found.values, {"units": "days since 2020-01-01"})


def _other_values(content: Variable, found: xr.Variable, good: xr.Dataset) -> Iterator[tuple[str, xr.Variable]]:
    if content.kind == TEXT or not found.size:
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
    if np.isfinite(content.low):
        yield "below", with_one(content.low - 1)
    if np.isfinite(content.high):
        yield "above", with_one(content.high + 1)
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
        count += 1
        try:
            message = reading(own, spoilt)
        except Exception as error:
            wrong.append((name, fault, repr(error)))
            continue
        if message is None or "\n" in message or not message.startswith(f"{FILE}: ") or name not in message:
            wrong.append((name, fault, message))
    print(kind, count)
    assert not wrong
    assert count > 3 * len(list(declared(own)))
