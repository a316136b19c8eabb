"""Chapter 4, to be explored: every fit, brushed."""

from collections.abc import Iterable

import matplotlib
import numpy as np
import pandas as pd
from bokeh.models import BoxSelectTool, CDSView, ColumnDataSource, IndexFilter
from matplotlib.colors import to_hex

from stoirec.report.explore import chart, hover, live, name_axis
from stoirec.report.study.figures import coordinates
from stoirec.report.style import BLACK, GREY

_COLOURS = matplotlib.colormaps["cividis_r"]
_FAINT = "#d9dde2"


def anchors(answers: pd.DataFrame, labels: Iterable[str]) -> list[str]:
    """The ids of the rows of a table of `labels`, which is filtered with the chart; "" of what is no fit."""
    place = {label: f"fit-{place}" for place, label in enumerate(answers["label"])}
    return [place.get(label, "") for label in labels]


def parallel(answers: pd.DataFrame, varied: list[str]) -> str:
    """Every fit as a line through its varied parameters to entry_exact; a brush keeps those that pass there.

    Args:
        answers: Results.answers; varied: columns of it, at most twelve of which are drawn.
    """
    found = coordinates(answers, varied)
    heights = found.heights + found.spread
    axes, fits = heights.shape
    source = ColumnDataSource(
        {
            "xs": [list(range(axes))] * fits,
            "ys": heights.T.round(4).tolist(),
            "colour": [to_hex(_COLOURS(value)) for value in _stretched(found.heights[-1])],
            "fit": answers["label"].tolist(),
            "entry_exact": found.heights[-1],
        }
    )
    crossings = ColumnDataSource(
        {"x": np.repeat(np.arange(axes), fits), "y": heights.ravel().astype("float32")}, name="crossings"
    )
    brush = BoxSelectTool()
    made = chart(460, "", "entry_exact", drag=brush, x_range=(-0.3, axes - 0.5), y_range=(-0.06, 1.06))
    name_axis(made.xaxis[0], found.names)
    made.xaxis.major_label_orientation = 1.2
    made.grid.visible = made.yaxis.visible = False
    made.multi_line("xs", "ys", source=source, line_color=_FAINT)
    shown = CDSView(filter=IndexFilter(indices=list(range(fits)), name="shown"))
    lines = made.multi_line("xs", "ys", source=source, view=shown, line_color="colour", line_width=1.8)
    pointed = CDSView(filter=IndexFilter(indices=[], name="pointed"))
    made.multi_line("xs", "ys", source=source, view=pointed, line_color=BLACK, line_width=4)
    made.segment(list(range(axes)), 0, list(range(axes)), 1, line_color=GREY)
    points = made.scatter("x", "y", source=crossings, size=5, color=GREY, line_color=None)
    points.nonselection_glyph = points.glyph
    made.text(
        [place for place, marks in enumerate(found.marks) for _ in marks] + [axes - 1, axes - 1],
        [height for marks in found.marks for height, _ in marks] + [0, 1],
        [text for marks in found.marks for _, text in marks] + ["0", "1"],
        x_offset=10,
        padding=2,  # type: ignore[arg-type]  # a number, as Bokeh documents it; its types want a Property
        text_font_size="12px",
        text_baseline="middle",
        text_color="#374151",
        background_fill_color="#ffffff",  # type: ignore[call-arg]  # Bokeh has it, its types do not
        background_fill_alpha=0.9,
    )
    brush.renderers = [points]
    over = hover(fit="@fit", entry_exact="@entry_exact{0.000}")
    over.renderers = [lines]
    made.add_tools(over)
    return live("fits", made, rows=anchors(answers, answers["label"]))


def _stretched(values: np.ndarray) -> np.ndarray:
    """The least as 0.2, the largest as 1: no colour is too pale."""
    return 1 - 0.8 * (values.max() - values) / (np.ptp(values) or 1.0)
