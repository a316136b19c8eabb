"""Files that are there as a whole or not at all."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed to `path` if the block ends well, and gone if it does not.

    A link stays a link: what it points to is replaced, or made. A replaced file keeps its permissions, a new one has
    those of the umask. After a power cut there is the old file or the new one. No other process has the same temporary
    name, on whatever machine; its length does not depend on that of `path`.

    Raises:
        OSError: with `path` as its file name, whatever could not be written.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".stoirec-{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if target.exists():
                shutil.copymode(target, temporary)
            _to_disk(temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    with contextlib.suppress(OSError):  # some file systems cannot do that to a folder
        _to_disk(target.parent)


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
