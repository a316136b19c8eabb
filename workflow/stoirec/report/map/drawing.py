"""A metabolic map as SVG on a page: a picture without a script; with one, names are searched and it is enlarged."""

from collections import Counter
from typing import Any

import numpy as np

from stoirec.network.graph import Graph
from stoirec.report.explore import in_script
from stoirec.report.map.layout import Layout
from stoirec.report.map.reactions import NONE_FITS, SURE_OF, UNSURE, RecoveredReaction
from stoirec.report.present import Html, rendered

MOST_DRAWN = 400  # reactions
_CURVE = 30.0  # how far a line keeps a reaction's direction [px]
_GAP = 7.0  # between an arrow and its metabolite's middle [px]


def anchor(index: int) -> str:
    """The id of a reaction's row in the table beside the map, by its place among the recovered reactions."""
    return f"reaction-{index}"


def drawing(graph: Graph, reactions: list[RecoveredReaction], where: Layout, caption: str) -> Html:
    """The map of `reactions`, each a link to its row in the table."""
    states = Counter(reaction.state for reaction in reactions)
    page = rendered(
        "map.html",
        width=where.size[0],
        height=where.size[1],
        metabolites=[
            {"name": graph.metabolite_name(index), "label": graph.metabolite_label(index), "place": place}
            for index, place in where.metabolites.items()
        ],
        reactions=[_drawn(graph, reaction, where, index) for index, reaction in enumerate(reactions)],
        states=[(state, states[state]) for state in (SURE_OF, UNSURE, NONE_FITS) if states[state]],
        n_wrong=sum(reaction.right is False for reaction in reactions),
        content=in_script(_told(graph, reactions)),
        caption=caption,
    )
    return Html(page)


def found_by(graph: Graph, reaction: RecoveredReaction) -> str:
    """What a search finds a reaction by: its names, and those of its metabolites, in small letters."""
    names = [reaction.name, reaction.label]
    for metabolite in reaction.metabolites[reaction.coefficient != 0].tolist():
        names += [graph.metabolite_name(metabolite), graph.metabolite_label(metabolite)]
    return " ".join(dict.fromkeys(names)).lower()


def _drawn(graph: Graph, reaction: RecoveredReaction, where: Layout, index: int) -> dict[str, Any]:
    """A reaction as the template wants it: lines to its metabolites, copies beside it, and what it is found by."""
    centre, direction = where.reactions[index], where.directions[index]
    lines = []
    for metabolite, value in zip(reaction.metabolites.tolist(), reaction.coefficient):
        if metabolite in where.metabolites and value and not _is_copied(where, index, metabolite):
            lines.append(_line(centre, direction, where.metabolites[metabolite], float(value), reaction.reversible))
    copies = [
        {
            "text": (f"{abs(copy.coefficient):.6g} " if abs(copy.coefficient) not in (0, 1) else "")
            + graph.metabolite_name(copy.metabolite),
            "name": graph.metabolite_name(copy.metabolite),
            "label": graph.metabolite_label(copy.metabolite),
            "place": copy.place,
            "knee": centre + np.sign(copy.coefficient) * direction * _CURVE,
            "unchanged": copy.coefficient == 0,
        }
        for copy in where.copies[index]
    ]
    return {
        "anchor": anchor(index),
        "reaction": reaction,
        "find": found_by(graph, reaction),
        "centre": centre,
        "lines": lines,
        "copies": copies,
        # the name stands across the direction, on the side that the copies leave free
        "name_at": centre + 11.0 * np.array([direction[1], -direction[0]]),
        "anchor_at": "start" if direction[1] > 0.3 else "end" if direction[1] < -0.3 else "middle",
    }


def _told(graph: Graph, reactions: list[RecoveredReaction]) -> dict[str, Any]:
    """What the script draws one metabolite or reaction from. members: metabolites, coefficients (0 if they drive)."""
    return {
        "metabolites": [
            {"name": graph.metabolite_name(index), "label": graph.metabolite_label(index)}
            for index in range(graph.n_metabolites)
        ],
        "reactions": [
            {
                "name": reaction.name,
                "label": reaction.label,
                "state": reaction.state.split()[0],
                "wrong": reaction.right is False,
                "reversible": reaction.reversible,
                "members": [
                    (metabolite, value)
                    for metabolite, value, drives in zip(
                        reaction.metabolites.tolist(), reaction.coefficient.tolist(), reaction.catalyses
                    )
                    if value or drives
                ],
            }
            for reaction in reactions
        ],
    }


def _is_copied(where: Layout, index: int, metabolite: int) -> bool:
    return any(copy.metabolite == metabolite for copy in where.copies[index])


def _line(centre: np.ndarray, direction: np.ndarray, end: np.ndarray, value: float, reversible: bool) -> dict[str, Any]:
    """From a reaction to one of its metabolites, leaving along the reaction's direction."""
    knee = centre + np.sign(value) * direction * _CURVE
    towards = (end - knee) / max(float(np.linalg.norm(end - knee)), 1e-9)
    return {
        "path": (centre, knee, end - _GAP * towards),
        "arrow": value > 0 or reversible,
        "coefficient": "" if abs(value) == 1 else f"{abs(value):.6g}",
        "coefficient_at": end - 20.0 * towards + 6.0 * np.array([-towards[1], towards[0]]),
    }
