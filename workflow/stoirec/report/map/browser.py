"""Every recovered reaction, to be searched: its equation, what else it may be, and its flux over time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import xarray as xr
from bokeh.models import ColumnDataSource

from stoirec.answer.prediction import answered_model
from stoirec.data.dataset import VALIDATION, Data
from stoirec.learn.fit_file import with_inferred
from stoirec.network.graph import Graph
from stoirec.report.explore import chart, live
from stoirec.report.map.drawing import anchor, found_by
from stoirec.report.map.reactions import RecoveredReaction
from stoirec.report.present import Html
from stoirec.report.style import LEARNED, TRUE

_FRAMES = 80  # of a flux
_NUMBERS = 120_000  # of all fluxes together


@dataclass(frozen=True)
class Fluxes:
    """Net fluxes of one run.

    Attributes:
        time: (T,) [time unit]; recovered: (T, R) by the answer's columns and rate constants at the data's
            concentrations; true: (T, R), or None where nobody knows them.
        time_unit, unit: of times and concentrations.
    """

    time: np.ndarray
    recovered: np.ndarray
    true: np.ndarray | None = None
    time_unit: str = "time unit"
    unit: str = "concentration unit"


@torch.no_grad()
def fluxes(
    data: Data,
    fit: xr.Dataset,
    recovery: xr.Dataset,
    true: Callable[[int, np.ndarray], np.ndarray] | None = None,
) -> Fluxes | None:
    """Of the first validation run, or of the first run; none if the fit diverged.

    `true`: (run, (T,) frames) -> (T, R), where they are known.
    """
    if fit.attrs["status"] != "ok":
        return None
    run = int(np.argmax(data.run_role == VALIDATION))
    most = max(2, min(_FRAMES, _NUMBERS // (2 * data.graph.n_reactions)))
    shown = np.unique(np.linspace(0, data.n_frames - 1, min(data.n_frames, most)).round().astype(int))
    coefficient = data.graph.on_edges(recovery["stoichiometry"].values)
    model = answered_model(fit, data, coefficient, recovery[f"log_k_{recovery.attrs['method']}"].values)
    concentration = with_inferred(data, fit).concentration[run, shown]
    learned = model.flux(torch.as_tensor(concentration)).T.numpy()
    known = None if true is None else true(run, shown)
    return Fluxes(data.time_of(run)[shown], learned, known, data.time_unit, data.unit)


def browser(graph: Graph, reactions: list[RecoveredReaction], found: Fluxes | None) -> Html:
    """What a reader looks for and reads of one reaction at a time; the table of all reactions is its printed form."""
    time_unit, unit = (Fluxes.time_unit, Fluxes.unit) if found is None else (found.time_unit, found.unit)
    made = chart(260, f"time [{time_unit}]", f"flux [{unit} / {time_unit}]")
    names = ("time", "recovered", "true")
    source = ColumnDataSource({name: [0, 1] for name in names}, name="flux")  # until one is picked
    curve = partial(made.line, "time", source=source, line_width=2.2)
    if found is not None and found.true is not None:
        curve("true", line_color=TRUE, legend_label="true")
    curve("recovered", line_color=LEARNED, line_dash="dashed", legend_label="recovered")
    made.add_layout(made.legend[0], "above")
    made.legend.update(orientation="horizontal", border_line_color=None, padding=0, margin=0)
    return Html(
        live(
            "reactions",
            made,
            reactions=[_told(graph, reaction, anchor(index)) for index, reaction in enumerate(reactions)],
            time=None if found is None else found.time,
            recovered=None if found is None else _net(found.recovered, reactions),
            true=None if found is None or found.true is None else _net(found.true, reactions),
        )
    )


def _net(flux: np.ndarray, reactions: list[RecoveredReaction]) -> np.ndarray:
    """(reactions, T): what runs forward less what runs back, of (T, R) columns."""
    return np.stack([flux[:, each.columns[0]] - flux[:, each.columns[1:]].sum(axis=1) for each in reactions])


def _told(graph: Graph, reaction: RecoveredReaction, row: str) -> dict[str, object]:
    """What the script shows of a reaction."""
    wrong = reaction.right is False
    lines = {
        "called": reaction.label if reaction.label != reaction.name else None,
        "recovered": reaction.equation,
        "true": reaction.true_equation if wrong else "the same" if reaction.right else None,
        "state": f"{reaction.state}, confidence {reaction.confidence:.3g}",
        "next best": reaction.alternatives,
    }
    return {
        "row": row,
        "name": reaction.name,
        "find": found_by(graph, reaction),
        "kinds": [reaction.state, *["wrong"] * wrong],
        "lines": [(key, value) for key, value in lines.items() if value],
    }
