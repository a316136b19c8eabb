"""Ceilings: what a learner could reach on a data set, computed from the truth.

Row least squares regresses each dc_i/dt on the true fluxes of the reactions that touch metabolite i; balanced least
squares is of columns that conserve what is conserved, which tells reactions with collinear fluxes apart. The
scale-blind oracle knows each flux only up to a factor, as a learner does whose functions can absorb it.
"""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import null_space

from stoirec.data.dataset import Data
from stoirec.data.windows import integrals
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph
from stoirec.simulate.truth import Truth

_HELD = 1e-8  # weight of a coefficient that stays as it was, against the largest of a flux
_EXACT, _STEPS = 1e-14, 100_000  # LSMR's: tolerance, and iterations at most
_SAME = 1 - 1e-9  # absolute cosine above which two fluxes are the same up to a factor


def true_frames(data: Data, truth: Truth, n_runs: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(frames, R) true fluxes and (frames, M) dc/dt, what every oracle works on.

    Of the first `n_runs` training runs (default: all). Where nobody measured dc/dt, and concentrations are noisy, the
    integrals of the fluxes along smooth courses and the measured changes, as a learner has them. An oracle knows what
    nobody measured.
    """
    data = truth.completed(data)
    frames = data.training_frames(data.n_training_runs if n_runs is None else n_runs)
    if not data.noise.any():
        return truth.flux(frames.concentration), frames.dcdt
    changes = integrals(frames, data.courses, data.noise, sum(len(course.time) for course in data.courses))
    flux = torch.as_tensor(truth.flux(changes.points.numpy()))
    return changes.over_points(flux.T).T.numpy(), changes.target.numpy()


def oracle_coefficients(space: ColumnSpace, flux: np.ndarray, dcdt: np.ndarray) -> dict[str, np.ndarray]:
    """(E,) coefficients of the oracles, to be decoded like a learner's.

    oracle_least_squares: row least squares on the true fluxes.
    oracle_balanced: the same of columns that conserve what is conserved.
    oracle_scale_blind: the balanced columns, each divided by its mean absolute entry.
    """
    graph = space.graph
    rows, balanced = least_squares(space, flux, dcdt)
    size = graph.sum_by_reaction(np.abs(balanced)) / np.maximum(np.diff(graph.reaction_ptr), 1)
    blind = balanced / np.maximum(size, 1e-300)[graph.edge_reaction]
    return {"oracle_least_squares": rows, "oracle_balanced": balanced, "oracle_scale_blind": blind}


def least_squares(space: ColumnSpace, flux: np.ndarray, dcdt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(E,) coefficients of dc/dt (frames, M) on the true fluxes (frames, R): by row, and of balanced columns.

    By row they have minimum norm where fluxes are collinear. Balanced ones are what roles and balance alone say, and
    combinations of each reaction's balanced directions beside it: what fluxes leave open stays as it was. The rows'
    triangular factors make one sparse problem of them (LSMR: Fong and Saunders, SIAM J. Sci. Comput. 33, 2011).
    """
    graph = space.graph
    by_row, factors, values = np.empty(graph.n_edges), [], []
    scale = np.maximum(np.linalg.norm(flux, axis=0), 1e-300)
    rows = list(_rows(graph))
    for metabolite, edges, reactions in rows:
        q, r = np.linalg.qr(flux[:, reactions] / scale[reactions])
        factors.append(r)
        values.append(q.T @ dcdt[:, metabolite])
        by_row[edges] = np.linalg.lstsq(r, values[-1], rcond=1e-10)[0] / scale[reactions]
    size = scale[graph.edge_reaction]  # of an edge's part in dc/dt, over its coefficient
    by_edge = np.argsort(np.concatenate([edges for _, edges, _ in rows]))
    of_parts = sparse.block_diag(factors, format="csc")[:, by_edge]
    balanced = sparse.block_diag([null_space(space.amounts[:, graph.edges_of(j)]) for j in range(graph.n_reactions)])
    roles = np.where(np.isnan(space.known), np.where(space.catalyses, 0.0, space.likely_sign), space.known)
    start = balanced @ (balanced.T @ roles)
    left = np.concatenate(values) - of_parts @ (start * size)
    equations = sparse.vstack([of_parts @ sparse.diags(size) @ balanced, _HELD * size.max() * balanced]).tocsc()
    lengths = np.maximum(sparse.linalg.norm(equations, axis=0), 1e-300)
    scaled, target = equations @ sparse.diags(1 / lengths), np.concatenate([left, np.zeros(graph.n_edges)])
    moved = sparse.linalg.lsmr(scaled, target, atol=_EXACT, btol=_EXACT, conlim=0, maxiter=_STEPS)[0] / lengths
    return by_row, start + balanced @ moved


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
    """Groups of reactions whose true fluxes are the same up to a factor: only mass balance tells them apart."""
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
