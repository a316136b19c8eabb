"""From a fit to an answer: decode by every method, and say how sure each entry is."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from stoirec.answer.confidence import edge_weights, likely_columns
from stoirec.answer.decode import AUTO, METHODS, REFINED, ROLES, Decoded, by_roles, decode
from stoirec.data.graph_variables import space_of, space_variables
from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.files.contents import FIT
from stoirec.learn.comparison import contradicted, holds_nowhere, overfitted, worthless
from stoirec.network.columns import ColumnSpace, TooManyColumns
from stoirec.network.graph import Graph
from stoirec.network.notation import column_text

_log = logging.getLogger(__name__)
_ALTERNATIVES = 5
NAMED_FROM = 0.5  # probability from which a reaction is named as one that no allowed column is right for
_NAMED = 10  # of these, at most


def read_fit(path: str | Path) -> xr.Dataset:
    """fit.nc. Raises BadInput."""
    return netcdf.read(path, FIT)


@dataclass(frozen=True)
class _Answer:
    """Integers of every method; of the answer the likeliest columns (rank, E), their probabilities, confidence (E,)."""

    method: str
    by_method: dict[str, Decoded]
    columns: np.ndarray
    probability: np.ndarray
    confidence: np.ndarray


def recover(fit: xr.Dataset, path: str, decoder: str | None = None, fall_back: bool = False) -> xr.Dataset:
    """The content of recovery.nc for the content of fit.nc.

    The answer is by `decoder` (default: that of the fit's configuration); by `auto` it is what refinement decided,
    where the fit was refined, else mass balanced. A diverged fit gives zeros with confidence 0. The confidence is 0 as
    well where val_loss says that the functions hold on no other trajectory, or train_loss that they do not on those of
    training: evidence from such functions is certain of much that is wrong. It is 0, too, where the loss drew
    coefficients to integers and no refinement weighed columns since: wrong ones are then as near to integers as right
    ones.

    With `fall_back`, where functions do not even come near the training runs, the answer is what roles and balance say
    alone: for who has one fit, not for a comparison of fits.

    Raises:
        BadInput: the graph does not match, or a reaction has too many candidate edges to be searched.
    """
    space = space_of(fit, path)
    decoder = decoder or json.loads(fit.attrs["config"])["decoder"]
    method = _method(fit, fall_back) if decoder == AUTO else decoder
    try:
        answer = _diverged(space, method) if fit.attrs["status"] != "ok" else _answer(space, fit, method)
    except TooManyColumns as error:
        raise BadInput(path, "edge_reaction", error, "reactions with fewer candidate edges") from None
    for doubt in doubts(space, fit, method):
        _log.warning("%s: %s", path, doubt)
    attributes = {"title": "recovered stoichiometric matrix", "decoder": decoder, "method": method}
    return xr.Dataset(
        _variables(space, fit, answer), attrs=attributes | {name: fit.attrs[name] for name in ("status", "config")}
    )


def _method(fit: xr.Dataset, fall_back: bool) -> str:
    """That of the answer, where none is asked for."""
    if fall_back and fit.attrs["status"] == "ok" and holds_nowhere(fit):
        return ROLES
    return REFINED if "refined_coefficient" in fit else "mass_balanced"


def doubts(space: ColumnSpace, fit: xr.Dataset, method: str) -> list[str]:
    """Why nothing is sure, if so; reactions whose column cannot be any that is allowed."""
    found = []
    if fit.attrs["status"] != "ok":
        return ["the fit diverged: nothing was found"]
    if contradicted(fit):
        text = "the columns leave {:.1e} of the variance of dc/dt, free ones {:.1e}: not all can be right, nor perhaps "
        text += "any that are allowed (see edge_bound, conserved, reaction_is_open)"
        found.append(text.format(float(fit["integer_residual"]), float(fit["free_residual"])))
    elif _drawn_to_integers(fit):
        text = (
            "the loss drew coefficients to integers, right or wrong, and no refinement weighed columns since: nothing "
        )
        found.append(text + "is sure")
    elif worthless(fit):
        advice = (
            "the functions hold on the training runs alone; more runs, or runs that start elsewhere, would help"
            if overfitted(fit)
            else "the training runs are not described either: by this rate law, or by no columns that are allowed"
        )
        if method == ROLES:
            advice += "; the answer is what roles and balance alone say; --rate-law has other laws"
        text = "val_loss {:.1e}, train_loss {:.1e}, where the mean of dc/dt has 1: nothing is sure; {}"
        found.append(text.format(float(fit["val_loss"]), float(fit["train_loss"]), advice))
    return found + (_outside(space, fit) if "no_column_probability" in fit else [])


def _outside(space: ColumnSpace, fit: xr.Dataset) -> list[str]:
    """Of reactions that no allowed column explains, the likeliest few named."""
    probability, found = fit["no_column_probability"].values, []
    outside = [j for j in np.argsort(-probability, kind="stable") if probability[j] > NAMED_FROM]
    for reaction in outside[:_NAMED]:
        column = column_text(space.graph, np.round(fit["coefficient"].values, 2), reaction)
        name, chance = space.graph.reaction_name(reaction), probability[reaction]
        text = f"no allowed column explains reaction {name} (probability {chance:.2f}); the data ask for {column}"
        found.append(text)
    if len(outside) > _NAMED:
        found.append(f"and {len(outside) - _NAMED} more: no_column_probability in recovery.nc")
    return found


def _drawn_to_integers(fit: xr.Dataset) -> bool:
    """Whether coefficients are near integers because the loss asks for that, so that their errors cannot be seen."""
    return "column_probability" not in fit and json.loads(fit.attrs["config"]).get("coeff_S_integer", 0) > 0


def _diverged(space: ColumnSpace, method: str) -> _Answer:
    n_edges, n_reactions = space.graph.n_edges, space.graph.n_reactions
    nothing = Decoded(np.zeros(n_edges, np.int8), np.ones(n_reactions))
    none = np.zeros((_ALTERNATIVES, n_edges), np.int8), np.zeros((_ALTERNATIVES, n_reactions))
    return _Answer(method, dict.fromkeys((*METHODS, method), nothing), *none, np.zeros(n_edges))


def _answer(space: ColumnSpace, fit: xr.Dataset, method: str) -> _Answer:
    reaction = space.graph.edge_reaction
    coefficient = fit["coefficient"].values
    weight = edge_weights(space, coefficient, fit["coefficient_se"].values)
    by_method = {name: decode(space, coefficient, weight, name) for name in METHODS}
    if "refined_coefficient" in fit:
        by_method[REFINED] = Decoded(fit["refined_coefficient"].values, np.ones(space.graph.n_reactions))
    if method == ROLES:
        by_method[ROLES] = by_roles(space)
    answer = by_method[method]
    if "column_probability" in fit:
        columns, probability = fit["column"].values, fit["column_probability"].values
    else:
        columns, probability = likely_columns(space, coefficient / answer.scale[reaction], weight, _ALTERNATIVES)
    confidence = np.where(columns == answer.coefficient, probability[:, reaction], 0.0).sum(axis=0)
    if worthless(fit) or _drawn_to_integers(fit):
        confidence = np.zeros_like(confidence)
    confidence = np.where(np.isnan(space.known), confidence, 1.0)
    return _Answer(method, by_method, columns, probability, confidence)


def _variables(space: ColumnSpace, fit: xr.Dataset, answer: _Answer) -> dict[str, object]:
    graph = space.graph
    variables: dict[str, object] = dict(space_variables(space))
    for method, found in answer.by_method.items():
        text = f"recovered stoichiometric coefficient, {method}"
        variables[f"stoichiometry_{method}"] = _matrix(graph, found.coefficient, text)
        variables[f"log_k_{method}"] = (
            "reaction",
            fit["log_k"].values + np.log10(found.scale),
            {"long_name": f"log10 rate constant of the column decoded by {method}", "units": "log10(1 / time unit)"},
        )
    own = answer.by_method[answer.method]
    with np.errstate(divide="ignore"):
        costs = -2 * np.log(answer.probability)

    def described(dims: str | tuple[str, ...], values: np.ndarray, text: str) -> tuple:
        return dims, values, {"long_name": text, "units": "1"}

    text = f"recovered stoichiometric coefficient: the answer, by {answer.method}"
    return variables | {
        "stoichiometry": _matrix(graph, own.coefficient, text),
        "coefficient": described("edge", fit["coefficient"].values, "learned stoichiometric coefficient"),
        "confidence": described("edge", answer.confidence, "posterior probability of the answer's entry"),
        "alternative": described(("rank", "edge"), answer.columns, "likeliest integer columns, likeliest first"),
        "alternative_cost": described(("rank", "reaction"), costs, "-2 log probability of the column"),
        "val_loss": ((), fit["val_loss"].values, fit["val_loss"].attrs),
        **{name: fit[name].variable for name in ("length_is_convention", "no_column_probability") if name in fit},
    }


def _matrix(graph: Graph, integers: np.ndarray, long_name: str) -> tuple:
    return ("metabolite", "reaction"), graph.matrix(integers), {"long_name": long_name, "units": "1"}
