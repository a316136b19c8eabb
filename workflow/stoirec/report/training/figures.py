"""Chapter 2: training."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stoirec.learn.losses import REGULARISERS
from stoirec.report.style import (
    BLACK,
    BLUE,
    CYCLE,
    DASHES,
    GREEN,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    finite,
    grid,
    panels,
    plain,
    reference_lines,
    share_axis,
    styled,
)

# what every fit has, and the regularisers in their order
_ALWAYS = {"L_pred": {"color": BLUE}, "val_loss": {"color": BLACK, "linestyle": ":"}}
_REGULARISERS = zip((ORANGE, GREEN, PURPLE, VERMILION, SKY), ("--", "-.", (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (1, 1))))
_LOOKS = _ALWAYS | {
    term.name: {"color": colour, "linestyle": dashes}
    for term, (colour, dashes) in zip(REGULARISERS, itertools.cycle(_REGULARISERS))
}
_COLUMNS = 4


@styled()
def losses(terms: dict[str, pd.DataFrame]) -> Figure:
    """Small multiples, one fit each: loss terms over steps. `terms`: label -> numbers.loss_terms."""
    columns = min(_COLUMNS, len(terms))
    rows = -(-len(terms) // columns)
    figure, axes = panels(rows, columns, 2.1 if rows > 1 else 2.6, sharey=True)
    for axis in axes.flat[len(terms) :]:
        axis.set_axis_off()
    for axis, (label, table) in zip(axes.flat, terms.items()):
        for name in table.columns.drop("step"):
            positive = table[name].where(table[name] > 0)
            axis.plot(table["step"], positive, label=name, **_LOOKS[name])
        axis.set_yscale("log")
        axis.set_title(plain(_wrapped(label)), fontsize=8)
        grid(axis)
    for axis in axes[:, 0]:
        axis.set_ylabel("loss [1]")
    for index in range(len(terms)):
        if index + columns >= len(terms):
            axes.flat[index].set_xlabel("step")
    handles = {label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels())}
    ordered = [name for name in _LOOKS if name in handles]
    figure.legend([handles[name] for name in ordered], ordered, loc="outside upper center", ncols=len(ordered))
    return figure


@styled()
def validation(curves: dict[str, tuple[np.ndarray, np.ndarray]], stressed: dict[str, str]) -> Figure:
    """val_loss over steps of every fit, a few stressed.

    Args:
        curves: fit_id -> (step, val_loss); stressed: fit_id -> label.
    """
    figure, axes = panels(1, 1, 3.2)
    axis = axes[0, 0]
    for identity, (step, loss) in curves.items():
        if identity not in stressed:
            axis.plot(step, finite(loss), color=PALE, linewidth=0.9, rasterized=True)
    for (identity, label), colour, dashes in zip(stressed.items(), (BLUE, VERMILION), ("-", "--")):
        axis.plot(*map(finite, curves[identity]), color=colour, linestyle=dashes, linewidth=2, label=plain(label))
    axis.set(yscale="log", xlabel="step", ylabel="val_loss [1]")
    grid(axis)
    axis.legend()
    return figure


@styled()
def recovery_over_steps(histories: dict[str, pd.DataFrame], references: dict[str, pd.DataFrame]) -> Figure:
    """S over steps, one panel per metric, one line per fit, with baselines and oracles.

    Args:
        histories: label -> score.score_history; references: metric -> Results.references decoded the same way.
    """
    names = {
        "entry_exact_nearest": ("entry_exact", "Entries exact, nearest integer"),
        "entry_exact_scaled": ("entry_exact", "Entries exact, scaled"),
        "sign_accuracy": ("sign_accuracy", "Signs right"),
        "r2": ("r2", "R2 = 1 − SSE/SST"),
    }
    figure, axes = panels(2, 2, 2.9, sharex=True)
    for axis, (name, (metric, title)) in zip(axes.flat, names.items()):
        for (label, table), colour, dashes in zip(histories.items(), CYCLE, DASHES):
            if len(table):
                axis.plot(table["step"], table[name], color=colour, linestyle=dashes, label=plain(_wrapped(label, 60)))
        reference_lines(axis, references[name], metric)
        share_axis(axis, metric)
        axis.set_title(title)
        if metric == "r2":
            axis.set_ylim(-1.05, 1.05)
    for axis in axes[1]:
        axis.set_xlabel("step")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=3 if max(map(len, labels)) < 36 else 2,
    )
    return figure


def _wrapped(label: str, width: int = 30) -> str:
    """At most two lines."""
    if len(label) <= width:
        return label
    cut = label.rfind(" ", 0, width)
    cut = cut if cut > 0 else width
    rest = label[cut:].strip()
    return label[:cut] + "\n" + (rest if len(rest) <= width else rest[: width - 1] + "…")
