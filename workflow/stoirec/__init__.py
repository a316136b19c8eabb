"""Recover the stoichiometric matrix of a metabolic network from its concentration dynamics.

    recovery = stoirec.recover("data.nc")  # what recovery.nc holds

Data flows one way, and a wing imports only from those before it (tests/unit/test_house.py):

    errors, signals, streams, files -> config -> network -> kinetics -> data -> refine -> learn -> answer
    -> simulate (generator and truth) -> score -> study -> report -> cli
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stoirec.api import recover

__all__ = ["recover"]

try:
    __version__ = version("stoirec")
except PackageNotFoundError:  # run from the source tree, as the conda environments do
    __version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`recover`, when it is asked for: PyTorch takes seconds to import."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stoirec import api

    return getattr(api, name)
