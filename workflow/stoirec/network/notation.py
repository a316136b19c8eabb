"""How coefficients and columns of S are written; a fractional coefficient keeps its fraction."""

import numpy as np

from stoirec.network.graph import Graph


def signed_coefficient(value: float) -> str:
    """+1, −2, +1.5, 0."""
    return f"{float(value):+.6g}".replace("-", "−", 1) if value else "0"


def equation(
    graph: Graph, coefficient: np.ndarray, reaction: int, arrow: str = "→", catalyses: np.ndarray | None = None
) -> str:
    """A column as a chemist writes it: M3 + 2 M7 → M1. `coefficient`, `catalyses`: as of `sides`."""
    left, right = (side or "∅" for side in sides(graph, coefficient, reaction, catalyses))
    return f"{left} {arrow} {right}"


def sides(
    graph: Graph, coefficient: np.ndarray, reaction: int, catalyses: np.ndarray | None = None, digits: int = 6
) -> tuple[str, str]:
    """Both sides of a column's equation: M3 + 2 M7, M1.

    Args:
        coefficient: (E,) of all edges.
        catalyses: (E,) bool, what drives without a change, and stands on both sides; None: nothing.
    """
    own = graph.edges_of(reaction)
    unchanged = [] if catalyses is None else graph.edge_metabolite[own][catalyses[own]].tolist()
    both = [graph.metabolite_name(metabolite) for metabolite in unchanged]
    left, right = (" + ".join(terms(graph, coefficient, reaction, sign, digits) + both) for sign in (-1, 1))
    return left, right


def terms(graph: Graph, coefficient: np.ndarray, reaction: int, sign: int, digits: int = 6) -> list[str]:
    """One side of a column's equation, -1 the left one: M3, 2 M7."""
    return [
        (f"{abs(float(value)):.{digits}g} " if abs(value) != 1 else "") + graph.metabolite_name(metabolite)
        for value, metabolite in _entries(graph, coefficient, reaction)
        if np.sign(value) == sign
    ]


def column_text(graph: Graph, coefficient: np.ndarray, reaction: int) -> str:
    """The nonzero entries of a column, (E,) `coefficient`: −1 M12, −2 M40, +1 M7, +2 M88; substrates first."""
    entries = sorted(_entries(graph, coefficient, reaction), key=lambda entry: (entry[0] > 0, entry[1]))
    texts = (f"{signed_coefficient(value)} {graph.metabolite_name(metabolite)}" for value, metabolite in entries)
    return ", ".join(texts) or "nothing"


def _entries(graph: Graph, coefficient: np.ndarray, reaction: int) -> list[tuple[float, int]]:
    """(coefficient, metabolite) of the nonzero entries."""
    edges = graph.edges_of(reaction)
    return [
        (value, int(metabolite))
        for value, metabolite in zip(coefficient[edges], graph.edge_metabolite[edges])
        if value != 0
    ]
