"""Chapter 3: the recovery of one fit."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from stoirec.network.notation import signed_coefficient
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

_CONSUMED, _PRODUCED = ("#b2400a", "#f0a875"), ("#7db7dd", "#00568a")  # from the largest |S| to 1, and back
_EMPTY, _RIGHT = (1.0, 1.0, 1.0), (0.0, 0.3, 0.52)  # an empty and a full row of the confusion table
_SHADES = 4  # sizes of |S| that a colour tells apart; larger ones share the darkest
_NAMED = 7  # values that an axis or a table can name


@styled()
def coefficients(learned: np.ndarray, integers: np.ndarray, true: np.ndarray, confusion: np.ndarray) -> Figure:
    """Learned against true coefficients, and the confusion table of the decoded integers.

    Args:
        learned: (E,) reals; integers: (E,) decoded; true: (E,);
        confusion: of score.metrics, rows true, columns recovered.
    """
    figure, axes = panels(1, 2, 4.0, width_ratios=(1.25, 1))
    _learned_against_true(axes[0, 0], learned, integers, true)
    _confusion(axes[0, 1], confusion)
    return figure


def _learned_against_true(axis: Axes, learned: np.ndarray, integers: np.ndarray, true: np.ndarray) -> None:
    right = integers == true
    largest = max(2.0, float(np.abs(true).max()))
    limit = float(min(2 * largest, max(largest + 0.6, np.nanmax(np.abs(finite(learned)), initial=0.0))))
    shown = np.clip(finite(learned), -limit, limit)
    spread = true + np.random.default_rng(0).uniform(-0.3, 0.3, len(true))  # jitter: many edges share a true value
    axis.plot([-limit, limit], [-limit, limit], color=PALE, linewidth=1, zorder=0)
    for of, colour, marker, label in ((right, LEARNED, "o", "decoded right"), (~right, WRONG, "x", "decoded wrong")):
        axis.plot(
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
    axis.set(
        xlabel="true coefficient (jittered)",
        ylabel="learned coefficient",
        xlim=(-largest - 0.6, largest + 0.6),
        ylim=(-limit * 1.03, limit * 1.03),
        title="Learned against true",
    )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=2 * _NAMED))
    axis.legend(loc="upper left")
    grid(axis)


def _confusion(axis: Axes, confusion: np.ndarray) -> None:
    """Counts where there is room for them, over shades of each row's shares."""
    largest = len(confusion) // 2
    totals = np.maximum(confusion.sum(1, keepdims=True), 1)
    axis.imshow(confusion / totals, cmap=LinearSegmentedColormap.from_list("", [_EMPTY, _RIGHT]), vmin=0, vmax=1)
    occurs = (confusion.sum(1)[:, None] + confusion.sum(0)) > 0
    for (row, column), count in np.ndenumerate(confusion if largest <= _NAMED else np.zeros((0, 0))):
        if occurs[row, column]:
            share = count / totals[row, 0]
            axis.text(
                column,
                row,
                f"{count:,}",
                ha="center",
                va="center",
                color="white" if share > 0.55 else BLACK if count else GREY,
                fontsize=9 if largest <= 3 else 6,
                fontweight="bold" if row == column else "normal",
            )
    step = -(-largest // _NAMED)
    values = step * np.arange(-(largest // step), largest // step + 1)
    for set_ticks in (axis.set_xticks, axis.set_yticks):
        set_ticks(values + largest, [signed_coefficient(value) for value in values.tolist()])
    axis.set(
        xlabel="recovered coefficient", ylabel="true coefficient", title="Confusion (edges; shade: share of the row)"
    )
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


def shades(true: np.ndarray, recovered: np.ndarray) -> tuple[LinearSegmentedColormap, BoundaryNorm]:
    """A colour for every coefficient, from the most consumed to the most produced; large ones share the last."""
    limit = min(_largest(true, recovered), _SHADES)
    colours = LinearSegmentedColormap.from_list("", [*_CONSUMED, "white", *_PRODUCED], N=2 * limit + 1)
    return colours, BoundaryNorm(np.arange(-limit - 0.5, limit + 1), 2 * limit + 1)


def _largest(true: np.ndarray, recovered: np.ndarray) -> int:
    return max(2, int(np.ceil(max(np.abs(true).max(), np.abs(recovered).max()))))


@styled()
def matrices(true: np.ndarray, recovered: np.ndarray) -> Figure:
    """The stoichiometric matrix, true and recovered (M, R), and where they differ."""
    n_metabolites, n_reactions = true.shape
    figure, axes = panels(3, 1, float(np.clip(9.0 * n_metabolites / n_reactions, 2.0, 4.0)), sharex=True)
    largest = _largest(true, recovered)
    colours, norm = shades(true, recovered)
    limit = (colours.N - 1) // 2
    for axis, values, title in ((axes[0, 0], true, "True"), (axes[1, 0], recovered, "Recovered")):
        axis.imshow(np.clip(values, -limit, limit), cmap=colours, norm=norm, aspect="auto", interpolation="nearest")
        axis.set_title(title)
    keys = [
        Patch(
            facecolor=colours(norm(value)),
            label=signed_coefficient(value) + (" and beyond" if abs(value) == limit < largest else ""),
        )
        for value in range(-limit, limit + 1)
        if value
    ]
    axes[0, 0].legend(
        handles=keys, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=8, borderaxespad=0.2, handlelength=1
    )
    _difference(axes[2, 0], true, recovered)
    for axis in axes[:, 0]:
        axis.set_ylabel("metabolite")
        axis.spines[:].set_visible(True)
        axis.spines[:].set_color(PALE)
    return figure


def _difference(axis: Axes, true: np.ndarray, recovered: np.ndarray) -> None:
    axis.imshow(
        true != 0, cmap=ListedColormap(["#ffffff", PALE]), vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    wrong = recovered != true
    sign = np.sign(recovered) != np.sign(true)
    for of, marker, colour, label in (
        (wrong & ~sign, "o", BLUE, "wrong size"),
        (wrong & sign, "X", VERMILION, "wrong sign, missing or invented"),
    ):
        row, column = np.nonzero(of)
        axis.scatter(
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
    axis.set_title(f"Difference: {wrong.sum():,} wrong entries (grey: true edges)")
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2, handletextpad=0.2)
    axis.set_xlabel("reaction")


@styled()
def errors(rate: pd.DataFrame, baseline: pd.DataFrame, calibrated: pd.DataFrame) -> Figure:
    """Error rate against the rate constant, beside the better baseline's, and calibration of the confidence.

    Args:
        rate, baseline: of mistakes.error_rate; calibrated: of calibration.calibration.
    """
    figure, axes = panels(1, 2, 3.3)
    _errors_by_k(axes[0, 0], rate, baseline)
    _calibration(axes[0, 1], calibrated)
    return figure


def _errors_by_k(axis: Axes, rate: pd.DataFrame, baseline: pd.DataFrame) -> None:
    for table, colour, marker, label in ((baseline, GREY, "s", "better baseline"), (rate, LEARNED, "o", "this fit")):
        centre = (table["low"] + table["high"]) / 2
        axis.errorbar(
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
    share_axis(axis, "share of reactions with an error")
    axis.set(xlabel="log10 true rate constant k [1 / time unit]", title="Errors against k")
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.2)


def _calibration(axis: Axes, calibrated: pd.DataFrame) -> None:
    axis.plot([0, 1], [0, 1], color=PALE, linewidth=1)
    filled = calibrated[calibrated["entries"] > 0]
    axis.plot(filled["mean confidence"], filled["share right"], "-", color=SKY, linewidth=1)
    axis.scatter(
        filled["mean confidence"],
        filled["share right"],
        s=10 + 110 * filled["entries"] / filled["entries"].sum(),
        color=LEARNED,
        zorder=3,
    )
    for _, row in filled.iterrows():
        axis.annotate(
            f"{row['entries']:,}",
            (row["mean confidence"], row["share right"]),
            textcoords="offset points",
            xytext=(-6, -11),
            ha="right",
            fontsize=7,
            color=GREY,
        )
    share_axis(axis, "share of entries right")
    axis.set(xlabel="confidence", xlim=(-0.03, 1.03), title="Calibration (numbers: entries)")


@styled()
def functions(curves: pd.DataFrame, reactions: pd.DataFrame, n_wrong: np.ndarray) -> Figure:
    """Learned functions against the true ones: responses, fluxes, and where the scale of S went.

    Args:
        curves, reactions: of compensation.Compensation; n_wrong: (R,) wrong entries of each reaction's answer.
    """
    figure, axes = panels(1, 3, 3.3)
    _responses(axes[0, 0], curves)
    _fluxes(axes[0, 1], reactions, n_wrong)
    _scales(axes[0, 2], reactions, n_wrong)
    return figure


def _responses(axis: Axes, curves: pd.DataFrame) -> None:
    for size, (colour, dashes) in {1: (BLUE, "-"), 2: (VERMILION, "--")}.items():
        curve = curves[curves["coefficient"] == size]
        for kind, shade, width in (("true", TRUE, 1), ("learned", colour, 2)):
            axis.plot(
                curve["concentration"],
                finite(curve[kind]),
                linestyle=dashes,
                label=f"{kind}, |S| = {size}",
                color=shade,
                linewidth=width,
            )
    axis.set(
        xlabel="concentration of the substrate",
        ylabel="response F(c; |S|) [1]",
        title="Response to one substrate",
        ylim=(0, None),
    )
    axis.legend()
    grid(axis)


def _fluxes(axis: Axes, reactions: pd.DataFrame, n_wrong: np.ndarray) -> None:
    residual = np.clip(1 - finite(reactions["flux_r2"]), 1e-15, 10)
    lowest = np.floor(np.log10(np.nanmin(residual, initial=1e-4)))
    axis.hist(
        [residual[n_wrong == 0], residual[n_wrong > 0]],
        np.logspace(lowest, 1, 30).tolist(),
        stacked=True,
        color=[LEARNED, WRONG],
        label=["column right", "column wrong"],
    )
    axis.set(
        xscale="log", xlabel="1 − R2 of the flux, after one factor", ylabel="reactions", title="Course of the fluxes"
    )
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])  # room for the legend
    axis.legend(loc="upper left")


def _scales(axis: Axes, reactions: pd.DataFrame, n_wrong: np.ndarray) -> None:
    for of, colour, marker in ((n_wrong == 0, LEARNED, "o"), (n_wrong > 0, WRONG, "x")):
        axis.plot(
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
    axis.axline((0, 0), slope=1, color=PALE, linewidth=1, zorder=0)
    axis.axhline(0, color=PALE, linewidth=0.8, zorder=0)
    axis.axvline(0, color=PALE, linewidth=0.8, zorder=0)
    axis.set(
        xlabel="log10 learned / true column of S",
        ylabel="log10 true / learned flux",
        title="Scale: S against flux",
        xlim=(-reach[0], reach[0]),
        ylim=(-reach[1], reach[1]),
    )
