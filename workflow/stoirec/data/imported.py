"""data.nc of a user's network: the question a model poses, with time courses where there are some."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from stoirec.data.graph_variables import space_variables
from stoirec.network.columns import ColumnSpace


def network_dataset(space: ColumnSpace) -> xr.Dataset:
    """The network alone: what a learner is told of the columns."""
    return xr.Dataset(space_variables(space), attrs={"title": "network of a user's model"})


def with_trajectories(
    network: xr.Dataset, time: np.ndarray, concentration: np.ndarray, dcdt: np.ndarray, run_role: Sequence[int]
) -> xr.Dataset:
    """`network` with time (T,), concentration and dcdt (runs, T, M), and run_role (runs,)."""
    frames = ("run", "time", "metabolite")
    return network.assign(
        concentration=(frames, concentration, {"long_name": "concentration", "units": "concentration unit"}),
        dcdt=(frames, dcdt, {"long_name": "dc/dt", "units": "concentration unit / time unit"}),
        run_role=("run", np.asarray(run_role, np.int8), {"long_name": "0 training, 1 validation", "units": "1"}),
    ).assign_coords(time=("time", time, {"long_name": "time", "units": "time unit"}))
