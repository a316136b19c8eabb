"""Chemical formulas as amounts of elements."""

import math
import re
from collections.abc import Sequence

import numpy as np

CHARGE = "charge"
MASS = "mass"  # the one quantity that needs no formula
_PART = re.compile(r"([A-Z][a-z]*)(\d+(?:\.\d+)?)?")


def elements(formula: str) -> dict[str, float] | None:
    """Amounts of the elements in a formula such as C6H12O6, groups such as R or X among them.

    None where it is empty or says no amounts: a polymer (C5H8)n, a wildcard.
    """
    found: dict[str, float] = {}
    end = 0
    for part in _PART.finditer(formula):
        if part.start() != end:
            return None
        end = part.end()
        found[part[1]] = found.get(part[1], 0.0) + float(part[2] or 1)
    return found if found and end == len(formula) else None


def formula_of(amounts: dict[str, float]) -> str | None:
    """The formula with these amounts, carbon and hydrogen first, then by letter (Hill's order).

    None where an amount is unknown, or no count.
    """
    counts = {element: amount for element, amount in amounts.items() if element != CHARGE and amount != 0}
    if not counts or not all(
        math.isfinite(amount) and amount >= 0 and float(amount).is_integer() for amount in counts.values()
    ):
        return None
    first = [element for element in ("C", "H") if "C" in counts and element in counts]
    order = first + sorted(counts.keys() - set(first))
    return "".join(element + (str(int(counts[element])) if counts[element] != 1 else "") for element in order)


def amounts_of_all(molecules: Sequence[dict[str, float] | None]) -> tuple[tuple[str, ...], np.ndarray]:
    """(names, amounts (quantities, molecules)) of elements, then charge and mass; NaN where nothing is said.

    A molecule with a formula has none of an element that the formula leaves out.
    """
    molecules = [molecule or {} for molecule in molecules]
    names = {name for molecule in molecules for name, amount in molecule.items() if amount and not math.isnan(amount)}
    order = sorted(names, key=lambda name: (name in (CHARGE, MASS), name))
    rows = np.full((len(order), len(molecules)), np.nan)
    for place, molecule in enumerate(molecules):
        has_formula = bool(molecule.keys() - {CHARGE, MASS})
        for row, name in enumerate(order):
            absent = 0.0 if has_formula and name not in (CHARGE, MASS) else math.nan
            rows[row, place] = molecule.get(name, absent)
    return tuple(order), rows
