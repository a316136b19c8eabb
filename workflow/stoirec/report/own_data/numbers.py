"""What one answer says, in numbers and sentences."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from stoirec.answer.decode import REFINED, ROLES, decode
from stoirec.answer.prediction import ROLLOUT
from stoirec.answer.recovery import doubts
from stoirec.data.dataset import Data
from stoirec.data.overview import overview, sentences
from stoirec.report.calibration import SURE
from stoirec.report.map.reactions import NONE_FITS, SURE_OF, UNSURE, RecoveredReaction
from stoirec.report.own_data.predictions import Prediction
from stoirec.report.present import percent
from stoirec.score.references import baseline_coefficients

_POOR = 0.1  # of the variance: a fit that leaves more says little of columns
_NAMED = 12  # reactions in a sentence


def answer(
    data: Data, recovery: xr.Dataset, reactions: list[RecoveredReaction], runs: list[Prediction]
) -> dict[str, Any]:
    """The page's first lines. Keys: share (of the coefficients sought that are sure, as text), sentences."""
    sought = np.isnan(data.space.known)
    sure = recovery["confidence"].values[sought] >= SURE
    states = Counter(reaction.state for reaction in reactions)
    lines = [
        f"of the {sought.sum():,} coefficients sought are sure (confidence at least {SURE}): "
        f"{states[SURE_OF]} of {len(reactions)} reactions in every coefficient; {states[UNSURE]} are unsure"
        + (f", and of {states[NONE_FITS]} no allowed column seems right." if states[NONE_FITS] else "."),
        _beside_trivial(data, recovery, sought)
        + (" Where it differs from these, the time courses say so." if sure.any() else ""),
        _predicted(recovery, any(run.held_out for run in runs)),
    ]
    return {"share": percent(float(sure.mean())) if len(sure) else "–", "sentences": lines}


def _beside_trivial(data: Data, recovery: xr.Dataset, sought: np.ndarray) -> str:
    """What the data added to roles and balance."""
    space = data.space
    own = data.graph.on_edges(recovery["stoichiometry"].values)
    unit = baseline_coefficients(space)["baseline_unit"]
    smallest = decode(space, unit, np.ones(len(own)), "mass_balanced").coefficient
    same = [float((each == own)[sought].mean()) if sought.any() else 1.0 for each in (np.sign(unit), smallest)]
    return (
        f"Who knows only the roles and writes −1 and +1 has {percent(same[0])} of them as they are here, and the "
        f"smallest columns that are balanced have {percent(same[1])}."
    )


def _predicted(recovery: xr.Dataset, has_runs: bool) -> str:
    """How well held-out courses are predicted."""
    error = float(recovery[f"{ROLLOUT}_{recovery.attrs['method']}"])
    what = "what was held out" if has_runs else "the held-out tenths of the runs"
    if np.isnan(error):
        return "Too little is held out to be predicted."
    if not np.isfinite(error):
        return f"Integrated from its first frame, {what} cannot be followed: the functions do not hold there."
    return (
        f"Integrated from the first frame with this matrix, {what} is predicted with {error:.2g} of the error that the "
        "best constants would have."
    )


def untold(data: Data, fit: xr.Dataset, recovery: xr.Dataset, reactions: list[RecoveredReaction]) -> list[str]:
    """What cannot be told, and why; then what the data are."""
    found = [f"To know first: {text}." for text in doubts(data.space, fit, recovery.attrs["method"])]
    if recovery.attrs["method"] not in (REFINED, ROLES) and fit.attrs["status"] == "ok":
        found.append("No refinement was asked for: the columns are rounded, and mean less than the confidence says.")
    found += _unsure(fit, [reaction.name for reaction in reactions if reaction.state == UNSURE])
    if "length_is_convention" in recovery:
        open_ = np.flatnonzero(recovery["length_is_convention"].values)
        if len(open_):
            names = [data.graph.reaction_name(int(reaction)) for reaction in open_]
            found.append(f"The shorter column is taken where the double fits as well: {_named(names)}.")
    if len(data.unmeasured):
        found.append(
            "Courses that nobody measured were inferred in every run, the held-out ones included, from how the others "
            "change there: predictions start from what was inferred."
        )
    return found + [text[0].upper() + text[1:] + "." for text in sentences(overview(data))]


def _unsure(fit: xr.Dataset, names: list[str]) -> list[str]:
    """How much is described, and why reactions are unsure."""
    if fit.attrs["status"] != "ok":
        return []
    left = float(fit["val_loss"])
    text = (
        f"What was learned leaves {left:.2g} of the variance of dc/dt, or of the changes, where nothing was trained on"
    )
    found = [f"{text}, {float(fit['train_loss']):.2g} where it was."]
    if names and left >= _POOR:
        found.append("So little is described that columns can hardly be told apart by it.")
    elif names:
        found.append(f"Other columns explain the data nearly as well for {_named(names)}: the list has the next best.")
    return found


def _named(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def by_run(runs: list[Prediction], names: list[str]) -> pd.DataFrame:
    """One row per run: how it is used, its length, its error, and the metabolites that are predicted worst."""
    rows = {}
    for run in runs:
        worst = np.argsort(-np.nan_to_num(run.error), kind="stable")[:3]
        rows[f"run {run.run}"] = {
            "used for": "held out" if run.held_out else "training",
            "times": len(run.time),
            "until": f"{run.time[-1]:.4g}",
            "values": int(np.isfinite(run.measured).sum()),
            "error": f"{run.relative:.2g}",
            "worst": ", ".join(f"{names[place]} {run.error[place]:.2g}" for place in worst),
        }
    return pd.DataFrame.from_dict(rows, orient="index")
