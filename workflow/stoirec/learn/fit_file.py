"""The content of fit.nc: what a fit learned, and its way there."""

import math
from typing import Any

import numpy as np
import torch
import xarray as xr
from pydantic import ValidationError
from torch import Tensor

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import Data
from stoirec.data.graph_variables import space_variables
from stoirec.errors import Unsuitable
from stoirec.files.schema import LARGEST
from stoirec.learn.evaluation import flux_gram, residual_square, val_loss
from stoirec.learn.history import VAL_LOSS, History
from stoirec.learn.losses import PREDICTION, REGULARISERS
from stoirec.learn.model import MetabolismPropagation, new_model
from stoirec.learn.observations import Observations
from stoirec.learn.refinement_rounds import RefinementRounds
from stoirec.learn.uncertainty import coefficient_se
from stoirec.network.columns import ColumnSpace, small_integers
from stoirec.refine import Evidence, State

Variables = dict[str, tuple]
INFERRED, INFERRED_SLOPE, UNMEASURED = "inferred_concentration", "inferred_dcdt", "unmeasured"
LEARNED = "learned_"  # before the name of a parameter of the rate law


def fit_content(
    data: Data,
    unit: float,
    config: FitConfig,
    model: MetabolismPropagation,
    observed: Observations,
    history: History,
    rounds: RefinementRounds,
    costs: dict[str, Any],
) -> xr.Dataset:
    """The dataset of fit.nc; values of a diverged fit are whatever it reached, NaN where no file has such.

    Args:
        data: in the learner's unit of concentration; `unit`: that in the unit of the file, in which results are.
        costs: attributes that say what it took: n_steps, wall_time_s, threads, device.
    """
    loss = math.nan if history.diverged else val_loss(model, observed.validation)
    ended = loss <= LARGEST  # the curve is of a part of the frames
    as_many = max(1, len(observed.training) // len(observed.validation))  # frames of the one as of the other
    attributes = {
        "title": "trained graph neural network",
        "status": "ok" if ended else "diverged",
        "config": config.model_dump_json(),
    }
    found = xr.Dataset(
        {
            **space_variables(data.space),
            **_coefficients(data, unit, model, _standard_errors(data, model, observed, rounds, ended)),
            **_curves(history),
            "val_loss": (
                (),
                loss if ended else math.nan,
                {"long_name": "mean squared residual over variance of dc/dt, validation", "units": "1"},
            ),
            "train_loss": (
                (),
                val_loss(model, observed.training, as_many) if ended else math.nan,
                {"long_name": "mean squared residual over variance of dc/dt, training", "units": "1"},
            ),
            **(
                _refined(rounds.space, model.law.allows_zero, rounds.state, rounds.evidence)
                if ended and rounds.evidence is not None
                else {}
            ),
            **_rate_parameters(model, unit),
            **_inferred(data, unit),
        },
        attrs=attributes | costs,
    )
    return found if ended else found.assign({name: _in_a_file(each) for name, each in found.data_vars.items()})


def _in_a_file(values: xr.DataArray) -> xr.DataArray:
    """NaN for numbers that are larger than any in a file."""
    return values.where(~(np.isfinite(values) & (np.abs(values) > LARGEST))) if values.dtype.kind == "f" else values


def _standard_errors(
    data: Data, model: MetabolismPropagation, observed: Observations, rounds: RefinementRounds, ended: bool
) -> np.ndarray:
    """(E,) of the coefficients; NaN if the fit diverged."""
    if not ended:
        return np.full(data.graph.n_edges, np.nan)
    if rounds.state is not None:
        return rounds.refinement().coefficient_se(rounds.state).cpu().numpy()
    gram, residual = flux_gram(model, observed.training), residual_square(model, observed.training)
    return coefficient_se(data.graph, gram.cpu().numpy(), residual.cpu().numpy())


def _coefficients(data: Data, unit: float, model: MetabolismPropagation, se: np.ndarray) -> Variables:
    return {
        "coefficient": (
            "edge",
            _learned(model.coefficient),
            {"long_name": "learned stoichiometric coefficient", "units": "1"},
        ),
        "coefficient_se": ("edge", se, {"long_name": "standard error of the coefficient", "units": "1"}),
        "log_k": (
            "reaction",
            _learned(model.log_k) + (1 - _order(model)) * math.log10(unit),
            {"long_name": "learned log10 rate constant", "units": "log10(1 / time unit)"},
        ),
    }


@torch.no_grad()
def _order(model: MetabolismPropagation) -> np.ndarray:
    """(R,) power of the unit of concentration that the model's rates are in."""
    sizes = model.law.sizes(model.coefficient, model.sign)[model.substrates]
    return _learned(model.law.order(sizes))


def _curves(history: History) -> Variables:
    """Coefficients and losses at the snapshots."""
    texts = {
        f"loss_{PREDICTION}": (PREDICTION, "L_pred, mean since the last snapshot"),
        **{f"loss_{term.name}": (term.name, term.long_name) for term in REGULARISERS},
        "val_loss_history": (VAL_LOSS, "val_loss on a subset of the validation frames"),
    }
    records = history.records
    curves = {
        variable: ("snapshot", np.array([record[name] for record in records]), {"long_name": text, "units": "1"})
        for variable, (name, text) in texts.items()
    }
    coefficients = torch.stack([record["coefficient"] for record in records]).numpy()
    return curves | {
        "step": (
            "snapshot",
            np.array([record["step"] for record in records]),
            {"long_name": "optimiser steps done", "units": "1"},
        ),
        "coefficient_history": (
            ("snapshot", "edge"),
            coefficients,
            {"long_name": "learned coefficient at the snapshot", "units": "1"},
        ),
    }


def _refined(space: ColumnSpace, allows_zero: bool, state: State, evidence: Evidence) -> Variables:
    """What refinement decided, what it leaves, and the likeliest columns."""
    known, columns, real = space.known, evidence.columns.cpu().numpy(), state.integers.cpu().numpy()
    nearest = np.round(real)
    if not allows_zero:
        sign = np.where(space.sign == 0, np.where(real < 0, -1, 1), space.sign)
        nearest = np.where(nearest == 0, sign, nearest)
    nearest = np.where(np.isnan(known), nearest, known)
    return {
        "refined_coefficient": (
            "edge",
            small_integers(nearest),
            {"long_name": "integer coefficient that the refinement decided", "units": "1"},
        ),
        "integer_residual": (
            (),
            state.cost,
            {"long_name": "mean squared residual over variance of dc/dt, of the decided columns", "units": "1"},
        ),
        "free_residual": (
            (),
            state.loose_cost,
            {"long_name": "the least of it while some columns were free, inf if they never were", "units": "1"},
        ),
        "column": (
            ("rank", "edge"),
            small_integers(np.where(np.isnan(known), np.round(columns), columns)),
            {"long_name": "integer columns, likeliest first", "units": "1"},
        ),
        "column_probability": (
            ("rank", "reaction"),
            ((1 - evidence.outside) * evidence.chances).cpu().numpy(),
            {"long_name": "probability of the column, given the others", "units": "1"},
        ),
        "no_column_probability": (
            "reaction",
            evidence.outside.cpu().numpy(),
            {"long_name": "probability that no allowed column is the reaction's", "units": "1"},
        ),
        "length_is_convention": (
            "reaction",
            evidence.convention.cpu().numpy().astype(np.int8),
            {"long_name": "1 where the length of the column is a convention: the double fits as well", "units": "1"},
        ),
    }


def _inferred(data: Data, unit: float) -> Variables:
    """Courses of the metabolites that nobody measured."""
    if not len(data.unmeasured):
        return {}
    courses = [(INFERRED, data.concentration, "concentration"), (INFERRED_SLOPE, data.dcdt, "its derivative")]
    return {
        UNMEASURED: (UNMEASURED, data.unmeasured, {"long_name": "metabolite that nobody measured", "units": "1"}),
        **{
            name: (
                ("run", "frame", UNMEASURED),
                unit * values[..., data.unmeasured],
                {"long_name": f"inferred {text} of what nobody measured", "units": "as in the data"},
            )
            for name, values, text in courses
        },
    }


def with_inferred(data: Data, fit: xr.Dataset) -> Data:
    """`data` with the courses that a fit inferred, where there are metabolites that nobody measured.

    Raises:
        Unsuitable: the fit is of other data.
    """
    if not len(data.unmeasured):
        return data
    shape = (len(data.run_role), data.n_frames, len(data.unmeasured))
    if INFERRED not in fit or fit[INFERRED].shape != shape or (fit[UNMEASURED].values != data.unmeasured).any():
        names = ", ".join(map(data.graph.metabolite_name, data.unmeasured))
        raise Unsuitable("concentration", f"nothing of {names}, which the fit does not have", "the data of the fit")
    return data.with_inferred(fit[INFERRED].values, fit[INFERRED_SLOPE].values)


# --- parameters of the rate law -----------------------------------------------------------------------------------


@torch.no_grad()
def _rate_parameters(model: MetabolismPropagation, unit: float) -> Variables:
    """The rate law's parameters as variables learned_<name>, for concentrations in the unit of the file."""
    return {
        LEARNED + name: (
            tuple(f"{LEARNED}{name}_{axis}" for axis in range(parameter.ndim)),
            _learned(parameter),
            {"long_name": f"learned {name}", "units": "1"},
        )
        for name, parameter in model.law.with_unit(dict(model.rate_parameters), unit).items()
    }


@torch.no_grad()
def learned_model(fit: xr.Dataset, data: Data) -> MetabolismPropagation:
    """The trained network of a fit.nc, in double precision.

    Raises:
        Unsuitable: its configuration is none, or its functions are not of that.
    """
    try:
        config = FitConfig.model_validate_json(fit.attrs["config"])
    except ValidationError as error:
        first = error.errors()[0]
        raise Unsuitable(f"config: {'.'.join(map(str, first['loc']))}", first["input"], first["msg"]) from None
    model = new_model(data, config).double()
    model.sto_all.copy_(torch.as_tensor(fit["coefficient"].values))
    model.log_k.copy_(torch.as_tensor(fit["log_k"].values))
    for name, parameter in model.rate_parameters.items():
        shape, found = tuple(parameter.shape), fit[LEARNED + name].shape if LEARNED + name in fit else "nothing"
        if found != shape:
            raise Unsuitable(LEARNED + name, found, f"{shape}, by the graph_model of config")
        parameter.copy_(torch.as_tensor(fit[LEARNED + name].values))
    return model.eval()


def _learned(parameter: Tensor) -> np.ndarray:
    return parameter.detach().cpu().double().numpy()
