"""Graph and column space as variables of a NetCDF file: every file of the workflow carries them."""

from pathlib import Path

import numpy as np
import xarray as xr

from stoirec.errors import BadInput
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph

# of the column space, each with its dimensions; a file without one has the default
_SPACE = {
    "edge_sign": (("edge",), "-1 consumed, +1 produced, 0 unknown"),
    "edge_bound": (("edge",), "largest |S|"),
    "edge_known": (("edge",), "known coefficient, NaN where it is sought"),
    "conserved": (("quantity", "metabolite"), "A, with A S = 0; NaN where nothing is said"),
    "reaction_is_open": (("reaction",), "1: not held to A S = 0"),
}
_REVERSE = "reaction_reverse_of"
_REAL = "edge_is_real"
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
    for dim, size, names, labels in (
        ("metabolite", graph.n_metabolites, graph.metabolite_names, graph.metabolite_labels),
        ("reaction", graph.n_reactions, graph.reaction_names, graph.reaction_labels),
    ):
        values = np.array(names, dtype=object) if names else np.arange(size)
        variables[dim] = xr.Variable(dim, values, {"long_name": f"{dim} {'name' if names else 'index'}", "units": "1"})
        if labels:
            text = {"long_name": f"what people call the {dim}", "units": "1"}
            variables[f"{dim}_label"] = xr.Variable(dim, np.array(labels, dtype=object), text)
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
            _labels(dataset, "metabolite", path),
            _labels(dataset, "reaction", path),
        )
    except ValueError as error:
        raise BadInput(
            path, "graph", error, "indices within the data, unique edges sorted by reaction, then metabolite"
        ) from None


def space_variables(space: ColumnSpace) -> dict[str, xr.Variable]:
    """The graph, and what of its column space differs from the default."""
    default = ColumnSpace.of_roles(space.graph)
    variables = graph_variables(space.graph)
    for (name, (dims, text)), attribute in zip(_SPACE.items(), ("sign", "bound", "known", "conserved", "is_open")):
        own, usual = np.asarray(getattr(space, attribute)), getattr(default, attribute)
        if own.shape != usual.shape or not np.array_equal(own, usual, equal_nan=own.dtype.kind == "f"):
            values = own.astype(np.int8) if own.dtype == bool else own
            variables[name] = xr.Variable(dims, values, {"long_name": text, "units": "1"})
    if space.quantities:
        about = {"long_name": "what is conserved", "units": "1"}
        variables["quantity"] = xr.Variable("quantity", np.array(space.quantities, object), about)
    if space.real is not None:
        about = {"long_name": "1: the coefficient is not 0; 0: it may be, where the recipe lets it", "units": "1"}
        variables[_REAL] = xr.Variable("edge", space.real.astype(np.int8), about)
    if space.reverse_of is not None:
        about = {"long_name": "its column is minus that reaction's; -1: none", "units": "1"}
        variables[_REVERSE] = xr.Variable("reaction", space.reverse_of, about)
    return variables


def space_of(dataset: xr.Dataset, path: str | Path) -> ColumnSpace:
    """Graph and column space in a file's dataset. Raises BadInput if they do not match the data, or each other."""
    graph = graph_of(dataset, path)
    default = ColumnSpace.of_roles(graph)
    given = {
        name: _numbers(dataset, name, dims, path) for name, (dims, _) in _SPACE.items() if name in dataset.variables
    }
    for name, bad, allowed in (
        ("edge_sign", lambda x: ~np.isin(x, (-1, 0, 1)), "-1, 0 or 1"),
        ("edge_bound", lambda x: (x < 1) | (x != np.round(x)), "integers from 1"),
        ("edge_known", np.isinf, "finite numbers, NaN where the coefficient is sought"),
        ("conserved", np.isinf, "finite numbers, NaN where nothing is said"),
        ("reaction_is_open", lambda x: ~np.isin(x, (0, 1)), "0 or 1"),
    ):
        if name in given and bad(given[name]).any():
            raise BadInput(path, name, f"{given[name][bad(given[name])][0]:g}", allowed)
    sign = given.get("edge_sign", default.sign)
    if (sign * np.nan_to_num(given.get("edge_known", default.known)) < 0).any():
        raise BadInput(path, "edge_known", "a coefficient against its sign", "coefficients of the edges' signs")
    bound = given.get("edge_bound", default.bound).astype(int)
    known = given.get("edge_known", default.known)
    return ColumnSpace(
        graph,
        sign.astype(np.int8),
        np.maximum(bound, np.ceil(np.nan_to_num(np.abs(known))).astype(int)),
        known,
        given.get("conserved", default.conserved),
        given.get("reaction_is_open", default.is_open).astype(bool),
        quantities=_names(dataset, "quantity"),
        reverse_of=_reverse_of(dataset, graph, path),
        real=_real(dataset, path),
    )


def _real(dataset: xr.Dataset, path: str | Path) -> np.ndarray | None:
    if _REAL not in dataset.variables:
        return None
    found = _numbers(dataset, _REAL, ("edge",), path)
    if not np.isin(found, (0, 1)).all():
        raise BadInput(path, _REAL, f"{found[~np.isin(found, (0, 1))][0]:g}", "0 or 1")
    return found.astype(bool)


def _reverse_of(dataset: xr.Dataset, graph: Graph, path: str | Path) -> np.ndarray | None:
    if _REVERSE not in dataset.variables:
        return None
    found = _numbers(dataset, _REVERSE, ("reaction",), path)
    bad = (found != np.round(found)) | (found < -1) | (found >= graph.n_reactions) | (found == np.arange(len(found)))
    if bad.any():
        raise BadInput(
            path, _REVERSE, f"{found[bad][0]:g}", f"another reaction's index below {graph.n_reactions}, or -1"
        )
    found = found.astype(np.int64)
    forward = found[found >= 0]
    if (found[forward] >= 0).any() or len(np.unique(forward)) < len(forward):
        text = "a reaction that is a reverse itself, or has two"
        raise BadInput(path, _REVERSE, text, "for each backward reaction a forward one of its own; -1 for that")
    return found


def _numbers(dataset: xr.Dataset, name: str, dims: tuple[str, ...], path: str | Path) -> np.ndarray:
    variable = dataset[name]
    if variable.dims != dims:
        raise BadInput(path, name, f"dimensions {variable.dims}", f"({', '.join(dims)})")
    if variable.dtype.kind not in "iufb":
        raise BadInput(path, name, f"type {variable.dtype}", "numbers")
    return variable.values.astype(float)


def _names(dataset: xr.Dataset, dim: str) -> tuple[str, ...]:
    """The names in the coordinate of a dimension; none where it holds indices, or is missing."""
    if dim not in dataset.coords or dataset[dim].dtype.kind not in "OUS":
        return ()
    return tuple(str(name) for name in dataset[dim].values)


def _labels(dataset: xr.Dataset, dim: str, path: str | Path) -> tuple[str, ...]:
    name = f"{dim}_label"
    if name not in dataset.variables:
        return ()
    if dataset[name].dims != (dim,) or dataset[name].dtype.kind not in "OUS":
        raise BadInput(path, name, f"{dataset[name].dtype} {dataset[name].dims}", f"text ({dim})")
    return tuple(str(label) for label in dataset[name].values)


def check_same_graph(dataset: xr.Dataset, graph: Graph, path: str | Path) -> None:
    """Raises BadInput if a file's dataset belongs to another network than `graph`, that of the data."""
    own = graph_of(dataset, path)
    same = own.n_edges == graph.n_edges and all(
        np.array_equal(getattr(own, name), getattr(graph, name))
        for name in ("edge_metabolite", "edge_reaction", "edge_is_substrate")
    )
    if not same:
        raise BadInput(
            path, "graph", f"{own.n_edges} edges of another network", f"the graph of the data ({graph.n_edges} edges)"
        )
