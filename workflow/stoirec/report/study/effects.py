"""What a study's parameters did to the recovery: comparisons of fits that differ in nothing else."""

import itertools

import numpy as np
import pandas as pd

from stoirec.report.differences import interval
from stoirec.report.naming import short, shown_value
from stoirec.report.results import Results


def matched_pairs(results: Results, metric: str = "entry_exact") -> pd.DataFrame:
    """Pairs of fits that differ in one varied parameter only, data and learner seed included.

    Such a difference is the parameter's doing, whether the study varies one factor at a time or is a full grid.

    Returns:
        One row per pair: parameter (short name), `from`, `to` (values), first, second (fit_id), data, seed,
        difference of `metric`; a diverged fit counts as 0.
    """
    answers = results.answers
    value = answers[metric].where(answers["status"] == "ok", 0.0)
    keys = _keys(results)
    rows = []
    for parameter in results.varied:
        for _, group in keys.groupby([column for column in keys if column != parameter], sort=False):
            for first, second in itertools.combinations(_ordered(group[parameter]), 2):
                rows.append(
                    {
                        "parameter": short(parameter),
                        "from": shown_value(keys.at[first, parameter]),
                        "to": shown_value(keys.at[second, parameter]),
                        "first": first,
                        "second": second,
                        "data": keys.at[first, "data"],
                        "seed": keys.at[first, "param.seed"],
                        "difference": value[second] - value[first],
                    }
                )
    return pd.DataFrame(rows, columns=["parameter", "from", "to", "first", "second", "data", "seed", "difference"])


# Pairs the field asks about come first in every figure of pairs.
ASKED = (
    ("learning_rate_S_start", "coeff_S_integer"),
    ("learning_rate_S_start", "coeff_S_L1"),
    ("learning_rate_S_start", "coeff_mass_conservation"),
    ("coeff_S_L1", "coeff_S_integer"),
    ("coeff_S_L1", "coeff_mass_conservation"),
)


def crossed_pairs(results: Results, most: int = 6) -> dict[tuple[str, str], list[str]]:
    """Pairs of varied parameters that were varied together with all else equal, and the fits that were.

    Only such fits tell how two parameters act together. The pairs the field asks about come first, then those with most
    such fits; of equals, those with the largest matched effects.

    Returns:
        At most `most` pairs of columns `param.<key>` -> fit_ids.
    """
    keys = _keys(results)
    size = matched_effects(results).groupby("parameter")["mean"].agg(lambda means: means.abs().max()).to_dict()
    found = {}
    for pair in itertools.combinations(results.varied, 2):
        groups = [
            group
            for _, group in keys.groupby([column for column in keys if column not in pair], sort=False)
            if (group[list(pair)].nunique() > 1).all()
        ]
        if groups:
            found[pair] = [fit for group in groups for fit in group.index]
    asked = [{f"param.{name}" for name in pair} for pair in ASKED]
    order = sorted(
        found,
        key=lambda pair: (
            set(pair) not in asked,
            -len(found[pair]),
            -sum(size.get(short(parameter), 0.0) for parameter in pair),
        ),
    )
    return {pair: found[pair] for pair in order[:most]}


def _keys(results: Results) -> pd.DataFrame:
    """What tells two fits apart: varied parameters, data and learner seed; a missing value is the default."""
    columns = results.answers[[*results.varied, "data", "param.seed"]]
    return columns.astype(object).where(columns.notna(), "default")


def _ordered(values: pd.Series) -> list[str]:
    """Index of `values` in rising order, whatever their type; 'default' and names come last."""
    return sorted(values.index, key=lambda fit: sort_key(values[fit]))


def sort_key(value: object) -> tuple:
    """Orders a parameter's values: numbers and False < True first, then names."""
    if isinstance(value, int | float | np.number | np.bool_) and not pd.isna(value):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def matched_effects(results: Results, metric: str = "entry_exact") -> pd.DataFrame:
    """The matched pairs of every change, summarised; largest first.

    Returns:
        parameter, from, to, pairs, mean difference with its 95 % t interval over networks (low, high; nan for one
        pair), min and max.
    """
    pairs = matched_pairs(results, metric).set_index(["data", "seed"])
    effects = (
        pairs.groupby(["parameter", "from", "to"], sort=False)["difference"]
        .agg(
            pairs="size",
            mean="mean",
            low=lambda d: interval(d)[1],
            high=lambda d: interval(d)[2],
            min="min",
            max="max",
        )
        .reset_index()
    )
    return effects.iloc[effects["mean"].abs().argsort(kind="stable")[::-1]].reset_index(drop=True)
