"""The recovered reactions of one fit, as a map and a table show them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from stoirec.answer.recovery import NAMED_FROM
from stoirec.network.columns import ColumnSpace
from stoirec.network.notation import equation
from stoirec.report.calibration import SURE

SURE_OF, UNSURE, NONE_FITS = "sure", "unsure", "none fits"
_WORTH_NAMING = 1e-3  # probability of a column that is not the next best


@dataclass(frozen=True)
class RecoveredReaction:
    """A column of the answer; the two directions of a reversible reaction are one.

    Attributes:
        name, label: of the graph.
        metabolites: indices of its candidate edges; coefficient: their recovered coefficients; catalyses: whether
            the rate depends on them without a change.
        equation: as a chemist writes it.
        reversible: whether it runs both ways.
        confidence: the lowest of its entries.
        state: SURE_OF, UNSURE, or NONE_FITS where no allowed column seems right.
        alternatives: the next best columns with their probabilities, where it is not sure.
        right: whether every entry is that of the truth; None where nobody knows it.
        true_equation: the truth's; None where nobody knows it.
        columns: its columns in the graph, the forward one first.
    """

    name: str
    label: str
    metabolites: np.ndarray
    coefficient: np.ndarray
    catalyses: np.ndarray
    equation: str
    reversible: bool
    confidence: float
    state: str
    alternatives: list[str]
    right: bool | None
    true_equation: str | None
    columns: list[int]


def recovered_reactions(
    space: ColumnSpace, recovery: xr.Dataset, true: np.ndarray | None = None
) -> list[RecoveredReaction]:
    """Every reaction of a recovery, in the order of the graph. `true`: (E,) coefficients, where they are known."""
    graph = space.graph
    answer = graph.on_edges(recovery["stoichiometry"].values).astype(float)
    confidence, found = recovery["confidence"].values, []
    none_fits = np.zeros(graph.n_reactions)
    if "no_column_probability" in recovery:
        none_fits = recovery["no_column_probability"].values
    reverse_of = np.full(graph.n_reactions, -1) if space.reverse_of is None else space.reverse_of
    back = {int(of): reaction for reaction, of in enumerate(reverse_of) if of >= 0}
    for reaction in np.flatnonzero(reverse_of < 0).tolist():
        edges = graph.edges_of(reaction)
        lowest, reversible = float(confidence[edges].min(initial=1.0)), reaction in back
        arrow = "⇌" if reversible else "→"
        state = NONE_FITS if none_fits[reaction] > NAMED_FROM else SURE_OF if lowest >= SURE else UNSURE
        found.append(
            RecoveredReaction(
                graph.reaction_name(reaction),
                graph.reaction_label(reaction),
                graph.edge_metabolite[edges],
                answer[edges],
                space.catalyses[edges],
                equation(graph, answer, reaction, arrow, space.catalyses),
                reversible,
                lowest,
                state,
                [] if state == SURE_OF else list(_alternatives(space, recovery, answer, reaction, lowest > 0)),
                None if true is None else bool((answer[edges] == true[edges]).all()),
                None if true is None else equation(graph, true, reaction, arrow, space.catalyses),
                [reaction, *([back[reaction]] if reversible else [])],
            )
        )
    return found


def _alternatives(
    space: ColumnSpace, recovery: xr.Dataset, answer: np.ndarray, reaction: int, is_described: bool, most: int = 2
) -> Iterator[str]:
    """The likeliest columns that are not the answer's; with probabilities, where functions hold at all."""
    graph, edges = space.graph, space.graph.edges_of(reaction)
    columns, costs = recovery["alternative"].values, recovery["alternative_cost"].values[:, reaction]
    others = np.flatnonzero((columns[:, edges] != answer[edges]).any(axis=1) & np.isfinite(costs))[:most]
    for place, rank in enumerate(others):
        probability = np.exp(-costs[rank] / 2)
        if place == 0 or probability >= _WORTH_NAMING:
            text = equation(graph, columns[rank], reaction, catalyses=space.catalyses)
            yield f"{text} ({probability:.2g})" if is_described else text


def listed(reactions: list[RecoveredReaction]) -> pd.DataFrame:
    """One row per reaction, indexed by name; with what people call it, and whether it is right, where that is known."""
    rows = pd.DataFrame(
        {
            "called": [each.label for each in reactions],
            "equation": [each.equation for each in reactions],
            "state": [each.state for each in reactions],
            "confidence": [each.confidence for each in reactions],
            "next best": ["; ".join(each.alternatives) or "–" for each in reactions],
            "right": [each.right for each in reactions],
            "true, where not": [each.true_equation if each.right is False else "–" for each in reactions],
        },
        index=[each.name for each in reactions],
    )
    idle = [] if any(each.label != each.name for each in reactions) else ["called"]
    idle += ["right"] if rows["right"].isna().all() else []
    return rows.drop(columns=idle + ([] if any(each.right is False for each in reactions) else ["true, where not"]))
