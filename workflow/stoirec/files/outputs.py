"""What a command is going to write, looked at before it does any work: nobody's file is lost, and all can be written.

A name is refused where the command reads or writes that file already, where another thing than a file is, where it
cannot be written, and where a file is that holds something else than an earlier output of the same kind.
"""

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stoirec.errors import BadInput


@dataclass(frozen=True)
class Kind:
    """What a file holds that a command writes.

    Attributes:
        name: in messages.
        opening: what such a file begins with, a regular expression.
        titles: attribute of such a NetCDF file, one of these.
    """

    name: str
    opening: bytes = b""
    titles: tuple[str, ...] = ()

    def wrote(self, path: Path) -> bool:
        """Whether the file is of this kind, or holds nothing. Raises OSError."""
        if path.stat().st_size == 0:
            return True
        if not self.titles:
            return re.match(self.opening, path.read_bytes(), re.DOTALL) is not None
        from stoirec.files import netcdf

        try:
            return netcdf.attributes(path).get("title") in self.titles
        except BadInput:
            return False


DATA = Kind("simulated or imported data", titles=("simulated metabolic network", "network of a user's model"))
FIT = Kind("fit", titles=("trained graph neural network",))
RECOVERY = Kind("recovered matrix", titles=("recovered stoichiometric matrix",))
CHECKPOINT = Kind("checkpoint")  # whatever is there: training sets aside what it cannot go on from
_VALUE_A_ROW = rb"run,time,species,value,se\n(run \d+,\d+,[^\n]*,,\n)*\Z"
TEMPLATE = Kind("table without values", _VALUE_A_ROW + rb"|run,time[^\n]*\n(run \d+,\d+,*\n)*\Z")  # none filled in
SBML = Kind("exported model", rb'.{,999}<model id="recovered"')
MATRIX = Kind("exported matrix", rb"metabolite,")
EQUATIONS = Kind("exported table of equations", rb"reaction,equation,candidates,confidence,")
PLAN = Kind("plan", rb'\{\s*"wave": ')
METRICS = Kind("table of metrics", rb"fit_id,study,stage,")  # and of baselines
COSTS = Kind("table of costs", rb"fit_id,n_steps,")


def _page(title: bytes) -> bytes:
    return rb"<!doctype html>.{,999}<title>[^<]*: " + title + b"</title>"


CHECK_PAGE = Kind("page of a check", _page(b"what these data can tell"))
ANSWER_PAGE = Kind("page of an answer", _page(b"what these time courses say of the stoichiometric matrix"))
REPORT = Kind("report", _page(b"recovery of the stoichiometric matrix"))


@dataclass(frozen=True)
class Output:
    """A file to be written: `path` as the user gave it by `option`, or derived from what he gave, `beside` that."""

    path: Path
    kind: Kind
    option: str = "--output"
    beside: Path | None = None


def check(reads: Iterable[Path | None], writes: Sequence[Output]) -> None:
    """Look at all that a command writes; `reads`: its inputs, of which some may not have been given.

    Raises:
        BadInput: one of `writes` cannot be written, or would cost the user a file.
    """
    read = [path for path in reads if path is not None]
    for number, output in enumerate(writes):
        problem = _problem(output, read, writes[:number])
        if problem is not None:
            which = "this" if output.beside is None else f"{output.path}, beside it,"
            found = output.beside or output.path
            raise BadInput("command line", output.option, found, f"another name: {which} {problem}")


def _problem(output: Output, reads: Sequence[Path], others: Sequence[Output]) -> str | None:
    """Why an output may not be written, if so: what follows 'this'."""
    if any(_same(output.path, read) for read in reads):
        return "is read by the command"
    for other in others:
        if _same(output.path, other.path):
            return f"would be the {other.kind.name} and the {output.kind.name}"
    if output.kind.titles and not _in_netcdf(output.path):
        return "has a backslash in its path, which NetCDF's library takes for /"
    try:
        target = Path(os.path.realpath(output.path))  # a link is followed, as files.atomic does
        found = _occupied(target, output.kind)
        if found is None:
            _unwritable(target)
        return found
    except OSError as error:
        return f"cannot be written ({error.strerror})"


def _in_netcdf(path: Path) -> bool:
    from stoirec.files import netcdf

    return netcdf.can_name(path)


def _same(one: Path, other: Path) -> bool:
    """Whether two names are of one file, there or not."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _occupied(path: Path, kind: Kind) -> str | None:
    """What is there that may not be replaced. Raises OSError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        return "is a folder"
    if not stat.S_ISREG(mode):
        return "is no regular file"
    if not (mode & 0o222 and os.access(path, os.W_OK)):  # root may write whatever the mode says
        return "is write-protected"
    return None if kind.wrote(path) else f"is no {kind.name}"


def _unwritable(path: Path) -> None:
    """Raises OSError if no file can be made there, nor the folders that it lacks."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    longest = max(len(os.fsencode(part)) for part in path.relative_to(folder).parts)
    if longest > os.statvfs(folder).f_namemax:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    with tempfile.TemporaryFile(dir=folder):
        pass
