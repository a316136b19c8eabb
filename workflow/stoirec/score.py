"""Scores: recoveries against the truth, beside the trivial baselines and the oracle, as rows of metrics.csv."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from stoirec import netcdf
from stoirec.config import FitConfig
from stoirec.dataset import Truth, graph_of, read_data, read_truth
from stoirec.decode import METHODS, decode
from stoirec.errors import BadInput
from stoirec.graph import Graph
from stoirec.metrics import NAMES, r2, recovery_metrics
from stoirec.oracle import oracle_coefficients, true_frames
from stoirec.study import Fit, flat

RECOVERY_VARIABLES = ("stoichiometry", "coefficient", "confidence", "val_loss", *(f"{kind}_{m}" for m in METHODS for kind in ("stoichiometry", "log_k")))


def read_recovery(path: str | Path) -> xr.Dataset:
    """recovery.nc. Raises BadInput."""
    return netcdf.read(path, RECOVERY_VARIABLES, attributes=("status", "config"))


def score(recovery: xr.Dataset, truth: Truth, graph: Graph) -> dict[str, Any]:
    """The recovered answer's metrics; key `methods` holds those of every rounding method. NaN if the fit diverged."""
    config = json.loads(recovery.attrs["config"])
    diverged = recovery.attrs["status"] != "ok"
    methods = {}
    for method in METHODS:
        if diverged:
            methods[method] = dict.fromkeys(NAMES, math.nan)
        else:
            integers = graph.on_edges(recovery[f"stoichiometry_{method}"].values)
            methods[method] = recovery_metrics(
                graph, recovery["coefficient"].values, integers, recovery[f"log_k_{method}"].values, truth.stoichiometry, truth.log_k
            )
    return {
        "status": recovery.attrs["status"],
        "method": config["decoder"],
        **methods[config["decoder"]],
        "val_loss": float(recovery["val_loss"]),
        "methods": methods,
    }


def score_history(fit: xr.Dataset, truth: Truth, graph: Graph) -> pd.DataFrame:
    """S metrics over a fit's snapshots: step, r2, entry_exact by nearest rounding and up to a scale per reaction."""
    true = graph.on_edges(truth.stoichiometry)
    ones = np.ones(graph.n_edges)
    rows = []
    for step, coefficient in zip(fit["step"].values, fit["coefficient_history"].values.astype(float)):
        if not np.isfinite(coefficient).all():
            continue
        row = {"step": int(step), "r2": r2(coefficient, true), "sign_accuracy": float((np.sign(coefficient) == np.sign(true))[true != 0].mean())}
        for method in ("nearest", "scaled"):
            row[f"entry_exact_{method}"] = float((decode(graph, coefficient, ones, method).coefficient == true).mean())
        rows.append(row)
    return pd.DataFrame(rows)


# --- tables of a study ----------------------------------------------------------------------------------------------


def parameter_columns(config: FitConfig | None) -> dict[str, Any]:
    return {f"param.{key}": (None if config is None else flat(config)[key]) for key in flat(FitConfig())}


def metrics_table(study_name: str, fits: list[Fit], store: Path) -> pd.DataFrame:
    """metrics.csv: one row per fit and rounding method; a diverged fit has NaN metrics.

    Args:
        store: folder with data/<data>.nc and fits/<fit_id>/recovery.nc.
    """
    truths: dict[str, tuple[Truth, Graph]] = {}
    rows = []
    for fit in fits:
        if fit.data not in truths:
            graph = read_data(data_path(store, fit.data)).graph
            truths[fit.data] = read_truth(data_path(store, fit.data), graph), graph
        path = recovery_path(store, fit)
        recovery = read_recovery(path)
        truth, graph = truths[fit.data]
        check_same_graph(recovery, graph, path)
        found = score(recovery, truth, graph)
        rows += [
            {
                **_identity(fit.fit_id, study_name, fit.stage, method, found["status"], fit.network_seed, fit.config),
                **metrics,
                "val_loss": found["val_loss"],
                "variant": fit.variant,
                "is_answer": method == fit.config.decoder,
            }
            for method, metrics in found["methods"].items()
        ]
    return pd.DataFrame(rows)


COSTS = ("n_steps", "wall_time_s", "threads", "device")


def costs_table(fits: list[Fit], store: Path) -> pd.DataFrame:
    """costs.csv: one row per fit. Apart from metrics.csv, which is the same on every repetition, as times are not."""
    rows = []
    for fit in fits:
        attributes = netcdf.attributes(recovery_path(store, fit).with_name("fit.nc"))
        rows.append({"fit_id": fit.fit_id} | {key: attributes[key] for key in COSTS})
    return pd.DataFrame(rows, columns=["fit_id", *COSTS])


def _identity(fit_id: str, study: str, stage: str, method: str, status: str, seed: int, config: FitConfig | None) -> dict[str, Any]:
    return {
        "fit_id": fit_id,
        "study": study,
        "stage": stage,
        "method": method,
        "status": status,
        "network_seed": seed,
        **parameter_columns(config),
    }


def check_same_graph(recovery: xr.Dataset, graph: Graph, path: str | Path) -> None:
    """Raises BadInput if a recovery belongs to another network than `graph`."""
    own = graph_of(recovery, path)
    same = own.n_edges == graph.n_edges and all(
        np.array_equal(getattr(own, name), getattr(graph, name)) for name in ("edge_metabolite", "edge_reaction", "edge_is_substrate")
    )
    if not same:
        raise BadInput(path, "graph", f"{own.n_edges} edges of another network", f"the graph of the truth ({graph.n_edges} edges)")


def data_path(store: Path, data: str) -> Path:
    return store / "data" / f"{data}.nc"


def recovery_path(store: Path, fit: Fit) -> Path:
    return store / "fits" / fit.data / fit.config_id / "recovery.nc"


def baseline_coefficients(graph: Graph) -> dict[str, np.ndarray]:
    """(E,) coefficients that know only the graph's roles.

    baseline_unit: -1 for substrates, +1 for products.
    baseline_balanced: -1.5 for substrates, +1.5 n_sub/n_prod for products: roles and mass balance.
    """
    sign = np.where(graph.edge_is_substrate, -1.0, 1.0)
    n_sub = np.bincount(graph.edge_reaction, graph.edge_is_substrate, graph.n_reactions)
    n_prod = np.bincount(graph.edge_reaction, ~graph.edge_is_substrate, graph.n_reactions)
    ratio = n_sub / np.maximum(n_prod, 1)
    return {"baseline_unit": sign, "baseline_balanced": np.where(graph.edge_is_substrate, -1.5, 1.5 * ratio[graph.edge_reaction])}


def reference_metrics(graph: Graph, truth: Truth, flux: np.ndarray, dcdt: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
    """Baselines and oracles on a simulated data set, each decoded by every method: {reference: {method: metrics}}.

    `flux`, `dcdt`: of `oracle.true_frames`.
    """
    references = baseline_coefficients(graph) | oracle_coefficients(graph, flux, dcdt)
    unit = np.ones(graph.n_edges)
    result: dict[str, dict[str, dict[str, float]]] = {}
    for name, coefficient in references.items():
        result[name] = {}
        for method in METHODS:
            found = decode(graph, coefficient, unit, method)
            result[name][method] = recovery_metrics(
                graph, coefficient, found.coefficient, truth.log_k, truth.stoichiometry, truth.log_k
            ) | {"log_k_r2": math.nan}
    return result


def baselines_table(study_name: str, fits: list[Fit], store: Path) -> pd.DataFrame:
    """baselines.csv: the references on every data set of the study, in the form of metrics.csv.

    They are computed on all training runs (param.n_runs is empty), and again on the first n_runs where fits see no more.
    """
    asked: dict[tuple[str, int], set[int]] = {}
    for fit in fits:
        asked.setdefault((fit.data, fit.network_seed), set()).add(fit.config.n_runs)
    rows = []
    for (data, seed), runs in asked.items():
        content = read_data(data_path(store, data))
        truth = read_truth(data_path(store, data), content.graph)
        for n_runs in (None, *sorted(n for n in runs if n < content.n_training_runs)):
            found = reference_metrics(content.graph, truth, *true_frames(content, truth, n_runs))
            rows += _reference_rows(study_name, data, seed, n_runs, found)
    return pd.DataFrame(rows)


def _reference_rows(study: str, data: str, seed: int, n_runs: int | None, references: dict[str, dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """Rows of baselines.csv: `references` on the first `n_runs` training runs of a data set; None: on all."""
    suffix = "" if n_runs is None else f"+n_runs~{n_runs}"
    rows = []
    for name, methods in references.items():
        kind = name.split("_")[0]
        for method, metrics in methods.items():
            row = _identity(f"{data}/{name}{suffix}", study, kind, method, kind, seed, None)
            rows.append(row | {"param.n_runs": n_runs, **metrics, "val_loss": math.nan, "variant": name, "is_answer": False})
    return rows
