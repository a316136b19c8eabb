"""What time courses can tell, before anything is trained."""

from collections import defaultdict
from typing import Any

import numpy as np

from stoirec.data.dataset import TRAINING, VALIDATION, Data
from stoirec.data.frames import effective_runs

_SHOWN = 8  # names in a sentence
_RESTS = 1e-9  # of its largest value: a metabolite that moves less stands still
_MOVES = 3.0  # times its noise that a metabolite's values are spread, at least, if it moves


def overview(data: Data) -> dict[str, Any]:
    """Runs, values, noise, what hardly moves, and what no data of this kind can tell apart.

    Keys: training_runs, validation_runs, effective_runs (that say something of their own), values_per_run (least and
    most), missing (share of the values), derivatives ("given" or "estimated"), relative_noise (median over metabolites,
    of their standard deviation), unmeasured (names of metabolites without a value), still (of those that hardly move),
    same_drivers (names of reactions whose rates depend on the same metabolites: they have one rate but for |S|).
    """
    graph, training = data.graph, data.run_role == TRAINING
    spread = data.concentration[training].std(axis=(0, 1))
    noise = np.broadcast_to(data.noise, spread.shape)
    level = np.abs(data.concentration[training]).max(axis=(0, 1))
    still = spread <= np.maximum(_MOVES * noise, _RESTS * level)
    still[data.unmeasured] = False
    moving = spread > _RESTS * level
    counts = [len(course.time) for course in data.courses] or [data.n_frames]
    values = [np.delete(course.value, data.unmeasured, axis=1) for course in data.courses]
    return {
        "training_runs": int(training.sum()),
        "validation_runs": int((data.run_role == VALIDATION).sum()),
        "effective_runs": round(effective_runs(data.training_frames(int(training.sum()))), 2),
        "values_per_run": [min(counts), max(counts)],
        "missing": float(np.isnan(np.concatenate(values)).mean()) if values else 0.0,
        "derivatives": "estimated" if data.courses else "given",
        "relative_noise": float(np.median(noise[moving] / spread[moving])) if moving.any() else 0.0,
        "unmeasured": [graph.metabolite_name(place) for place in data.unmeasured],
        "still": [graph.metabolite_name(place) for place in np.flatnonzero(still)],
        "same_drivers": _same_drivers(data),
    }


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
        f"{told['missing']:.1%} of the values missing; runs that say something of their own: {told['effective_runs']}",
        f"derivatives are {told['derivatives']}; noise of a typical metabolite: {told['relative_noise']:.2g} of its "
        "standard deviation"
        if told["derivatives"] == "estimated"
        else "derivatives are given",
    ]
    if told["unmeasured"]:
        lines.append(f"nobody measured {_listed(told['unmeasured'])}: what they drive says how they change")
    if told["still"]:
        lines.append(f"metabolites that hardly move, whose rows nothing tells: {_listed(told['still'])}")
    if told["same_drivers"]:
        groups = [" and ".join(names[:4]) for names in told["same_drivers"]]
        lines.append(f"reactions that the same metabolites drive, hard to tell apart: {_listed(groups)}")
    return lines


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
