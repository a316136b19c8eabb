"""What a study's parameters did to the recovery: matched comparisons, and what selecting by val_loss costs."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr, t

from stoirec.report.present import share
from stoirec.report.results import Results, short, shown_value


def matched_pairs(results: Results, metric: str = "entry_exact") -> pd.DataFrame:
    """Pairs of fits that differ in one varied parameter only, network and learner seed included.

    Such a difference is the parameter's doing, whether the study varies one factor at a time or is a full grid.

    Returns:
        One row per pair: parameter (short name), `from`, `to` (values), first, second (fit_id), difference of
        `metric`; a diverged fit counts as 0.
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
                        "difference": value[second] - value[first],
                    }
                )
    return pd.DataFrame(rows, columns=["parameter", "from", "to", "first", "second", "difference"])


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
    """What tells two fits apart: varied parameters, network and learner seed; a missing value is the default."""
    columns = results.answers[[*results.varied, "network_seed", "param.seed"]]
    return columns.astype(object).where(columns.notna(), "default")


def _ordered(values: pd.Series) -> list[str]:
    """Index of `values` in rising order, whatever their type; 'default' and names come last."""
    return sorted(values.index, key=lambda fit: sort_key(values[fit]))


def sort_key(value: object) -> tuple:
    """Orders a parameter's values: numbers and False < True first, then names."""
    number = isinstance(value, int | float | np.number | np.bool_) and not pd.isna(value)
    return (0, float(value), "") if number else (1, 0.0, str(value))


def matched_effects(results: Results, metric: str = "entry_exact") -> pd.DataFrame:
    """The matched pairs of every change, summarised; largest first.

    Returns:
        parameter, from, to, pairs, mean difference with its 95 % t interval (low, high; nan for one pair), min and max.
    """
    pairs = matched_pairs(results, metric)
    effects = (
        pairs.groupby(["parameter", "from", "to"], sort=False)["difference"]
        .agg(
            pairs="size", mean="mean", low=lambda d: interval(d)[1], high=lambda d: interval(d)[2], min="min", max="max"
        )
        .reset_index()
    )
    return effects.iloc[effects["mean"].abs().argsort(kind="stable")[::-1]].reset_index(drop=True)


@dataclass(frozen=True)
class Prediction:
    """How well val_loss tells which fit recovered most.

    Attributes:
        rank_correlation: Spearman, of -val_loss with entry_exact, mean over networks; nan with fewer than 3 fits.
        n_fits: fits it was computed from.
        regret: entry_exact of the best configuration less that of the one val_loss selects.
    """

    rank_correlation: float
    n_fits: int
    regret: float


def val_loss_prediction(results: Results) -> Prediction:
    """Within networks only: losses of different networks do not compare."""
    found, n_fits = [], 0
    for _, group in results.ended.groupby("data"):
        if len(group) >= 3 and group["entry_exact"].nunique() > 1 and group["val_loss"].nunique() > 1:
            found.append(spearmanr(-group["val_loss"], group["entry_exact"]).statistic)
            n_fits += len(group)
    table, best, chosen = (
        results.configurations["entry_exact"],
        results.best_configuration,
        results.val_loss_configuration,
    )
    regret = float(table[best] - table[chosen]) if best is not None and chosen is not None else float("nan")
    return Prediction(float(np.mean(found)) if found else float("nan"), n_fits, regret)


def rank_correlations(
    results: Results, metrics: tuple[str, ...] = ("entry_exact", "reaction_exact", "sign_accuracy", "r2", "log_k_r2")
) -> pd.DataFrame:
    """How well a low val_loss tells a high value of each metric, over all fits that ended.

    Returns:
        Per metric: rank correlation (Spearman, mean over networks), fits, the best configuration's mean, that of the
        configuration val_loss selects, and their difference, the regret.
    """
    rows = []
    table, chosen = results.configurations, results.val_loss_configuration
    for metric in metrics:
        found, n_fits = [], 0
        for _, group in results.ended.groupby("data"):
            if len(group) >= 3 and group[metric].nunique() > 1 and group["val_loss"].nunique() > 1:
                found.append(spearmanr(-group["val_loss"], group[metric]).statistic)
                n_fits += len(group)
        best, own = table[metric].max(), np.nan if chosen is None else table.at[chosen, metric]
        rows.append(
            {
                "metric": metric,
                "rank correlation": float(np.mean(found)) if found else np.nan,
                "fits": n_fits,
                "best": best,
                "selected by val_loss": own,
                "regret": best - own,
            }
        )
    return pd.DataFrame(rows)


def interval(differences: pd.Series | np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences and its 95 % t interval; nan ends with fewer than two."""
    values = np.asarray(differences, float)
    mean = float(values.mean()) if len(values) else np.nan
    if len(values) < 2:
        return mean, np.nan, np.nan
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def signed(value: float) -> str:
    """+0.123 or −0.123; never −0.000."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−")


def conclusions(results: Results) -> list[str]:
    """What the study found, in sentences computed from its tables."""
    table, best, chosen = results.configurations, results.best_configuration, results.val_loss_configuration
    if best is None:
        return [f"All {len(results.answers)} fits diverged: nothing was recovered."]
    row = table.loc[best]
    data, n_runs = results.seen_by(best)
    reference = results.references(row["method"], data, n_runs)["entry_exact"]
    baseline = results.best_baseline(row["method"], data)
    beaten = [
        name
        for name, other in table.iterrows()
        if other["entry_exact"] > results.best_baseline(other["method"], results.seen_by(name)[0])
    ]
    sentences = [
        f"Most was recovered by {best}: entry_exact {share(row['entry_exact'])}, "
        f"{abs(row['entry_exact'] - baseline):.3f} {'above' if row['entry_exact'] > baseline else 'below or equal to'} "
        f"the better baseline ({share(baseline)}); "
        f"the oracle with the true fluxes and mass balance reaches {share(reference['oracle_balanced'])}.",
        f"{len(beaten)} of {len(table)} configurations beat the better baseline decoded by their own method.",
    ]
    effects = matched_effects(results)
    for _, effect in effects.drop_duplicates("parameter").head(3).iterrows():
        spread = f", 95 % interval {signed(effect['low'])} to {signed(effect['high'])}" if effect["pairs"] > 1 else ""
        pairs = f"{effect['pairs']} matched pair{'s' if effect['pairs'] > 1 else ''}"
        sentences.append(
            f"Changing {effect['parameter']} from {effect['from']} to {effect['to']}, all else equal, "
            f"changed entry_exact by {signed(effect['mean'])} ({pairs}{spread})."
        )
    if effects.empty and len(table) > 1:
        sentences.append("No two configurations differ in one parameter only: effects cannot be told apart.")
    prediction = val_loss_prediction(results)
    if chosen is not None and len(table) > 1:
        same = (
            "the same configuration"
            if chosen == best
            else f"{chosen}, at a cost of {prediction.regret:.3f} in entry_exact"
        )
        ranks = (
            ""
            if np.isnan(prediction.rank_correlation)
            else f"; rank correlation of low val_loss with entry_exact {prediction.rank_correlation:.2f} over {prediction.n_fits} fits"
        )
        sentences.append(f"Selecting by val_loss, as without a known truth, gives {same}{ranks}.")
    diverged = int(table["n_diverged"].sum())
    sentences.append(f"{diverged} of {len(results.answers)} fits diverged." if diverged else "No fit diverged.")
    return sentences


def took(results: Results) -> str:
    """What training the study took, evaluation included, on whatever ran it."""
    jobs = results.training
    hours = (jobs["wall_time_s"].astype(float) * jobs["threads"].astype(int)).sum() / 3600
    steps = int(jobs["n_steps"].astype(int).sum())
    return f"Training took {len(jobs)} fits, {steps:,} steps and {hours:.2f} core hours, shared fits included (costs.csv has every fit)."


def selected_fit(results: Results) -> str:
    """Which fit a closer look shows, why, and which one val_loss would have shown."""
    best = results.best_fit
    if best is None:
        return "Every fit diverged. What follows shows the first one, which recovered nothing."
    row = results.answers.loc[best]
    roles = "Its coefficients began with the signs of their candidate roles (role_prior)."
    chosen = results.val_loss_fit
    other = "the same fit" if chosen == best else results.answers.at[chosen, "label"]
    return (
        f"Shown is {row['label']}, the fit whose own answer (decoded by {row['method']}) has the highest entry_exact of the study: "
        f"{share(row['entry_exact'])}. Choosing it needs the truth; on the same network, val_loss alone would pick {other}. "
        f"{roles if row['param.role_prior'] else 'Its signs were learned from the data (no role_prior).'}"
    )
