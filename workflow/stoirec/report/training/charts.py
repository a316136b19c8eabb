"""Chapter 2, to be explored: the loss of any fit over steps."""

import numpy as np
import pandas as pd
from bokeh.models import ColumnDataSource, TapTool

from stoirec.report.explore import chart, hover, live
from stoirec.report.style import BLACK, CYCLE, PALE

_NUMBERS = 120_000  # of all curves together
_DASHES = ("solid", "dashed", "dotted")  # that Bokeh and CSS know


def curves(terms: dict[str, pd.DataFrame], picked: list[str]) -> str:
    """Curves of every fit, of which a reader picks.

    Args:
        terms: label -> numbers.loss_terms, best first; picked: labels that are picked at first.
    """
    made = chart(380, "step", "loss [1]", [TapTool()], y_axis_type="log")
    row = {"xs": [0, 1], "ys": [1, 1], "fit": "", "place": 0, "colour": BLACK, "dash": "solid"}  # until the script runs
    others, chosen = (ColumnDataSource({key: [row[key]] for key in row}, name=name) for name in ("others", "picked"))
    faint = made.multi_line("xs", "ys", source=others, line_color=PALE, line_width=1.2)
    lines = made.multi_line("xs", "ys", source=chosen, line_color="colour", line_dash="dash", line_width=2.4)
    over = hover(fit="@fit")
    over.renderers = [lines, faint]
    made.add_tools(over)
    most = max(2, _NUMBERS // sum(len(table.columns) for table in terms.values()))
    thin = {label: table.iloc[_some(len(table), most)] for label, table in terms.items()}
    measures = dict.fromkeys(["val_loss"] + [name for table in thin.values() for name in table if name != "step"])
    return live(
        "curves",
        made,
        fits=list(thin),
        picked=[label in picked for label in thin],
        steps=[table["step"].to_numpy() for table in thin.values()],
        measures={name: [_positive(table, name) for table in thin.values()] for name in measures},
        colours=CYCLE,
        dashes=_DASHES,
    )


def _some(size: int, most: int) -> np.ndarray:
    """Places of at most `most` rows, the first and the last among them."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(int))


def _positive(table: pd.DataFrame, name: str) -> np.ndarray | None:
    """A column as an axis of decades takes it; None where a fit has no such term, or nothing of it."""
    values = table[name].to_numpy(float) if name in table else np.zeros(0)
    values = np.where(values > 0, values, np.nan)
    return values if np.isfinite(values).any() else None
