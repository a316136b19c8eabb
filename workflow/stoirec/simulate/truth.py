"""The truth of a simulated data.nc: a group of its own, for the score; no learner opens it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from stoirec.config.regime import Regime
from stoirec.data.graph_variables import graph_variables
from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.network.graph import Graph
from stoirec.simulate.kinetics import MLP, PdeM1
from stoirec.simulate.trajectories import Simulation

_CHUNK = 100  # frames per evaluation of the true kinetics: bounds memory


@dataclass(frozen=True)
class Truth:
    """What a learner may not see.

    Attributes:
        stoichiometry: (M, R) int.
        log_k: (R,) log10 rate constants.
        edge_is_true: (E,) False for decoys.
        kinetics: the generator's kinetics.
        dt, flux_limiter: how the regime applies them.
    """

    stoichiometry: np.ndarray
    log_k: np.ndarray
    edge_is_true: np.ndarray
    kinetics: PdeM1
    dt: float
    flux_limiter: bool

    def flux(self, concentration: np.ndarray) -> np.ndarray:
        """(frames, M) concentrations -> (frames, R) true fluxes, limited where the regime limits them."""
        pieces = np.array_split(concentration, max(1, len(concentration) // _CHUNK))
        limited = (lambda c: self.kinetics.limited_flux(c, self.dt)) if self.flux_limiter else self.kinetics.flux
        return np.concatenate([limited(piece) for piece in pieces])


def write_simulation(path: str | Path, simulation: Simulation, regime: Regime, master_seed: int | None = None) -> None:
    """Write data.nc with its /truth group. `master_seed`: what the regime's four seeds were derived from, if anything."""
    kinetics = simulation.kinetics
    trajectory = ("run", "time", "metabolite")
    data = xr.Dataset(
        {
            "concentration": (
                trajectory,
                simulation.concentration,
                {"long_name": "concentration", "units": "concentration unit"},
            ),
            "dcdt": (
                trajectory,
                simulation.dcdt,
                {"long_name": "time derivative of the concentration", "units": "concentration unit / time unit"},
            ),
            "run_role": ("run", simulation.run_role, {"long_name": "0 training, 1 validation", "units": "1"}),
            "time": ("time", simulation.time, {"long_name": "time", "units": "time unit"}),
            **graph_variables(simulation.graph),
        },
        attrs={
            "title": "simulated metabolic network",
            "regime": regime.name,
            "config": regime.model_dump_json(),
            "network_seed": str(regime.seeds.network if master_seed is None else master_seed),
            **{f"seed_{part}": str(seed) for part, seed in regime.seeds},
        },
    )
    truth = xr.Dataset(
        {
            "stoichiometry": (
                ("metabolite", "reaction"),
                kinetics.stoichiometry,
                {"long_name": "stoichiometric coefficient", "units": "1"},
            ),
            "log_k": (
                "reaction",
                kinetics.log_k,
                {"long_name": "log10 of the rate constant", "units": "log10(1 / time unit)"},
            ),
            "edge_is_true": (
                "edge",
                simulation.edge_is_true.astype(np.int8),
                {"long_name": "1 true edge, 0 decoy", "units": "1"},
            ),
            **mlp_variables("substrate_func", kinetics.substrate_func),
            **mlp_variables("rate_func", kinetics.rate_func),
        },
        attrs={"dt": regime.dt, "flux_limiter": int(regime.kinetics.flux_limiter)},
    )
    netcdf.write(path, data, truth=truth)


def mlp_variables(name: str, mlp: MLP) -> dict[str, tuple]:
    """Weights of a two-layer MLP as variables `<name>_weight1` ..."""
    shapes = {
        "weight1": ("hidden", "input"),
        "bias1": ("hidden",),
        "weight2": ("output", "hidden"),
        "bias2": ("output",),
    }
    return {
        f"{name}_{part}": (
            tuple(f"{name}_{dim}" for dim in dims),
            getattr(mlp, part),
            {"long_name": f"{name}: {part}", "units": "1"},
        )
        for part, dims in shapes.items()
    }


def _mlp_of(dataset: xr.Dataset, name: str) -> MLP:
    return MLP(*(dataset[f"{name}_{part}"].values for part in ("weight1", "bias1", "weight2", "bias2")))


def read_truth(path: str | Path, graph: Graph) -> Truth:
    """The /truth group of a simulated data.nc, for scoring.

    Raises:
        BadInput: the file has no /truth (a user's own data), or it belongs to another graph.
    """
    dataset = netcdf.read(path, ("stoichiometry", "log_k", "edge_is_true"), group="truth")
    stoichiometry = dataset["stoichiometry"].values.astype(int)
    if stoichiometry.shape != (graph.n_metabolites, graph.n_reactions):
        raise BadInput(
            path,
            "truth/stoichiometry",
            f"shape {stoichiometry.shape}",
            f"({graph.n_metabolites}, {graph.n_reactions}), as the graph",
        )
    is_true = dataset["edge_is_true"].values.astype(bool)
    if len(is_true) != graph.n_edges or not np.array_equal(graph.on_edges(stoichiometry) != 0, is_true):
        raise BadInput(path, "truth/edge_is_true", "another network's truth", "the truth of the same graph")
    log_k = dataset["log_k"].values
    kinetics = PdeM1(stoichiometry, log_k, _mlp_of(dataset, "substrate_func"), _mlp_of(dataset, "rate_func"))
    return Truth(
        stoichiometry, log_k, is_true, kinetics, float(dataset.attrs["dt"]), bool(dataset.attrs["flux_limiter"])
    )
