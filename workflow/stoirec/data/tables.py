"""Time courses in tables, as laboratories keep them: CSV, TSV and XLSX, wide or long.

wide      a row per time, a column per species:  run, time [min], glucose [mM], glucose se, atp
across    a row per species, a column per time:  species, 0, 5, 10
long      a row per value:                       run, time, species, value, se (or PEtab's names of the same)

`run`, `condition` and `replicate` tell runs apart; a table without them is one run. What tables say of other species of
the same run belongs together. An empty cell, NA and `-` stand for values that were not measured; `<0.1` is below the
limit of detection. Titles may stand above the header.
"""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stoirec.data.sheets import read_sheets
from stoirec.errors import BadInput

_log = logging.getLogger(__name__)
_RUN = (
    *("run", "runid", "experiment", "experimentid", "condition", "conditionid"),
    *("preequilibrationconditionid", "simulationconditionid", "replicate", "replicateid"),
)
_TIME = ("time", "t")
_SPECIES = ("species", "metabolite", "observableid")
_VALUE = ("value", "concentration", "measurement")
_SE = ("se", "sd", "sem", "std", "stderr", "stdev", "standarderror", "noiseparameters")
_UNITS = ("unit", "units")
_MISSING = {"", "-", "na", "n/a", "#n/a", "nan", "nd", "n.d.", "none"}
_SAME = 1e-9  # of a run: times that differ by less are one
_UNIT = re.compile(r"^(.*?)\s*[\[(]\s*([^\])]*?)\s*[\])]\s*$")
_ALLOWED = "columns time and species, or species, time and value; or a row per species with times as columns"


@dataclass
class MeasuredRun:
    """One trajectory of a table.

    Attributes:
        table: name of the file or sheet; own: what tells runs apart in it.
        name: what tells it from all others.
        values, errors: species -> time -> every value that was measured then, and every standard error.
        below: how many values were below a limit of detection; they are half of it.
    """

    table: str
    own: str = ""
    name: str = ""
    values: dict[str, dict[float, list[float]]] = field(default_factory=dict)
    errors: dict[str, dict[float, list[float]]] = field(default_factory=dict)
    below: int = 0

    def times(self) -> list[float]:
        """Every time at which a species was measured, rising; of those that differ by rounding the first."""
        every = sorted({time for course in self.values.values() for time in course})
        apart = [every[0]]
        for time in every[1:]:
            if time - apart[-1] > _SAME * (every[-1] - every[0]):
                apart.append(time)
        return apart

    def repeated(self) -> int:
        """How many values stand beside another of the same species and time: their mean counts."""
        return sum(len(found) - 1 for course in self.values.values() for found in course.values())


@dataclass
class MeasuredRuns:
    """The runs of some tables, and the units that their headers name, if they do."""

    runs: list[MeasuredRun] = field(default_factory=list)
    time_unit: str = ""
    unit: str = ""


def read_tables(paths: list[Path], known: frozenset[str] | set[str] = frozenset()) -> MeasuredRuns:
    """All runs in some tables; `known`: names of species. Raises BadInput: names file, sheet, row and column."""
    found = MeasuredRuns()
    for path in paths:
        for sheet, rows in read_sheets(path):
            _read(found, f"{path}{f', sheet {sheet}' if sheet else ''}", sheet or path.stem, rows, set(known))
    found.runs = _joined(found.runs)
    twice = [name for name, number in Counter(run.name for run in found.runs).items() if number > 1]
    if twice:
        raise BadInput(paths[-1], "run", f"{twice[0]} again", "a name for each run, or another column that tells")
    if not found.runs:
        raise BadInput(paths[0] if paths else "command line", "table", "no values", _ALLOWED)
    return found


def _joined(runs: list[MeasuredRun]) -> list[MeasuredRun]:
    """Runs with their names, those one that tables call the same and of which they hold different species."""
    found: list[MeasuredRun] = []
    together = {}
    for run in runs:
        same = [other for other in found if run.own == other.own != "" and not run.values.keys() & other.values.keys()]
        if same:
            together[run.own] = None
            same[0].values |= run.values
            same[0].errors |= run.errors
            same[0].below += run.below
        else:
            found.append(run)
    if together:
        _log.info("runs whose species stand in several tables: %s", ", ".join(together))
    number = Counter(run.own for run in found)
    for run in found:
        run.name = run.own if run.own and number[run.own] == 1 else f"{run.table} {run.own}".strip()
    return found


def _read(found: MeasuredRuns, where: str, name: str, rows: dict[int, list[str]], known: set[str]) -> None:
    """Add the runs of one table."""
    if not rows:
        return
    rows = _from_header(where, rows)
    header, units = zip(*[_named(cell, known) for cell in rows.pop(min(rows))])
    for row, line in rows.items():
        if len(line) > len(header):
            allowed = f"at most {len(header)}, as in the header (decimal commas want semicolons between cells)"
            raise BadInput(f"{where}, row {row}", "cells", len(line), allowed)
        line += [""] * (len(header) - len(line))
    keys = [_key(text) for text in header]
    twice = [text for text, number in Counter(header).items() if number > 1 and text]
    if twice:
        raise BadInput(where, "header", f"{twice[0]} again", "each column once")
    runs: dict[tuple[str, ...], MeasuredRun] = {}
    marks = [place for key in _RUN for place, own in enumerate(keys) if own == key]

    def run_of(row: int, line: list[str]) -> MeasuredRun:
        own = tuple(line[place] for place in marks)
        if marks and not any(own):
            raise BadInput(f"{where}, row {row}", header[marks[0]], "nothing", "what tells this run from others")
        return runs.setdefault(own, MeasuredRun(name, " ".join(filter(None, own))))

    column = {kind: _place(keys, names) for kind, names in (("t", _TIME), ("s", _SPECIES), ("v", _VALUE), ("e", _SE))}
    if len(keys) > 1 and all(_number(text) is not None for text in header[1:]):
        _take_units(found, where, [("time_unit", unit) for unit in units[1:]])
        _read_across(where, header, rows, runs.setdefault((), MeasuredRun(name)))
    elif column["t"] is None:
        raise BadInput(where, "header", ", ".join(header[:8]), _ALLOWED)
    elif column["s"] is not None and column["v"] is not None:
        of = _place(keys, _UNITS)
        own = [units[column["v"]], *({line[of] for line in rows.values()} if of is not None else ())]
        _take_units(found, where, [("time_unit", units[column["t"]]), *(("unit", unit) for unit in sorted(own))])
        for row, line in rows.items():
            run, time = run_of(row, line), _time(where, row, line[column["t"]], header[column["t"]])
            _add(run, where, row, time, line[column["s"]], line[column["v"]], header[column["v"]])
            if column["e"] is not None:
                _add_error(run, where, row, time, line[column["s"]], line[column["e"]])
    else:
        other = {column["t"], *marks, *(place for place, text in enumerate(header) if not text)}
        species = [place for place in range(len(keys)) if place not in other]
        own = [("unit", units[place]) for place in species]
        _take_units(found, where, [("time_unit", units[column["t"]]), *own])
        for row, line in rows.items():
            run, time = run_of(row, line), _time(where, row, line[column["t"]], header[column["t"]])
            for place in species:
                name_of = _error_of(header[place], header)
                if name_of is not None:
                    _add_error(run, where, row, time, name_of, line[place])
                else:
                    _add(run, where, row, time, header[place], line[place], header[place])
    found.runs += [run for run in runs.values() if run.values]


def _from_header(where: str, rows: dict[int, list[str]]) -> dict[int, list[str]]:
    """Rows from that on which names the columns: the first, but for titles of a single cell, or that names a time."""
    several = [row for row, line in rows.items() if sum(map(bool, line)) > 1] or list(rows)
    timed = [row for row in several if any(_key(_named(cell, set())[0]) in _TIME for cell in rows[row])]
    across = all(_number(_named(cell, set())[0]) is not None for cell in rows[several[0]][1:])
    header = timed[0] if timed and not across else several[0]
    above = [" ".join(filter(None, line)) for row, line in rows.items() if row < header]
    if above:
        _log.info("%s: above the header, not taken: %s", where, "; ".join(above))
    return {row: line for row, line in rows.items() if row >= header}


def _read_across(where: str, header: tuple[str, ...], rows: dict[int, list[str]], run: MeasuredRun) -> None:
    for row, line in rows.items():
        for place in range(1, len(header)):
            _add(run, where, row, float(header[place]), line[0], line[place], header[place])


def _named(cell: str, known: set[str]) -> tuple[str, str]:
    """A header's name and unit: time [min]. Names of species may have brackets of their own."""
    match = None if cell in known else _UNIT.match(cell)
    return (match[1], match[2]) if match and match[1] else (cell, "")


def _key(text: str) -> str:
    """A header as it is recognised: Run ID, run_id."""
    return text.lower().replace(" ", "").replace("_", "")


def can_head_columns(species: list[str]) -> bool:
    """Whether a wide header of these names is read as these species: none as a run, a time or another's errors."""
    taken = {*_RUN, *_TIME, *_SPECIES, *_VALUE, *_SE, *_UNITS}
    return not any(_key(name) in taken or _error_of(name, tuple(species)) for name in species)


def _place(keys: list[str], names: tuple[str, ...]) -> int | None:
    return next((keys.index(name) for name in names if name in keys), None)


def _error_of(name: str, header: tuple[str, ...]) -> str | None:
    """The species whose standard errors a column holds: `atp se`, `atp_sd`."""
    for separator in (" ", "_", "."):
        species, _, ending = name.rpartition(separator)
        if species in header and ending.lower() in _SE:
            return species
    return None


def _take_units(found: MeasuredRuns, where: str, named: list[tuple[str, str]]) -> None:
    """Take (time_unit or unit, as a header names it), if they agree."""
    for key, unit in named:
        before = getattr(found, key)
        if unit and before and unit != before:
            raise BadInput(where, "header", f"unit {unit} beside {before}", "one unit of time, and one of all values")
        setattr(found, key, before or unit)


def _number(text: str) -> float | None:
    try:
        value = float("none" if "_" in text else text)  # 1_0 is a number to Python alone
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _time(where: str, row: int, text: str, column: str) -> float:
    value = _number(text)
    if value is None:
        raise BadInput(f"{where}, row {row}", column, text or "nothing", "a time, such as 0.5; units in the header")
    return value


def _add(run: MeasuredRun, where: str, row: int, time: float, species: str, text: str, column: str) -> None:
    if text.lower() in _MISSING:
        return
    value = _number(text.lstrip("<").strip())
    if value is None or value < 0:
        allowed = (
            "a concentration >= 0, such as 0.5 (0,5 between semicolons); below a limit of detection <limit, or nothing"
        )
        raise BadInput(f"{where}, row {row}", column, text, allowed)
    if not species:
        raise BadInput(f"{where}, row {row}", "species", "nothing", "a name")
    if text.startswith("<"):
        run.below += 1
        value /= 2
    of_species = run.values.setdefault(species, {})
    if not run.own and time in of_species and time < next(reversed(of_species)):  # replicates stand side by side
        found = f"{time:g} again, after {next(reversed(of_species)):g}"
        raise BadInput(f"{where}, row {row}", "time", found, "times that rise, or a column run that tells runs apart")
    of_species.setdefault(time, []).append(value)


def _add_error(run: MeasuredRun, where: str, row: int, time: float, species: str, text: str) -> None:
    if text.lower() in _MISSING:
        return
    value = _number(text)
    if value is None or value < 0:
        raise BadInput(f"{where}, row {row}", f"standard error of {species}", text, "a number >= 0, or nothing")
    run.errors.setdefault(species, {}).setdefault(time, []).append(value)


def filled(runs: list[MeasuredRun], species: Sequence[tuple[str, ...]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times (runs, n), values and standard errors (runs, n, M) of some species, NaN where there is nothing.

    Args:
        species: of each metabolite the names that a table may call it by.
    """
    n_times = max(len(run.times()) for run in runs)
    time = np.full((len(runs), n_times), np.nan)
    value, error = (np.full((len(runs), n_times, len(species)), np.nan) for _ in range(2))
    for index, run in enumerate(runs):
        times = np.array(run.times())
        time[index, : len(times)] = times
        for metabolite, names in enumerate(species):
            for tables, into in ((run.values, value), (run.errors, error)):
                at_row: dict[int, list[float]] = {}
                for name in dict.fromkeys(names):
                    for at, found in tables.get(name, {}).items():
                        row = int(np.searchsorted(times, at, side="right")) - 1
                        at_row.setdefault(row, []).extend(found)
                for row, found in at_row.items():
                    into[index, row, metabolite] = np.mean(found)
    return time, value, error
