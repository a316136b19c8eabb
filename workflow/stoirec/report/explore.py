"""What a reader looks into: a Bokeh chart and its controls, in place of the picture that is printed.

A chart is made here and in the chapters, its controls stand in templates/explore, and templates/explore.js has what
they do. Nothing of it shows before the script runs: without one, and on paper, the picture stays.
"""

import base64
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bokeh
import numpy as np
from bokeh.embed import json_item
from bokeh.models import BasicTicker, BoxZoomTool, HoverTool, PanTool, PlainText, ResetTool, Tool, WheelZoomTool
from bokeh.plotting import figure
from markupsafe import Markup

from stoirec.report.present import rendered
from stoirec.report.style import shortened

_LIBRARY = Path(bokeh.__file__).parent / "server/static/js/bokeh.min.js"
_WIDE = 24  # letters of a name on an axis
_NAMED = 2000  # names on an axis; of more, numbers are shown
_AXES = {
    "axis_label_text_font_style": "normal",
    "axis_label_text_font_size": "13px",
    "major_label_text_font_size": "12px",
    "axis_line_color": "#374151",
    "minor_tick_line_color": None,
}


def chart(height: int, x: str, y: str, tools: Iterable[Tool] = (), drag: Tool | None = None, **options: Any) -> figure:
    """An empty chart as wide as there is room, `height` [CSS pixels]; `x`, `y`: labels of its axes.

    `drag`: the tool that is on at first; without one, a finger on the chart scrolls the page, as the wheel does.
    """
    usual = {type(tool): tool for tool in (BoxZoomTool(), PanTool(), WheelZoomTool(), ResetTool())}
    made = figure(
        height=height,
        sizing_mode="stretch_width",
        tools=[*tools, *(usual | ({} if drag is None else {type(drag): drag})).values()],
        **options,
    )
    made.toolbar.update(logo=None, active_scroll=None, active_drag=drag)
    for axis, label in ((made.xaxis, x), (made.yaxis, y)):
        axis.update(axis_label=label, **_AXES)
    made.grid.grid_line_color = "#e5e7eb"
    made.outline_line_color = None
    return made


def hover(**shown: str) -> HoverTool:
    """A tool that shows columns of what is under the pointer; Bokeh escapes them."""
    return HoverTool(tooltips=[(name.replace("_", " "), column) for name, column in shown.items()])


def name_axis(axis: Any, names: list[str]) -> None:
    """Names at 0, 1, ... of an axis, as many as there is room for. They are plain text: Bokeh sees no TeX in it."""
    axis.ticker = BasicTicker(min_interval=1, mantissas=[1, 2, 5], num_minor_ticks=0, desired_num_ticks=12)
    if len(names) <= _NAMED:
        axis.major_label_overrides = {place: PlainText(text=shortened(name, _WIDE)) for place, name in enumerate(names)}


def live(kind: str, made: figure, **content: Any) -> str:
    """The chart and the controls of templates/explore/<kind>.html, hidden until the script has drawn them.

    Args:
        content: what the controls need: numbers, texts, and lists of them; arrays of reals are written with 4 digits.
    """
    return rendered(f"explore/{kind}.html", kind=kind, content=in_script({"chart": json_item(made), **content}))


def scripts(page: str) -> Markup:
    """What makes `page`, HTML, something to explore: what its controls do, and Bokeh, packed, where it has a chart."""
    own = f"<script>\n{(Path(__file__).parent / 'templates/explore.js').read_text()}</script>"
    if 'class="live"' not in page:
        return Markup(own)
    packed = base64.b64encode(gzip.compress(_LIBRARY.read_bytes(), mtime=0)).decode()
    return Markup(f'<script type="text/plain" id="bokeh">{packed}</script>\n{own}')


def in_script(content: dict[str, Any]) -> Markup:
    """As text in a <script>: no name can end it."""
    text = json.dumps(content, default=_plain, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _plain(values: Any) -> Any:
    """A numpy array as lists; null where it is not finite."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        rounded = [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.ravel().tolist()]
        return np.reshape(np.array(rounded, object), values.shape).tolist()
    return values.tolist()
