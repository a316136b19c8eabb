"""Honest figures: what a staged study selected, on networks that nothing was selected on."""

import pandas as pd

from stoirec.report.differences import compared, likely, share_interval, signed, span
from stoirec.report.present import share
from stoirec.report.results import REFERENCES, SHARES, Results
from stoirec.score.metrics import NAMES


def chosen_name(results: Results) -> str:
    """The name the study's own choice has in the evaluation."""
    return f"selected_by_{results.study.select_by}"


def held_out(results: Results) -> pd.DataFrame:
    """One row per name and fit on the held-out networks: name, data, seed, status, method, metrics.

    A diverged fit counts as 0 in shares.
    """
    answers = results.metrics[results.metrics["is_answer"]].set_index("fit_id")
    rows = []
    for fit in results.evaluation:
        row = answers.loc[fit.fit_id]
        rows.append(
            {
                "name": fit.variant,
                "data": fit.data,
                "seed": fit.config.seed,
                "fit_id": fit.fit_id,
                "method": row["method"],
                "status": row["status"],
            }
            | row[[*NAMES, "val_loss"]].to_dict()
        )
    table = pd.DataFrame(rows)
    table[list(SHARES)] = table[list(SHARES)].where(table["status"] == "ok", 0.0)
    return table


def final(results: Results) -> pd.DataFrame:
    """The final table, from what knows least to what knows most: means over held-out networks and training seeds.

    Indexed by name; n_fits, steps of a fit, then the metrics of each fit's own answer, entry_exact with its 95 %
    interval over networks (from, to); references by the same method.
    """
    fits = held_out(results)
    columns = ["entry_exact", "reaction_exact", "sign_accuracy", "r2"]
    means = fits.groupby("name", sort=False)[columns].mean()
    spread = fits.groupby("name", sort=False)["entry_exact"].agg(["min", "max", "size"])
    ends = fits.set_index(["data", "seed"]).groupby("name", sort=False)["entry_exact"].apply(share_interval)
    steps = results.training["n_steps"].astype(int)
    own = pd.DataFrame(
        {
            "fits": spread["size"],
            "steps per fit": [int(steps[fits.loc[fits["name"] == name, "fit_id"]].max()) for name in means.index],
            "entry_exact": means["entry_exact"],
            "from": ends.str[0],
            "to": ends.str[1],
            "lowest": spread["min"],
            "highest": spread["max"],
            **{column: means[column] for column in columns[1:]},
        }
    ).sort_values("entry_exact", kind="stable")
    references = results.references(fits["method"].mode()[0], results.held_out_names)[columns].rename(index=REFERENCES)
    baseline = references.index.str.startswith("baseline")
    table = pd.concat([references[baseline], own, references[~baseline]])[own.columns]
    counts = ["fits", "steps per fit"]
    return table.astype(dict.fromkeys(counts, "Int64")).astype(dict.fromkeys(counts, object))  # counts, with gaps


def paired(results: Results, metric: str = "entry_exact") -> pd.DataFrame:
    """Every selected configuration against every other one, network by network and seed by seed.

    Returns:
        One row per pair of names: configuration, less, pairs, difference (mean), from, to (95 % t interval over
        networks), verdict.
    """
    table = held_out(results).pivot_table(index=["data", "seed"], columns="name", values=metric, sort=False)
    rows = []
    names = list(dict.fromkeys(fit.variant for fit in results.evaluation))
    for position, first in enumerate(names):
        for second in names[position + 1 :]:
            if first.startswith("selected_by_"):
                rows.append({"configuration": first, "less": second, **compared(table[first] - table[second])})
    return pd.DataFrame(rows)


def sentences(results: Results) -> list[str]:
    """What the evaluation found, computed from its tables."""
    table, own = final(results), chosen_name(results)
    if own not in table.index:
        return ["Every configuration diverged: none was selected."]
    row, baseline = table.loc[own], table.filter(like="baseline", axis=0)["entry_exact"].max()
    found = [
        f"The configuration selected by {results.study.select_by} recovers {share(row['entry_exact'])} of the entries "
        f"exactly on {len(results.held_out_names)} held-out networks ({row['fits']} fits, {share(row['lowest'])} to "
        f"{share(row['highest'])}{likely(row['from'], row['to'])}); the better baseline {share(baseline)}."
    ]
    for row in paired(results).to_dict("records"):
        if row["configuration"] == own:
            found.append(
                f"Against {row['less']}: {signed(row['difference'])} in entry_exact over {row['pairs']} pairs"
                f"{span(row['from'], row['to'])}: {row['verdict']}."
            )
    return found
