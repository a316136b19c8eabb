"""Options that several commands have."""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from stoirec.config.bounds import MOST_THREADS

RESULTS = Path("results")  # where the workflow writes


def file_name(given: str) -> Path:
    """The path of a file to write; pathlib takes '' for '.', which has no name, and 'name/' for 'name'."""
    path = Path(given)
    if not path.name or given.endswith("/"):
        raise typer.BadParameter(f"found {given!r}; allowed: the name of a file")
    return path


def folder_name(given: str) -> Path:
    """The path of a folder to read, which may not be there yet."""
    path = Path(given)
    if path.exists() and not path.is_dir():
        raise typer.BadParameter(f"found {given!r}; allowed: a folder")
    return path


def to_write(metavar: str, what: str | None) -> Any:
    """The option that names a command's output, said to be `what`."""
    text = None if what is None else f"{what} to write (to a temporary name, then renamed)."
    return typer.Option("--output", "-o", parser=file_name, metavar=metavar, help=text)


Output = Annotated[Path, to_write("FILE", "NetCDF file")]
Outputs = Annotated[list[Path], to_write("FILE", "NetCDF file")]
Device = Annotated[str, typer.Option(help="auto (a free GPU, else the CPU), cpu, cuda or cuda:N.")]
# one: a result must not depend on which cores are free, and threads that wait for a busy core cost more than they give
Threads = Annotated[int, typer.Option(min=1, max=MOST_THREADS, help="CPU threads.")]
StoreFolder = Annotated[
    Path, typer.Option("--store", parser=folder_name, metavar="DIR", help="Folder with data/ and fits/.")
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        callback=lambda quiet: logging.getLogger().setLevel(logging.WARNING if quiet else logging.INFO),
        help="Say nothing of the way, only warnings and the answer.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
