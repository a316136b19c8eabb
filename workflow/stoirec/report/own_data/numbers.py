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
from stoirec.network.balance import LENGTH, balance
from stoirec.network.columns import ColumnSpace
from stoirec.report.calibration import SURE
from stoirec.report.map.reactions import NONE_FITS, SURE_OF, UNSURE, RecoveredReaction
from stoirec.report.own_data.predictions import Prediction
from stoirec.report.present import percent
from stoirec.score.references import baseline_coefficients

_POOR = 0.1  # of the variance: a fit that leaves more says little of columns
_NAMED = 12  # reactions in a sentence
_LIKELIER = 0.5 + 1e-9  # probability of a column that is likelier than all others


def answer(
    data: Data, recovery: xr.Dataset, reactions: list[RecoveredReaction], runs: list[Prediction]
) -> dict[str, Any]:
    """The page's first lines. Keys: share (of the coefficients sought that are sure, as text), sentences."""
    sought = np.isnan(data.space.known)
    sure = recovery["confidence"].values[sought] >= SURE
    states = Counter(reaction.state for reaction in reactions)
    by_length, others = unsure(data.space, recovery, reactions)
    but_for_length = f", {len(by_length)} more but for a common factor" if by_length else ""
    lines = [
        f"of the {sought.sum():,} coefficients sought are sure (confidence at least {SURE}): "
        f"{states[SURE_OF]} of {len(reactions)} reactions in every coefficient{but_for_length}; {len(others)} unsure"
        + (f", and of {states[NONE_FITS]} no allowed column seems right." if states[NONE_FITS] else "."),
        _beside_trivial(data, recovery, sought),
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
    balanced = f", the smallest balanced columns {percent(same[1])}" if (space.amounts != 0).any() else ""
    return (
        f"Of this answer −1 for every substrate and +1 for every product, which need no data, have {percent(same[0])}"
        f"{balanced}; what they have not is what the time courses say."
    )


def _predicted(recovery: xr.Dataset, has_runs: bool) -> str:
    """How well held-out courses are predicted."""
    error = float(recovery[f"{ROLLOUT}_{recovery.attrs['method']}"])
    what = "what was held out" if has_runs else "a held-out tenth of a run"
    if np.isnan(error):
        return "Too little is held out to be predicted."
    if not np.isfinite(error):
        return f"Integrated from its first frame, {what} cannot be followed: the functions do not hold there."
    return (
        f"From the first frame on, {what} is predicted with {error:.2g} of the error that a constant for each "
        "metabolite would have."
    )


def untold(data: Data, fit: xr.Dataset, recovery: xr.Dataset, reactions: list[RecoveredReaction]) -> list[str]:
    """What cannot be told, and why; then what the data are."""
    found = [f"To know first: {text}." for text in doubts(data.space, fit, recovery.attrs["method"])]
    if recovery.attrs["method"] not in (REFINED, ROLES) and fit.attrs["status"] == "ok":
        found.append("No refinement was asked for: the columns are rounded, and mean less than the confidence says.")
    by_length, others = unsure(data.space, recovery, reactions)
    found += _described(fit, others)
    if by_length:
        found.append(f"Sure but for a common factor of their coefficients: {named(by_length)}.")
    if "length_is_convention" in recovery:
        open_ = np.flatnonzero(recovery["length_is_convention"].values)
        if len(open_):
            names = [data.graph.reaction_name(int(reaction)) for reaction in open_]
            found.append(f"The shorter column is taken where the double fits as well: {named(names)}.")
    unclear = [reaction for reaction in reactions if reaction.state == UNSURE and reaction.confidence > 0]
    contradicted = [reaction.name for reaction in unclear if _is_contradicted(recovery, reaction)]
    if contradicted:
        found.append(
            f"Another column is likelier in the end than the one that refinement decided: {named(contradicted)}; see "
            "next best."
        )
    if len(data.unmeasured):
        found.append(
            "Courses that nobody measured were inferred in every run, the held-out ones included, from how the others "
            "change there: predictions start from what was inferred."
        )
    return found + [text[0].upper() + text[1:] + "." for text in sentences(overview(data))]


def unsure(space: ColumnSpace, recovery: xr.Dataset, reactions: list[RecoveredReaction]) -> tuple[list[str], list[str]]:
    """Names of unsure reactions: those of which the length alone is open, by data or by balance, and the others."""
    by_length, others = [], []
    for reaction in reactions:
        if reaction.state == UNSURE:
            columns, probability, answer = _weighed(recovery, reaction)
            size, sizes = np.abs(answer).sum(), np.abs(columns).sum(axis=1, keepdims=True)
            parallel = np.isclose(columns * size, answer * sizes).all(axis=1)
            described = reaction.confidence > 0  # else the functions hold nowhere, nor do these probabilities
            told = described and probability[parallel].sum() >= SURE
            held = balance(space, reaction.columns[0])
            if held.says == LENGTH:  # no other direction is balanced
                told |= np.allclose(answer * np.abs(held.column).sum(), held.column * size)
            (by_length if told else others).append(reaction.name)
    return by_length, others


def _is_contradicted(recovery: xr.Dataset, reaction: RecoveredReaction) -> bool:
    """Whether another column is likelier than the answer's and all others together."""
    columns, probability, answer = _weighed(recovery, reaction)
    return bool(((columns != answer).any(axis=1) & (probability > _LIKELIER)).any())


def _weighed(recovery: xr.Dataset, reaction: RecoveredReaction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns (rank, n) on a reaction's n edges, the probability of each, and the answer's (n,)."""
    first = reaction.columns[0]
    own = recovery["edge_reaction"].values == first
    columns = recovery["alternative"].values[:, own].astype(float)
    probability = np.exp(-recovery["alternative_cost"].values[:, first] / 2)
    return columns, probability, reaction.coefficient


def _described(fit: xr.Dataset, names: list[str]) -> list[str]:
    """How much is described, and why reactions are unsure."""
    if fit.attrs["status"] != "ok":
        return []
    left, trained = float(fit["val_loss"]), float(fit["train_loss"])
    text = "of the variance of dc/dt, or of measured changes, is left by the fit in training runs"
    found = [f"{trained:.2g} {text}, {left:.2g} in what was held out."]
    if names and left >= _POOR:
        cause = (
            "So little is described" if trained >= _POOR else "The functions hold so little outside the training runs"
        )
        found.append(f"{cause} that columns can hardly be told apart by them.")
    elif names:
        found.append(f"Other columns explain the data nearly as well for {named(names)}: the list has the next best.")
    return found


def named(names: list[str]) -> str:
    """The first of many names in a sentence."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def by_run(runs: list[Prediction], names: list[str], time_unit: str) -> pd.DataFrame:
    """One row per run: how it is used, its length, its error, and the metabolites that are predicted worst."""
    rows = []
    for run in runs:
        worst = np.argsort(-np.nan_to_num(run.error), kind="stable")[:3]
        rows.append(
            {
                "used for": "held out" if run.held_out else "training",
                "times": len(run.time),
                f"until [{time_unit}]": f"{run.time[-1]:.4g}",
                "values": int(np.isfinite(run.measured).sum()),
                "error": f"{run.relative:.2g}",
                "worst": ", ".join(f"{names[place]} {run.error[place]:.2g}" for place in worst),
            }
        )
    return pd.DataFrame(rows, index=[f"run {run.name}" for run in runs])
