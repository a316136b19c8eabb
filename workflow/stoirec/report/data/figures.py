"""Chapter 1: the data and its regime."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stoirec.network.graph import Graph
from stoirec.report.data.numbers import Regressions
from stoirec.report.style import BLUE, CYCLE, GREY, PALE, VERMILION, grid, panels, plain, shortened, styled

_FLOOR = 1e-10  # of the largest flux: a logarithmic axis ends there


@styled()
def trajectories(
    graph: Graph, time: np.ndarray, concentration: np.ndarray, flux: np.ndarray, n_examples: int = 8
) -> Figure:
    """Concentrations and fluxes over time in one trajectory: a few examples, all others behind them.

    Args:
        graph: for the names; time: (T,); concentration: (T, M); flux: (T, R).
    """
    figure, axes = panels(1, 2, 3.2)
    positive = np.where(flux > _FLOOR * flux.max(), flux, np.nan)
    for axis, values, name, label in (
        (axes[0, 0], concentration, graph.metabolite_name, "concentration [concentration unit]"),
        (axes[0, 1], positive, graph.reaction_name, "flux [concentration unit / time unit]"),
    ):
        axis.plot(time, values, color=PALE, linewidth=0.5, alpha=0.6, rasterized=True)
        order = np.argsort(np.nan_to_num(values).mean(axis=0))
        examples = order[np.linspace(0, len(order) - 1, min(n_examples, len(order))).round().astype(int)]
        for index, colour in zip(examples, CYCLE):
            axis.plot(time, values[:, index], color=colour, label=plain(shortened(name(index), 20)))
        axis.set(xlabel="time [time unit]", ylabel=label, xlim=(time[0], time[-1]))
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
    axes[0, 0].set_title("Concentrations")
    axes[0, 1].set_title("True fluxes")
    axes[0, 1].set_yscale("log")
    return figure


@styled()
def flux_range(log_k: np.ndarray, flux: np.ndarray) -> Figure:
    """How far the fluxes reach: median and range of each reaction against its rate constant, and their distribution.

    Args:
        log_k: (R,); flux: (frames, R) over all training trajectories.
    """
    figure, axes = panels(1, 2, 3.0, width_ratios=(2, 1), sharey=True)
    positive = np.maximum(flux, _FLOOR * flux.max())
    middle, (low, high) = np.median(positive, axis=0), np.percentile(positive, (5, 95), axis=0)
    scatter, histogram = axes[0]
    scatter.vlines(log_k, low, high, color=PALE, linewidth=1)
    scatter.plot(log_k, middle, "o", color=BLUE, markersize=3)
    scatter.set(
        yscale="log",
        xlabel="log10 true rate constant k [1 / time unit]",
        ylabel="true flux [conc. unit / time unit]",
        title="Median and 5–95 % range",
    )
    grid(scatter)
    edges = np.geomspace(middle.min() * 0.9, middle.max() * 1.1, 25)
    histogram.hist(middle, edges, orientation="horizontal", color=BLUE)
    histogram.set(xlabel="reactions", title="Medians")
    return figure


@styled()
def conditioning(found: Regressions) -> Figure:
    """Rank and condition number of each metabolite's regression of dc/dt on the true fluxes."""
    figure, axes = panels(1, 2, 3.0)
    condition = np.clip(found.condition, 1, 1e12)
    full = found.rank == found.n_reactions
    ranked, conditioned = axes[0]
    size = np.arange(found.n_reactions.max() + 1)
    ranked.plot(size, size, color=GREY, linewidth=0.8, linestyle="--", label="full rank")
    pairs, counts = np.unique(np.column_stack([found.n_reactions, found.rank]), axis=0, return_counts=True)
    for of, colour, marker in ((pairs[:, 0] == pairs[:, 1], BLUE, "o"), (pairs[:, 0] != pairs[:, 1], VERMILION, "s")):
        ranked.scatter(
            pairs[of, 0], pairs[of, 1], s=12 + 6 * counts[of], color=colour, marker=marker, alpha=0.8, linewidth=0
        )
    ranked.set(
        xlabel="reactions of the metabolite",
        ylabel="rank of their fluxes",
        title=f"Rank ({(~full).sum()} of {len(full)} metabolites deficient)",
    )
    for axis in (ranked.xaxis, ranked.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    ranked.legend(loc="upper left")
    bins = np.geomspace(1, max(1e3, condition.max() * 1.01), 31)
    conditioned.hist(
        [condition[full], condition[~full]],
        bins,
        stacked=True,
        color=[BLUE, VERMILION],
        label=["full rank", "rank-deficient"],
    )
    conditioned.axvline(
        np.median(condition), color=GREY, linestyle="--", linewidth=1, label=f"median {np.median(condition):.3g}"
    )
    conditioned.set(
        xscale="log", xlabel="condition number (at most 1e12 shown)", ylabel="metabolites", title="Conditioning"
    )
    conditioned.legend()
    return figure
