"""A table of reactions, and of species, that people write by hand: CSV, TSV or XLSX.

reaction, equation, candidates: `R1, A + 2 B -> C`, `R2, A <-> ? D`, `R3, A -> C, D E`. `?` before a species: its
coefficient is sought, and may be 0. Candidates, a third column, may stand on either side, or on none.
"""

import difflib
import logging
import math
from collections.abc import Iterator
from pathlib import Path

from stoirec.config.equations import parse_sides
from stoirec.data.sheets import read_sheets
from stoirec.errors import BadInput
from stoirec.models.formulas import CHARGE, MASS, elements
from stoirec.models.model import Model, Reaction, Species, listing

_log = logging.getLogger(__name__)
_NAME = "name"  # a column that may stand beside others
_COLUMNS = ("reaction", "equation", "candidates")
_ALLOWED = "rows such as `R1, A + 2 B -> C`, below `reaction, equation` or without a header"


def read_reactions(path: str | Path, species_table: str | Path | None = None) -> Model:
    """The network in a table of reactions; species have formulas where another table says so. Raises BadInput."""
    reactions, ids = [], set()
    for line, row in _rows(path, _COLUMNS):
        reaction = _reaction(row, f"{path}: line {line}")
        if reaction.id in ids:
            raise BadInput(f"{path}: line {line}", "reaction", f"{reaction.id} again", "an id for each reaction")
        ids.add(reaction.id)
        reactions.append(reaction)
    if not reactions:
        raise BadInput(path, "reaction", "nothing", _ALLOWED)
    names = dict.fromkeys(name for each in reactions for name in (*each.coefficients, *(each.sought or ())))
    described = _described(species_table, set(names)) if species_table is not None else {}
    return Model(tuple(described.get(name, Species(name, name)) for name in names), tuple(reactions), guessed=True)


def _rows(path: str | Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Numbers of lines, and their cells by column: by the header if there is one, else in order."""
    sheets = read_sheets(Path(path))
    if len(sheets) > 1:
        raise BadInput(path, "file", f"sheets {', '.join(name for name, _ in sheets)}", "a single one")
    header: list[str] | None = None
    for line, cells in sheets[0][1].items() if sheets else ():
        while not cells[-1]:
            cells = cells[:-1]
        if cells[0].startswith("#"):
            continue
        if header is None:
            header = [cell.lower() for cell in cells] if cells[0].lower() == columns[0] else list(columns)
            if cells[0].lower() == columns[0]:
                _check_header(header, columns, f"{path}: line {line}")
                continue
        if len(cells) > len(header):
            found = f"{len(cells)} cells"
            raise BadInput(f"{path}: line {line}", columns[0], found, f"at most {len(header)}: {', '.join(header)}")
        yield line, dict(zip(header, cells))


def _check_header(header: list[str], columns: tuple[str, ...], where: str) -> None:
    """Refuse a misspelt column; say which others are not read."""
    others = [cell for cell in header if cell not in (*columns, _NAME)]
    for cell in others:
        if meant := difflib.get_close_matches(cell, [column for column in columns if column not in header], n=1):
            raise BadInput(where, "header", cell, f"{', '.join(columns)} (did you mean {meant[0]}?)")
    if others:
        _log.info("%s: columns that are not read: %s", where, listing(others))


def _reaction(row: dict[str, str], where: str) -> Reaction:
    id_, equation = row.get("reaction", ""), row.get("equation", "")
    if not id_ or not equation:
        raise BadInput(where, "reaction" if not id_ else "equation", "nothing", _ALLOWED)
    try:
        sides = parse_sides(equation)
    except ValueError as error:
        raise BadInput(where, "equation", str(error), _ALLOWED) from None
    coefficients: dict[str, float] = {}
    sought: dict[str, int] = {}
    drives = {species for _, species in sides.left}
    for side, sign in ((sides.left, -1), (sides.right, 1)):
        for size, species in side:
            if size is None:
                sought[species] = 0 if sought.get(species, sign) != sign else sign
            else:
                coefficients[species] = coefficients.get(species, 0.0) + sign * size
    for species in row.get("candidates", "").replace(";", " ").split():
        sought[species] = 0
        drives.add(species)
    twice = sought.keys() & coefficients.keys()
    if twice:
        raise BadInput(where, "equation", f"{min(twice)} with a coefficient and as a candidate", "one of the two")
    if not coefficients and not sought:
        raise BadInput(where, "equation", equation, "at least one species")
    return Reaction(id_, coefficients, frozenset(drives), id_, sought or None, sides.reversible)


def _described(path: str | Path, used: set[str]) -> dict[str, Species]:
    """Species by id, with formula and charge, or a molecular mass alone."""
    found: dict[str, Species] = {}
    for line, row in _rows(path, ("species", "formula", "charge", "mass")):
        id_, where = row["species"], f"{path}: line {line}"
        if id_ in found or id_ not in used:
            text = f"{id_} again" if id_ in found else f"{id_}, which no reaction has"
            raise BadInput(where, "species", text, "each species of the reactions once")
        amounts = elements(row.get("formula", ""))
        if amounts is None and row.get("formula"):
            raise BadInput(where, "formula", row["formula"], "elements and their numbers, such as C6H12O6")
        if amounts is not None:
            amounts |= {CHARGE: _number(row.get("charge", ""), where, "charge")}
        mass = _number(row.get("mass", ""), where, "mass")
        if not math.isnan(mass):
            amounts = (amounts or {}) | {MASS: mass}
        found[id_] = Species(id_, row.get(_NAME) or id_, amounts)
    if not found:
        raise BadInput(path, "species", "nothing", "rows such as `A, C6H12O6, 0`: species, formula, charge")
    return found


def _number(text: str, where: str, key: str) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise BadInput(where, key, text, "a number")
    return value
