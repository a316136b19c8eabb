"""Chapter 4: the study."""

import itertools
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stoirec.report.naming import short, shown_value
from stoirec.report.study.effects import sort_key
from stoirec.report.style import (
    BLUE,
    GREY,
    PALE,
    VERMILION,
    finite,
    grid,
    panels,
    plain,
    reference_lines,
    share_axis,
    shortened,
    styled,
)

_MANY = 40  # configurations one figure can name
_MANY_VALUES = 10  # values of a parameter that are drawn as categories
_RECOVERY = matplotlib.colormaps["viridis"]


@styled()
def ranking(configurations: pd.DataFrame, references: pd.DataFrame, by_val_loss: str | None) -> Figure:
    """entry_exact of every configuration, best first, its range over networks and seeds, with baselines and oracles.

    Args:
        configurations: Results.configurations; references: Results.references of the same method;
        by_val_loss: the configuration val_loss selects. Of more than 40, the best 30 and the worst 10 are shown.
    """
    table = configurations
    if len(table) > _MANY:
        table = pd.concat([table.head(_MANY - 10), table.tail(10)])
    figure, axes = panels(1, 1, max(2.4, 0.27 * len(table) + 1.3))
    axis = axes[0, 0]
    rows = np.arange(len(table))
    axis.hlines(rows, table["entry_exact_min"], table["entry_exact_max"], color=BLUE, linewidth=1.5)
    chosen = table.index == by_val_loss
    axis.plot(table["entry_exact"][~chosen], rows[~chosen], "o", color=BLUE, markersize=6)
    axis.plot(
        table["entry_exact"][chosen], rows[chosen], "D", color=VERMILION, markersize=7, label="selected by val_loss"
    )
    reference_lines(axis, references, "entry_exact", vertical=True)
    lost = table["n_diverged"].to_numpy()
    axis.set_yticks(
        rows, [plain(shortened(name)) + (f"  ({n} diverged)" if n else "") for name, n in zip(table.index, lost)]
    )
    axis.set(xlim=(-0.02, 1.02), xlabel="entry_exact (share of entries right)", ylim=(len(table) - 0.4, -0.6))
    grid(axis, "x")
    axis.grid(axis="y", color="#f3f4f6")
    figure.legend(loc="outside upper center", ncols=5)
    return figure


@styled()
def parameters(answers: pd.DataFrame, varied: list[str], pairs: pd.DataFrame, references: pd.DataFrame) -> Figure:
    """entry_exact against each varied parameter: every fit a point, matched pairs joined, baselines and oracles.

    A star marks parameters without a matched pair.

    Args:
        answers: Results.answers; varied: its columns; pairs: effects.matched_pairs; references: Results.references.
    """
    columns = min(4, len(varied))
    rows = -(-len(varied) // columns)
    figure, axes = panels(rows, columns, 2.5 if rows > 1 else 3.0, sharey=True)
    for axis in axes.flat[len(varied) :]:
        axis.set_axis_off()
    height = answers["entry_exact"].where(answers["status"] == "ok", 0.0)
    ended = (answers["status"] == "ok").to_numpy()
    for axis, parameter in zip(axes.flat, varied):
        x = pd.Series(_places(axis, answers[parameter], "x"), index=answers.index)
        x += np.random.default_rng(0).uniform(-0.12, 0.12, len(x)) if len(x) > 30 else 0.0
        own = pairs[pairs["parameter"] == short(parameter)]
        if len(own) <= 400:
            axis.plot(
                [x[own["first"]], x[own["second"]]],
                [height[own["first"]], height[own["second"]]],
                color=GREY,
                linewidth=0.8,
                alpha=0.6,
            )
        size = 5 if len(x) <= 100 else 2.5
        axis.plot(x[ended], height[ended], "o", color=BLUE, markersize=size, alpha=0.75, markeredgewidth=0)
        axis.plot(x[~ended], height[~ended], "x", color=VERMILION, markersize=size)
        reference_lines(axis, references, "entry_exact")
        share_axis(axis, "entry_exact" if axis in axes[:, 0] else "")
        axis.set_title(short(parameter) + ("*" if own.empty else ""), fontsize=8.5)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


@styled()
def pair_maps(answers: pd.DataFrame, pairs: dict[tuple[str, str], list[str]]) -> Figure:
    """entry_exact over pairs of parameters; a cell is the mean of fits that differ in these two only, a point a fit.

    Other fits are small points; a diverged one (cross) counts as 0.

    Args:
        answers: Results.answers; pairs: effects.crossed_pairs.
    """
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure, axes = panels(rows, columns, 3.0)
    for axis in axes.flat[len(pairs) :]:
        axis.set_axis_off()
    value = answers["entry_exact"].where(answers["status"] == "ok", 0.0).to_numpy()
    ended = (answers["status"] == "ok").to_numpy()
    rng = np.random.default_rng(0)
    for axis, ((first, second), fits) in zip(axes.flat, pairs.items()):
        crossed = answers.index.isin(fits)
        x, y = _places(axis, answers[first], "x"), _places(axis, answers[second], "y")
        if all(answers[parameter].nunique() <= _MANY_VALUES for parameter in (first, second)):
            row, column = y.astype(int), x.astype(int)
            sums, counts = np.zeros((2, row.max() + 1, column.max() + 1))
            np.add.at(sums, (row[crossed], column[crossed]), value[crossed])
            np.add.at(counts, (row[crossed], column[crossed]), 1)
            with np.errstate(invalid="ignore"):
                axis.imshow(sums / counts, cmap=_RECOVERY, vmin=0, vmax=1, origin="lower", aspect="auto", alpha=0.55)
            everyone = np.zeros_like(counts)
            np.add.at(everyone, (row, column), 1)
            crowded = everyone[row, column] > 1
            x = x + np.where(crowded, rng.uniform(-0.3, 0.3, len(x)), 0)
            y = y + np.where(crowded, rng.uniform(-0.3, 0.3, len(y)), 0)
        large, small = (34, 12) if len(x) <= 60 else (10, 3)
        for of, size, edge in ((~crossed & ended, small, 0.0), (crossed & ended, large, 0.6)):
            points = axis.scatter(
                x[of],
                y[of],
                c=value[of],
                cmap=_RECOVERY,
                vmin=0,
                vmax=1,
                s=size,
                edgecolor="white",
                linewidth=edge,
                zorder=3,
            )
        axis.scatter(x[~ended], y[~ended], marker="x", s=large, color=VERMILION, linewidth=1.2, zorder=3)
        axis.set(xlabel=short(first), ylabel=short(second))
    figure.colorbar(points, ax=axes, label="entry_exact", shrink=0.8 if rows == 1 else 0.5, pad=0.01)
    return figure


@styled()
def main_effects(effects: pd.DataFrame, most: int = 24) -> Figure:
    """What each change of a parameter did to entry_exact, all else equal: mean of the pairs, 95 % interval, range.

    Args:
        effects: effects.matched_effects; the `most` largest are shown. One pair has no interval.
    """
    table = effects.head(most)
    figure, axes = panels(1, 1, max(2.0, 0.27 * len(table) + 1.0))
    axis, rows = axes[0, 0], np.arange(len(table))
    axis.axvline(0, color=GREY, linewidth=0.8)
    axis.hlines(rows, table["min"], table["max"], color=PALE, linewidth=4, label="range of the pairs")
    axis.hlines(rows, table["low"], table["high"], color=BLUE, linewidth=1.5, label="95 % interval of the mean")
    axis.plot(table["mean"], rows, "o", color=BLUE, markersize=5, label="mean")
    names = [f"{row.parameter}  {row[2]} → {row[3]}  (n = {row.pairs})" for row in table.itertuples()]
    axis.set_yticks(rows, [plain(shortened(name)) for name in names])
    axis.set(xlabel="change of entry_exact", ylim=(len(table) - 0.4, -0.6))
    grid(axis, "x")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@dataclass(frozen=True)
class Coordinates:
    """Every fit as a line over the varied parameters.

    Attributes:
        names: of the axes: parameters, and entry_exact last.
        heights: (axes, fits) in [0, 1]; of a diverged fit, 0 on the last.
        spread: (axes, fits) what tells equal fits apart in a drawing.
        marks: of each axis but the last, (height, value as text).
    """

    names: list[str]
    heights: np.ndarray
    spread: np.ndarray
    marks: list[list[tuple[float, str]]]


def coordinates(answers: pd.DataFrame, varied: list[str], most: int = 12) -> Coordinates:
    """Of at most `most` varied parameters. Args: answers: Results.answers; varied: columns of it."""
    heights, marks = [], []
    for parameter in varied[:most]:
        values = [None if pd.isna(entry) else entry for entry in answers[parameter]]
        ordered = sorted(set(values), key=lambda entry: sort_key(np.nan if entry is None else entry))
        step = max(len(ordered) - 1, 1)
        heights.append([ordered.index(entry) / step for entry in values])
        written = range(len(ordered)) if len(ordered) <= _MANY_VALUES else (0, len(ordered) - 1)
        texts = [shown_value(np.nan if entry is None else entry) for entry in ordered]
        marks.append([(index / step, texts[index]) for index in written])
    heights.append(answers["entry_exact"].where(answers["status"] == "ok", 0.0).tolist())
    lines = np.array(heights, float)
    spread = np.random.default_rng(0).uniform(-0.02, 0.02, lines.shape)
    spread[-1] = 0
    return Coordinates([*map(short, varied[:most]), "entry_exact"], lines, spread, marks)


@styled()
def parallel(answers: pd.DataFrame, varied: list[str]) -> Figure:
    """Every fit a line through the values of its varied parameters to its entry_exact; a diverged one is dotted, at 0.

    Args:
        answers: Results.answers; varied: columns of it, at most twelve of which are drawn.
    """
    found = coordinates(answers, varied)
    figure, axes = panels(1, 1, 3.6)
    axis = axes[0, 0]
    value, lines = found.heights[-1], found.heights + found.spread
    ended = (answers["status"] == "ok").to_numpy()
    for place, marks in enumerate(found.marks):
        for height, label in marks:
            axis.annotate(
                label,
                (place, height),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=7,
                color="#374151",
                va="center",
                bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1.0},
                zorder=3,  # above the lines, which stay to be seen beside it
            )
    for of in np.argsort(value, kind="stable"):  # the best on top
        axis.plot(
            lines[:, of], color=_RECOVERY(value[of]), linewidth=0.9, alpha=0.7, linestyle="-" if ended[of] else ":"
        )
    for place in range(len(lines)):
        axis.axvline(place, color=GREY, linewidth=0.7, zorder=0)
    axis.set_xticks(range(len(lines)), found.names, rotation=25, ha="right")
    axis.set_yticks([])
    axis.secondary_yaxis("right").set_ylabel("entry_exact")
    axis.set(xlim=(-0.1, len(lines) - 0.95), ylim=(-0.05, 1.05))
    axis.spines["left"].set_visible(False)
    return figure


@styled()
def selection(answers: pd.DataFrame, best: str, chosen: str, references: pd.DataFrame) -> Figure:
    """Does a low val_loss mean a well recovered S? Every fit a point, one panel; best and chosen fit stressed."""
    figure, axes = panels(1, 1, 3.6, width=7.0)
    axis = axes[0, 0]
    ended = answers[answers["status"] == "ok"]
    networks = ended["data"].unique()
    for network, marker in zip(networks, itertools.cycle("os^vDP*")):
        of = ended[ended["data"] == network]
        axis.plot(
            of["val_loss"],
            of["entry_exact"],
            marker,
            color=GREY,
            markersize=5,
            alpha=0.8,
            markeredgewidth=0,
            label=plain(network) if len(networks) > 1 else None,
        )
    for identity, colour, marker, label in (
        (best, BLUE, "o", "highest entry_exact"),
        (chosen, VERMILION, "D", "lowest val_loss"),
    ):
        axis.plot(
            ended.at[identity, "val_loss"],
            ended.at[identity, "entry_exact"],
            marker,
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=1.8,
            label=label,
        )
    reference_lines(axis, references, "entry_exact")
    share_axis(axis, "entry_exact")
    axis.set(xscale="log", xlabel="val_loss [1]")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=0.6)
    return figure


def _places(axis: Axes, values: pd.Series, which: str) -> np.ndarray:
    """(n,) positions of a parameter's values along x or y, evenly spaced and labelled; their own if there are many."""
    ordered = sorted(
        {None if pd.isna(value) else value for value in values},
        key=lambda value: sort_key(np.nan if value is None else value),
    )
    if len(ordered) > _MANY_VALUES and pd.api.types.is_numeric_dtype(values):
        getattr(axis, f"set_{which}scale")("log" if (values.dropna() > 0).all() else "linear")
        return finite(values)
    labels = [shown_value(np.nan if value is None else value) for value in ordered]
    crowded = which == "x" and sum(map(len, labels)) > 22
    getattr(axis, f"set_{which}ticks")(
        range(len(ordered)), labels, **({"rotation": 35, "ha": "right"} if crowded else {})
    )
    getattr(axis, f"set_{which}lim")(-0.5, len(ordered) - 0.5)
    return np.array([ordered.index(None if pd.isna(value) else value) for value in values], float)
