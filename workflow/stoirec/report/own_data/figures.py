"""Predicted beside measured courses: a small frame for every metabolite."""

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from stoirec.report.own_data.predictions import Prediction
from stoirec.report.style import GREY, LEARNED, PALE, WIDTH, plain, shortened, styled

_COLUMNS = 8
MOST = 120  # metabolites; of more, those that are predicted worst
_ROOM = 0.12  # of a frame, around its course
_HEIGHT = 0.75  # of a row [inches]
_NAME = 14  # characters
_SHOWN = 200  # frames, where a run has more


@styled()
def courses(run: Prediction, names: list[str]) -> Figure:
    """A run: measured values as dots, the predicted course as a line, framed by the metabolite's range."""
    chosen = np.sort(np.argsort(-run.error, kind="stable")[:MOST])
    shown = np.unique(np.linspace(0, len(run.time) - 1, min(len(run.time), _SHOWN)).round().astype(int))
    time = run.time[shown]
    rows = -(-len(chosen) // _COLUMNS)
    figure = Figure(figsize=(WIDTH, _HEIGHT * rows + 0.1))
    axis = figure.add_axes((0, 0, 1, 1))
    lines, dots, frames = [], [], []
    for place, metabolite in enumerate(chosen):
        row, column = divmod(place, _COLUMNS)
        corner = np.array([column, -row - 1.0])
        values = np.stack([run.measured[shown, metabolite], run.predicted[shown, metabolite]])
        low, span = _range(values[0] if np.isfinite(values[0]).any() else values[1])
        share = np.clip((values - low) / span, -_ROOM, 1 + _ROOM)
        x = corner[0] + _ROOM + (1 - 2 * _ROOM) * (time - time[0]) / (np.ptp(time) or 1.0)
        y = corner[1] + _ROOM + (0.8 - 2 * _ROOM) * share
        there = np.isfinite(y[0])
        dots.append(np.column_stack([x, y[0]])[there])
        followed = np.isfinite(values[1])
        lines.append(np.column_stack([x, y[1]])[followed])
        (left, right), (bottom, top) = corner[0] + np.array([0.04, 0.96]), corner[1] + np.array([0.02, 0.8])
        frames.append([(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)])
        name = plain(shortened(names[metabolite], _NAME))
        axis.text(left, corner[1] + 0.83, name, fontsize=6.5, va="bottom", clip_on=False)
        error = "" if np.isnan(run.error[metabolite]) else f"{run.error[metabolite]:.2g}"
        axis.text(right, corner[1] + 0.83, error, fontsize=6, va="bottom", ha="right", color=GREY)
    axis.add_collection(LineCollection(frames, colors=PALE, linewidths=0.6))
    axis.add_collection(LineCollection(lines, colors=LEARNED, linewidths=1.0, zorder=3))
    if dots:
        axis.plot(*np.concatenate(dots).T, ".", color=GREY, markersize=2.6, markeredgewidth=0, zorder=2)
    axis.set(xlim=(0, _COLUMNS), ylim=(-rows, 0.1))
    axis.set_axis_off()
    return figure


def _range(measured: np.ndarray) -> tuple[float, float]:
    """Least value, and span, of what was measured; a constant has the span of its size."""
    measured = measured[np.isfinite(measured)]
    if not len(measured):
        return 0.0, np.inf
    low, high = float(measured.min()), float(measured.max())
    span = high - low
    return low, span if span > 1e-9 * max(abs(high), 1e-300) else max(abs(high), 1e-300)
