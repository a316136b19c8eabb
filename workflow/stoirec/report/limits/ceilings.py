"""Every configuration on every kind of data beside what is attainable there."""

import pandas as pd

from stoirec.report.differences import share_interval
from stoirec.report.results import REFERENCES, Results

_BLIND = "oracle_scale_blind"
_WITH_DECOYS = {
    "entry_exact_true_edges": "true edges",
    "support_f1": "support_f1",
}  # more metrics, and their names after an oracle's


def beside_ceilings(found: Results) -> pd.DataFrame:
    """One row per configuration: entry_exact over its networks beside baseline and oracles, decoded alike, on its data.

    Columns: fits, exact (fits with every entry right), mean, its 95 % interval over networks (from, to), lowest, with
    decoys entry_exact_true_edges and support_f1, better baseline, and the oracles on the runs the fits see (with decoys
    the scale-blind one's figures of the true edges and of the support, too). Diverged fits count as 0.
    """
    rows = {}
    decoys = found.has_decoys
    for name, group in found.answers.groupby("configuration", sort=False):
        method, (data, n_runs) = found.configurations.at[name, "method"], found.seen_by(name)
        exact = group["entry_exact"].where(group["status"] == "ok", 0.0)
        table = found.references(method, data, n_runs)
        references = table["entry_exact"]
        low, high = share_interval(found.by_network(exact))
        rows[name] = {
            "fits": len(group),
            "exact": int((exact == 1).sum()),
            "mean": exact.mean(),
            "from": low,
            "to": high,
            "lowest": exact.min(),
            **({key: group[key].where(group["status"] == "ok", 0.0).mean() for key in _WITH_DECOYS} if decoys else {}),
            "better baseline": found.best_baseline(method, data),
            **{
                REFERENCES[key]: references[key]
                for key in REFERENCES
                if key.startswith("oracle") and key in references.index
            },
            **(
                {f"{REFERENCES[_BLIND]}, {word}": table.at[_BLIND, key] for key, word in _WITH_DECOYS.items()}
                if decoys and _BLIND in table.index
                else {}
            ),
        }
    return pd.DataFrame.from_dict(rows, orient="index")
