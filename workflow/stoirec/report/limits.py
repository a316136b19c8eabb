"""Every configuration on every kind of data beside what is attainable there, and how far its confidence can be trusted."""

import numpy as np
import pandas as pd

from stoirec.report.mistakes import calibration
from stoirec.report.results import REFERENCES, Results

SURE = 0.99
_BLIND = "oracle_scale_blind"


def beside_ceilings(found: Results) -> pd.DataFrame:
    """One row per configuration: entry_exact over its networks beside baseline and oracles, decoded by the same method on the same data.

    Columns: fits, exact (fits with every entry right), mean, lowest, with decoys entry_exact_true_edges and support_f1,
    better baseline, and the oracles (the scale-blind one on true edges too, with decoys). Diverged fits count as 0.
    """
    rows = {}
    decoys = (found.baselines["entry_exact"] != found.baselines["entry_exact_true_edges"]).any()
    for name, group in found.answers.groupby("configuration", sort=False):
        method, data = group["method"].iloc[0], sorted(set(group["data"]))
        exact = group["entry_exact"].where(group["status"] == "ok", 0.0)
        table = found.references(method, data)
        references = table["entry_exact"]
        rows[name] = {
            "fits": len(group),
            "exact": int((exact == 1).sum()),
            "mean": exact.mean(),
            "lowest": exact.min(),
            **({key: group[key].where(group["status"] == "ok", 0.0).mean() for key in ("entry_exact_true_edges", "support_f1")} if decoys else {}),
            "better baseline": found.best_baseline(method, data),
            **{REFERENCES[key]: references[key] for key in REFERENCES if key.startswith("oracle") and key in references.index},
            **({f"{REFERENCES[_BLIND]}, true edges": table.loc[_BLIND, "entry_exact_true_edges"]} if decoys and _BLIND in table.index else {}),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def confidences(found: Results) -> pd.DataFrame:
    """(entries of all fits) columns configuration, confidence, right."""
    parts = []
    for identity, answer in found.ended.iterrows():
        graph, recovery = found.data(answer["data"]).graph, found.recovery(identity)
        true = graph.on_edges(found.truth(answer["data"]).stoichiometry)
        right = graph.on_edges(recovery["stoichiometry"].values) == true
        parts.append(pd.DataFrame({"configuration": answer["configuration"], "confidence": recovery["confidence"].values, "right": right}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"configuration": [], "confidence": [], "right": []})


def sure_entries(entries: pd.DataFrame) -> pd.DataFrame:
    """Per configuration: entries, the share of them with a confidence of at least 0.99, and the share of those that is right."""
    rows = {}
    for name, group in entries.groupby("configuration", sort=False):
        sure = group["confidence"] >= SURE
        rows[name] = {
            "entries": len(group),
            "share right": group["right"].mean(),
            "share sure": sure.mean(),
            "right among sure": group.loc[sure, "right"].mean() if sure.any() else np.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def calibrations(entries: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """mistakes.calibration of every configuration."""
    return {
        str(name): calibration(group["confidence"].to_numpy(), group["right"].to_numpy(bool))
        for name, group in entries.groupby("configuration", sort=False)
    }
