"""Chapter 3: the recovery of one fit."""

import numpy as np
import pandas as pd
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from stoirec.report.style import (
    BLACK,
    BLUE,
    GREY,
    LEARNED,
    PALE,
    SKY,
    TRUE,
    VERMILION,
    WRONG,
    finite,
    grid,
    panels,
    share_axis,
    styled,
)

_INTEGERS = np.arange(-2, 3)
_MATRIX_COLOURS = ListedColormap(["#b2400a", "#f0a875", "#ffffff", "#7db7dd", "#00568a"])  # -2 .. 2


@styled()
def coefficients(learned: np.ndarray, integers: np.ndarray, true: np.ndarray, confusion: np.ndarray) -> Figure:
    """Learned against true coefficients, and the confusion table of the decoded integers.

    Args:
        learned: (E,) reals; integers: (E,) decoded; true: (E,); confusion: (5, 5) rows true, columns recovered.
    """
    figure, axes = panels(1, 2, 4.0, width_ratios=(1.25, 1))
    scatter, matrix = axes[0]
    right = integers == true
    limit = float(min(4.0, max(2.6, np.nanmax(np.abs(finite(learned)), initial=2.6))))
    shown = np.clip(finite(learned), -limit, limit)
    spread = true + np.random.default_rng(0).uniform(-0.3, 0.3, len(true))  # jitter: many edges share a true value
    scatter.plot([-limit, limit], [-limit, limit], color=PALE, linewidth=1, zorder=0)
    for of, colour, marker, label in ((right, LEARNED, "o", "decoded right"), (~right, WRONG, "x", "decoded wrong")):
        scatter.plot(
            spread[of],
            shown[of],
            marker,
            color=colour,
            markersize=3.2 if marker == "o" else 4.5,
            alpha=0.6,
            markeredgewidth=0.9 if marker == "x" else 0,
            label=f"{label}: {of.sum():,}",
            rasterized=True,
        )
    scatter.set(
        xlabel="true coefficient (jittered)",
        ylabel="learned coefficient",
        xlim=(-2.6, 2.6),
        ylim=(-limit * 1.03, limit * 1.03),
        title="Learned against true",
    )
    scatter.set_xticks(_INTEGERS)
    scatter.legend(loc="upper left")
    grid(scatter)

    totals = np.maximum(confusion.sum(1, keepdims=True), 1)
    matrix.imshow(confusion / totals, cmap=ListedColormap(_ramp()), vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        if confusion[row].sum() or confusion[:, column].sum():
            share = count / totals[row, 0]
            matrix.text(
                column,
                row,
                f"{count:,}",
                ha="center",
                va="center",
                color="white" if share > 0.55 else BLACK if count else GREY,
                fontweight="bold" if row == column else "normal",
            )
    matrix.set_xticks(range(5), [_signed(value) for value in _INTEGERS])
    matrix.set_yticks(range(5), [_signed(value) for value in _INTEGERS])
    matrix.set(
        xlabel="recovered coefficient", ylabel="true coefficient", title="Confusion (edges; shade: share of the row)"
    )
    matrix.spines[:].set_visible(False)
    matrix.tick_params(length=0)
    return figure


def _ramp() -> np.ndarray:
    """White to blue."""
    weight = np.linspace(0, 1, 64)[:, None]
    return (1 - weight) * np.ones(3) + weight * np.array([0.0, 0.3, 0.52])


@styled()
def matrices(true: np.ndarray, recovered: np.ndarray) -> Figure:
    """The stoichiometric matrix, true and recovered (M, R), and where they differ."""
    n_metabolites, n_reactions = true.shape
    figure, axes = panels(3, 1, float(np.clip(9.0 * n_metabolites / n_reactions, 2.0, 4.0)), sharex=True)
    norm = BoundaryNorm(np.arange(-2.5, 3), 5)
    for axis, values, title in ((axes[0, 0], true, "True"), (axes[1, 0], recovered, "Recovered")):
        axis.imshow(values, cmap=_MATRIX_COLOURS, norm=norm, aspect="auto", interpolation="nearest")
        axis.set_title(title)
    keys = [Patch(facecolor=_MATRIX_COLOURS(norm(value)), label=_signed(value)) for value in _INTEGERS if value]
    axes[0, 0].legend(
        handles=keys, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.2, handlelength=1
    )

    difference = axes[2, 0]
    difference.imshow(
        true != 0, cmap=ListedColormap(["#ffffff", "#d1d5db"]), vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    wrong = recovered != true
    sign = np.sign(recovered) != np.sign(true)
    for of, marker, colour, label in (
        (wrong & ~sign, "o", BLUE, "wrong size"),
        (wrong & sign, "X", VERMILION, "wrong sign, missing or invented"),
    ):
        row, column = np.nonzero(of)
        difference.scatter(
            column,
            row,
            s=18,
            marker=marker,
            color=colour,
            linewidth=0.3,
            edgecolor="white",
            label=f"{label}: {len(row):,}",
            zorder=3,
        )
    difference.set_title(f"Difference: {wrong.sum():,} wrong entries (grey: true edges)")
    difference.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2, handletextpad=0.2)
    difference.set_xlabel("reaction")
    for axis in axes[:, 0]:
        axis.set_ylabel("metabolite")
        axis.spines[:].set_visible(True)
        axis.spines[:].set_color(PALE)
    return figure


def _signed(value: int) -> str:
    return f"{value:+d}".replace("-", "−") if value else "0"


@styled()
def errors(rate: pd.DataFrame, baseline: pd.DataFrame, calibrated: pd.DataFrame) -> Figure:
    """Error rate against the rate constant, beside the better baseline's, and calibration of the confidence.

    Args:
        rate, baseline: of mistakes.error_rate; calibrated: of mistakes.calibration.
    """
    figure, axes = panels(1, 2, 3.3)
    by_k, reliable = axes[0]
    for table, colour, marker, label in ((baseline, GREY, "s", "better baseline"), (rate, LEARNED, "o", "this fit")):
        centre = (table["low"] + table["high"]) / 2
        by_k.errorbar(
            centre,
            table["share"],
            yerr=[table["share"] - table["lower"], table["upper"] - table["share"]],
            xerr=[centre - table["low"], table["high"] - centre],
            fmt=marker,
            color=colour,
            markersize=4,
            elinewidth=1,
            label=label,
        )
    share_axis(by_k, "share of reactions with an error")
    by_k.set(xlabel="log10 true rate constant k [1 / time unit]", title="Errors against k")
    by_k.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2)
    reliable.plot([0, 1], [0, 1], color=PALE, linewidth=1)
    filled = calibrated[calibrated["entries"] > 0]
    reliable.plot(filled["mean confidence"], filled["share right"], "-", color=SKY, linewidth=1)
    reliable.scatter(
        filled["mean confidence"],
        filled["share right"],
        s=10 + 110 * filled["entries"] / filled["entries"].sum(),
        color=LEARNED,
        zorder=3,
    )
    for _, row in filled.iterrows():
        reliable.annotate(
            f"{row['entries']:,}",
            (row["mean confidence"], row["share right"]),
            textcoords="offset points",
            xytext=(-6, -11),
            ha="right",
            fontsize=7,
            color=GREY,
        )
    share_axis(reliable, "share of entries right")
    reliable.set(xlabel="confidence", xlim=(-0.03, 1.03), title="Calibration (numbers: entries)")
    return figure


@styled()
def functions(curves: pd.DataFrame, reactions: pd.DataFrame, n_wrong: np.ndarray) -> Figure:
    """Learned functions against the true ones: responses, fluxes, and where the scale of S went.

    Args:
        curves, reactions: of compensation.Compensation; n_wrong: (R,) wrong entries of each reaction's answer.
    """
    figure, axes = panels(1, 3, 3.3)
    response, fluxes, scales = axes[0]
    for size, (colour, shade) in {1: (BLUE, "-"), 2: (VERMILION, "--")}.items():
        curve = curves[curves["coefficient"] == size]
        response.plot(
            curve["concentration"],
            finite(curve["true"]),
            color=TRUE,
            linestyle=shade,
            linewidth=1,
            label=f"true, |S| = {size}",
        )
        response.plot(
            curve["concentration"],
            finite(curve["learned"]),
            color=colour,
            linestyle=shade,
            linewidth=2,
            label=f"learned, |S| = {size}",
        )
    response.set(
        xlabel="concentration of the substrate",
        ylabel="response F(c; |S|) [1]",
        title="Response to one substrate",
        ylim=(0, None),
    )
    response.legend()
    grid(response)

    residual = np.clip(1 - finite(reactions["flux_r2"]), 1e-15, 10)
    lowest = np.floor(np.log10(np.nanmin(residual, initial=1e-4)))
    bins = np.logspace(lowest, 1, 30)
    fluxes.hist(
        [residual[n_wrong == 0], residual[n_wrong > 0]],
        bins,
        stacked=True,
        color=[LEARNED, WRONG],
        label=["column right", "column wrong"],
    )
    fluxes.set(
        xscale="log", xlabel="1 − R2 of the flux, after one factor", ylabel="reactions", title="Course of the fluxes"
    )
    fluxes.set_ylim(top=1.25 * fluxes.get_ylim()[1])  # room for the legend
    fluxes.legend(loc="upper left")

    for of, colour, marker in ((n_wrong == 0, LEARNED, "o"), (n_wrong > 0, WRONG, "x")):
        scales.plot(
            reactions["log_column_scale"][of],
            reactions["log_factor"][of],
            marker,
            color=colour,
            markersize=3.5,
            alpha=0.7,
            markeredgewidth=0.9 if marker == "x" else 0,
        )
    known = reactions[["log_column_scale", "log_factor"]].dropna().to_numpy()
    reach = np.maximum(0.1, 1.1 * np.abs(known).max(axis=0)) if len(known) else np.full(2, 0.5)
    scales.axline((0, 0), slope=1, color=PALE, linewidth=1, zorder=0)
    scales.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    scales.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    scales.set(
        xlabel="log10 learned / true column of S",
        ylabel="log10 true / learned flux",
        title="Scale: S against flux",
        xlim=(-reach[0], reach[0]),
        ylim=(-reach[1], reach[1]),
    )
    return figure
