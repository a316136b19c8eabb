"""The exceptions a user's mistake raises; the command line turns them into one line and exit code 2."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


def one_line(text: str) -> str:
    """`text` as a terminal can show it: what does not print is escaped."""
    line = " ".join(text.split())
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


class BadInput(Exception):
    """Input that cannot be used. The message is one line: file, key, what was found, what is allowed."""

    def __init__(self, where: object, key: str, found: object, allowed: object) -> None:
        shown = str(found) if isinstance(found, str | Path) else repr(found)
        if len(shown) > 200:
            shown = shown[:197] + "..."
        super().__init__(one_line(f"{where}: {str(key)[:200]}: found {shown}; allowed: {allowed}"))


class Unsuitable(ValueError):
    """Data that cannot serve what is asked of it, found where nobody knows which file they are from (see from_file)."""

    def __init__(self, key: str, found: object, allowed: object) -> None:
        super().__init__(f"{key}: found {found}; allowed: {allowed}")
        self.key, self.found, self.allowed = key, found, allowed


@contextlib.contextmanager
def from_file(where: object) -> Iterator[None]:
    """What is Unsuitable in the block is BadInput of the file `where`."""
    try:
        yield
    except Unsuitable as error:
        raise BadInput(where, error.key, error.found, error.allowed) from None
