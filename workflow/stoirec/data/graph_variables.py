"""The graph as variables of a NetCDF file: every file of the workflow carries it."""

from pathlib import Path

import numpy as np
import xarray as xr

from stoirec.errors import BadInput
from stoirec.network.graph import Graph

_GRAPH = ("edge_metabolite", "edge_reaction", "edge_is_substrate")


def graph_variables(graph: Graph) -> dict[str, xr.Variable]:
    """The graph as variables; every file of the workflow carries it."""
    describe = {
        "edge_metabolite": "metabolite index of the candidate edge",
        "edge_reaction": "reaction index of the candidate edge",
        "edge_is_substrate": "candidate role: 1 substrate (the rate depends on it), 0 product",
    }
    variables = {
        name: xr.Variable(
            "edge",
            getattr(graph, name).astype(np.int8 if name == "edge_is_substrate" else np.int64),
            {"long_name": text, "units": "1"},
        )
        for name, text in describe.items()
    }
    for dim, size, names in (
        ("metabolite", graph.n_metabolites, graph.metabolite_names),
        ("reaction", graph.n_reactions, graph.reaction_names),
    ):
        values = np.array(names, dtype=object) if names else np.arange(size)
        variables[dim] = xr.Variable(dim, values, {"long_name": f"{dim} {'name' if names else 'index'}", "units": "1"})
    return variables


def graph_of(dataset: xr.Dataset, path: str | Path) -> Graph:
    """The graph in a file's dataset. Raises BadInput if it does not match the data."""
    for name in _GRAPH:
        if name not in dataset.variables:
            raise BadInput(path, name, "nothing", f"a variable {name}(edge)")
        if dataset[name].dims != ("edge",):
            raise BadInput(path, name, f"dimensions {dataset[name].dims}", "(edge)")
        values = dataset[name].values
        if values.dtype.kind not in "iufb" or not np.equal(values, np.round(values)).all():
            raise BadInput(path, name, "other values", "integers")
    metabolite, reaction = (dataset[name].values.astype(np.int64) for name in _GRAPH[:2])
    if not np.isin(dataset["edge_is_substrate"].values, (0, 1)).all():
        raise BadInput(path, "edge_is_substrate", "other values", "0 or 1")
    n_reactions = dataset.sizes.get("reaction", int(reaction.max(initial=-1)) + 1)
    try:
        return Graph(
            dataset.sizes["metabolite"],
            n_reactions,
            metabolite,
            reaction,
            dataset["edge_is_substrate"].values.astype(bool),
            _names(dataset, "metabolite"),
            _names(dataset, "reaction"),
        )
    except ValueError as error:
        raise BadInput(
            path, "graph", error, "indices within the data, unique edges sorted by reaction, then metabolite"
        ) from None


def _names(dataset: xr.Dataset, dim: str) -> tuple[str, ...]:
    """The names in the coordinate of a dimension; none where it holds indices, or is missing."""
    if dim not in dataset.coords or dataset[dim].dtype.kind not in "OUS":
        return ()
    return tuple(str(name) for name in dataset[dim].values)
