"""Chapter 3, to be explored: every candidate entry of the matrix."""

from functools import partial

import numpy as np
import xarray as xr
from bokeh.models import BoxZoomTool, CDSView, ColumnDataSource, IndexFilter, TapTool
from matplotlib.colors import to_hex

from stoirec.network.graph import Graph
from stoirec.report.calibration import SURE
from stoirec.report.explore import chart, hover, live, name_axis
from stoirec.report.recovery.figures import shades
from stoirec.report.style import VERMILION

_EMPTY, _UNSURE = "#eceef1", "#8a5a00"


def matrix(graph: Graph, recovery: xr.Dataset, true: np.ndarray) -> str:
    """The recovered matrix: names, learned and true values of an entry, and which ones are wrong or unsure.

    Args:
        true: (E,) coefficients.
    """
    source = ColumnDataSource(_entries(graph, recovery, true), name="entries")
    made = chart(
        int(np.clip(900 * graph.n_metabolites / graph.n_reactions, 320, 680)),
        "reaction",
        "metabolite",
        [TapTool()],
        BoxZoomTool(),
        x_range=(-0.6, graph.n_reactions - 0.4),
        y_range=(graph.n_metabolites - 0.4, -0.6),
    )
    made.grid.visible = False
    name_axis(made.xaxis[0], [graph.reaction_name(reaction) for reaction in range(graph.n_reactions)])
    name_axis(made.yaxis[0], [graph.metabolite_name(metabolite) for metabolite in range(graph.n_metabolites)])
    made.xaxis.major_label_orientation = 0.9
    made.rect("x", "y", 0.94, 0.94, source=source, color=_EMPTY, nonselection_fill_alpha=1, nonselection_line_alpha=1)
    cell = partial(made.rect, "x", "y", 0.94, 0.94, source=source, fill_color="colour")
    cells = cell(view=_view("shown"), line_color="#9aa3ad", line_width=0.5)
    cells.selection_glyph = cells.glyph.clone(line_color="#000000", line_width=3)
    cells.nonselection_glyph = cells.glyph
    for name, marker, colour in (("unsure", "circle", _UNSURE), ("wrong", "x", VERMILION)):
        view = _view(name)
        for width, line in ((5, "#ffffff"), (2.2, colour)):  # a pale rim: it is seen on any colour
            mark = partial(made.scatter, "x", "y", source=source, view=view, size=9, marker=marker, fill_color=None)
            marks = mark(line_color=line, line_width=width)
            marks.nonselection_glyph = marks.glyph
    shown = {"metabolite": "@metabolite", "reaction": "@reaction", "learned": "@learned{0.000}"}
    over = hover(**shown, integer="@integer", true="@true", confidence="@confidence{0.000}")
    over.renderers = [cells]
    made.add_tools(over)
    return live("matrix", made)


def _view(name: str) -> CDSView:
    """A choice of entries that the script changes."""
    return CDSView(filter=IndexFilter(indices=[], name=name))


def _entries(graph: Graph, recovery: xr.Dataset, true: np.ndarray) -> dict[str, np.ndarray | list[str]]:
    """Columns of all candidate edges."""
    integer, confidence = graph.on_edges(recovery["stoichiometry"].values), recovery["confidence"].values
    colours, norm = shades(true, integer)
    limit = (colours.N - 1) // 2
    metabolites, reactions = graph.edge_metabolite.tolist(), graph.edge_reaction.tolist()
    return {
        "x": graph.edge_reaction.astype("int32"),
        "y": graph.edge_metabolite.astype("int32"),
        "metabolite": [graph.metabolite_name(metabolite) for metabolite in metabolites],
        "reaction": [graph.reaction_name(reaction) for reaction in reactions],
        "learned": recovery["coefficient"].values.astype("float32"),
        "integer": integer.astype("float32"),
        "true": true.astype("float32"),
        "confidence": confidence.astype("float32"),
        "wrong": (integer != true).astype("int8"),
        "unsure": (confidence < SURE).astype("int8"),
        "colour": [to_hex(colours(norm(value))) for value in np.clip(integer, -limit, limit)],
    }
