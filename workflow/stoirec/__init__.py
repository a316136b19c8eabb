"""Recover the stoichiometric matrix of a metabolic network from its concentration dynamics.

Data flows one way, and a module imports only what stands before it:

    errors, streams, config -> graph -> network -> kinetics -> simulate -> netcdf, dataset
    -> scatter -> model -> losses, uncertainty, refine -> checkpoint, train -> decode -> recovery
    -> metrics -> oracle -> study -> score -> report/ -> cli
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("stoirec")
except PackageNotFoundError:  # run from the source tree, as the conda environments do
    __version__ = "0.1.0"
