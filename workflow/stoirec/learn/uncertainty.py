"""Standard errors of the learned coefficients.

Given the learned fluxes, each row of dc/dt = S v is a linear regression of dc_i/dt on the fluxes of the reactions
that touch metabolite i. Its standard errors are conditional on the fluxes being right: too small in absolute terms,
informative from edge to edge (a weak or collinear reaction has a large one).
"""

import numpy as np

from stoirec.network.graph import Graph


def coefficient_se(graph: Graph, flux_gram: np.ndarray, residual_variance: np.ndarray) -> np.ndarray:
    """Conditional standard error of each edge's coefficient.

    Args:
        graph: candidate edges.
        flux_gram: (R, R) V'V of the learned fluxes V (frames, R).
        residual_variance: (M,) mean squared residual of dc_i/dt.

    Returns:
        (E,), in the unit of the coefficients.
    """
    se = np.empty(graph.n_edges)
    for metabolite in range(graph.n_metabolites):
        edges = np.flatnonzero(graph.edge_metabolite == metabolite)
        reactions = graph.edge_reaction[edges]
        inverse = np.linalg.pinv(flux_gram[np.ix_(reactions, reactions)], rcond=1e-12, hermitian=True)
        se[edges] = np.sqrt(np.maximum(np.diag(inverse), 0) * residual_variance[metabolite])
    return se
