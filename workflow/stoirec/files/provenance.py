"""Where a file came from: versions and commit, stored as attributes of everything the project writes."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import stoirec

_PACKAGES = ("numpy", "scipy", "torch", "torch-scatter", "xarray", "netcdf4", "snakemake", "papermill", "matplotlib")


@cache
def git_commit() -> str:
    """The commit of the source tree, '+' appended if it has local changes; 'unknown' outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def attributes() -> dict[str, str]:
    """Attributes for a file written now."""
    return {"stoirec_version": stoirec.__version__, "git_commit": git_commit()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages results depend on."""
    found = {"python": platform.python_version(), "stoirec": stoirec.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
