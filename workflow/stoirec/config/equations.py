"""Reactions as a configuration writes them."""

import re

_NUMBER = re.compile(r"\d+(\.\d+)?")


def parse_equation(text: str) -> dict[str, float]:
    """Signed coefficients by metabolite of `A + 2 B -> C`.

    Raises:
        ValueError: no arrow, a coefficient that is no positive number, or a metabolite that stands there twice.
    """
    sides = text.split("->")
    if len(sides) != 2:
        raise ValueError(f"{text!r}: one -> between substrates and products")
    found: dict[str, float] = {}
    for sign, side in zip((-1, 1), sides):
        for term in side.split(" + ") if side.strip() else ():
            *number, name = term.split() or [""]
            size = float(number[0]) if len(number) == 1 and _NUMBER.fullmatch(number[0]) else 1.0
            if not name or len(number) > 1 or (number and not _NUMBER.fullmatch(number[0])) or not size > 0:
                raise ValueError(f"{text!r}: {term.strip()!r} is no metabolite with a positive coefficient")
            if name in found:
                raise ValueError(f"{text!r}: {name} stands there twice")
            found[name] = sign * size
    return found
