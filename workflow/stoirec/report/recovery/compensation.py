"""Function compensation: did the learned functions take over what S should have learned?

The data fix k_j F(c, |S|) with F = softplus(rate_func(sum of substrate_func)), and no more: k and F share a factor, a
wrong scale of a column of S can be undone by that reaction's k or by F, and messages are free up to a map that
rate_func undoes. So the learned functions are compared with the true ones after the gauge is fixed: one global factor
(the mean difference of log k) for the response curves, one factor per reaction for the fluxes, one affine map for the
messages. Uses the truth; for scoring only.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import xarray as xr

from stoirec.data.dataset import Data
from stoirec.errors import Unsuitable
from stoirec.files.contents import RECORDED
from stoirec.kinetics.pde_m1 import EMBEDDINGS, PdeM1
from stoirec.kinetics.rate_law import Parameters
from stoirec.learn.fit_file import learned_model
from stoirec.learn.model import MetabolismPropagation
from stoirec.network.graph import Graph
from stoirec.score.metrics import r2
from stoirec.simulate.kinetics import TrueKinetics
from stoirec.simulate.truth import Truth

_FRAMES = 240  # of the validation trajectory: smooth, and the messages of all edges must fit in memory
_GRID = 101  # concentrations of a response curve
_CONCENTRATION_RANGE = (0.5, 99.5)  # percentiles of the validation concentrations


@dataclass(frozen=True)
class Compensation:
    """Learned against true functions.

    Attributes:
        reactions: one row per reaction: flux_r2 (learned flux against true flux on the validation trajectory, after one
            least-squares factor), log_factor (log10 of that factor, true over learned), log_column_scale (log10 of the
            learned column's length along the true one), log_k_difference (log10 learned over true rate constant, after
            the global gauge). A scale traded between S and the flux puts log_factor = log_column_scale; a scale traded
            between S and k alone, log_k_difference = -log_column_scale.
        curves: one row per concentration and |S| (coefficient): true and learned response F of one substrate.
        curve_r2: |S| -> R2 (1 - SSE/SST) of the learned curve.
        shape_r2: R2 of both curves together after one more common factor: is their shape right?
        message_r2: R2 of the true messages regressed affinely on the learned ones.
        gauge: log10 factor by which the learned rate constants exceed the true ones, on average.
    """

    reactions: pd.DataFrame
    curves: pd.DataFrame
    curve_r2: dict[int, float]
    shape_r2: float
    message_r2: float
    gauge: float


def compare(fit: xr.Dataset, data: Data, truth: Truth) -> Compensation:
    """The diagnostics of one fit; NaN throughout if it diverged.

    Args:
        fit: content of fit.nc; data, truth: of the data set it was trained on.

    Raises:
        Unsuitable: of the truth nothing but fluxes is known.
    """
    kinetics = truth.kinetics
    if not isinstance(kinetics, TrueKinetics):
        raise Unsuitable("truth: rate_law", RECORDED, "a law of which the functions are known")
    model = learned_model(fit, data)
    concentration = truth.completed(data).validation_frames().concentration
    concentration = concentration[:: max(1, len(concentration) // _FRAMES)]
    gauge = float(fit["log_k"].values.mean() - truth.log_k.mean())
    reactions = compare_fluxes(
        data.graph,
        _flux(model, concentration),
        truth.flux(concentration),
        fit["coefficient"].values,
        truth.stoichiometry,
    )
    reactions["log_k_difference"] = fit["log_k"].values - truth.log_k - gauge
    low, high = np.percentile(concentration, _CONCENTRATION_RANGE)
    curves = response_curves(model, kinetics, np.linspace(low, high, _GRID), gauge)
    learned, true = curves["learned"].values, curves["true"].values
    return Compensation(
        reactions,
        curves,
        {int(size): r2(curve["learned"].values, curve["true"].values) for size, curve in curves.groupby("coefficient")},
        r2(learned * (learned @ true) / (learned @ learned), true),
        _compare_messages(model, kinetics, data.graph, concentration),
        gauge,
    )


# --- fluxes -----------------------------------------------------------------------------------------------------------


def compare_fluxes(
    graph: Graph, learned: np.ndarray, true: np.ndarray, coefficient: np.ndarray, stoichiometry: np.ndarray
) -> pd.DataFrame:
    """Per reaction, flux_r2, log_factor and log_column_scale, as in `Compensation.reactions`.

    Args:
        learned, true: (frames, R) fluxes; coefficient: (E,) learned; stoichiometry: (M, R) true.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = (learned * true).sum(0) / (learned**2).sum(0)
        spread = ((true - true.mean(0)) ** 2).sum(0)
        flux_r2 = 1 - ((true - factor * learned) ** 2).sum(0) / spread
        entries = graph.on_edges(stoichiometry)
        along = np.bincount(graph.edge_reaction, coefficient * entries, graph.n_reactions)
        column_scale = along / np.bincount(graph.edge_reaction, entries.astype(float) ** 2, graph.n_reactions)
        return pd.DataFrame(
            {"flux_r2": flux_r2, "log_factor": _log10(factor), "log_column_scale": _log10(column_scale)}
        )


def _log10(values: np.ndarray) -> np.ndarray:
    """log10, nan where there is none: a column learned with the wrong sign has no scale."""
    return np.log10(np.where(values > 0, values, np.nan))


@torch.no_grad()
def _flux(model: MetabolismPropagation, concentration: np.ndarray) -> np.ndarray:
    return model.flux(torch.as_tensor(concentration)).T.numpy()


# --- functions --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def response_curves(
    model: MetabolismPropagation, kinetics: TrueKinetics, concentration: np.ndarray, gauge: float
) -> pd.DataFrame:
    """F(c; |S|) of a reaction with one substrate, for |S| = 1 and 2, the learned one times 10^gauge.

    Embeddings, where a law has them, enter as their mean. NaN for a law without shared functions.
    """
    learned, true = _typical(dict(model.rate_parameters)), _typical(_tensors(kinetics))
    curves = []
    for size in (1, 2):
        curve = {"concentration": concentration, "coefficient": size}
        for name, law, parameters in (("true", kinetics.law, true), ("learned", model.law, learned)):
            if not isinstance(law, PdeM1):
                curve[name] = np.full_like(concentration, np.nan)
                continue
            first = np.zeros(len(concentration), int)
            message = _messages_of(law, parameters, concentration, np.full_like(concentration, size), first)
            curve[name] = law.responses(parameters, message[..., None])[:, 0].numpy()
        curves.append(pd.DataFrame(curve).assign(learned=lambda table: table["learned"] * 10.0**gauge))
    return pd.concat(curves, ignore_index=True)


def _typical(parameters: Parameters) -> Parameters:
    """The same for all metabolites and reactions."""
    same = {
        name: value.mean(0, keepdim=True).expand_as(value) for name, value in parameters.items() if name in EMBEDDINGS
    }
    return {**parameters, **same}


def _messages_of(
    law: PdeM1, parameters: Parameters, concentration: np.ndarray, size: np.ndarray, edges: np.ndarray
) -> torch.Tensor:
    """(messages, N) of N substrates: concentration, |S| and position among the substrate edges (N,)."""
    c, sizes = (torch.as_tensor(values)[:, None] for values in (concentration, size))
    return law.messages(parameters, c, sizes, torch.as_tensor(edges))[..., 0]


def _tensors(kinetics: TrueKinetics) -> Parameters:
    return {name: torch.as_tensor(values) for name, values in kinetics.parameters.items()}


@torch.no_grad()
def _compare_messages(
    model: MetabolismPropagation, kinetics: TrueKinetics, graph: Graph, concentration: np.ndarray
) -> float:
    """`message_r2` of every true substrate edge in every frame, each at its own |S|; NaN for laws without messages."""
    learned_law, true_law = model.law, kinetics.law
    if not isinstance(learned_law, PdeM1) or not isinstance(true_law, PdeM1):
        return float("nan")
    true_coefficient = graph.on_edges(kinetics.stoichiometry)
    places = np.flatnonzero(true_coefficient[graph.substrate_edges] < 0)
    edges = graph.substrate_edges[places]
    c = concentration[:, graph.edge_metabolite[edges]].ravel()
    learned_size, true_size = (
        np.tile(np.abs(x[edges]).astype(float), len(concentration))
        for x in (model.coefficient.detach().numpy(), true_coefficient)
    )
    # in the truth's graph they are the only ones
    learned_edges, true_edges = (np.tile(each, len(concentration)) for each in (places, np.arange(len(places))))
    learned = _messages_of(learned_law, dict(model.rate_parameters), c, learned_size, learned_edges)
    true = _messages_of(true_law, _tensors(kinetics), c, true_size, true_edges)
    return message_r2(learned.T.numpy(), true.T.numpy())


def message_r2(learned: np.ndarray, true: np.ndarray) -> float:
    """R2, over all components together, of `true` (N, p) regressed affinely on `learned` (N, q)."""
    if not np.isfinite(learned).all():
        return float("nan")
    predictors = np.column_stack([np.ones(len(learned)), learned])
    q, _ = np.linalg.qr(predictors)  # a thin basis: the residual needs no coefficients
    residual = true - q @ (q.T @ true)
    spread = ((true - true.mean(0)) ** 2).sum()
    return float(1 - (residual**2).sum() / spread) if spread > 0 else float("nan")


def summary(found: Compensation) -> pd.DataFrame:
    """One row per diagnostic: what, value, what 1 (or 0) would mean."""
    reactions = found.reactions
    quartiles = reactions["flux_r2"].quantile([0.25, 0.5, 0.75])
    both = reactions[["log_factor", "log_column_scale", "log_k_difference"]].dropna()
    traded = (both["log_factor"] - both["log_column_scale"]).abs().median() if len(both) else np.nan
    rows = [
        ("flux R2 over reactions, median", quartiles[0.5], "1: every reaction's flux has the right course"),
        ("flux R2, lower and upper quartile", f"{quartiles[0.25]:.4f} and {quartiles[0.75]:.4f}", ""),
        ("reactions with flux R2 > 0.99", f"{(reactions['flux_r2'] > 0.99).sum()} of {len(reactions)}", ""),
        (
            "|log10 column scale|, median",
            both["log_column_scale"].abs().median(),
            "0: columns of S have the right length",
        ),
        (
            "|log10 flux factor − log10 column scale|, median",
            traded,
            "0: a wrong length of a column is undone exactly by its flux",
        ),
        ("response curve R2, |S| = 1", found.curve_r2[1], "1: the learned response is the true one"),
        ("response curve R2, |S| = 2", found.curve_r2[2], "1: and its dependence on |S| as well"),
        (
            "both response curves, R2 after one common factor",
            found.shape_r2,
            "1: their shape is right, whatever their size",
        ),
        ("true messages from learned ones, R2", found.message_r2, "1: messages agree up to an affine map"),
    ]
    texts = [
        (name, value if isinstance(value, str) else f"{value:.4f}".replace("-", "−"), meaning)
        for name, value, meaning in rows
    ]
    return pd.DataFrame(texts, columns=["diagnostic", "value", "meaning"])
