"""Reading the tables of a finished study, and checking that they are its own and whole."""

import itertools
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from stoirec.answer.decode import METHODS
from stoirec.errors import BadInput
from stoirec.score.metrics import NAMES
from stoirec.study.identity import Fit
from stoirec.study.tables import read_table

_METRICS = ("fit_id", "stage", "variant", "method", "status", "is_answer", "network_seed", "val_loss", *NAMES)
_BASELINES = ("fit_id", "method", "variant", "param.n_runs", *NAMES)


def read_metrics(path: str | Path, fits: list[Fit], study: str | Path) -> pd.DataFrame:
    """metrics.csv: the rows of `fits`.

    Raises:
        BadInput: not such a table, or a fit of `study` has no row.
    """
    table = read_table(path, _METRICS)
    answered = set(table.loc[table["is_answer"], "fit_id"])
    missing = [fit.fit_id for fit in fits if fit.fit_id not in answered]
    if missing:
        found = f"no row for {missing[0]} ({len(missing)} such fits)"
        raise BadInput(path, "fit_id", found, f"a row for every fit of {study}")
    return table[table["fit_id"].isin({fit.fit_id for fit in fits})]


def read_baselines(
    path: str | Path, wanted: Iterable[tuple[str, int | None]], study: str | Path, references: Iterable[str] = ()
) -> pd.DataFrame:
    """baselines.csv.

    Args:
        wanted: (data set, n_runs) of the fits; None where they see all training runs.
        references: their variants, all of which have to be there, by every method.

    Raises:
        BadInput: not such a table, or the references of a data set and n_runs of `study` are missing.
    """
    table = read_table(path, _BASELINES)
    of = [table["fit_id"].str.split("/").str[0], table["param.n_runs"].fillna(0)]
    known = {*zip(*of), *zip(*of, table["variant"], table["method"])}
    asked = [(), *itertools.product(references, METHODS)]
    for data, n_runs in wanted:
        missing = [each for each in asked if (data, n_runs or 0, *each) not in known]
        if missing:
            found = f"no row for {data}" + (f" with n_runs {n_runs}" if n_runs else "") + ", ".join(["", *missing[0]])
            raise BadInput(path, "fit_id", found, f"rows for every data set and n_runs of {study} (stoirec collect)")
    return table
