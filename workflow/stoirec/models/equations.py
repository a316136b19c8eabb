"""Recovered columns as equations, in the form that `stoirec import` reads."""

import csv
import io

import numpy as np
import xarray as xr

from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph
from stoirec.network.notation import sides

_DIGITS = 12  # of fractional coefficients, which are to be read again
_HEADER = ("reaction", "equation", "candidates", "confidence", "no_column_probability", "alternative")


def opposite_columns(space: ColumnSpace, coefficient: np.ndarray) -> dict[int, int]:
    """backward -> forward, of reactions whose columns, of `coefficient` (E,), are opposite and belong together."""
    graph, found = space.graph, {}
    for backward, forward in enumerate([] if space.reverse_of is None else space.reverse_of.tolist()):
        if forward >= 0:
            one, other = graph.edges_of(backward), graph.edges_of(forward)
            same = np.array_equal(graph.edge_metabolite[one], graph.edge_metabolite[other])
            if same and np.array_equal(coefficient[one], -coefficient[other]):
                found[backward] = forward
    return found


def equation(space: ColumnSpace, coefficient: np.ndarray, reaction: int, arrow: str = "->") -> str:
    """`A + 2 B -> C` of a column on the edges (E,); what drives without a change stands on both sides."""
    left, right = sides(space.graph, coefficient, reaction, space.catalyses, _DIGITS)
    return f"{left} {arrow} {right}".strip()


def alternatives(recovery: xr.Dataset, space: ColumnSpace) -> list[list[str]]:
    """By reaction, the next best columns as equations."""
    graph = space.graph
    answer, found = graph.on_edges(recovery["stoichiometry"].values), []
    for reaction in range(graph.n_reactions):
        own = graph.edges_of(reaction)
        cost = recovery["alternative_cost"].values[:, reaction]
        possible = recovery["alternative"].values[np.isfinite(cost)]
        found.append([equation(space, row, reaction) for row in possible if (row[own] != answer[own]).any()])
    return found


def equation_table(recovery: xr.Dataset, space: ColumnSpace) -> str:
    """All reactions of a recovery as comma-separated text: the least confidence of a reaction's entries, the
    probability that no column is right, and the next best column. Opposite columns of a reaction are one equation.
    """
    graph, text = space.graph, io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_HEADER)
    answer = graph.on_edges(recovery["stoichiometry"].values)
    others = alternatives(recovery, space)
    backward = opposite_columns(space, answer)
    both_ways = {forward: back for back, forward in backward.items()}
    for reaction in range(graph.n_reactions):
        if reaction in backward:
            continue
        directions = [reaction, *([both_ways[reaction]] if reaction in both_ways else [])]
        own = np.isin(graph.edge_reaction, directions)
        confidence = recovery["confidence"].values[own].min(initial=1.0)
        none_right = (
            recovery["no_column_probability"].values[directions].max()
            if "no_column_probability" in recovery
            else np.nan
        )
        arrow = "<->" if reaction in both_ways else "->"
        row = [graph.reaction_name(reaction), equation(space, answer, reaction, arrow), ""]
        row += [f"{confidence:.4f}", "" if np.isnan(none_right) else f"{none_right:.4f}"]
        table.writerow([*row, *others[reaction][:1]])
    return text.getvalue()


def matrix_table(recovery: xr.Dataset, graph: Graph) -> str:
    """S as comma-separated text, a named row for each metabolite and a named column for each reaction."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["metabolite", *map(graph.reaction_name, range(graph.n_reactions))])
    for metabolite, row in enumerate(recovery["stoichiometry"].values):
        table.writerow([graph.metabolite_name(metabolite), *(f"{value:.12g}" for value in row.astype(float))])
    return text.getvalue()
