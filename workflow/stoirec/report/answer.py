"""What the report says first."""

from typing import Any

import numpy as np
import pandas as pd

from stoirec.report import evaluation, tables
from stoirec.report.differences import likely, share_interval
from stoirec.report.naming import compared_by, decided_by
from stoirec.report.present import percent, share
from stoirec.report.results import Results

_R2 = "R2 is 1 − SSE/SST of the learned real numbers, never a squared correlation."


def answer(results: Results) -> dict[str, Any]:
    """The report's first section; all of it computed.

    Keys: share (entry_exact of the best configuration in per cent, as text), sentences, caveats, rows (of the table:
    label, kind, values by metric), metrics (its columns).
    """
    if results.evaluation:
        return _evaluated(results)
    best = results.best_configuration
    if best is None:
        sentences = [f"All {len(results.answers)} fits of the study diverged; nothing was recovered."]
        recovered = percent(0.0)
    else:
        row = results.configurations.loc[best]
        recovered = percent(row["entry_exact"])
        sentences = _sentences(results, best, row)
    table = tables.headline(results)
    chosen = results.val_loss_configuration
    titles = {
        chosen: ("chosen", "selected by val_loss: "),
        best: ("best", "best and selected by val_loss: " if best == chosen else "best: "),
    }
    rows = []
    for label, values in table.to_dict("index").items():
        kind, title = titles.get(label, (label.split(":")[0], ""))
        rows.append({"label": title + label, "kind": kind, **values})
    return {
        "share": recovered,
        "sentences": sentences,
        "caveats": _caveats(results),
        "rows": rows,
        "metrics": list(table.columns),
        "networks": len(results.seen_by(best)[0]),
    }


def _evaluated(results: Results) -> dict[str, Any]:
    """The answer of a study with held-out networks: what its choice reaches there."""
    table, chosen = evaluation.final(results), evaluation.chosen_name(results)
    metrics = ["entry_exact", "reaction_exact", "sign_accuracy", "r2"]
    first, *others = evaluation.sentences(results)
    recovered = percent(table.at[chosen, "entry_exact"]) if chosen in table.index else percent(0.0)
    rows = []
    for label, values in table[metrics].to_dict("index").items():
        kind = "best" if label == chosen else label.split(":")[0] if label in tables.REFERENCE_LABELS else "chosen"
        rows.append({"label": label.replace("_", " ") if kind in ("best", "chosen") else label, "kind": kind, **values})
    return {
        "share": recovered,
        "sentences": [f"of the stoichiometric coefficients were recovered exactly. {first}", *others],
        "caveats": _evaluation_caveats(results),
        "rows": rows,
        "metrics": metrics,
        "networks": len(results.held_out_names),
    }


def _evaluation_caveats(results: Results) -> list[str]:
    winners = results.plans["evaluation"]["winners"]
    winner = next((found for found in winners if found["selected_by"] == results.study.select_by), None)
    diverged = (results.metrics[results.metrics["is_answer"]]["status"] != "ok").sum()
    if winner is None:
        selected = "No configuration was selected."
    else:
        changed = ", ".join(f"{key} {value}" for key, value in winner["config"].items() if key != "seed")
        selected = f"The selected configuration differs from the defaults by: {changed}."
    return [
        selected,
        f"It was chosen on {len(results.data_names)} other network(s) among {len(results.configurations)} "
        "configurations, by means over training seeds; nothing was chosen on the networks reported here.",
        f"{diverged} of {len(results.all_fits)} fits diverged.",
        _R2,
    ]


def _sentences(results: Results, best: str, row: pd.Series) -> list[str]:
    method = row["method"]
    data, n_runs = results.seen_by(best)
    reference = results.references(method, data, n_runs)["entry_exact"]
    baseline = results.best_baseline(method, data)
    networks = len(data)
    where = "on one network" if networks == 1 else f"on {networks} networks"
    if row["n_fits"] > 1:
        spread = f"{share(row['entry_exact_min'])} to {share(row['entry_exact_max'])}"
        own = results.answers[results.answers["configuration"] == best]
        exact = own["entry_exact"].where(own["status"] == "ok", 0.0)
        ends = share_interval(results.by_network(exact)) if networks > 1 else (np.nan, np.nan)
        where = f"{where} (mean of {row['n_fits']} fits, {spread}{likely(*ends)})"
    verdict = "more than" if row["entry_exact"] > baseline else "not more than"
    sentences = [
        f"of the stoichiometric coefficients were recovered exactly by the configuration {best} {where}, "
        f"{decided_by(method)}: entry_exact {share(row['entry_exact'])}, "
        f"reaction_exact {share(row['reaction_exact'])}, sign_accuracy {share(row['sign_accuracy'])}.",
        f"That is {verdict} the trivial baselines, which know only the roles "
        f"({share(reference['baseline_unit'])} and {share(reference['baseline_balanced'])}, {compared_by(method)}); "
        f"the oracle that knows the true fluxes reaches {share(reference['oracle_balanced'])}.",
    ]
    baseline = results.best_baseline(method, data, metric="reaction_exact")
    if row["entry_exact"] > reference.filter(like="baseline").max() and row["reaction_exact"] <= baseline:
        sentences.append(
            f"Whole reactions are no more often right than in the better baseline (reaction_exact {share(baseline)})."
        )
    chosen = results.val_loss_configuration
    if chosen is None:
        sentences.append("No configuration ended on every network, so val_loss selects none.")
    elif len(results.configurations) > 1:
        other = results.configurations.at[chosen, "entry_exact"]
        sentences.append(
            "Selecting by val_loss, which needs no known truth, gives the same configuration."
            if chosen == best
            else f"Selecting by val_loss, which needs no known truth, would have given {chosen} "
            f"with entry_exact {share(other)}."
        )
    return sentences


def _caveats(results: Results) -> list[str]:
    """What a reader must know to not read too much into the answer."""
    caveats = []
    best = results.best_configuration
    if best is not None:
        caveats.append(
            f"The configuration {best} differs from the defaults by: {results.description(best) or 'nothing'}."
        )
        if len(results.data_names) == 1:
            caveats.append("One network was simulated: the figures do not say how they vary from network to network.")
        with_roles = results.configurations.at[best, "role_prior"]
        caveats.append(
            "The best configuration started from the candidate roles (role_prior): "
            "every coefficient began with the sign of its role, which the baselines know as well."
            if with_roles
            else "The best configuration had to learn the signs from the data (no role_prior)."
        )
        others = results.configurations[results.configurations["role_prior"] != with_roles]
        if len(others):
            name, other = others.index[0], others.iloc[0]
            caveats.append(
                f"{'Without' if with_roles else 'With'} role_prior the best is {name}: "
                f"entry_exact {share(other['entry_exact'])}."
            )
        if len(results.configurations) > 1:
            caveats.append(
                "The best of several configurations was picked knowing the truth, on the networks it is reported for: "
                "it flatters itself a little."
            )
    diverged = results.answers[results.answers["status"] != "ok"]
    caveats.append(
        f"{len(diverged)} of {len(results.answers)} fits diverged."
        if len(diverged)
        else f"None of the {len(results.answers)} fits diverged."
    )
    caveats.append(_R2)
    return caveats
