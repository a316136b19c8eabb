"""What data can tell: by column from what is conserved, by metabolite from what was measured, and what would help."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stoirec.data.overview import MOVING, UNMEASURED, TimeCourses
from stoirec.files.atomic import replacing
from stoirec.network.balance import SAYS, Balance
from stoirec.network.columns import ColumnSpace
from stoirec.network.notation import equation
from stoirec.report.explore import scripts
from stoirec.report.present import Html, rendered, table

_TITLE = "What these data can tell"


def write(output: Path, name: str, space: ColumnSpace, found: Sequence[Balance], courses: TimeCourses | None) -> None:
    """Write the page of the file `name`: all of it, or nothing.

    Args:
        found: what is conserved says of each column.
        courses: None for a network alone.
    """
    page = render(name, space, found, courses)
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render(name: str, space: ColumnSpace, found: Sequence[Balance], courses: TimeCourses | None) -> str:
    """The page as text."""
    return rendered(
        "beforehand.html",
        title=_TITLE,
        name=name,
        graph=space.graph,
        courses=[] if courses is None else courses.sentences(),
        advice=[] if courses is None else courses.advice,
        metabolites=None if courses is None else _metabolites(courses.by_metabolite).html,
        counts=[f"{number} {SAYS[says]}" for says, number in Counter(each.says for each in found).items()],
        columns=_columns(space, found).html,
        scripts=scripts(""),
    )


def _metabolites(by_metabolite: pd.DataFrame) -> Html:
    shown = by_metabolite.assign(
        values=by_metabolite["values"].map("{:.1%}".format),
        **{key: by_metabolite[key].map("{:.4g}".format) for key in ("least", "largest", "standard_deviation")},
        relative_noise=by_metabolite["relative_noise"].map(lambda noise: "–" if np.isnan(noise) else f"{noise:.2g}"),
    )
    nowhere = shown["moves"] == UNMEASURED
    shown.loc[nowhere, ["least", "largest", "standard_deviation", "relative_noise"]] = "–"
    return table(
        shown,
        "Each metabolite in the training runs. values: share that was measured; noise: over the standard deviation; "
        "drives: reactions whose rate depends on it; stands in: reactions that may consume or make it.",
        muted=tuple(by_metabolite.index[by_metabolite["moves"] != MOVING]),
        index="metabolite",
        unfolded=True,
    )


def _columns(space: ColumnSpace, found: Sequence[Balance]) -> Html:
    graph, rows = space.graph, {}
    sign = np.where(space.catalyses, 0.0, space.likely_sign)
    for reaction, each in enumerate(found):
        column = np.zeros(graph.n_edges)
        if each.column is not None:
            column[graph.edges_of(reaction)] = each.column
        rows[graph.reaction_name(reaction)] = {
            "candidates": equation(graph, sign, reaction, catalyses=space.catalyses),
            "before any data": SAYS[each.says],
            "numbers left open": each.n_free,
            "balanced": None if each.column is None else equation(graph, column, reaction, catalyses=space.catalyses),
        }
    return table(
        pd.DataFrame.from_dict(rows, orient="index"),
        "Each reaction, with all its candidate edges, and what conservation, signs and bounds say of its column.",
        index="reaction",
        unfolded=True,
    )
