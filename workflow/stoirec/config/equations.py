"""Reactions as people write them."""

import re
from dataclasses import dataclass

from stoirec.config.bounds import MOST

_ARROWS = {"<-->": True, "<->": True, "<=>": True, "-->": False, "->": False, "=>": False}
_ARROWS |= {"↔": True, "⇌": True, "⇄": True, "→": False, "⟶": False, "⇒": False}
_ARROW = re.compile("|".join(map(re.escape, _ARROWS)))  # the longest first
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")
SOUGHT = "?"  # before a metabolite: its coefficient is not known


@dataclass(frozen=True)
class Equation:
    """The sides of `A + 2 B -> ? C`.

    Attributes:
        left, right: (coefficient, metabolite); None for `?`.
        reversible: whether the arrow has two heads.
    """

    left: tuple[tuple[float | None, str], ...]
    right: tuple[tuple[float | None, str], ...]
    reversible: bool


def parse_sides(text: str) -> Equation:
    """Both sides as they stand there.

    Raises:
        ValueError: not one arrow, or a coefficient that is no positive number, or beyond all bounds.
    """
    arrows = _ARROW.findall(text)
    if len(arrows) != 1:
        raise ValueError(f"{text!r}: one of {' '.join(_ARROWS)} between substrates and products")
    left, right = _ARROW.split(text)
    return Equation(_side(left, text), _side(right, text), _ARROWS[arrows[0]])


def _side(side: str, text: str) -> tuple[tuple[float | None, str], ...]:
    found = []
    for term in re.split(r"\s\+(?=\s|$)", side) if side.strip() else ():
        *number, name = term.split() or [""]
        sought = number == [SOUGHT]
        size = float(number[0]) if len(number) == 1 and _NUMBER.fullmatch(number[0]) else 0.0 if number else 1.0
        if name in ("", "+", SOUGHT) or not (sought or 0 < size <= MOST):
            spaces = " (a name has no spaces, + has one on either side)" if " " in term.strip() else ""
            raise ValueError(f"{text!r}: {term.strip()!r} is no metabolite with a positive coefficient{spaces}")
        found.append((None if sought else size, name))
    return tuple(found)


def parse_equation(text: str) -> tuple[dict[str, float], bool]:
    """Signed coefficients by metabolite of `A + 2 B -> C`, and whether the arrow has two heads.

    That of a catalyst, which stands on both sides alike, is 0.

    Raises:
        ValueError: as parse_sides; a coefficient that is not said, or a metabolite that stands there twice otherwise.
    """
    equation = parse_sides(text)
    found: dict[str, float] = {}
    for sign, side in ((-1, equation.left), (1, equation.right)):
        for size, name in side:
            if size is None:
                raise ValueError(f"{text!r}: {name} has no coefficient")
            if name in found and (sign < 0 or found[name] != -size):
                raise ValueError(f"{text!r}: {name} stands there twice")
            found[name] = 0.0 if name in found else sign * size
    return found, equation.reversible
