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
    network: xr.Dataset,
    time: np.ndarray,
    concentration: np.ndarray,
    dcdt: np.ndarray | None,
    run_role: Sequence[int] | np.ndarray,
    time_unit: str = "time unit",
    unit: str = "concentration unit",
) -> xr.Dataset:
    """`network` with time (T,) or (runs, T), concentration and dcdt (runs, T, M), if there is any, run_role (runs,)."""
    frames = ("run", "time", "metabolite")
    variables = {
        "concentration": (frames, concentration, {"long_name": "concentration", "units": unit}),
        "run_role": ("run", np.asarray(run_role, np.int8), {"long_name": "0 training, 1 validation", "units": "1"}),
        "time": (frames[2 - time.ndim : 2], time, {"long_name": "time", "units": time_unit}),
    }
    if dcdt is not None:
        derivative = {"long_name": "time derivative of the concentration", "units": f"{unit} / {time_unit}"}
        variables["dcdt"] = (frames, dcdt, derivative)
    return network.assign(variables)
