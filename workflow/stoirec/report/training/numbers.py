"""How training went: its jobs, and the terms of the loss."""

import numpy as np
import pandas as pd
import xarray as xr

from stoirec.config.fit import FitConfig
from stoirec.learn.losses import PREDICTION, REGULARISERS
from stoirec.learn.schedule import Steps
from stoirec.report.results import Results
from stoirec.report.style import finite


def jobs(results: Results) -> pd.DataFrame:
    """One row per training job, held-out networks included: status, steps, wall time [s], threads, device, val_loss."""
    columns = {"n_steps": "steps", "wall_time_s": "wall time [s]"}
    table = results.training[["status", *columns, "threads", "device"]].rename(columns=columns)
    answers = results.metrics[results.metrics["is_answer"]].set_index("fit_id")
    return table.join(answers["val_loss"]).set_index(pd.Index(_labels(results), name="fit"))


def diverged(results: Results) -> list[str]:
    """A sentence for each fit that diverged."""
    table = results.training.assign(label=_labels(results))
    table = table[table["status"] != "ok"]
    return [f"{label}: stopped at step {step:,}" for label, step in zip(table["label"], table["n_steps"].astype(int))]


def _labels(results: Results) -> list[str]:
    """Of every training job; on held-out networks, the name under which it was selected."""
    label = results.answers["label"]
    return [
        label[fit.fit_id] if fit.fit_id in label.index else f"{fit.variant}, on {fit.data}, seed {fit.config.seed}"
        for fit in results.all_fits
    ]


def all_loss_terms(results: Results) -> dict[str, pd.DataFrame]:
    """`loss_terms` of every fit that the study selects from, by label, the best first."""
    order = results.answers.sort_values("entry_exact", ascending=False, kind="stable")
    return {
        label: loss_terms(results.fit(fit), results.job(fit).config, results.n_frames(results.job(fit).data))
        for fit, label in order["label"].items()
    }


def loss_terms(fit: xr.Dataset, config: FitConfig, n_frames: int) -> pd.DataFrame:
    """The terms of the loss over steps, each times its coefficient, and val_loss; terms of coefficient 0 left out.

    Args:
        fit: content of fit.nc; config: its configuration; n_frames: frames per trajectory, for the length of an epoch.
    """
    steps, done = Steps(config, n_frames), fit["step"].values
    weights = np.array([steps.loss_weights(max(step - 1, 0)) for step in done])  # those of the steps before a snapshot
    terms = {"step": done, "L_pred": fit[f"loss_{PREDICTION}"].values}
    for term, weight in zip(REGULARISERS, weights.T[1:]):
        if weight.any():
            terms[term.name] = weight * fit[f"loss_{term.name}"].values
    terms["val_loss"] = fit["val_loss_history"].values
    return pd.DataFrame({name: finite(values) for name, values in terms.items()})
