"""How coefficients and columns of S are written; a fractional coefficient keeps its fraction."""

import re

import numpy as np

from stoirec.network.graph import Graph

_NUMBER = re.compile(r"\d+(\.\d+)?")


def signed_coefficient(value: float) -> str:
    """+1, −2, +1.5, 0."""
    return f"{float(value):+.6g}".replace("-", "−", 1) if value else "0"


def equation(graph: Graph, coefficient: np.ndarray, reaction: int) -> str:
    """A column as a chemist writes it: M3 + 2 M7 → M1. `coefficient`: (E,)."""

    def side(sign: int) -> str:
        terms = [
            (f"{abs(float(value)):.6g} " if abs(value) != 1 else "") + graph.metabolite_name(metabolite)
            for value, metabolite in _entries(graph, coefficient, reaction)
            if np.sign(value) == sign
        ]
        return " + ".join(terms) or "∅"

    return f"{side(-1)} → {side(1)}"


def parse_equation(text: str) -> dict[str, float]:
    """Signed coefficients by metabolite of `A + 2 B -> C`.

    Raises:
        ValueError: no arrow, a coefficient that is no positive number, or a metabolite that stands there twice.
    """
    sides = text.split("->")
    if len(sides) != 2:
        raise ValueError(f"{text!r}: one -> between substrates and products")
    found: dict[str, float] = {}
    for sign, side in zip((-1, 1), sides):
        for term in side.split(" + ") if side.strip() else ():
            *number, name = term.split() or [""]
            size = float(number[0]) if len(number) == 1 and _NUMBER.fullmatch(number[0]) else 1.0
            if not name or len(number) > 1 or (number and not _NUMBER.fullmatch(number[0])) or not size > 0:
                raise ValueError(f"{text!r}: {term.strip()!r} is no metabolite with a positive coefficient")
            if name in found:
                raise ValueError(f"{text!r}: {name} stands there twice")
            found[name] = sign * size
    return found


def column_text(graph: Graph, coefficient: np.ndarray, reaction: int) -> str:
    """The nonzero entries of a column, (E,) `coefficient`: −1 M12, −2 M40, +1 M7, +2 M88; substrates first."""
    entries = sorted(_entries(graph, coefficient, reaction), key=lambda entry: (entry[0] > 0, entry[1]))
    terms = (f"{signed_coefficient(value)} {graph.metabolite_name(metabolite)}" for value, metabolite in entries)
    return ", ".join(terms) or "nothing"


def _entries(graph: Graph, coefficient: np.ndarray, reaction: int) -> list[tuple[float, int]]:
    """(coefficient, metabolite) of the nonzero entries."""
    edges = graph.edges_of(reaction)
    return [
        (value, int(metabolite))
        for value, metabolite in zip(coefficient[edges], graph.edge_metabolite[edges])
        if value != 0
    ]
