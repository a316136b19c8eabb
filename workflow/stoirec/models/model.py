"""A metabolic network as its author wrote it, whatever the format."""

from dataclasses import dataclass

REVERSE = "_reverse"  # what the backward direction of a reversible reaction adds to its id


@dataclass(frozen=True)
class Species:
    """A metabolite in a compartment.

    Attributes:
        id: unique in its model; name: what people call it, or the id.
        amounts: of each element in a molecule, "charge" among them; None where no formula was given.
        followed: whether reactions change it; a boundary or constant species is held from outside.
    """

    id: str
    name: str = ""
    amounts: dict[str, float] | None = None
    followed: bool = True


@dataclass(frozen=True)
class Reaction:
    """A reaction with its participants.

    Attributes:
        id: unique in its model; name: what people call it, or the id.
        coefficients: by species id, net: consumed negative, 0 where it stands on both sides alike.
        drives: ids of the species that the forward rate depends on: substrates, and modifiers.
        sought: ids whose coefficient the file does not say, though their side: -1 candidate substrate, +1 product,
            0 either.
        reversible: whether it runs backward, too.
    """

    id: str
    coefficients: dict[str, float]
    drives: frozenset[str]
    name: str = ""
    sought: dict[str, int] | None = None
    reversible: bool = False


@dataclass(frozen=True)
class Model:
    """A network, and what of its file could not be taken.

    Attributes:
        remarks: a line for each kind of thing that was left out or read otherwise than it stands there.
        guessed: whether its coefficients are but guesses, as in a table that people write by hand.
    """

    species: tuple[Species, ...]
    reactions: tuple[Reaction, ...]
    remarks: tuple[str, ...] = ()
    guessed: bool = False


def listing(ids: list[str], shown: int = 5) -> str:
    """The first of many names in a remark."""
    return ", ".join(ids[:shown]) + (f" and {len(ids) - shown} more" if len(ids) > shown else "")
