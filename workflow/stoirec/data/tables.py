"""Time courses in tables, as laboratories keep them: CSV, TSV and XLSX, wide or long.

wide      a row per time, a column per species:  run, time [min], glucose [mM], glucose se, atp
across    a row per species, a column per time:  species, 0, 5, 10
long      a row per value:                       run, time, species, value, se (or PEtab's names of the same)

`run`, `condition` and `replicate` tell runs apart; a table without them is one run. An empty cell, NA and `-` stand for
values that were not measured; `<0.1` is below the limit of detection.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stoirec.errors import BadInput

_RUN = ("run", "experiment", "condition", "simulationconditionid", "replicate")
_TIME = ("time", "t")
_SPECIES = ("species", "metabolite", "observableid")
_VALUE = ("value", "concentration", "measurement")
_SE = ("se", "sd", "sem", "std", "standard error", "noiseparameters")
_MISSING = {"", "-", "na", "n/a", "nan", "nd", "n.d.", "none"}
_UNIT = re.compile(r"^(.*?)\s*[\[(]\s*([^\])]*?)\s*[\])]\s*$")
_ALLOWED = "columns time and species, or species, time and value; or a row per species with times as columns"


@dataclass
class MeasuredRun:
    """One trajectory of a table.

    Attributes:
        name: of the file, and what tells runs apart in it.
        values, errors: species -> time -> every value that was measured then, and every standard error.
        below: how many values were below a limit of detection; they are half of it.
    """

    name: str
    values: dict[str, dict[float, list[float]]] = field(default_factory=dict)
    errors: dict[str, dict[float, list[float]]] = field(default_factory=dict)
    below: int = 0

    def times(self) -> list[float]:
        """Every time at which a species was measured, rising."""
        return sorted({time for course in self.values.values() for time in course})

    def repeated(self) -> int:
        """How many values stand beside another of the same species and time: their mean counts."""
        return sum(len(found) - 1 for course in self.values.values() for found in course.values())


@dataclass
class MeasuredRuns:
    """The runs of some tables, and the units that their headers name, if they do."""

    runs: list[MeasuredRun] = field(default_factory=list)
    time_unit: str = ""
    unit: str = ""


def read_tables(paths: list[Path]) -> MeasuredRuns:
    """All runs in some tables. Raises BadInput: names file, sheet, row and column."""
    found = MeasuredRuns()
    for path in paths:
        for sheet, cells in _sheets(path):
            _read(found, f"{path}{f', sheet {sheet}' if sheet else ''}", sheet or path.stem, cells)
    twice = [name for name, number in Counter(run.name for run in found.runs).items() if number > 1]
    if twice:
        raise BadInput(paths[-1], "run", f"{twice[0]} again", "a name for each run, or another column that tells")
    if not found.runs:
        raise BadInput(paths[0] if paths else "command line", "table", "no values", _ALLOWED)
    return found


def _sheets(path: Path) -> list[tuple[str, pd.DataFrame]]:
    """Each sheet's name, empty for a text file, and its cells as text."""
    if not path.is_file():
        raise BadInput(path, "file", "nothing", "a table: .csv, .tsv or .xlsx")
    options: dict[str, Any] = {"header": None, "dtype": str, "keep_default_na": False}
    try:
        if path.suffix.lower() in (".xlsx", ".xlsm"):
            found = pd.read_excel(path, sheet_name=None, **options)
            return [(str(name) if len(found) > 1 else "", cells.fillna("")) for name, cells in found.items()]
        text = path.read_text(encoding="utf-8-sig")
        first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
        separator = "\t" if "\t" in first else ";" if ";" in first else ","
        cells = pd.read_csv(path, sep=separator, comment="#", encoding="utf-8-sig", skipinitialspace=True, **options)
        # where semicolons separate cells, commas are those of decimals
        return [("", cells.map(lambda cell: cell.replace(",", ".")) if separator == ";" else cells)]
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OSError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(path, "file", f"no table ({text})", "a table: .csv, .tsv or .xlsx") from None


def _read(found: MeasuredRuns, where: str, name: str, cells: pd.DataFrame) -> None:
    """Add the runs of one table."""
    cells = cells.map(lambda cell: str(cell).strip())
    header, units = zip(*[_named(cell) for cell in cells.iloc[0]])
    keys = [text.lower() for text in header]
    twice = [text for text, number in Counter(keys).items() if number > 1 and text]
    if twice:
        raise BadInput(where, "header", f"{twice[0]} again", "each column once")
    body, runs = cells.iloc[1:], {}

    def run_of(row: pd.Series) -> MeasuredRun:
        marks = [row.iloc[place] for key in _RUN for place, own in enumerate(keys) if own == key]
        label = " ".join([name, *marks]) if marks else name
        return runs.setdefault(label, MeasuredRun(label))

    across = len(keys) > 1 and all(_number(text) is not None for text in keys[1:])
    column = {kind: _place(keys, names) for kind, names in (("t", _TIME), ("s", _SPECIES), ("v", _VALUE), ("e", _SE))}
    if across:
        _read_across(where, keys, body, runs.setdefault(name, MeasuredRun(name)))
    elif column["t"] is None:
        raise BadInput(where, "header", ", ".join(header[:8]), _ALLOWED)
    elif column["s"] is not None and column["v"] is not None:
        _take_units(found, where, units[column["t"]], [units[column["v"]]])
        for row, line in _lines(body):
            time = _time(where, row, line.iloc[column["t"]], header[column["t"]])
            _add(run_of(line), where, row, time, line.iloc[column["s"]], line.iloc[column["v"]], header[column["v"]])
            if column["e"] is not None:
                _add_error(run_of(line), where, row, time, line.iloc[column["s"]], line.iloc[column["e"]])
    else:
        other = {column["t"], *(place for place, key in enumerate(keys) if key in _RUN or not key)}
        species = [place for place in range(len(keys)) if place not in other]
        _take_units(found, where, units[column["t"]], [units[place] for place in species])
        for row, line in _lines(body):
            time = _time(where, row, line.iloc[column["t"]], header[column["t"]])
            for place in species:
                of = _error_of(header[place], header)
                if of is not None:
                    _add_error(run_of(line), where, row, time, of, line.iloc[place])
                else:
                    _add(run_of(line), where, row, time, header[place], line.iloc[place], header[place])
    found.runs += [run for run in runs.values() if run.values]


def _read_across(where: str, keys: list[str], body: pd.DataFrame, run: MeasuredRun) -> None:
    for row, line in _lines(body):
        for place in range(1, len(keys)):
            _add(run, where, row, float(keys[place]), line.iloc[0], line.iloc[place], keys[place])


def _lines(body: pd.DataFrame) -> list[tuple[int, pd.Series]]:
    """Rows that hold anything, with their numbers as a spreadsheet shows them."""
    return [(int(index) + 1, line) for index, line in body.iterrows() if any(line)]


def _named(cell: str) -> tuple[str, str]:
    """A header's name and unit: time [min]."""
    match = _UNIT.match(cell)
    return (match[1], match[2]) if match and match[1] else (cell, "")


def _place(keys: list[str], names: tuple[str, ...]) -> int | None:
    return next((keys.index(name) for name in names if name in keys), None)


def _error_of(name: str, header: tuple[str, ...]) -> str | None:
    """The species whose standard errors a column holds: `atp se`, `atp_sd`."""
    for separator in (" ", "_", "."):
        species, _, ending = name.rpartition(separator)
        if species in header and ending.lower() in _SE:
            return species
    return None


def _take_units(found: MeasuredRuns, where: str, time_unit: str, units: list[str]) -> None:
    for key, unit in (("time_unit", time_unit), *(("unit", unit) for unit in units)):
        before = getattr(found, key)
        if unit and before and unit != before:
            raise BadInput(where, "header", f"unit {unit} beside {before}", "one unit of time, and one of all values")
        setattr(found, key, before or unit)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _time(where: str, row: int, text: str, column: str) -> float:
    value = _number(text)
    if value is None:
        raise BadInput(f"{where}, row {row}", column, text or "nothing", "a time")
    return value


def _add(run: MeasuredRun, where: str, row: int, time: float, species: str, text: str, column: str) -> None:
    if text.lower() in _MISSING:
        return
    value = _number(text.lstrip("<").strip())
    if value is None or value < 0:
        raise BadInput(f"{where}, row {row}", column, text, "a concentration >= 0, nothing, or <limit")
    if not species:
        raise BadInput(f"{where}, row {row}", "species", "nothing", "a name")
    if text.startswith("<"):
        run.below += 1
        value /= 2
    run.values.setdefault(species, {}).setdefault(time, []).append(value)


def _add_error(run: MeasuredRun, where: str, row: int, time: float, species: str, text: str) -> None:
    if text.lower() in _MISSING:
        return
    value = _number(text)
    if value is None or value < 0:
        raise BadInput(f"{where}, row {row}", f"standard error of {species}", text, "a number >= 0, or nothing")
    run.errors.setdefault(species, {}).setdefault(time, []).append(value)


def filled(runs: list[MeasuredRun], species: list[tuple[str, ...]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times (runs, n), values and standard errors (runs, n, M) of some species, NaN where there is nothing.

    Args:
        species: of each metabolite the names that a table may call it by.
    """
    n_times = max(len(run.times()) for run in runs)
    time = np.full((len(runs), n_times), np.nan)
    value, error = (np.full((len(runs), n_times, len(species)), np.nan) for _ in range(2))
    for index, run in enumerate(runs):
        place = {at: row for row, at in enumerate(run.times())}
        time[index, : len(place)] = list(place)
        for metabolite, names in enumerate(species):
            name = next((name for name in names if name in run.values), None)
            if name is None:
                continue
            for table, into in ((run.values[name], value), (run.errors.get(name, {}), error)):
                for at, found in table.items():
                    if at in place:
                        into[index, place[at], metabolite] = np.mean(found)
    return time, value, error
