"""Chemical formulas as amounts of elements."""

import math
import re

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
