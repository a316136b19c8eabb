"""What data.nc, its /truth, fit.nc and recovery.nc hold: the one list that every reader gets.

A file without an optional variable means what it meant before there was such a variable.
"""

import json
from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import xarray as xr

from stoirec.config.fit import Decoder
from stoirec.config.regime import RateLawName
from stoirec.errors import Unsuitable
from stoirec.files.schema import ANY, FLAG, INTEGER, OBJECT, TEXT, Attribute, Schema, Variable, names_of, refuse

_WIDEST = 2.0**31 - 1  # of a coefficient: above, integers overflow
_ROUNDED = 1 + 1e-6  # a probability that was summed up
_FRAMES = "run time metabolite"
_MATRIX = "metabolite reaction"


# --- the network, in every file ---------------------------------------------------------------------------------------


def _metabolites_are_there(dataset: xr.Dataset) -> None:
    if "metabolite" not in dataset.sizes:
        raise Unsuitable("metabolite", "nothing", "a dimension metabolite")


def _names_differ(dataset: xr.Dataset) -> None:
    for dim in ("metabolite", "reaction"):
        names = names_of(dataset, dim)
        again = [name for name, number in Counter(names).items() if number > 1]
        if again:
            raise Unsuitable(dim, f"{again[0]} again", f"a name of its own for each {dim}")


def _edges_are_in_order(dataset: xr.Dataset) -> None:
    metabolite, reaction = (dataset[f"edge_{end}"].values.astype(int) for end in ("metabolite", "reaction"))
    bad = np.diff(reaction * dataset.sizes["metabolite"] + metabolite, prepend=-1) <= 0
    refuse(dataset["edge_reaction"], bad, "unique edges of the graph, sorted by reaction, then metabolite")


def _reactions_have_edges(dataset: xr.Dataset) -> None:
    has = np.unique(dataset["edge_reaction"].values.astype(int))
    number = dataset.sizes.get("reaction", has[-1] + 1)
    if len(has) < number:
        first = np.flatnonzero(np.append(has, number) != np.arange(len(has) + 1))[0]
        names = names_of(dataset, "reaction") or range(number)
        found = f"no edge of reaction {names[first]} ({number - len(has)} such)"
        raise Unsuitable("edge_reaction", found, "an edge of each reaction")


def _signs_agree(dataset: xr.Dataset) -> None:
    if "edge_known" in dataset:
        sign = dataset.get("edge_sign", 2 * (dataset["edge_is_substrate"] == 0) - 1)
        known = dataset["edge_known"]
        refuse(known, (sign * np.nan_to_num(known)).values < 0, "coefficients of the edges' signs")


def _pairs_are_pairs(dataset: xr.Dataset) -> None:
    if "reaction_reverse_of" not in dataset:
        return
    of = dataset["reaction_reverse_of"]
    refuse(of, of.values == np.arange(of.size), "another reaction's index, or -1")
    forward = of.values.astype(int)
    backward = forward >= 0
    twice = backward & (np.bincount(forward[backward], minlength=of.size)[forward] > 1)
    allowed = "for each backward reaction a forward one of its own; -1 for that"
    refuse(of, twice | (backward & (forward[forward] >= 0)), allowed)


_REVERSE_OF = Variable(
    "reaction_reverse_of",
    INTEGER,
    -1,
    index_of="reaction",
    dims="reaction",
    optional=True,
    meaning="another reaction's index, or -1",
)
NETWORK: Schema = (
    Variable("edge_metabolite", INTEGER, 0, index_of="metabolite", dims="edge"),
    Variable("edge_reaction", INTEGER, 0, _WIDEST, index_of="reaction", dims="edge"),
    Variable("edge_is_substrate", one_of=FLAG, dims="edge"),
    Variable("edge_sign", one_of=(-1, 0, 1), dims="edge", optional=True),
    Variable("edge_bound", INTEGER, 1, 1_000_000, dims="edge", optional=True, meaning="integers from 1 to 1,000,000"),
    Variable(
        "edge_known",
        low=-_WIDEST,
        high=_WIDEST,
        nan=True,
        dims="edge",
        optional=True,
        meaning="finite numbers, NaN where the coefficient is sought",
    ),
    Variable("edge_is_real", one_of=FLAG, dims="edge", optional=True),
    Variable(
        "conserved",
        nan=True,
        dims="quantity metabolite",
        empty=True,
        optional=True,
        meaning="finite numbers, NaN where nothing is said",
    ),
    Variable("reaction_is_open", one_of=FLAG, dims="reaction", optional=True),
    _REVERSE_OF,
    Variable("metabolite_label", TEXT, dims="metabolite", optional=True),
    Variable("reaction_label", TEXT, dims="reaction", optional=True),
    *(Variable(dim, ANY, dims=dim, empty=True, optional=True) for dim in ("metabolite", "reaction", "quantity")),
    _metabolites_are_there,
    _names_differ,
    _edges_are_in_order,
    _reactions_have_edges,
    _signs_agree,
    _pairs_are_pairs,
)


# --- data.nc ----------------------------------------------------------------------------------------------------------


def _given(dataset: xr.Dataset) -> bool:
    """Whether there are derivatives."""
    return "dcdt" in dataset


def _left_out(dataset: xr.Dataset) -> bool | np.ndarray:
    """(M,) bool, metabolites that nobody measured: they have no value in any run; without derivatives any may miss."""
    if not _given(dataset):
        return True
    return np.all([np.isnan(dataset[name].values).all(axis=(0, 1)) for name in ("concentration", "dcdt")], axis=0)


def _fills_up(dataset: xr.Dataset) -> bool | np.ndarray:
    """Frames in which nothing was measured need no time."""
    if _given(dataset):
        return False
    nothing = np.isnan(dataset["concentration"].values.astype(float)).all(axis=2)
    return nothing if dataset["time"].ndim == 2 else nothing.all(axis=0)


def _something_was_measured(dataset: xr.Dataset) -> None:
    if np.isnan(dataset["concentration"].values.astype(float)).all():
        raise Unsuitable("concentration", "no value", "values of at least one metabolite")


def _times_rise(dataset: xr.Dataset) -> None:
    """Of measured courses the reader looks, when it has left out what only fills up."""
    if _given(dataset):
        _rises(dataset["time"])


def _rises(time: xr.DataArray) -> None:
    bad = np.diff(time.values.astype(float), axis=-1, prepend=-np.inf) <= 0
    refuse(time, bad, "times that rise from frame to frame")


def _some_run_trains(dataset: xr.Dataset) -> None:
    if "run_role" in dataset and not (dataset["run_role"] == 0).any():
        raise Unsuitable("run_role", dataset["run_role"].values.tolist(), "0 (training, at least one) or 1")


CONCENTRATION = Variable("concentration", low=0, nan=_left_out, dims=_FRAMES, meaning="finite numbers >= 0")
DATA: Schema = (
    *NETWORK,
    CONCENTRATION,
    Variable("dcdt", nan=_left_out, dims=_FRAMES, optional=True),
    Variable("time", nan=_fills_up, dims="time | run time", dates=True, meaning="finite numbers"),
    Variable("run_role", one_of=FLAG, dims="run", optional=True, meaning="0 (training) or 1 (validation)"),
    Variable(
        "concentration_se",
        low=0,
        nan=True,
        dims=_FRAMES,
        optional=True,
        meaning="finite numbers >= 0, NaN where nobody knows",
    ),
    _something_was_measured,
    _times_rise,
    _some_run_trains,
)


# --- /truth -----------------------------------------------------------------------------------------------------------

RECORDED = "recorded"  # no rate law of ours: the fluxes themselves are there
_DIMS = {"weight1": ("hidden", "input"), "bias1": ("hidden",), "weight2": ("output", "hidden"), "bias2": ("output",)}
FUNCTIONS = {
    f"{function}_{part}": tuple(f"{function}_{dim}" for dim in dims)
    for function in ("substrate_func", "rate_func")
    for part, dims in _DIMS.items()
}  # weights of PDE_M1's functions, and their dimensions


def _rate_law(dataset: xr.Dataset) -> str:
    return dataset.attrs.get("rate_law", "pde_m1")


def _has_functions(dataset: xr.Dataset) -> bool:
    return _rate_law(dataset) in ("pde_m1", "pde_m1_enzymes")


def _functions_fit(dataset: xr.Dataset) -> None:
    if not _has_functions(dataset):
        return
    sizes = dataset.sizes
    n_inputs = 2 + sizes["enzyme_number"] if _rate_law(dataset) == "pde_m1_enzymes" else 2
    for dim, size in (("substrate_func_input", n_inputs), ("rate_func_input", sizes["substrate_func_output"])):
        if sizes[dim] != size:
            raise Unsuitable(f"{dim.removesuffix('_input')}_weight1", f"{sizes[dim]} inputs", f"{size}")
    if sizes["rate_func_output"] != 1:
        raise Unsuitable("rate_func_weight2", f"{sizes['rate_func_output']} outputs", "1")


def _constants_fit(dataset: xr.Dataset) -> None:
    constants, substrates = dataset.get("log_half_saturation"), int((dataset["stoichiometry"] < 0).sum())
    catalysts = int(dataset["edge_catalyses"].sum()) if "edge_catalyses" in dataset else 0
    hill = dataset.sizes.get("catalyst", 0)
    if _rate_law(dataset) == "convenience" and hill != catalysts:
        raise Unsuitable("hill_coefficient", f"{hill} entries", f"{catalysts}, one for each catalyst")
    substrates += catalysts
    if constants is not None and constants.size != substrates:
        raise Unsuitable("log_half_saturation", f"{constants.size} entries", f"{substrates}, one for each substrate")


def _unmeasured_times_rise(dataset: xr.Dataset) -> None:
    if "unmeasured_time" in dataset:
        _rises(dataset["unmeasured_time"])


ORIGIN: tuple[Attribute, ...] = (  # where a simulated file is from
    Attribute("config", OBJECT),
    Attribute("network_seed", INTEGER, 0),
    Attribute("seed_*", INTEGER, 0),
)
TRUTH: Schema = (
    *(replace(each, optional=True) for each in ORIGIN),
    Attribute("rate_law", TEXT, one_of=(*get_args(RateLawName), RECORDED), optional=True),
    Attribute("dt", low=0),
    Attribute("flux_limiter", one_of=FLAG),
    Variable("stoichiometry", dims=_MATRIX),
    Variable("log_k", nan=lambda dataset: _rate_law(dataset) == RECORDED, dims="reaction"),
    Variable("edge_is_true", one_of=FLAG, dims="edge"),
    *(
        Variable(name, dims=" ".join(dims), optional=lambda dataset: not _has_functions(dataset))
        for name, dims in FUNCTIONS.items()
    ),
    Variable(
        "reaction_embedding",
        dims="reaction enzyme_number",
        optional=lambda dataset: _rate_law(dataset) != "pde_m1_enzymes",
    ),
    Variable(
        "log_half_saturation",
        dims="substrate_edge",
        empty=True,
        optional=lambda dataset: _rate_law(dataset) != "convenience",
    ),
    _REVERSE_OF,
    Variable("edge_catalyses", one_of=FLAG, dims="edge", optional=True),
    Variable("hill_coefficient", dims="catalyst", optional=True),
    Variable("flux", dims="run time reaction", optional=lambda dataset: _rate_law(dataset) != RECORDED),
    Variable("unmeasured_concentration", dims="run frame unmeasured", optional=True),
    Variable("unmeasured_time", dims="run frame", optional=lambda dataset: "unmeasured_concentration" not in dataset),
    _functions_fit,
    _constants_fit,
    _unmeasured_times_rise,
)
# --- fit.nc and recovery.nc -------------------------------------------------------------------------------------------


def _diverged(dataset: xr.Dataset) -> bool:
    """Values of a diverged fit are whatever it reached."""
    return dataset.attrs["status"] != "ok"


def _without(name: str):
    return lambda dataset: name not in dataset


def _number(name: str, dims: str = "", **more) -> Variable:
    """A variable that is finite unless the fit diverged."""
    return Variable(name, dims=dims, nan=_diverged, **({"infinite": _diverged} | more))


def _decoder_is_known(dataset: xr.Dataset) -> None:
    decoder = json.loads(dataset.attrs["config"]).get("decoder", "nothing")
    if decoder not in get_args(Decoder):
        raise Unsuitable("config: decoder", decoder, ", ".join(get_args(Decoder)))


STATUS = Attribute("status", TEXT, one_of=("ok", "diverged"))
ENDED: Schema = (STATUS, Attribute("config", OBJECT))
COSTS: Schema = (
    Attribute("n_steps", INTEGER, 0),
    Attribute("wall_time_s", low=0),
    Attribute("threads", INTEGER, 1),
    Attribute("device", TEXT),
)
WRITTEN: Schema = (Attribute("git_commit", TEXT),)
FIT: Schema = (
    *ENDED,
    *NETWORK,
    _number("coefficient", "edge"),
    _number("coefficient_se", "edge", low=0, infinite=True),
    _number("log_k", "reaction"),
    Variable("step", INTEGER, 0, dims="snapshot"),
    Variable("coefficient_history", dims="snapshot edge", nan=True, infinite=True),
    Variable("loss_*", dims="snapshot", nan=True, infinite=True),
    Variable("val_loss_history", dims="snapshot", nan=True, infinite=True, optional=True),
    _number("val_loss", low=0),
    _number("train_loss", low=0),
    _number("refined_coefficient", "edge", optional=True),
    _number("integer_residual", low=0, optional=_without("free_residual")),
    _number("free_residual", low=0, infinite=True, optional=True),
    _number("column", "rank edge", optional=_without("column_probability")),
    Variable("column_probability", low=0, high=_ROUNDED, dims="rank reaction", optional=True),
    Variable("no_column_probability", low=0, high=_ROUNDED, dims="reaction", optional=True),
    Variable("length_is_convention", one_of=FLAG, dims="reaction", optional=True),
    _number("learned_*", "*", empty=True),
    Variable(
        "unmeasured",
        INTEGER,
        0,
        index_of="metabolite",
        dims="unmeasured",
        optional=_without("inferred_concentration"),
    ),
    _number("inferred_concentration", "run frame unmeasured", optional=_without("inferred_dcdt")),
    _number("inferred_dcdt", "run frame unmeasured", optional=_without("inferred_concentration")),
    _decoder_is_known,
)


def _only_on_edges(dataset: xr.Dataset) -> None:
    matrix = dataset["stoichiometry"]
    off = matrix.values != 0
    off[tuple(dataset[f"edge_{end}"].values.astype(int) for end in ("metabolite", "reaction"))] = False
    refuse(matrix, off, "0 where there is no candidate edge")


def _method_is_known(dataset: xr.Dataset) -> None:
    if "method" not in dataset.attrs:  # as in old files
        _decoder_is_known(dataset)


ROUNDED: Schema = (*ENDED, Attribute("decoder", TEXT, optional=True), Attribute("method", TEXT, optional=True))
RECOVERY: Schema = (
    *ROUNDED,
    *NETWORK,
    Variable("stoichiometry", dims=_MATRIX),
    Variable("stoichiometry_*", dims=_MATRIX),
    _number("log_k_*", "reaction"),
    _number("coefficient", "edge"),
    Variable("confidence", low=0, high=_ROUNDED, dims="edge"),
    _number("val_loss", low=0),
    Variable("rollout_error_*", low=0, nan=True, infinite=True),
    Variable("alternative", dims="rank edge", optional=_without("alternative_cost")),
    Variable(
        "alternative_cost",
        low=-1e-6,
        infinite=True,
        meaning="numbers >= 0",
        dims="rank reaction",
        optional=_without("alternative"),
    ),
    Variable("no_column_probability", low=0, high=_ROUNDED, dims="reaction", optional=True),
    Variable("length_is_convention", one_of=FLAG, dims="reaction", optional=True),
    _only_on_edges,
    _method_is_known,
)
