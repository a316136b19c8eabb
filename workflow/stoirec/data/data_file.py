"""What data.nc holds beside its truth: the network, and time courses where there are some."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from stoirec.data.graph_variables import space_variables
from stoirec.network.columns import ColumnSpace


def network_dataset(space: ColumnSpace, title: str) -> xr.Dataset:
    """The network alone: what a learner is told of the columns."""
    return xr.Dataset(space_variables(space), attrs={"title": title})


def with_trajectories(
    network: xr.Dataset, time: np.ndarray, concentration: np.ndarray, dcdt: np.ndarray, run_role: Sequence[int]
) -> xr.Dataset:
    """`network` with time (T,), concentration and dcdt (runs, T, M), and run_role (runs,)."""
    frames, unit = ("run", "time", "metabolite"), "concentration unit"
    derivative = {"long_name": "time derivative of the concentration", "units": f"{unit} / time unit"}
    return network.assign(
        concentration=(frames, concentration, {"long_name": "concentration", "units": unit}),
        dcdt=(frames, dcdt, derivative),
        run_role=("run", np.asarray(run_role, np.int8), {"long_name": "0 training, 1 validation", "units": "1"}),
        time=("time", time, {"long_name": "time", "units": "time unit"}),
    )
