"""A recovered matrix in the field's formats."""

from pathlib import Path

import numpy as np
import xarray as xr

from stoirec.data.graph_variables import space_of
from stoirec.errors import BadInput
from stoirec.models.equations import alternatives, equation_table, matrix_table
from stoirec.models.sbml import Recovered, sbml_of


def export_text(recovery: xr.Dataset, path: str | Path, kind: str) -> str:
    """The text of the file `kind` (sbml, matrix, equations) asks for. Raises BadInput: the fit had diverged."""
    if recovery.attrs.get("status") != "ok":
        raise BadInput(path, "status", recovery.attrs.get("status", "nothing"), "ok: a fit that did not diverge")
    space = space_of(recovery, path)
    graph = space.graph
    if kind == "matrix":
        return matrix_table(recovery, graph)
    if kind == "equations":
        return equation_table(recovery, space)
    name = "no_column_probability"
    none_right = recovery[name].values if name in recovery else np.full(graph.n_reactions, np.nan)
    answer = graph.on_edges(recovery["stoichiometry"].values).astype(float)
    return sbml_of(Recovered(space, answer, recovery["confidence"].values, none_right, alternatives(recovery, space)))
