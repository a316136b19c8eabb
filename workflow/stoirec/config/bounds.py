"""What a number, a name and a path may be at most, in files and on the command line."""

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from stoirec.streams import MAX_SEED

MOST_THREADS = 1024  # OpenMP ends with a segmentation fault where it gets no more
MOST = 10_000_000  # of anything that is counted: indices stay within 32 bits
MOST_PACKED = 256  # fits of a pack: each is two options of a command
MOST_FITS = 100_000  # of a study: Snakemake plans 50 KB for each
WIDEST = 10_000  # a layer of the functions
DEEPEST = 100  # layers
LONGEST = 200  # a part of a path, in bytes: file systems take 255, a temporary name is longer
FARTHEST = 300  # from 0, in powers of ten: beyond, doubles end

# Control characters, halves of characters, and what XML has no place for: no file takes them all.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_PATH = re.compile(r"[^-~{}<>][^{}<>]*")


def _path(text: str) -> str:
    too_long = any(len(part.encode()) > LONGEST for part in text.split("/"))
    if UNPRINTABLE.search(text) or too_long or not _PATH.fullmatch(text):
        allowed = (
            "a path of usual length that starts with neither - nor ~ and has no braces and <>, Snakemake's wildcards"
        )
        raise PydanticCustomError("path", allowed)
    return text


def _folder(text: str) -> str:
    if ".." in text.split("/"):
        raise PydanticCustomError("folder", "a folder here or below, or an absolute path; no part of it is ..")
    return text


def _pack(value: object, one_of: Callable[[object], int | str]) -> int | str:
    try:
        return one_of(value)
    except ValidationError:  # of each of the two, under names of its own
        raise PydanticCustomError("pack", f"1..{MOST_PACKED}, or auto") from None


PackSize = Annotated[
    Annotated[int, Field(ge=1, le=MOST_PACKED)] | Literal["auto"], WrapValidator(_pack)
]  # fits of a pack, at most
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$", max_length=80)]  # becomes a file's
Label = Annotated[str, Field(min_length=1, max_length=200)]  # of a configuration: any text
FilePath = Annotated[str, AfterValidator(_path)]
FolderPath = Annotated[FilePath, AfterValidator(_folder)]
