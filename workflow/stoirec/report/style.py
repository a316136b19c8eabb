"""One look for all figures: what each colour means, and the settings of every axis.

Colours are Okabe and Ito's, told apart with any colour vision; line styles and markers repeat what they say.
"""

from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

BLACK, ORANGE, SKY, GREEN = "#000000", "#e69f00", "#56b4e9", "#009e73"
YELLOW, BLUE, VERMILION, PURPLE = "#f0e442", "#0072b2", "#d55e00", "#cc79a7"
GREY, PALE = "#6b7280", "#d1d5db"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#8c6d31", "#5e3c99")  # one fit each
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)), (0, (3, 1)))

TRUE, LEARNED, WRONG = BLACK, BLUE, VERMILION
# The references of every table, as lines.
REFERENCE_LINES: dict[str, dict[str, Any]] = {
    "baseline_unit": {"color": GREY, "linestyle": ":", "label": "baseline −1/+1"},
    "baseline_balanced": {"color": GREY, "linestyle": "--", "label": "baseline, balanced"},
    "oracle_scale_blind": {"color": BLACK, "linestyle": ":", "label": "oracle, scale-blind (scaled)"},
    "oracle_balanced": {"color": BLACK, "linestyle": "--", "label": "oracle, balanced"},
}

WIDTH = 9.0  # inches, as wide as the report's column

_SETTINGS: dict[RcKeyType, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.edgecolor": "#374151",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": "#374151",
    "ytick.color": "#374151",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "figure.facecolor": "white",
}


def styled():
    """Decorator: the settings hold while a figure is made."""
    return matplotlib.rc_context(_SETTINGS)


def panels(rows: int, columns: int, height: float, width: float = WIDTH, **options: Any) -> tuple[Figure, np.ndarray]:
    """A Figure of its own (no pyplot state) and a (rows, columns) array of axes.

    `height`: of a row [inches]; `width`: in all [inches].
    """
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def grid(axis: Axes, which: Literal["both", "x", "y"] = "y") -> None:
    axis.grid(axis=which, color="#e5e7eb", linewidth=0.7)


def share_axis(axis: Axes, label: str) -> None:
    """A y axis for shares of entries or reactions."""
    axis.set_ylim(-0.03, 1.03)
    axis.set_ylabel(label)
    grid(axis)


def reference_lines(axis: Axes, references: pd.DataFrame, metric: str, vertical: bool = False) -> None:
    """Baselines and oracles of one metric as lines; `references` as of Results.references."""
    for name, look in REFERENCE_LINES.items():
        if name in references.index and np.isfinite(references.at[name, metric]):
            (axis.axvline if vertical else axis.axhline)(references.at[name, metric], linewidth=1.1, zorder=1, **look)


def shortened(name: str, width: int = 60) -> str:
    """At most `width` characters."""
    return name if len(name) <= width else name[: width - 1] + "…"


def plain(name: str) -> str:
    """A user's name as text of a figure: no mathematics in it, and no legend leaves it out."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def finite(values: Any) -> np.ndarray:
    """As floats, nan where not finite: nothing is drawn there."""
    values = np.asarray(values, float)
    return np.where(np.isfinite(values), values, np.nan)


def blank(axis: Axes, message: str) -> None:
    """An axis with nothing to show, saying why."""
    axis.set_axis_off()
    axis.text(0.5, 0.5, message, ha="center", va="center", color=GREY, transform=axis.transAxes)
