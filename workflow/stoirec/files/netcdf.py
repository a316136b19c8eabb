"""The one door to NetCDF: checked reading, atomic writing."""

import errno
import os
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from stoirec.errors import BadInput
from stoirec.files import provenance
from stoirec.files.atomic import replacing

_MUCH = 2**20  # bytes: more than a disk has left when it has no room for a piece of a file


def read(
    path: str | Path, required: tuple[str, ...] = (), group: str | None = None, attributes: tuple[str, ...] = ()
) -> xr.Dataset:
    """The dataset in `path` (or in one of its groups), loaded into memory.

    Raises:
        BadInput: the file is missing, truncated, not NetCDF or larger than memory; the group, a required variable or
            attribute is missing.
    """
    if not Path(path).is_file():
        raise BadInput(path, "file", "nothing", "an existing NetCDF file")
    try:
        with xr.open_dataset(path, engine="netcdf4", group=group, decode_times=False) as dataset:
            _check_size(path, dataset.nbytes)
            dataset.load()
    except OSError as error:
        if group is not None and "group" in str(error):
            raise BadInput(path, f"group /{group}", "nothing", f"a file with /{group}") from None
        raise BadInput(path, "file", f"not readable as NetCDF ({error})", "a complete netCDF-4 file") from None
    except (RuntimeError, ValueError) as error:
        raise BadInput(path, "file", f"damaged NetCDF ({error})", "a complete netCDF-4 file") from None
    for name in required:
        if name not in dataset.variables:
            raise BadInput(path, name, "nothing", f"a variable {name}")
    for name in attributes:
        if name not in dataset.attrs:
            raise BadInput(path, name, "nothing", f"an attribute {name}")
    return dataset


def _check_size(path: str | Path, size: int) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise BadInput(path, "size", f"{size / 1e9:,.1f} GB", f"less than the memory here, {memory / 1e9:,.1f} GB")


def attributes(path: str | Path) -> dict[str, Any]:
    """The attributes alone: no variable is read. Raises BadInput."""
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False) as dataset:
            return dict(dataset.attrs)
    except (OSError, RuntimeError, ValueError) as error:
        raise BadInput(path, "file", f"not readable as NetCDF ({error})", "a complete netCDF-4 file") from None


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
    dataset.to_netcdf(path, mode=mode, group=group, engine="netcdf4", encoding=large)
