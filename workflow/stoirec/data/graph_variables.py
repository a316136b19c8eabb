"""Graph and column space as variables of a NetCDF file: every file of the workflow carries them."""

from pathlib import Path

import numpy as np
import xarray as xr

from stoirec.errors import BadInput, from_file
from stoirec.files.contents import NETWORK
from stoirec.files.schema import check, names_of
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
    """The graph in a file's dataset.

    Raises:
        BadInput: the dataset is not as `contents.NETWORK` says.
    """
    with from_file(path):
        check(dataset, NETWORK)
    metabolite, reaction = (dataset[name].values.astype(np.int64) for name in ("edge_metabolite", "edge_reaction"))
    n_reactions = dataset.sizes.get("reaction", int(reaction.max(initial=-1)) + 1)
    return Graph(
        dataset.sizes["metabolite"],
        n_reactions,
        metabolite,
        reaction,
        dataset["edge_is_substrate"].values.astype(bool),
        names_of(dataset, "metabolite"),
        names_of(dataset, "reaction"),
        names_of(dataset, "metabolite_label"),
        names_of(dataset, "reaction_label"),
    )


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
    """Graph and column space in a file's dataset. Raises BadInput as `graph_of` does."""
    graph = graph_of(dataset, path)
    default = ColumnSpace.of_roles(graph)

    def given(name: str, default: np.ndarray | None, dtype: type) -> np.ndarray | None:
        return dataset[name].values.astype(dtype) if name in dataset.variables else default

    known = given("edge_known", default.known, float)
    bound = given("edge_bound", default.bound, np.int64)
    return ColumnSpace(
        graph,
        given("edge_sign", default.sign, np.int8),
        np.maximum(bound, np.ceil(np.nan_to_num(np.abs(known))).astype(int)),
        known,
        given("conserved", default.conserved, float),
        given("reaction_is_open", default.is_open, bool),
        quantities=names_of(dataset, "quantity"),
        reverse_of=given(_REVERSE, None, np.int64),
        real=given(_REAL, None, bool),
    )


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
