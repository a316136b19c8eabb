"""The questions the field asks about training parameters, answered from a study's runs, in sentences.

A question is answered from fits that differ in the parameters it names and in nothing else; where a study has none, it
is named among those not answered.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stoirec.report.differences import interval, signed, span
from stoirec.report.naming import shown_value
from stoirec.report.results import Results

LR_S, L1, INTEGER, MASS = (
    "param.learning_rate_S_start",
    "param.coeff_S_L1",
    "param.coeff_S_integer",
    "param.coeff_mass_conservation",
)
_PHASES = ("param.n_epochs_init", "param.first_coeff_L1")
_NAMES = {LR_S: "lr_S", L1: "L1", INTEGER: "the integer term", MASS: "mass conservation"}
_ONE_PHASE = "The study has no fits with two phases beside fits with one, all else equal."
_MOST = 400  # fits whose files are read for one answer
_SCALED = 1.0  # |log10| of a column's scale beyond which it is not a scale but a failure


def answers(results: Results) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """(question, sentences) for each question that the study answers, and the questions that it does not."""
    rates = [together(results, LR_S, other) for other in (INTEGER, L1, MASS)]
    asked = {
        "lr_S against regularisation strength": [sentence for found in rates for sentence in found],
        "L1 against the integer term": together(results, L1, INTEGER),
        "Mass conservation against L1": together(results, MASS, L1),
        "How far k and S trade scale": scale_trade(results),
        "Two phases against one": [sentence for sentence in phases(results) if sentence != _ONE_PHASE],
    }
    return [(text, found) for text, found in asked.items() if found], [text for text in asked if not asked[text]]


# --- two parameters ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interaction:
    """Two parameters at their lowest and highest values, all else equal, network and seed included.

    Attributes:
        first, second: (lowest, highest) value of each.
        effects: one row per set of four fits, indexed by network and training seed: at_low, at_high: what raising
            `first` did to entry_exact at the lowest and the highest value of `second`.
        corners: fit_ids, keyed by (is first high, is second high).
    """

    first: tuple[float, float]
    second: tuple[float, float]
    effects: pd.DataFrame
    corners: dict[tuple[bool, bool], list[str]]


def interaction(results: Results, first: str, second: str) -> Interaction | None:
    """None if no four fits differ in the two parameters only. A diverged fit counts as 0."""
    table = _table(results)
    if table[first].nunique() < 2 or table[second].nunique() < 2:
        return None
    low, high = (table[[first, second]].agg(end) for end in ("min", "max"))
    rows, of = [], []
    corners: dict[tuple[bool, bool], list[str]] = {(one, two): [] for one in (False, True) for two in (False, True)}
    for _, group in table.groupby(_others(table, first, second), dropna=False):
        at = group.reset_index().set_index([first, second])
        ends = {
            (one, two): ((high if one else low)[first], (high if two else low)[second])
            for one, two in itertools.product((False, True), repeat=2)
        }
        if not all(end in at.index for end in ends.values()):
            continue
        value = {corner: float(at.loc[end, "value"]) for corner, end in ends.items()}
        rows.append(
            {"at_low": value[True, False] - value[False, False], "at_high": value[True, True] - value[False, True]}
        )
        of.append(_unit(group))
        for corner, end in ends.items():
            corners[corner].append(at.loc[end, "fit_id"])
    if not rows:
        return None
    return Interaction((low[first], high[first]), (low[second], high[second]), pd.DataFrame(rows, _units(of)), corners)


def together(results: Results, first: str, second: str) -> list[str]:
    """What two parameters do to each other, in sentences; none if the study cannot say."""
    found = interaction(results, first, second)
    if found is None:
        return []
    effects = found.effects
    mean, low, high = interval(effects["at_high"] - effects["at_low"])
    at_low, at_high = effects["at_low"].mean(), effects["at_high"].mean()
    if not np.isfinite(low):
        verdict = "one network and one training seed, so it may be chance"
    elif low > 0:
        verdict = "each helps the other"
    elif high < 0:
        verdict = "each takes from what the other gives"
    else:
        verdict = "no interaction these runs can tell from chance"
    one, two = _NAMES[first], _NAMES[second]
    first_values, second_values = (list(map(shown_value, values)) for values in (found.first, found.second))
    sentences = [
        f"Raising {one} from {first_values[0]} to {first_values[1]} changes entry_exact by {signed(at_low)} where "
        f"{two} is {second_values[0]} and by {signed(at_high)} where it is {second_values[1]} "
        f"({len(effects)} sets of four fits): a difference of {signed(mean)}{span(low, high)}: {verdict}."
    ]
    if first == LR_S:
        sentences.append(_motion(results, found, two))
    return sentences


def _motion(results: Results, found: Interaction, two: str) -> str:
    """Oscillation or drift, where `second` is strongest."""
    parts = []
    for is_high in (False, True):
        values = [
            directedness(results.fit(fit)["coefficient_history"].values) for fit in found.corners[is_high, True][:_MOST]
        ]
        value = float(np.nanmean(values)) if np.isfinite(values).any() else np.nan
        kind = "they diverged" if np.isnan(value) else "mostly drift" if value > 0.5 else "mostly oscillation"
        parts.append(f"{value:.2f} at lr_S {shown_value(found.first[is_high])} ({kind})")
    return (
        f"There, with {two} at {shown_value(found.second[1])}, the net part of what the coefficients moved in the "
        f"second half of training is {parts[0]} and {parts[1]}; 1 would be pure drift, 0 pure oscillation."
    )


def directedness(history: np.ndarray) -> float:
    """Net movement over the way gone, summed over coefficients, in the second half of training: 1 drift, 0 oscillation.

    `history`: (snapshots, E).
    """
    half = history[len(history) // 2 :].astype(float)
    way = np.abs(np.diff(half, axis=0)).sum()
    return float(np.abs(half[-1] - half[0]).sum() / way) if way > 0 and np.isfinite(way) else np.nan


# --- scale ------------------------------------------------------------------------------------------------------------


def scale_trade(results: Results) -> list[str]:
    """How wrong the lengths of columns of S are, and how much of that k undoes, with and without each regulariser."""
    sentences = []
    for parameter in (L1, INTEGER, MASS):
        pairs = _without_and_with(results, parameter)[:_MOST]
        if not pairs:
            continue
        without, having = (np.array([_scales(results, pair[index]) for pair in pairs]) for index in (0, 1))
        units = _units([_unit(results.answers.loc[[pair[0]]]) for pair in pairs])
        with np.errstate(invalid="ignore"):
            change = (having - without)[:, 0]
            comparable = np.isfinite(having - without).all(axis=1)
        mean, low, high = interval(pd.Series(change, units)[comparable])
        (error, undone), (error_with, undone_with) = (np.nanmedian(part, axis=0) for part in (without, having))
        sentences.append(
            f"With {_NAMES[parameter]} (instead of 0; {len(pairs)} pairs) the length of a column is off by a factor of "
            f"{10**error_with:.3f} instead of {10**error:.3f} (medians; log10 changed by {signed(mean)}"
            f"{span(low, high)}), and k undoes {undone_with:.2f} instead of {undone:.2f} of it "
            "(1: S and k trade scale freely, 0: not at all)."
        )
    return sentences


def _without_and_with(results: Results, parameter: str) -> list[tuple[str, str]]:
    """(fit without, fit at the highest value) that differ in nothing else."""
    table = _table(results)
    pairs = []
    for _, group in table.groupby(_others(table, parameter), dropna=False):
        values = group[parameter]
        if (values == 0).any() and values.max() > 0:
            pairs.append((values.index[values == 0][0], values.idxmax()))
    return pairs


def _scales(results: Results, fit_id: str) -> tuple[float, float]:
    """Median |log10| of the columns' lengths over the true ones, and the part of it that k undoes (a slope)."""
    fit, data = results.fit(fit_id), results.job(fit_id).data
    if fit.attrs["status"] != "ok":
        return np.nan, np.nan
    truth, graph = results.truth(data), results.space(data).graph
    return column_scales(
        graph.edge_reaction,
        fit["coefficient"].values,
        graph.on_edges(truth.stoichiometry),
        fit["log_k"].values - truth.log_k,
    )


def column_scales(
    edge_reaction: np.ndarray, coefficient: np.ndarray, true: np.ndarray, log_k_error: np.ndarray
) -> tuple[float, float]:
    """(median |log10 scale| of the columns, slope of the error of -log k over it); off by more than 10 is no scale.

    Args:
        edge_reaction: (E,); coefficient, true: (E,) learned and true; log_k_error: (R,) learned less true log10 k.
    """
    n = len(log_k_error)
    along, square = (
        np.bincount(edge_reaction, coefficient * true, n),
        np.bincount(edge_reaction, true.astype(float) ** 2, n),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.log10(along / square)
    of = np.isfinite(scale) & (np.abs(scale) < _SCALED)
    if of.sum() < 3 or np.ptp(scale[of]) == 0:
        return np.nan, np.nan
    return float(np.median(np.abs(scale[of]))), float(-np.polyfit(scale[of], log_k_error[of], 1)[0])


# --- phases -----------------------------------------------------------------------------------------------------------


def phases(results: Results) -> list[str]:
    """A first phase of its own against none, all else equal."""
    table = _table(results)
    differences, of = [], []
    for _, group in table.groupby(_others(table, *_PHASES), dropna=False):
        two = group[(group[_PHASES[0]] > 0) & group[_PHASES[1]].notna() & (group[_PHASES[1]] != group[L1])]
        one = group[(group[_PHASES[0]] == 0) | group[_PHASES[1]].isna()]
        if len(one):
            differences += list(two["value"] - one["value"].mean())
            of += [_unit(group)] * len(two)
    if not differences:
        return [_ONE_PHASE]
    mean, low, high = interval(pd.Series(differences, _units(of)))
    verdict = (
        ""
        if not np.isfinite(low)
        else ": two phases are better"
        if low > 0
        else ": one phase is better"
        if high < 0
        else ": a tie"
    )
    return [
        f"A first phase with its own L1 changes entry_exact by {signed(mean)} over {len(differences)} matched fits"
        f"{span(low, high)}{verdict}."
    ]


# --- shared -----------------------------------------------------------------------------------------------------------


def _table(results: Results) -> pd.DataFrame:
    """The study's parameters of every fit, with network and seed, and `value`, its entry_exact (0 if it diverged)."""
    found = results.answers
    keys = list(dict.fromkeys((*results.varied, LR_S, L1, INTEGER, MASS, *_PHASES, "network_seed", "param.seed")))
    table = found[keys].assign(value=found["entry_exact"].where(found["status"] == "ok", 0.0))
    table.index.name = "fit_id"
    # 0 stands for the rate of the MLPs
    return (
        table.assign(**{LR_S: table[LR_S].where(table[LR_S] > 0, found["param.learning_rate_start"])})
        if LR_S in results.varied
        else table
    )


def _unit(fits: pd.DataFrame) -> tuple[int, int]:
    """Network and training seed of fits that share them."""
    return fits["network_seed"].iloc[0], fits["param.seed"].iloc[0]


def _units(of: list[tuple[int, int]]) -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples(of, names=["network", "seed"])


def _others(table: pd.DataFrame, *parameters: str) -> list[str]:
    return [column for column in table.columns if column not in (*parameters, "value")]
