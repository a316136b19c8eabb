"""What notebooks show: figures, tables and sentences as plain HTML that stands alone, in Jupyter and in the report.

The report numbers <figcaption> and <caption> in order; everything that is not ours is escaped.
"""

import base64
import io
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

NOTHING = '<p class="nothing">'
_LONG = 12  # rows of a table, or items of a list: more of them are folded
_PIXELS_PER_INCH = 100  # CSS pixels; the picture itself has twice as many
_FORMATS = {
    "val_loss": ".3g",
    "k": ".3g",
    "wall time [s]": ".1f",
    "of the recipe [s]": ".1f",
    "cost": ".3g",
    "core minutes": ".1f",
}  # all other real numbers are shares, R2 and the like


def rendered(template: str, **values: Any) -> str:
    """The text of a page or a piece of one, of report/templates; what is given is escaped."""
    environment = Environment(
        loader=PackageLoader("stoirec.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    return environment.get_template(template).render(**values)


class Html:
    """A piece of HTML that a notebook displays."""

    def __init__(self, html: str) -> None:
        self.html = html

    def _repr_html_(self) -> str:
        return self.html


def figure(content: Figure, caption: str, alt: str, live: str = "") -> Html:
    """A figure with its caption; `alt` says what it shows to who cannot see it.

    `live`: what takes the picture's place where a script runs, of `explore.live`.
    """
    data = base64.b64encode(_picture(content)).decode()
    width = round(content.get_figwidth() * _PIXELS_PER_INCH)
    return Html(
        f'<figure>{live}<img src="data:image/png;base64,{data}" alt="{escape(alt)}" width="{width}" '
        f'style="max-width: 100%; height: auto">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _picture(content: Figure) -> bytes:
    """A PNG of it in at most 256 colours, a third of the bytes that all would take."""
    content.set_dpi(2 * _PIXELS_PER_INCH)
    canvas, found = FigureCanvasAgg(content), io.BytesIO()
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(found, "PNG", optimize=True)
    return found.getvalue()


def table(
    frame: pd.DataFrame,
    caption: str,
    marked: tuple[Any, ...] = (),
    muted: tuple[Any, ...] = (),
    index: str | None = None,
    anchors: list[str] | None = None,
    unfolded: bool = False,
) -> Html:
    """A table with its caption; a long one is folded, and sorted and filtered where a script runs.

    Args:
        frame: what to show; numbers are formatted by column.
        marked, muted: index labels of rows to stress (the result) or to set back (references).
        index: header of the index column; None leaves the index out.
        anchors: ids of the rows, for links to them; "" for none.
        unfolded: whether it is what a reader came for: sorted and filtered, whatever its length, and not folded.
    """
    numeric = {
        column: pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_bool_dtype(frame[column])
        for column in frame.columns
    }
    heads = ([f"<th>{escape(index)}</th>"] if index is not None else []) + [
        f"<th{' class=number' if numeric[column] else ''}>{escape(str(column).replace('_', ' '))}</th>"
        for column in frame.columns
    ]
    rows = []
    ids = [f' id="{escape(anchor)}"' if anchor else "" for anchor in anchors or [""] * len(frame)]
    for id_, label, values in zip(ids, frame.index, frame.itertuples(index=False, name=None)):
        kind = ' class="marked"' if label in marked else ' class="muted"' if label in muted else ""
        cells = ([f"<th>{escape(str(label))}</th>"] if index is not None else []) + [
            f"<td{' class=number' if numeric[column] else ''}>{escape(cell(value, column))}</td>"
            for column, value in zip(frame.columns, values)
        ]
        rows.append(f"<tr{id_}{kind}>{''.join(cells)}</tr>")
    body = f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody>"
    if len(frame) <= _LONG or unfolded:
        kind = "table sorted" if unfolded else "table"
        return Html(f'<div class="{kind}"><table><caption>{escape(caption)}</caption>{body}</table></div>')
    summary = f'<summary class="caption">{escape(caption)} <em>{len(frame):,} rows</em></summary>'
    return Html(f'<details>{summary}<div class="table sorted"><table>{body}</table></div></details>')


def text(*sentences: str) -> Html:
    """A paragraph."""
    return Html(f"<p>{escape(' '.join(sentences))}</p>")


def nothing(*sentences: str) -> Html:
    """Why there is nothing to show. The report makes a line of a section that has no more than this."""
    return Html(f"{NOTHING}{escape(' '.join(sentences))}</p>")


def items(sentences: list[str]) -> Html:
    """A list, one sentence an item; a long one is folded."""
    content = "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"
    if len(sentences) > _LONG:
        content = f"<details><summary>{len(sentences):,} items</summary>{content}</details>"
    return Html(content)


def share(value: float, digits: int = 3) -> str:
    """`value` with `digits` decimals, and more where fewer would call nearly all 1: 0.99957 is 0.9996, not 1.000."""
    while value < 1 and digits < 8 and round(value, digits) == 1:
        digits += 1
    return minus(f"{value:.{digits}f}")


def percent(value: float) -> str:
    """87.0 %; 100.0 % only for exactly 1."""
    text = share(value, 3)
    return f"{100 * value:.{len(text.split('.')[1]) - 2}f} %"


def minus(number: str) -> str:
    """A formatted number with a true minus sign in front; exponents keep their hyphen."""
    return "−" + number[1:] if number.startswith("-") else number


def cell(value: Any, column: str = "") -> str:
    """A table cell's text: shares and R2 with three decimals, losses with three digits, a dash for nothing."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and np.isnan(value)):
        return "–"
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            return "∞"
        return minus(format(value, _FORMATS[column])) if column in _FORMATS else share(float(value))
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return str(value)
