"""The one door to NetCDF: checked reading, atomic writing."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from stoirec.errors import BadInput, Unsuitable
from stoirec.files import provenance
from stoirec.files.atomic import replacing
from stoirec.files.schema import Schema, check
from stoirec.signals import UNBROKEN

_PACKING = {"scale_factor", "add_offset"}
_IMPORTED = {".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".xml", ".sbml"}
_MUCH = 2**20  # bytes: more than a disk has left when it has no room for a piece of a file


def read(path: str | Path, schema: Schema = (), group: str | None = None) -> xr.Dataset:
    """The dataset in `path` (or in one of its groups), loaded into memory, checked against `schema`.

    Raises:
        BadInput: the file is missing, truncated, not NetCDF or larger than memory; there is no such group; what it
            holds is not as in `schema`.
    """
    if not Path(path).is_file():
        raise BadInput(path, "file", "nothing", "an existing NetCDF file")
    if not can_name(path):
        raise BadInput(path, "file", "a backslash in its path", "a path without: NetCDF's library takes it for /")
    try:
        with _opened(path, group) as dataset:
            _check_size(path, dataset.nbytes)
            dataset.load()
    except BadInput:
        raise
    except OSError as error:
        if group is not None and "group" in str(error):
            raise BadInput(path, f"group /{group}", "nothing", f"a file with /{group}") from None
        raise BadInput(path, "file", f"not readable as NetCDF ({error})", _readable(path)) from None
    except Exception as error:  # damaged files and odd types make many kinds
        _check_packing(path, group)
        text = str(error) or type(error).__name__
        raise BadInput(path, "file", f"damaged NetCDF ({text})", "a complete netCDF-4 file") from None
    _check(path, dataset, schema, group)
    return dataset


def _readable(path: str | Path) -> str:
    """What can be read in place of a file that is no NetCDF."""
    text = "a complete netCDF-4 file"
    imported = Path(path).suffix.lower() in _IMPORTED
    return f"{text}, which `stoirec import` makes of tables and models" if imported else text


def can_name(path: str | Path) -> bool:
    """Whether NetCDF's library finds a file by this path: it takes a backslash for a slash."""
    return "\\" not in os.path.abspath(path)


def _check_size(path: str | Path, size: int) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise BadInput(path, "size", f"{size / 1e9:,.1f} GB", f"less than the memory here, {memory / 1e9:,.1f} GB")


@contextlib.contextmanager
def _opened(path: str | Path, group: str | None = None, unpacked: bool = True) -> Iterator[xr.Dataset]:
    """Not to be broken by a signal: a lock that xarray was about to take would never be let go."""
    decode = None if unpacked else False
    with (
        UNBROKEN,
        xr.open_dataset(path, engine="netcdf4", group=group, decode_cf=decode, decode_times=False) as dataset,
    ):
        yield dataset


def _check_packing(path: str | Path, group: str | None) -> None:
    """Raises BadInput if a variable that cannot be read is packed by no number."""
    packing: dict[str, Any] = {}
    with contextlib.suppress(Exception), _opened(path, group, unpacked=False) as dataset:  # as many kinds as above
        for name, variable in dataset.variables.items():
            packing |= {f"{name}: {key}": variable.attrs[key] for key in _PACKING & variable.attrs.keys()}
    for key, found in packing.items():
        if np.asarray(found).dtype.kind not in "iuf" or np.size(found) != 1:
            raise BadInput(path, key, found, "a number")


def _check(path: str | Path, dataset: xr.Dataset, schema: Schema, group: str | None = None) -> None:
    try:
        check(dataset, schema)
    except Unsuitable as error:
        key = error.key if group is None else f"{group}/{error.key}"
        title = str(dataset.attrs.get("title", "")) if error.found == "nothing" else ""
        allowed = f"{error.allowed} (this file has the title: {title})" if title else error.allowed
        raise BadInput(path, key, error.found, allowed) from None


def attributes(path: str | Path, schema: Schema = ()) -> dict[str, Any]:
    """The attributes alone: no variable is read. Raises BadInput."""
    try:
        with _opened(path) as dataset:
            found = xr.Dataset(attrs=dataset.attrs)
    except Exception as error:
        raise BadInput(path, "file", f"not readable as NetCDF ({error})", "a complete netCDF-4 file") from None
    _check(path, found, schema)
    return dict(found.attrs)


def write(path: str | Path, dataset: xr.Dataset, **groups: xr.Dataset) -> None:
    """Write `dataset` and `groups`: all of the file, or nothing. Raises OSError, as replacing does."""
    with replacing(path) as temporary:
        temporary.touch()
        try:
            _compressed(dataset.assign_attrs(provenance.attributes()), temporary, "w", None)
            for name, group in groups.items():
                _compressed(group, temporary, "a", name)
        except (OSError, RuntimeError) as error:  # NetCDF does not say why it cannot write; on a full disk this does
            with open(temporary, "ab") as file:
                file.write(bytes(_MUCH))
            raise OSError(errno.EIO, str(error)) from error


def _compressed(dataset: xr.Dataset, path: Path, mode: Literal["w", "a"], group: str | None) -> None:
    large = {
        name: {"zlib": True, "complevel": 1} for name, variable in dataset.data_vars.items() if variable.size > 10_000
    }
    with UNBROKEN:  # as above
        dataset.to_netcdf(path, mode=mode, group=group, engine="netcdf4", encoding=large)
