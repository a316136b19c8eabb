"""What is asked on every kind of data of a study, and what is found there beside what roles and formulas alone tell."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from stoirec.report.calibration import SURE
from stoirec.report.differences import share_interval
from stoirec.report.results import REFERENCES, Results

# reference, the method it is decoded by, and what it is called here
_REFERENCES = (
    ("baseline_unit", "nearest", REFERENCES["baseline_unit"]),
    ("baseline_unit", "mass_balanced", "baseline: smallest balanced column"),
    ("oracle_least_squares", "nearest", REFERENCES["oracle_least_squares"]),
    ("oracle_balanced", "mass_balanced", "oracle: true fluxes, balanced"),
)


def asked(found: Results) -> pd.DataFrame:
    """One row per regime, of its first network: sizes, coefficients sought, and what is said of their columns.

    Without what no regime has.
    """
    rows = {}
    for regime, group in _by_regime(found):
        space = found.space(group["data"].iloc[0])
        graph, sought = space.graph, np.isnan(space.known)
        backward = 0 if space.reverse_of is None else int((space.reverse_of >= 0).sum())
        true = graph.on_edges(found.truth(group["data"].iloc[0]).stoichiometry)
        rows[regime] = {
            "networks": group["data"].nunique(),
            "metabolites": graph.n_metabolites,
            "reactions": graph.n_reactions - backward,
            "of these both ways": backward,
            "candidate edges": graph.n_edges,
            "of these real": int((true != 0).sum()),
            "coefficients sought": int(sought.sum()),
            "of unknown sign": int((space.sign[sought] == 0).sum()),
            "columns open": int(space.is_open.sum()),
            "conserved": ", ".join(space.quantities) or ("mass" if len(space.conserved) else "nothing"),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.loc[:, (table != 0).any()]


def recovered(found: Results) -> pd.DataFrame:
    """One row per regime: entry_exact of its best configuration over the regime's networks, beside its references.

    Columns: fits, references (each decoded by the method that suits it), mean, its 95 % interval over networks (from,
    to), lowest, with decoys support_f1, share
    sure (of the coefficients sought; confidence at least 0.99), right among sure. Diverged fits count as 0.
    """
    rows = {}
    for regime, group in _by_regime(found):
        ended = group["status"] == "ok"
        exact = group["entry_exact"].where(ended, 0.0)
        best = exact.groupby(group["configuration"], sort=False).mean().idxmax()
        own = group[group["configuration"] == best]
        data, n_runs = found.seen_by(best)
        low, high = share_interval(found.by_network(exact[own.index]))
        sure, right = _confidence(found, own[own["status"] == "ok"])
        rows[regime] = {
            "fits": len(own),
            **{
                label: found.references(method, data, n_runs)["entry_exact"].get(name, np.nan)
                for name, method, label in _REFERENCES
            },
            "mean": exact[own.index].mean(),
            "from": low,
            "to": high,
            "lowest": exact[own.index].min(),
            **({"support_f1": own["support_f1"].where(ended, 0.0).mean()} if found.has_decoys else {}),
            "share sure": sure.mean() if len(sure) else np.nan,
            "right among sure": right[sure].mean() if sure.any() else np.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _by_regime(found: Results) -> Iterator[tuple[str, pd.DataFrame]]:
    """Answers by the regime of their data, in the study's order."""
    regime = found.answers["data"].str.rsplit("-seed", n=1).str[0]
    yield from ((str(name), group) for name, group in found.answers.groupby(regime, sort=False))


def _confidence(found: Results, answers: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(sought entries of all `answers`,) bool: sure, and right."""
    sure, right = [np.zeros(0, bool)], [np.zeros(0, bool)]
    for identity, answer in answers.iterrows():
        space, recovery = found.space(answer["data"]), found.recovery(identity)
        sought = np.isnan(space.known)
        true = space.graph.on_edges(found.truth(answer["data"]).stoichiometry)
        right.append((space.graph.on_edges(recovery["stoichiometry"].values) == true)[sought])
        sure.append((recovery["confidence"].values >= SURE)[sought])
    return np.concatenate(sure), np.concatenate(right)
