"""What time courses can tell, before anything is trained."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stoirec.data.consistency import contradiction
from stoirec.data.dataset import TRAINING, VALIDATION, Data
from stoirec.data.frames import ENOUGH_RUNS, effective_runs

_SHOWN = 8  # names in a sentence
_RESTS = 1e-9  # of its largest value: a metabolite that moves less stands still
_NOISY = 0.02  # of a standard deviation: more, and a part of S stays unsure
_UNITS = ((90, "s", 1), (5400, "min", 60), (np.inf, "h", 3600))  # up to how many seconds, and how long each is
MOVING, STILL, UNMEASURED = "moves", "hardly moves", "not measured"
_DRIFTS = 0.02  # of a total that no reaction changes: more is no error of smoothing
_MOVES = 3.0  # times its noise that a metabolite's values are spread, at least, if it moves


@dataclass(frozen=True)
class TimeCourses:
    """What is known of time courses beforehand.

    Attributes:
        told: of `overview`; by_metabolite: of the function of that name; advice: what would help most.
        recipe: the name of the one they call for, and why.
        cost: of recovering S by it: least_seconds, most_seconds, bytes.
    """

    told: dict[str, Any]
    by_metabolite: pd.DataFrame
    advice: list[str]
    recipe: tuple[str, str]
    cost: dict[str, float]

    @classmethod
    def of(cls, data: Data, recipe: tuple[str, str], cost: dict[str, float]) -> "TimeCourses":
        told, table = overview(data), by_metabolite(data)
        return cls(told, table, advice(told, table), recipe, cost)

    def sentences(self) -> list[str]:
        """All but the advice in words."""
        name, why = self.recipe
        seconds = [self.cost[key] for key in ("least_seconds", "most_seconds")]
        rough, finer = ([_lasting(each, digits) for each in seconds] for digits in (1, 2))
        least, most = finer if rough[0] == rough[1] else rough
        memory = self.cost["bytes"] / 2**30
        takes = f"recovering S takes about {least} to {most} on a core of this time, and {memory:.1f} GiB"
        return [*sentences(self.told), f"recipe {name}: {why}", takes]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: NaN is null there."""
        table = self.by_metabolite.astype(object).where(self.by_metabolite.notna(), None)
        name, why = self.recipe
        found = {"by_metabolite": table.to_dict(orient="index"), "advice": self.advice, "recipe": name, "why": why}
        return self.told | found | {"cost": self.cost}


def overview(data: Data) -> dict[str, Any]:
    """Runs, values, noise, what hardly moves, and what no data of this kind can tell apart.

    Keys: training_runs, validation_runs, effective_runs (that say something of their own), values_per_run (least and
    most), missing (share of the values), derivatives ("given" or "estimated"), contradiction (of given ones with the
    concentrations and times, in words, or None), relative_noise (median over metabolites, of their standard deviation),
    unmeasured (names of metabolites without a value), still (of those that hardly move), drifting (by quantity that no
    reaction may change, the run in which its total changes most, and by what share, where that is more than noise),
    same_drivers (names of reactions whose rates depend on the same metabolites: they have one rate but for |S|),
    balanced (whether anything is conserved).
    """
    graph, training, table = data.graph, data.run_role == TRAINING, by_metabolite(data)
    moving = table["relative_noise"].notna()
    counts = [len(course.time) for course in data.courses] or [data.n_frames]
    values = [np.delete(course.value, data.unmeasured, axis=1) for course in data.courses]
    return {
        "training_runs": int(training.sum()),
        "validation_runs": int((data.run_role == VALIDATION).sum()),
        "effective_runs": round(effective_runs(data.training_frames(int(training.sum()))), 2),
        "values_per_run": [min(counts), max(counts)],
        "missing": float(np.isnan(np.concatenate(values)).mean()) if values else 0.0,
        "derivatives": "estimated" if data.courses else "given",
        "contradiction": None if data.courses else contradiction(data),
        "relative_noise": float(table["relative_noise"][moving].median()) if moving.any() else 0.0,
        "unmeasured": [graph.metabolite_name(place) for place in data.unmeasured],
        "still": table.index[table["moves"] == STILL].tolist(),
        "drifting": drifting(data),
        "same_drivers": _same_drivers(data),
        "balanced": bool((data.space.amounts != 0).any()),
    }


def by_metabolite(data: Data) -> pd.DataFrame:
    """What the training runs hold of each metabolite, by name.

    Columns: values (share of those that were measured), least, largest, standard_deviation [concentration];
    relative_noise (of that; NaN where nothing moves), moves (MOVING, STILL or UNMEASURED), drives (reactions whose rate
    depends on it), stands_in (reactions with a candidate edge of it).
    """
    graph, training = data.graph, data.run_role == TRAINING
    c = data.concentration[training]
    spread, level = c.std(axis=(0, 1)), np.abs(c).max(axis=(0, 1))
    noise = _noise(data)
    rests = spread <= _RESTS * level
    moves = np.where(spread <= np.maximum(_MOVES * noise, _RESTS * level), STILL, MOVING).astype(object)
    moves[data.unmeasured] = UNMEASURED
    share = np.ones(len(spread))
    if data.courses:
        own = [course for course, kept in zip(data.courses, training) if kept]
        share = np.concatenate([np.isfinite(course.value) for course in own]).mean(0)
    drivers = graph.edge_metabolite[graph.edge_is_substrate]
    columns = {
        "values": share,
        "least": c.min(axis=(0, 1)),
        "largest": c.max(axis=(0, 1)),
        "standard_deviation": spread,
        "relative_noise": np.divide(noise, spread, out=np.full(len(spread), np.nan), where=~rests),
        "moves": moves,
        "drives": np.bincount(drivers, minlength=graph.n_metabolites),
        "stands_in": np.bincount(graph.edge_metabolite, minlength=graph.n_metabolites),
    }
    names = [graph.metabolite_name(place) for place in range(graph.n_metabolites)]
    return pd.DataFrame(columns, index=names)


def _noise(data: Data) -> np.ndarray:
    """(M,) standard deviation of each metabolite's noise, at least of what rounding took from measured values."""
    if not data.courses:
        return np.broadcast_to(data.noise, data.graph.n_metabolites)
    values = np.concatenate([course.value for course in data.courses])
    steps = (np.diff(np.unique(column[np.isfinite(column)])) for column in values.T)
    rounding = np.array([step.min() if len(step) else 0.0 for step in steps]) / np.sqrt(12)
    return np.maximum(data.noise, rounding)


def advice(told: dict[str, Any], table: pd.DataFrame) -> list[str]:
    """What would help most, from `overview` and `by_metabolite`: which runs, values and facts are missing."""
    found = []
    if not told["balanced"]:
        found.append(
            "formulas of the species (--species of import, or in SBML): balance leaves few columns to the data"
        )
    if told["effective_runs"] < ENOUGH_RUNS:
        found.append(
            f"runs that start elsewhere: those there are say as much as {told['effective_runs']:.2g} of their own, and "
            "along one trajectory wrong columns with functions of their own fit as well"
        )
    for names, what in (
        (told["unmeasured"], "measuring"),
        (told["still"], "runs that start with more or less of"),
    ):
        if names:
            drives = table.loc[names, "drives"]
            first = f"; of them {drives.idxmax()} drives most reactions, {drives.max()}" if len(names) > 1 else ""
            found.append(f"{what} {_listed(names)}{first}")
    if told["relative_noise"] > _NOISY:
        found.append(
            f"replicates, or more times: errors are {told['relative_noise']:.2g} of what a typical metabolite moves"
        )
    if told["same_drivers"]:
        found.append(
            "formulas or known columns for reactions that the same metabolites drive: no run tells them apart where "
            "they share a metabolite"
        )
    return found


def drifting(data: Data) -> dict[str, tuple[str, float]]:
    """By quantity, run and share: errors in a unit, a formula or a column show, and what flows in or out unseen."""
    space, found = data.space, {}
    changes, metabolite = space.known != 0, data.graph.edge_metabolite
    in_network = np.bincount(metabolite[changes], minlength=data.graph.n_metabolites) > 0
    noise = _noise(data)
    for quantity, amounts in enumerate(space.conserved):
        own = in_network & (amounts != 0)  # NaN among them
        edges = own[metabolite] & changes
        if not own.any() or np.isnan(amounts[own]).any() or own[data.unmeasured].any():
            continue
        if space.is_open[data.graph.edge_reaction[edges]].any():
            continue
        total, size = data.concentration[..., own] @ amounts[own], data.concentration[..., own] @ np.abs(amounts[own])
        drift = np.ptp(total, axis=1) / np.maximum(size.mean(axis=1), 1e-300)
        expected = _DRIFTS + 3 * _MOVES * np.linalg.norm(noise[own] * amounts[own]) / np.maximum(size.mean(), 1e-300)
        run = int(drift.argmax())
        if drift[run] > expected:
            name = space.quantities[quantity] if space.quantities else "mass"
            found[name] = (data.run_name(run), round(float(drift[run]), 3))
    return found


def _same_drivers(data: Data) -> list[list[str]]:
    """Groups of reactions that the same metabolites drive."""
    graph, groups = data.graph, defaultdict(list)
    for reaction in range(graph.n_reactions):
        edges = graph.edges_of(reaction)
        drivers = graph.edge_metabolite[edges][graph.edge_is_substrate[edges]]
        if len(drivers):
            groups[tuple(drivers.tolist())].append(graph.reaction_name(reaction))
    return [names for names in groups.values() if len(names) > 1]


def sentences(told: dict[str, Any]) -> list[str]:
    """`overview` in words, the names of few."""
    fewest, most = told["values_per_run"]
    values = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    lines = [
        f"{told['training_runs']} runs for training, {told['validation_runs']} for validation, {values} times each, "
        f"{told['missing']:.1%} of the values missing",
        f"training runs together say as much as {told['effective_runs']:.3g} of their own, with nothing in common",
        f"derivatives are {told['derivatives']}; noise of a typical metabolite: {told['relative_noise']:.2g} of its "
        "standard deviation"
        if told["derivatives"] == "estimated"
        else "derivatives are given",
    ]
    if told["contradiction"]:
        lines.append(f"dcdt contradicts concentration and time: {told['contradiction']}")
    if told["drifting"]:
        lines.append(drift_sentence(told["drifting"]))
    if told["unmeasured"]:
        lines.append(f"nobody measured {_listed(told['unmeasured'])}: what they drive says how they change")
    if told["still"]:
        lines.append(f"metabolites that hardly move, whose rows nothing tells: {_listed(told['still'])}")
    if told["same_drivers"]:
        groups = [" and ".join(names[:4]) for names in told["same_drivers"]]
        lines.append(f"reactions that the same metabolites drive, hard to tell apart: {_listed(groups)}")
    return lines


def drift_sentence(drifts: dict[str, tuple[str, float]]) -> str:
    """What `drifting` found, and what may have gone wrong."""
    shown = [f"{name} by {share:.0%} in run {run}" for name, (run, share) in drifts.items()]
    return (
        f"totals change that no reaction here may change, {_listed(shown)}: a unit, a formula or a column of the table "
        "is wrong, or something flows in or out"
    )


def _lasting(seconds: float, digits: int) -> str:
    """A duration to so many figures: 40 s, 3 min, 2 h."""
    unit, size = next((unit, size) for most, unit, size in _UNITS if seconds < most)
    return f"{float(f'{seconds / size:.{digits}g}'):g} {unit}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
