"""What a data set is like: sizes, fluxes, and how far they tell a metabolite's reactions apart."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stoirec.data.dataset import TRAINING, VALIDATION, Data
from stoirec.network.graph import Graph
from stoirec.network.notation import signed_coefficient
from stoirec.simulate.truth import Truth

_RESOLVED = 1e-6  # relative size of a singular value that still counts


def thinned(data: Data, frames: int) -> Data:
    """The same data with about `frames` frames per trajectory: they are smooth, and descriptions need no more."""
    step = max(1, data.n_frames // frames)
    return replace(
        data, time=data.time[..., ::step], concentration=data.concentration[:, ::step], dcdt=data.dcdt[:, ::step]
    )


def sizes(data: Data, truth: Truth) -> pd.DataFrame:
    """Two columns, quantity and value: the network and the trajectories."""
    graph = data.graph
    entries = np.bincount(graph.edge_reaction[truth.edge_is_true], minlength=graph.n_reactions)
    rows = {
        "metabolites": graph.n_metabolites,
        "reactions": graph.n_reactions,
        "true substrate edges": int((truth.edge_is_true & graph.edge_is_substrate).sum()),
        "true product edges": int((truth.edge_is_true & ~graph.edge_is_substrate).sum()),
        "decoy edges (true coefficient 0)": int((~truth.edge_is_true).sum()),
        "entries per reaction": f"{entries.min()} to {entries.max()}",
        "training trajectories": int((data.run_role == TRAINING).sum()),
        "validation trajectories": int((data.run_role == VALIDATION).sum()),
        "frames per trajectory": data.n_frames,
        "time between frames [time unit]": f"{np.diff(data.time).mean():g}",
        "concentrations [concentration unit]": f"{data.concentration.min():.3g} to {data.concentration.max():.3g}",
    }
    return pd.DataFrame(
        {
            "quantity": rows.keys(),
            "value": [f"{value:,}" if isinstance(value, int) else value for value in rows.values()],
        }
    )


def coefficient_counts(truth: Truth, graph: Graph) -> pd.DataFrame:
    """How many candidate edges have which true coefficient."""
    values, counts = np.unique(graph.on_edges(truth.stoichiometry), return_counts=True)
    return pd.DataFrame(
        {
            "true coefficient": [signed_coefficient(value) for value in values],
            "edges": counts,
            "share": counts / counts.sum(),
        }
    )


@dataclass(frozen=True)
class Regressions:
    """Each metabolite's regression of dc/dt on the true fluxes of its reactions.

    Attributes:
        n_reactions: (M,) unknowns.
        rank: (M,) singular values, of flux columns scaled to unit length, above 1e-6 of the largest.
        condition: (M,) largest over smallest singular value.
    """

    n_reactions: np.ndarray
    rank: np.ndarray
    condition: np.ndarray


def regressions(graph: Graph, flux: np.ndarray) -> Regressions:
    """`flux`: (frames, R) true fluxes over the training trajectories."""
    columns = flux / np.maximum(np.linalg.norm(flux, axis=0), 1e-300)
    # same singular values on every subset of columns, far fewer rows
    triangle: np.ndarray = np.linalg.qr(columns, mode="r")  # type: ignore[assignment]  # its types know no other mode
    n_reactions, rank, condition = (np.zeros(graph.n_metabolites, kind) for kind in (int, int, float))
    for metabolite in range(graph.n_metabolites):
        reactions = graph.edge_reaction[graph.edge_metabolite == metabolite]
        if len(reactions) == 0:
            continue
        singular = np.linalg.svd(triangle[:, reactions], compute_uv=False)
        n_reactions[metabolite] = len(reactions)
        rank[metabolite] = int((singular > _RESOLVED * singular[0]).sum())
        condition[metabolite] = singular[0] / max(singular[-1], 1e-16 * singular[0], 1e-300)
    return Regressions(n_reactions, rank, condition)
