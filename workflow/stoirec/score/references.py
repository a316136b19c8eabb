"""What every result stands beside: trivial baselines, which know the graph, and oracles, which know the truth."""

import math

import numpy as np

from stoirec.answer.decode import METHODS, decode
from stoirec.answer.prediction import ROLLOUT
from stoirec.network.columns import ColumnSpace
from stoirec.score.metrics import recovery_metrics
from stoirec.score.oracle import oracle_coefficients
from stoirec.simulate.truth import Truth


def baseline_coefficients(space: ColumnSpace) -> dict[str, np.ndarray]:
    """(E,) coefficients that know only the graph's roles, and what is known of S.

    baseline_unit: -1 for substrates, +1 for products.
    baseline_balanced: the middle of 1..bound (1.5) for substrates, and for products as much of it as balances what is
        conserved; 1 in reactions where nothing is.
    """
    graph = space.graph
    sign = space.likely_sign
    conserves = graph.sum_by_reaction(np.abs(space.amounts)).sum(0) > 0
    middle = np.where(conserves[graph.edge_reaction], (1 + space.bound) / 2, 1.0)
    consumed, produced = (
        graph.sum_by_reaction(space.amounts * middle * side) for side in (sign < 0, sign > 0)
    )  # (quantities, R)
    square = (produced**2).sum(0)
    ratio = np.where(square > 0, (consumed * produced).sum(0) / np.where(square > 0, square, 1.0), 1.0)
    balanced = sign * middle * np.where(sign < 0, 1.0, ratio[graph.edge_reaction])
    found = {"baseline_unit": sign, "baseline_balanced": balanced}
    return {name: np.where(np.isnan(space.known), values, space.known) for name, values in found.items()}


def reference_metrics(
    space: ColumnSpace, truth: Truth, flux: np.ndarray, dcdt: np.ndarray
) -> dict[str, dict[str, dict[str, float]]]:
    """Baselines and oracles on a simulated data set, each decoded by every method: {reference: {method: metrics}}.

    `flux`, `dcdt`: of `oracle.true_frames`.
    """
    graph = space.graph
    unit, sought = np.ones(graph.n_edges), np.isnan(space.known)
    result: dict[str, dict[str, dict[str, float]]] = {}
    for name, coefficient in (baseline_coefficients(space) | oracle_coefficients(space, flux, dcdt)).items():
        result[name] = {}
        for method in METHODS:
            found = decode(space, coefficient, unit, method).coefficient
            true = truth.stoichiometry, truth.log_k
            metrics = recovery_metrics(graph, coefficient, found, truth.log_k, *true, sought)
            result[name][method] = metrics | {"log_k_r2": math.nan, ROLLOUT: math.nan}
    return result


def comparable_method(method: str) -> str:
    """The rounding method that references are decoded by beside an answer of `method`.

    Columns that refinement decided, or roles alone, are balanced and have the signs of the roles, as mass_balanced ones
    mostly do.
    """
    return method if method in METHODS else "mass_balanced"
