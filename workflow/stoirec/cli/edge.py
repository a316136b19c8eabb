"""Where commands end: a mistake in one line on stderr and exit code 2, a signal in good order."""

import logging
import sys
from collections.abc import Sequence
from typing import Any

import typer

from stoirec.config.bounds import UNPRINTABLE
from stoirec.errors import BadInput, one_line
from stoirec.signals import UNBROKEN, Stopped

_UsageError: Any = typer.BadParameter.__mro__[1]  # typer bundles its own click and exports only this subclass


def run(app: typer.Typer) -> None:
    """Run what the command line asks for: one line and exit code 2 for a user's mistake, a traceback only for ours."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        UNBROKEN.heed_signals()
        _check_arguments(sys.argv[1:])
        with UNBROKEN.and_what_follows():
            code = app(standalone_mode=False, prog_name="stoirec")
    except BadInput as error:
        _end(str(error))
    except _UsageError as error:
        _end(
            f"command line: {error.format_message()} (see {error.ctx.command_path if error.ctx else 'stoirec'} --help)"
        )
    except OSError as error:  # a full disk, a folder in place of a file, no permission
        _end(
            f"{error.filename or 'file'}: file: found {error.strerror or error}; "
            "allowed: a path that can be read and written"
        )
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):  # torch has no MemoryError for the CPU
            raise
        _end(f"memory: space: found {str(error)[:200] or 'too little'}; allowed: what fits here")
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
    sys.exit(code or 0)


def _check_arguments(given: Sequence[str]) -> None:
    """Raises BadInput for one that is empty, as by a variable that is not set, or that no file can be called."""
    for name, value in zip(["argument", *given], given):
        name, value = value.split("=", 1) if value.startswith("--") and "=" in value else (name, value)
        if not value or UNPRINTABLE.search(value):
            allowed = "text in UTF-8 without control characters, and not empty"
            raise BadInput("command line", name if name.startswith("-") else "argument", repr(value), allowed)


def _end(message: str) -> None:
    print("error: " + one_line(message), file=sys.stderr)
    sys.exit(2)
