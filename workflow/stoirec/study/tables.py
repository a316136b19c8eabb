"""Tables of a study: metrics.csv, baselines.csv in the same form, and costs.csv."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from stoirec.config.fit import FitConfig
from stoirec.data.dataset import read_data, read_space
from stoirec.data.graph_variables import check_same_graph
from stoirec.errors import BadInput, from_file
from stoirec.files import contents, netcdf
from stoirec.files.schema import FLAG, INTEGER, TEXT, Variable, check
from stoirec.network.graph import Graph
from stoirec.score.metrics import NAMES
from stoirec.score.oracle import true_frames
from stoirec.score.references import reference_metrics
from stoirec.score.scoring import read_recovery, score
from stoirec.simulate.truth import Truth, read_truth
from stoirec.study.identity import Fit, flat
from stoirec.study.store import Store


def parameter_columns(config: FitConfig | None) -> dict[str, Any]:
    return {f"param.{key}": (None if config is None else flat(config)[key]) for key in flat(FitConfig())}


def metrics_table(study_name: str, fits: list[Fit], store: Store) -> pd.DataFrame:
    """metrics.csv: one row per fit and rounding method; a diverged fit has NaN metrics.

    Args:
        store: folder with the data and the fits.
    """
    truths: dict[str, tuple[Truth, Graph]] = {}
    rows = []
    for fit in fits:
        if fit.data not in truths:
            data = store.data(fit.data)
            graph = read_space(data).graph
            truths[fit.data] = read_truth(data, graph), graph
        path = store.recovery(fit.fit_id)
        recovery = read_recovery(path)
        truth, graph = truths[fit.data]
        check_same_graph(recovery, graph, path)
        found = score(recovery, truth, graph)
        rows += [
            {
                **_identity(fit.fit_id, study_name, fit.stage, method, found["status"], fit.network_seed, fit.config),
                **metrics,
                "val_loss": found["val_loss"],
                "variant": fit.variant,
                "is_answer": method == found["method"],
            }
            for method, metrics in found["methods"].items()
        ]
    return pd.DataFrame(rows)


COSTS = ("n_steps", "wall_time_s", "threads", "device")


def costs_table(fits: list[Fit], store: Store) -> pd.DataFrame:
    """costs.csv: one row per fit; fits that share a training have its row each.

    Apart from metrics.csv, which is the same on every repetition, as times are not.
    """
    rows = []
    for fit in fits:
        attributes = netcdf.attributes(store.fit(fit.training_id), contents.COSTS)
        rows.append({"fit_id": fit.fit_id} | {key: attributes[key] for key in COSTS})
    return pd.DataFrame(rows, columns=["fit_id", *COSTS])


def _identity(
    fit_id: str, study: str, stage: str, method: str, status: str, seed: int, config: FitConfig | None
) -> dict[str, Any]:
    return {
        "fit_id": fit_id,
        "study": study,
        "stage": stage,
        "method": method,
        "status": status,
        "network_seed": seed,
        **parameter_columns(config),
    }


def baselines_table(study_name: str, fits: list[Fit], store: Store) -> pd.DataFrame:
    """baselines.csv: the references on every data set of the study, in the form of metrics.csv.

    They are computed on all training runs (param.n_runs is empty), and again on the first n_runs where fits see no
    more.
    """
    asked: dict[tuple[str, int], set[int]] = {}
    for fit in fits:
        asked.setdefault((fit.data, fit.network_seed), set()).add(fit.config.n_runs)
    rows = []
    for (data, seed), runs in asked.items():
        path = store.data(data)
        content = read_data(path)
        truth = read_truth(path, content.graph)
        for n_runs in (None, *sorted(n for n in runs if n < content.n_training_runs)):
            with from_file(path):
                frames = true_frames(content, truth, n_runs)
            found = reference_metrics(content.space, truth, *frames)
            rows += _reference_rows(study_name, data, seed, n_runs, found)
    return pd.DataFrame(rows)


def _reference_rows(
    study: str, data: str, seed: int, n_runs: int | None, references: dict[str, dict[str, dict[str, float]]]
) -> list[dict[str, Any]]:
    """Rows of baselines.csv: `references` on the first `n_runs` training runs of a data set; None: on all."""
    suffix = "" if n_runs is None else f"+n_runs~{n_runs}"
    rows = []
    for name, methods in references.items():
        kind = name.split("_")[0]
        for method, metrics in methods.items():
            row = _identity(f"{data}/{name}{suffix}", study, kind, method, kind, seed, None)
            rows.append(
                row | {"param.n_runs": n_runs, **metrics, "val_loss": math.nan, "variant": name, "is_answer": False}
            )
    return rows


# --- read again -------------------------------------------------------------------------------------------------------

_COLUMNS: tuple[Variable, ...] = (  # those that are more than names
    Variable("fit_id", TEXT, dims="line"),
    Variable("is_answer", one_of=FLAG, dims="line", meaning="True or False"),
    Variable("network_seed", INTEGER, 0, dims="line"),
    Variable("param.n_runs", INTEGER, 1, nan=True, dims="line"),
    Variable("val_loss", low=0, nan=True, infinite=True, dims="line"),
    *(
        Variable(name, low=-np.inf if name in ("r2", "log_k_r2") else 0, high=1, nan=True, dims="line")
        for name in NAMES
    ),
)
_NAMES = ("study", "stage", "variant")  # text, even where it reads 007 or nan


def read_table(path: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """metrics.csv or baselines.csv: some of its `columns` checked.

    Raises:
        BadInput: not such a table, or a fit has two answers.
    """
    if not Path(path).is_file():
        raise BadInput(path, "file", "nothing", "an existing CSV table")
    try:
        table = pd.read_csv(path, converters=dict.fromkeys(_NAMES, str))
    except (ValueError, OSError) as error:
        raise BadInput(path, "file", f"not readable as CSV ({error})", "a table written by stoirec collect") from None
    for column in columns:
        if column not in table.columns:
            raise BadInput(path, column, "nothing", f"a column {column}")
    lines = np.arange(2, len(table) + 2).astype(str)  # of the file
    found = {name: ("line", table[name].to_numpy()) for name in columns}
    if len(table):
        with from_file(path):
            check(xr.Dataset(found, {"line": lines}), [each for each in _COLUMNS if each.name in columns])
    if "is_answer" in columns:
        table["is_answer"] = table["is_answer"].astype(bool)
        answered = table.loc[table["is_answer"], "fit_id"]
        for fit_id in answered[answered.duplicated()]:
            raise BadInput(path, "is_answer", f"True in two rows of {fit_id}", "True in one row of each fit")
    return table
