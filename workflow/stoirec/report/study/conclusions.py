"""What the study found, in sentences."""

import numpy as np

from stoirec.report.differences import signed, span
from stoirec.report.present import share
from stoirec.report.results import Results
from stoirec.report.study.effects import matched_effects
from stoirec.report.study.val_loss import val_loss_prediction


def conclusions(results: Results) -> list[str]:
    """What the study found, computed from its tables."""
    table, best = results.configurations, results.best_configuration
    if best is None:
        return [f"All {len(results.answers)} fits diverged: nothing was recovered."]
    row = table.loc[best]
    data, n_runs = results.seen_by(best)
    reference = results.references(row["method"], data, n_runs)["entry_exact"]
    baseline = results.best_baseline(row["method"], data)
    above = "above" if row["entry_exact"] > baseline else "below or equal to"
    beaten = [
        name
        for name, other in table.iterrows()
        if other["entry_exact"] > results.best_baseline(other["method"], results.seen_by(name)[0])
    ]
    sentences = [
        f"Most was recovered by {best}: entry_exact {share(row['entry_exact'])}, "
        f"{abs(row['entry_exact'] - baseline):.3f} {above} the better baseline ({share(baseline)}); "
        f"the oracle with the true fluxes and mass balance reaches {share(reference['oracle_balanced'])}.",
        f"{len(beaten)} of {len(table)} configurations beat the better baseline decoded by their own method.",
    ]
    sentences += [*_effects(results), *_selection(results)]
    diverged = int(table["n_diverged"].sum())
    sentences.append(f"{diverged} of {len(results.answers)} fits diverged." if diverged else "No fit diverged.")
    return sentences


def _effects(results: Results) -> list[str]:
    """What the three parameters with the largest effects did."""
    effects, sentences = matched_effects(results), []
    for _, effect in effects.drop_duplicates("parameter").head(3).iterrows():
        pairs = f"{effect['pairs']} matched pair{'s' if effect['pairs'] > 1 else ''}"
        sentences.append(
            f"Changing {effect['parameter']} from {effect['from']} to {effect['to']}, all else equal, "
            f"changed entry_exact by {signed(effect['mean'])} ({pairs}{span(effect['low'], effect['high'])})."
        )
    if effects.empty and len(results.configurations) > 1:
        sentences.append("No two configurations differ in one parameter only: effects cannot be told apart.")
    return sentences


def _selection(results: Results) -> list[str]:
    """What val_loss selects, in at most one sentence."""
    chosen = results.val_loss_configuration
    if chosen is None or len(results.configurations) < 2:
        return []
    prediction = val_loss_prediction(results)
    gives = f"{chosen}, at a cost of {prediction.regret:.3f} in entry_exact"
    if chosen == results.best_configuration:
        gives = "the same configuration"
    if not np.isnan(prediction.rank_correlation):
        gives += (
            f"; rank correlation of low val_loss with entry_exact {prediction.rank_correlation:.2f} "
            f"over {prediction.n_fits} fits"
        )
    return [f"Selecting by val_loss, as without a known truth, gives {gives}."]


def took(results: Results) -> str:
    """What training the study took, evaluation included, on whatever ran it."""
    jobs = results.training
    hours = (jobs["wall_time_s"].astype(float) * jobs["threads"].astype(int)).sum() / 3600
    steps = int(jobs["n_steps"].astype(int).sum())
    return (
        f"Training took {len(jobs)} fits, {steps:,} steps and {hours:.2f} core hours, shared fits included "
        "(costs.csv has every fit)."
    )
