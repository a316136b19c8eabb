"""All fits of a results folder, whatever study asked for them: state, parameters, metrics; sorted and filtered."""

import json
import operator
import re
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import ConfigDict, TypeAdapter, ValidationError

from stoirec.config.fit import FitConfig
from stoirec.config.reading import parse, read_yaml
from stoirec.errors import BadInput
from stoirec.files import contents, netcdf
from stoirec.score.metrics import NAMES
from stoirec.study.identity import config_id, differing, flat
from stoirec.study.store import Store
from stoirec.study.tables import COSTS, read_table

_ALIVE = 300.0  # [s] a job writes a line or a checkpoint more often than that
State = Literal["done", "diverged", "trained", "running", "stopped", "failed"]
_FINITE = ConfigDict(allow_inf_nan=False)
_OPERATORS = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


def fits(store: Store) -> pd.DataFrame:
    """One row per fit in `store`, ordered by fit_id.

    State: `done`; `diverged`; `trained` (not rounded yet); `running` (wrote something in the last five minutes);
    `stopped` (goes on from its checkpoint when it is asked for again); `failed` (its log says why, or its pack's).

    Returns:
        fit_id, state, parameters (what differs from the defaults), param.<key> for all, the metrics of the fit's own
        answer from any metrics.csv below (NaN if not scored), n_steps, wall_time_s [s], threads, device.

    Raises:
        BadInput: there is no such folder, or no fits in it.
    """
    if not store.fits.is_dir():
        raise BadInput(store.root, "fits", "nothing", "a results folder of the workflow, with fits/")
    scored = _scored(store)
    alone = store.logs("train")
    logs = alone | {name: store.log("train_pack", pack) for name, pack in store.packed().items()}
    names = sorted({*alone, *store.fit_ids()})
    rows = [_row(store, name, logs.get(name)) | scored.get(name, {}) for name in names]
    columns = [
        "fit_id",
        "state",
        "parameters",
        *NAMES,
        "val_loss",
        *COSTS,
        *(f"param.{key}" for key in flat(FitConfig())),
    ]
    return pd.DataFrame(rows, columns=columns)


def _row(store: Store, fit_id: str, log: Path | None) -> dict[str, Any]:
    """All but the metrics; `log`: of the job that trains it, if it is known."""
    row: dict[str, Any] = {"fit_id": fit_id}
    config, recovery = store.config(fit_id), store.recovery(fit_id)
    if config.is_file():
        given, fit = parse(FitConfig, read_yaml(config), config), store.fit(fit_id)
    elif recovery.is_file():  # of another decoder: its training has another name
        given = _rounded(recovery)
        fit = store.fit(f"{fit_id.split('/')[0]}/{config_id(given.trained)}")
    else:  # Snakemake takes back what a failed job wrote, but for its checkpoint
        return row | {"state": _ended(store, fit_id)}
    row["parameters"] = ", ".join(f"{key} {value}" for key, value in differing(given).items())
    row |= {f"param.{key}": value for key, value in flat(given).items()}
    if not fit.is_file():
        return row | {"state": _unfinished(store, fit_id, log) if log else _ended(store, fit_id)}
    try:
        attributes = netcdf.attributes(fit, (contents.STATUS, *contents.COSTS))
    except BadInput:
        return row | {"state": "failed"}
    ended = "done" if attributes["status"] == "ok" else "diverged"
    return row | {key: attributes[key] for key in COSTS} | {"state": ended if recovery.is_file() else "trained"}


def _rounded(recovery: Path) -> FitConfig:
    """The configuration of an answer: of its training, with the decoder it was rounded by."""
    attributes = netcdf.attributes(recovery, contents.ROUNDED)
    config = json.loads(attributes["config"])
    return parse(FitConfig, config | {"decoder": attributes.get("decoder", config.get("decoder"))}, recovery)


def _ended(store: Store, training_id: str) -> str:
    """Of a fit whose job is over: Snakemake took back the configuration, or which pack it was in."""
    return "stopped" if store.checkpoint(training_id).is_file() else "failed"


def _unfinished(store: Store, training_id: str, log: Path) -> str:
    """Whether a training job that has no fit.nc yet still writes something."""
    traces = (store.config(training_id), store.checkpoint(training_id), log)
    newest = max((path.stat().st_mtime for path in traces if path.is_file()), default=0.0)
    return "running" if time.time() - newest < _ALIVE else "stopped"


def _scored(store: Store) -> dict[str, dict[str, Any]]:
    """fit_id -> metrics of its answer, from the tables of all studies in the folder; the newest has the last word."""
    found: dict[str, dict[str, Any]] = {}
    for path in store.metrics_tables():
        table = read_table(path, ("fit_id", "is_answer", "val_loss", *NAMES))
        found |= table[table["is_answer"]].set_index("fit_id")[[*NAMES, "val_loss"]].to_dict("index")
    return found


def column(table: pd.DataFrame, name: str) -> str:
    """The column a user means: `entry_exact`, `batch_size` for `param.batch_size`, `hidden_dim` for its nested key.

    Raises:
        BadInput: there is none.
    """
    candidates = (name, f"param.{name}", f"param.graph_model.{name}")
    found = [candidate for candidate in candidates if candidate in table.columns]
    if not found:
        raise BadInput("command line", "column", name, ", ".join(table.columns))
    return found[0]


def filtered(table: pd.DataFrame, conditions: list[str]) -> pd.DataFrame:
    """The rows that meet all conditions: `key=value`, `!=`, `>`, `<`, `>=`, `<=`; numbers compare as numbers.

    Raises:
        BadInput: a condition of another form or that nothing can meet, an unknown column, an order of what has none.
    """
    for condition in conditions:
        match = re.fullmatch(r"\s*([\w.]+)\s*(>=|<=|!=|==|=|>|<)\s*(.*?)\s*", condition)
        if not match:
            raise BadInput("command line", "--filter", condition, "key=value, or !=, >, <, >=, <= in place of =")
        name, sign, text = match.groups()
        name = column(table, name)
        wanted = _wanted(name, sign, text, condition)
        if isinstance(wanted, str):
            keep = _OPERATORS[sign](table[name].map(_shown), wanted)
        else:
            numbers = pd.to_numeric(table[name], errors="coerce")
            keep = _OPERATORS[sign](numbers, float(wanted)) & (numbers.notna() | (sign == "!="))
        table = table[keep]
    return table


def _wanted(name: str, sign: str, text: str, condition: str) -> float | str:
    """What a column is compared with: a value it can have, or a number to order by. Raises BadInput."""
    kind, number = _kind(name), TypeAdapter(float, config=_FINITE)
    try:
        value = kind.validate_python(text) if sign in ("=", "==", "!=") else number.validate_python(text)
    except ValidationError as error:
        allowed = error.errors()[0]["msg"].removeprefix("Input should be ").partition(", unable")[0]
        raise BadInput("command line", "--filter", condition, f"{name} {sign} {allowed}") from None
    if sign not in ("=", "==", "!=") and not {"number", "integer"} & set(re.findall(r"\w+", str(kind.json_schema()))):
        raise BadInput("command line", "--filter", condition, f"= or !=: {name} has no order")
    return value


def _kind(name: str) -> TypeAdapter:
    """The values a column may have."""
    if name == "state":
        return TypeAdapter(State)
    if name in ("fit_id", "parameters", "device"):
        return TypeAdapter(str)
    if not name.startswith("param."):
        return TypeAdapter(float, config=_FINITE)
    *parents, last = name.split(".")[1:]
    model: Any = FitConfig
    for parent in parents:
        model = model.model_fields[parent].annotation
    field = model.model_fields[last]
    bounded: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return TypeAdapter(bounded, config=_FINITE)


def ordered(table: pd.DataFrame, name: str, descending: bool = False) -> pd.DataFrame:
    """Sorted by a column, missing values last. Raises BadInput for an unknown one."""
    values = table[column(table, name)]
    numbers = pd.to_numeric(values, errors="coerce")
    key = numbers if numbers.notna().sum() == values.notna().sum() else values.map(_shown)
    return table.loc[key.sort_values(ascending=not descending, kind="stable", na_position="last").index]


def _shown(value: Any) -> str | None:
    return None if value is None or (isinstance(value, float) and pd.isna(value)) else str(value)
