"""Where a recovered matrix is wrong: reaction by reaction, and against the rate constant."""

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import binomtest

from stoirec.network.graph import Graph
from stoirec.network.notation import equation
from stoirec.simulate.truth import Truth


def wrong_entries(graph: Graph, recovered: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(R,) wrong entries of each column; arguments (E,) coefficients."""
    return np.bincount(graph.edge_reaction[recovered != true], minlength=graph.n_reactions)


def wrong_reactions(graph: Graph, truth: Truth, recovery: xr.Dataset) -> pd.DataFrame:
    """Every reaction with a wrong entry, weakest first.

    Columns: reaction (name), k [1 / time unit], true, recovered (equations), wrong entries, only scale (the columns are
    multiples of each other), confidence (the lowest of the column), rank of truth (its place among the columns listed
    in recovery.nc, best is 1; missing if it is not among them).
    """
    true = graph.on_edges(truth.stoichiometry).astype(float)
    found = graph.on_edges(recovery["stoichiometry"].values).astype(float)
    wrong = wrong_entries(graph, found, true)
    rows = []
    for reaction in sorted(np.flatnonzero(wrong).tolist(), key=lambda j: truth.log_k[j]):
        edges = graph.edges_of(reaction)
        a, b = true[edges], found[edges]
        listed = (recovery["alternative"].values[:, edges] == a).all(axis=1)
        rows.append(
            {
                "reaction": graph.reaction_name(reaction),
                "k": float(10.0 ** truth.log_k[reaction]),
                "true": equation(graph, true, reaction),
                "recovered": equation(graph, found, reaction),
                "wrong entries": f"{wrong[reaction]} of {len(a)}",
                "only scale": bool(a @ b > 0 and (a @ b) ** 2 == (a @ a) * (b @ b)),
                "confidence": float(recovery["confidence"].values[edges].min()),
                "rank of truth": str(int(np.argmax(listed)) + 1) if listed.any() else "–",
            }
        )
    return pd.DataFrame(
        rows,
        columns=["reaction", "k", "true", "recovered", "wrong entries", "only scale", "confidence", "rank of truth"],
    )


def error_rate(log_k: np.ndarray, wrong: np.ndarray, n_bins: int = 8) -> pd.DataFrame:
    """Share of reactions with a wrong entry in bins of equal counts of log k, with a 95 % Wilson interval.

    Args:
        log_k: (R,); wrong: (R,) bool.

    Returns:
        One row per bin: low, high (log k), n, share, lower, upper.
    """
    rows = []
    for members in np.array_split(np.argsort(log_k, kind="stable"), min(n_bins, len(log_k))):
        found = binomtest(int(wrong[members].sum()), len(members))
        likely = found.proportion_ci(method="wilson")
        rows.append(
            {
                "low": log_k[members].min(),
                "high": log_k[members].max(),
                "n": found.n,
                "share": found.statistic,
                "lower": likely.low,
                "upper": likely.high,
            }
        )
    return pd.DataFrame(rows)
