"""Ceilings: what a learner could reach on a data set, computed from the truth.

Row least squares regresses each dc_i/dt on the true fluxes of the reactions that touch metabolite i; balanced least
squares adds that columns sum to zero, which tells reactions with collinear fluxes apart. The scale-blind oracle knows
each flux only up to a factor, as a learner does whose functions can absorb it.
"""

from typing import Any

import numpy as np

from stoirec.data.dataset import Data
from stoirec.network.graph import Graph
from stoirec.simulate.truth import Truth

_SUM_WEIGHT = 10.0  # of a column-sum equation, against flux columns of length at most 1
_SAME = 1 - 1e-9  # absolute cosine above which two fluxes are the same up to a factor


def true_frames(data: Data, truth: Truth, n_runs: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(frames, R) true fluxes and (frames, M) dc/dt of the first `n_runs` (default: all) training runs: what every oracle works on."""
    concentration, dcdt = data.training_frames(data.n_training_runs if n_runs is None else n_runs)
    return truth.flux(concentration), dcdt


def oracle_coefficients(graph: Graph, flux: np.ndarray, dcdt: np.ndarray) -> dict[str, np.ndarray]:
    """(E,) coefficients of the oracles, to be decoded like a learner's.

    oracle_least_squares: row least squares on the true fluxes.
    oracle_balanced: the same with zero column sums.
    oracle_scale_blind: the balanced columns, each divided by its mean absolute entry.
    """
    rows, balanced = least_squares(graph, flux, dcdt)
    size = np.bincount(graph.edge_reaction, np.abs(balanced), graph.n_reactions) / np.maximum(
        np.diff(graph.reaction_ptr), 1
    )
    return {
        "oracle_least_squares": rows,
        "oracle_balanced": balanced,
        "oracle_scale_blind": balanced / np.maximum(size, 1e-300)[graph.edge_reaction],
    }


def least_squares(graph: Graph, flux: np.ndarray, dcdt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(E,) coefficients of dc/dt (frames, M) on the true fluxes (frames, R): by row, and with zero column sums.

    By row they have minimum norm where fluxes are collinear. With zero sums, the rows' triangular factors and the sum
    constraints (with a large weight) make one least-squares problem of E + R equations in E unknowns.
    """
    by_row = np.empty(graph.n_edges)
    scale = np.maximum(np.linalg.norm(flux, axis=0), 1e-300)
    equations = np.zeros((graph.n_edges + graph.n_reactions, graph.n_edges))
    right = np.zeros(graph.n_edges + graph.n_reactions)
    for metabolite, edges, reactions in _rows(graph):
        q, r = np.linalg.qr(flux[:, reactions] / scale[reactions])
        projected = q.T @ dcdt[:, metabolite]
        by_row[edges] = np.linalg.lstsq(r, projected, rcond=1e-10)[0] / scale[reactions]
        equations[np.ix_(edges, edges)] = r * scale[reactions] / scale.max()
        right[edges] = projected / scale.max()
    equations[graph.n_edges + graph.edge_reaction, np.arange(graph.n_edges)] = _SUM_WEIGHT
    return by_row, np.linalg.lstsq(equations, right, rcond=1e-14)[0]


def conditioning(graph: Graph, flux: np.ndarray) -> np.ndarray:
    """(M,) condition number of each metabolite's regression, flux columns scaled to unit length."""
    gram = flux.T @ flux
    result = np.ones(graph.n_metabolites)
    for metabolite, _, reactions in _rows(graph):
        block = gram[np.ix_(reactions, reactions)]
        norm = np.sqrt(np.maximum(np.diag(block), 1e-300))
        eigenvalues = np.linalg.eigvalsh(block / np.outer(norm, norm))
        result[metabolite] = np.sqrt(eigenvalues[-1] / max(eigenvalues[0], eigenvalues[-1] * 1e-24))
    return result


def indistinguishable(flux: np.ndarray) -> list[list[int]]:
    """Groups of reactions whose true fluxes are the same up to a factor: only mass balance tells their columns apart."""
    norm = np.maximum(np.linalg.norm(flux, axis=0), 1e-300)
    same = np.abs((flux / norm).T @ (flux / norm)) > _SAME
    groups, seen = [], set()
    for reaction in range(flux.shape[1]):
        members = [int(j) for j in np.flatnonzero(same[reaction])]
        if reaction not in seen and len(members) > 1:
            groups.append(members)
        seen.update(members)
    return groups


def diagnosis(graph: Graph, flux: np.ndarray) -> dict[str, Any]:
    """Conditioning and indistinguishable reactions, for `stoirec oracle`."""
    condition = conditioning(graph, flux)
    return {
        "condition_median": float(np.median(condition)),
        "condition_p90": float(np.percentile(condition, 90)),
        "condition_number": [float(value) for value in condition],
        "indistinguishable_reactions": indistinguishable(flux),
    }


def _rows(graph: Graph):
    """(metabolite, its edges, their reactions), metabolites without edges left out."""
    for metabolite in range(graph.n_metabolites):
        edges = np.flatnonzero(graph.edge_metabolite == metabolite)
        if len(edges):
            yield metabolite, edges, graph.edge_reaction[edges]
