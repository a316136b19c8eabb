"""Recover the stoichiometric matrix of a metabolic network from its concentration dynamics.

Data flows one way, and a wing imports only from those before it (tests/unit/test_house.py):

    errors, signals, streams, files -> config -> network -> kinetics -> data -> refine -> learn -> answer
    -> simulate (generator and truth) -> score -> study -> report -> cli
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("stoirec")
except PackageNotFoundError:  # run from the source tree, as the conda environments do
    __version__ = "0.1.0"
