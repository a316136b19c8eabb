"""Where a recovered matrix is wrong: reaction by reaction, against the rate constant, against its own confidence."""

import numpy as np
import pandas as pd
import xarray as xr

from stoirec.network.graph import Graph
from stoirec.simulate.truth import Truth

_CONFIDENCE = np.array([0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0])


def equation(graph: Graph, coefficient: np.ndarray, reaction: int) -> str:
    """A column as a chemist writes it: M3 + 2 M7 → M1. `coefficient`: (E,) integers."""
    edges = graph.edges_of(reaction)

    def side(sign: int) -> str:
        terms = [(abs(c), m) for c, m in zip(coefficient[edges], graph.edge_metabolite[edges]) if np.sign(c) == sign]
        return " + ".join((f"{size} " if size != 1 else "") + f"M{metabolite}" for size, metabolite in terms) or "∅"

    return f"{side(-1)} → {side(1)}"


def wrong_entries(graph: Graph, recovered: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(R,) wrong entries of each column; arguments (E,) integers."""
    return np.bincount(graph.edge_reaction[recovered != true], minlength=graph.n_reactions)


def wrong_reactions(graph: Graph, truth: Truth, recovery: xr.Dataset) -> pd.DataFrame:
    """Every reaction with a wrong entry, weakest first.

    Columns: reaction, k [1 / time unit], true, recovered (equations), wrong entries, only scale (the columns are
    multiples of each other), confidence (the lowest of the column), rank of truth (its place among the columns listed in
    recovery.nc, best is 1; missing if it is not among them).
    """
    true = graph.on_edges(truth.stoichiometry)
    found = graph.on_edges(recovery["stoichiometry"].values).astype(int)
    wrong = wrong_entries(graph, found, true)
    rows = []
    for reaction in sorted(np.flatnonzero(wrong), key=lambda j: truth.log_k[j]):
        edges = graph.edges_of(reaction)
        a, b = true[edges], found[edges]
        listed = (recovery["alternative"].values[:, edges] == a).all(axis=1)
        rows.append(
            {
                "reaction": int(reaction),
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
    z = 1.96
    rows = []
    for members in np.array_split(np.argsort(log_k, kind="stable"), min(n_bins, len(log_k))):
        n, share = len(members), wrong[members].mean()
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
        low, high = log_k[members].min(), log_k[members].max()
        rows.append(
            {
                "low": low,
                "high": high,
                "n": n,
                "share": share,
                "lower": min(centre - half, share),
                "upper": max(centre + half, share),
            }
        )
    return pd.DataFrame(rows)


def calibration(confidence: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """Is an entry of confidence p right with frequency p? Bins of confidence, from [0, 0.5) to [0.99, 1].

    Args:
        confidence: (E,) in [0, 1]; right: (E,) bool.
    """
    last = len(_CONFIDENCE) - 2
    which = np.clip(np.searchsorted(_CONFIDENCE, confidence, side="right") - 1, 0, last)
    rows = []
    for index in range(last + 1):
        of = which == index
        bounds = f"{_CONFIDENCE[index]:g} to {_CONFIDENCE[index + 1]:g}"
        rows.append(
            {
                "confidence": bounds,
                "entries": int(of.sum()),
                "share of entries": float(of.mean()),
                "mean confidence": float(confidence[of].mean()) if of.any() else np.nan,
                "share right": float(right[of].mean()) if of.any() else np.nan,
            }
        )
    return pd.DataFrame(rows)
