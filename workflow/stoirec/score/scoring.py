"""The score of a recovery: its metrics against the truth, by every rounding method; NaN if the fit diverged."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from stoirec.answer.decode import decode
from stoirec.answer.prediction import ROLLOUT
from stoirec.data.graph_variables import space_of
from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.files.contents import RECOVERY
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph
from stoirec.score.matching import edges_of_matched, matched_reactions
from stoirec.score.metrics import NAMES, r2, recovery_metrics
from stoirec.simulate.truth import Truth

_PREFIX = "stoichiometry_"


def read_recovery(path: str | Path) -> xr.Dataset:
    """recovery.nc. Raises BadInput."""
    recovery = netcdf.read(path, RECOVERY)
    own = answered_by(recovery)
    if own not in methods_in(recovery):
        raise BadInput(path, _PREFIX + own, "nothing", "the answer's matrix and log_k by the method of its attributes")
    return recovery


def methods_in(recovery: xr.Dataset) -> list[str]:
    """The rounding methods a recovery holds: those known when it was rounded."""
    names = [str(name).removeprefix(_PREFIX) for name in recovery.variables if str(name).startswith(_PREFIX)]
    return [name for name in names if f"log_k_{name}" in recovery.variables]


def answered_by(recovery: xr.Dataset) -> str:
    """The rounding method that gave the answer."""
    return str(recovery.attrs.get("method") or json.loads(recovery.attrs["config"])["decoder"])


def score(recovery: xr.Dataset, truth: Truth, graph: Graph) -> dict[str, Any]:
    """The recovered answer's metrics; key `methods` holds those of every rounding method. NaN if the fit diverged."""
    own, space = answered_by(recovery), space_of(recovery, "recovery")
    true = graph.on_edges(truth.stoichiometry)
    matched = matched_reactions(space, graph.on_edges(recovery["stoichiometry"].values), true)
    edges, methods = edges_of_matched(space, matched), {}
    for method in methods_in(recovery):
        if recovery.attrs["status"] != "ok":
            methods[method] = dict.fromkeys(NAMES, math.nan)
        else:
            methods[method] = recovery_metrics(
                graph,
                recovery["coefficient"].values[edges],
                graph.on_edges(recovery[_PREFIX + method].values)[edges],
                recovery[f"log_k_{method}"].values[matched],
                truth.stoichiometry,
                truth.log_k,
                np.isnan(space.known),
            )
        rollout = f"{ROLLOUT}_{method}"
        methods[method][ROLLOUT] = float(recovery[rollout]) if rollout in recovery else math.nan
    return {
        "status": recovery.attrs["status"],
        "method": own,
        **methods[own],
        "val_loss": float(recovery["val_loss"]),
        "methods": methods,
    }


def score_history(fit: xr.Dataset, truth: Truth, space: ColumnSpace) -> pd.DataFrame:
    """S metrics over a fit's snapshots: step, r2, entry_exact by nearest rounding and up to a scale per reaction."""
    graph = space.graph
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
            row[f"entry_exact_{method}"] = float((decode(space, coefficient, ones, method).coefficient == true).mean())
        rows.append(row)
    return pd.DataFrame(rows)
