"""The score of a recovery: its metrics against the truth, by every rounding method; NaN if the fit diverged."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from stoirec.answer.decode import METHODS, decode
from stoirec.data.graph_variables import graph_of
from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.network.graph import Graph
from stoirec.score.metrics import NAMES, r2, recovery_metrics
from stoirec.simulate.truth import Truth

RECOVERY_VARIABLES = (
    "stoichiometry",
    "coefficient",
    "confidence",
    "val_loss",
    *(f"{kind}_{m}" for m in METHODS for kind in ("stoichiometry", "log_k")),
)


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
                graph,
                recovery["coefficient"].values,
                integers,
                recovery[f"log_k_{method}"].values,
                truth.stoichiometry,
                truth.log_k,
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
        row = {
            "step": int(step),
            "r2": r2(coefficient, true),
            "sign_accuracy": float((np.sign(coefficient) == np.sign(true))[true != 0].mean()),
        }
        for method in ("nearest", "scaled"):
            row[f"entry_exact_{method}"] = float((decode(graph, coefficient, ones, method).coefficient == true).mean())
        rows.append(row)
    return pd.DataFrame(rows)


def check_same_graph(recovery: xr.Dataset, graph: Graph, path: str | Path) -> None:
    """Raises BadInput if a recovery belongs to another network than `graph`."""
    own = graph_of(recovery, path)
    same = own.n_edges == graph.n_edges and all(
        np.array_equal(getattr(own, name), getattr(graph, name))
        for name in ("edge_metabolite", "edge_reaction", "edge_is_substrate")
    )
    if not same:
        raise BadInput(
            path, "graph", f"{own.n_edges} edges of another network", f"the graph of the truth ({graph.n_edges} edges)"
        )
