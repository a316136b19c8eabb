"""Tables of the report: every metric stands beside the two trivial baselines and the oracles, decoded the same way."""

import pandas as pd

from stoirec.answer.decode import METHODS
from stoirec.config.fit import FitConfig
from stoirec.report.results import REFERENCES, Results
from stoirec.score.metrics import NAMES
from stoirec.score.references import comparable_method
from stoirec.study.identity import flat

REFERENCE_LABELS = tuple(REFERENCES.values())


def references(results: Results, method: str, data: list[str] | None = None, n_runs: int | None = None) -> pd.DataFrame:
    """Baselines and oracles decoded by `method`, indexed by what they know: Results.references with readable names."""
    return results.references(method, data, n_runs).rename(index=REFERENCES)


def fits_and_references(results: Results, fits: list[str], data: list[str]) -> pd.DataFrame:
    """All metrics of some fits' answers, then of the references by the first one's method, on `data`."""
    answers = results.answers.loc[fits]
    rows = answers.assign(name=answers["label"]).set_index("name")[[*NAMES, "val_loss"]]
    return pd.concat([rows, references(results, answers["method"].iloc[0], data)])


def by_method(results: Results, fits: list[str], data: list[str], metric: str = "entry_exact") -> pd.DataFrame:
    """One metric, a column per rounding method: some fits, then the references on `data`, which nothing refines."""
    own = results.metrics[results.metrics["fit_id"].isin(fits)].pivot(index="fit_id", columns="method", values=metric)
    methods = [method for method in results.methods if method in METHODS or method in own]
    own = own.reindex(index=fits, columns=methods).rename(index=results.answers["label"])
    others = {method: references(results, method, data)[metric] for method in METHODS}
    return pd.concat([own, pd.DataFrame(others)])


def overview(results: Results) -> pd.DataFrame:
    """Every fit, best first, after the references: entry_exact by method (columns of its name), and more of its answer.

    The references' further columns are decoded by the method most answers use. What all fits share is left out.
    """
    answers = results.answers
    usual = results.usual_method
    exact = by_method(results, list(answers.index), results.data_names)
    more = ["reaction_exact", "sign_accuracy", "r2"]
    details = pd.concat(
        [
            answers.set_index("label")[["status", "method", "param.role_prior", *more, "val_loss"]],
            references(results, usual)[more].assign(method=comparable_method(usual)),
        ]
    ).rename(columns={"param.role_prior": "role_prior", "method": "answer by"})
    if answers["method"].nunique() == 1:
        details = details.drop(columns="answer by")
    if (answers["status"] == "ok").all():
        details = details.drop(columns="status")
    table = exact.join(details)
    order = answers.sort_values(["entry_exact", "val_loss"], ascending=[False, True], kind="stable")["label"]
    return table.loc[[*(name for name in REFERENCE_LABELS if name in table.index), *order]]


def headline(results: Results) -> pd.DataFrame:
    """The report's first table, from what knows least to what knows most.

    Baselines, what val_loss selects, the best, oracles.
    """
    best, chosen = results.best_configuration, results.val_loss_configuration
    columns = ["entry_exact", "reaction_exact", "sign_accuracy", "r2"]
    if results.has_decoys:
        columns[1:1] = ["entry_exact_true_edges", "support_f1"]
    method = results.configurations.at[best, "method"] if best is not None else results.usual_method
    rows = references(results, method, *results.seen_by(best))[columns]
    own = {name: results.configurations.loc[name, columns].astype(float) for name in (chosen, best) if name is not None}
    baseline = rows.index.str.startswith("baseline")
    return pd.concat([rows[baseline], pd.DataFrame(own).T, rows[~baseline]])


def data_sets(results: Results) -> pd.DataFrame:
    """Every data set: sizes, and entry_exact of baselines and oracles, each by the method that suits it best."""
    rows = []
    for name in results.data_names:
        graph = results.space(name).graph
        sizes = {
            "data set": name,
            "metabolites": graph.n_metabolites,
            "reactions": graph.n_reactions,
            "edges": graph.n_edges,
        }
        rows.append(sizes | by_method(results, [], [name]).max(axis=1).to_dict())
    return pd.DataFrame(rows)


def configuration(config: FitConfig) -> pd.DataFrame:
    """A training configuration beside the defaults."""
    defaults = flat(FitConfig())
    rows = [
        (key, str(value), "" if value == defaults[key] else str(defaults[key])) for key, value in flat(config).items()
    ]
    return pd.DataFrame(rows, columns=["parameter", "value", "default, where different"])
