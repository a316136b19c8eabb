"""Reading the tables of a finished study, and checking that they are its own and whole."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from stoirec.errors import BadInput, from_file
from stoirec.files.schema import FLAG, INTEGER, TEXT, Variable, check
from stoirec.score.metrics import NAMES
from stoirec.study.identity import Fit

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
_METRICS = ("fit_id", "stage", "variant", "method", "status", "is_answer", "network_seed", "val_loss", *NAMES)
_BASELINES = ("fit_id", "method", "variant", "param.n_runs", *NAMES)
_NAMES = ("study", "stage", "variant")  # text, even where it reads 007 or nan


def read_metrics(path: str | Path, fits: list[Fit], study: str | Path) -> pd.DataFrame:
    """metrics.csv: the rows of `fits`.

    Raises:
        BadInput: not such a table, or a fit of `study` has no row.
    """
    table = _read(path, _METRICS)
    answered = set(table.loc[table["is_answer"], "fit_id"])
    missing = [fit.fit_id for fit in fits if fit.fit_id not in answered]
    if missing:
        found = f"no row for {missing[0]} ({len(missing)} such fits)"
        raise BadInput(path, "fit_id", found, f"a row for every fit of {study}")
    return table[table["fit_id"].isin({fit.fit_id for fit in fits})]


def read_baselines(path: str | Path, wanted: Iterable[tuple[str, int | None]], study: str | Path) -> pd.DataFrame:
    """baselines.csv.

    Args:
        wanted: (data set, n_runs) of the fits; None where they see all training runs.

    Raises:
        BadInput: not such a table, or the references of a data set and n_runs of `study` are missing.
    """
    table = _read(path, _BASELINES)
    known = set(zip(table["fit_id"].str.split("/").str[0], table["param.n_runs"].fillna(0)))
    for data, n_runs in wanted:
        if (data, n_runs or 0) not in known:
            found = f"no row for {data}" + (f" with n_runs {n_runs}" if n_runs else "")
            raise BadInput(path, "fit_id", found, f"rows for every data set and n_runs of {study} (stoirec collect)")
    return table


def _read(path: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
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
    if not len(table):
        return table
    with from_file(path):
        check(xr.Dataset(found, {"line": lines}), [each for each in _COLUMNS if each.name in columns])
    return table
