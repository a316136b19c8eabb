"""Chapter 5: recovery beside what is attainable, with fewer runs and more noise, and calibration."""

import textwrap

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stoirec.report.limits.variations import Curve
from stoirec.report.style import BLACK, BLUE, GREY, PALE, VERMILION, grid, panels, plain, share_axis, styled

_MANY = 30  # configurations one figure can name
_LABELS = {"n_runs": "training runs", "dcdt_noise": "noise of dc/dt [std of each metabolite's dc/dt]"}
_REFERENCES = (  # in the order of Curve.references
    {"color": GREY, "linestyle": "--"},
    {"color": BLACK, "linestyle": ":"},
    {"color": VERMILION, "linestyle": "-."},
    {"color": VERMILION, "linestyle": "--"},
)
_LABEL = 60  # characters of a line, in a legend of two columns and beside an axis


@styled()
def attainable(answers: pd.DataFrame, ceilings: pd.DataFrame) -> Figure:
    """entry_exact of every fit by configuration, with the better baseline and row least squares on the true fluxes.

    Args:
        answers: Results.answers; ceilings: of ceilings.beside_ceilings. The first 30 configurations are shown.
    """
    table = ceilings.head(_MANY)
    figure, axes = panels(1, 1, max(2.2, 0.3 * len(table) + 1.2))
    axis = axes[0, 0]
    for row, name in enumerate(table.index):
        values = answers.loc[answers["configuration"] == name, "entry_exact"].fillna(0.0)
        axis.plot(
            values,
            row + np.linspace(-0.12, 0.12, len(values)) * (len(values) > 1),
            "o",
            color=BLUE,
            markersize=4,
            alpha=0.7,
            label="a fit" if row == 0 else None,
        )
    rows = np.arange(len(table))
    axis.plot(
        table["better baseline"], rows, "|", color=GREY, markersize=13, markeredgewidth=2, label="better baseline"
    )
    oracle = next((column for column in table.columns if column == "oracle: true fluxes"), None)
    if oracle is not None:
        axis.plot(
            table[oracle], rows, "|", color=VERMILION, markersize=13, markeredgewidth=2, label="oracle: true fluxes"
        )
    axis.set_yticks(rows, [plain(textwrap.fill(name, _LABEL)) for name in table.index])
    axis.set(
        xlabel="entry_exact (share of entries right)",
        xlim=(min(0.4, float(table["lowest"].min()) - 0.02), 1.01),
        ylim=(len(table) - 0.4, -0.6),
    )
    grid(axis, "x")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@styled()
def curves(found: dict[str, Curve]) -> Figure:
    """entry_exact against a property of the data, a panel each: fits as points, their means and references as lines.

    Args:
        found: of variations.curves, at least one. Values are evenly spaced.
    """
    figure, axes = panels(1, len(found), 3.4, sharey=True)
    lowest = 1.0
    for axis, (name, curve) in zip(axes.flat, found.items()):
        values = list(curve.references.index)
        for (label, column), look in zip(curve.references.items(), _REFERENCES):
            axis.plot(range(len(values)), column, label=label, **look)
        axis.plot(range(len(values)), curve.means[values], "-", color=BLUE, label="mean of the fits")
        for place, value in enumerate(values):
            own = curve.points.loc[curve.points["value"] == value, "entry_exact"].to_numpy()
            apart = np.linspace(-0.06, 0.06, len(own)) * (len(own) > 1)
            axis.plot(
                place + apart, own, "o", color=BLUE, markersize=4, alpha=0.7, label="a fit" if place == 0 else None
            )
        axis.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axis.set(xlabel=_LABELS[name], xlim=(-0.3, len(values) - 0.7))
        grid(axis)
        lowest = min(lowest, curve.points["entry_exact"].min(), curve.references.min(axis=None))
    axes[0, 0].set(ylabel="entry_exact (share of entries right)", ylim=(lowest - 0.03, 1.015))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@styled()
def calibration(curves: dict[str, pd.DataFrame]) -> Figure:
    """Share right against confidence, a line per configuration; areas are shares of its entries.

    Args:
        curves: of confidence.calibrations.
    """
    figure, axes = panels(1, 1, 4.2)
    axis = axes[0, 0]
    axis.plot([0, 1], [0, 1], color=PALE, linewidth=1)
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, max(len(curves), 1)))
    for (name, curve), colour in zip(curves.items(), colours):
        filled = curve[curve["entries"] > 0]
        axis.plot(
            filled["mean confidence"],
            filled["share right"],
            "-",
            color=colour,
            linewidth=1,
            label=plain(textwrap.fill(name, _LABEL)) if len(curves) <= 12 else None,
        )
        axis.scatter(
            filled["mean confidence"],
            filled["share right"],
            s=8 + 100 * filled["share of entries"],
            color=colour,
            alpha=0.8,
            zorder=3,
        )
    share_axis(axis, "share of entries right")
    axis.set(xlabel="confidence", xlim=(-0.03, 1.03))
    if len(curves) <= 12:
        figure.legend(loc="outside upper center", ncols=2)
    return figure
