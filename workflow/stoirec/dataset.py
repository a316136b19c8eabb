"""data.nc: concentrations, derivatives and graph for a learner; the truth, in a group of its own, for the score."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from stoirec import netcdf
from stoirec.config import Regime
from stoirec.errors import BadInput
from stoirec.graph import Graph
from stoirec.kinetics import MLP, PdeM1
from stoirec.simulate import Simulation

TRAINING, VALIDATION = 0, 1
_CHUNK = 100  # frames per evaluation of the true kinetics: bounds memory
_GRAPH = ("edge_metabolite", "edge_reaction", "edge_is_substrate")


@dataclass(frozen=True)
class Data:
    """What a learner may see.

    Attributes:
        path: where it was read from, for messages.
        graph: candidate edges.
        time: (T,) [time unit].
        concentration, dcdt: (runs, T, M) [concentration], [concentration/time unit].
        run_role: (runs,) 0 training, 1 validation.
        network_seed: the seed that names the simulated network, -1 for a user's own data; never learned from.
    """

    path: Path
    graph: Graph
    time: np.ndarray
    concentration: np.ndarray
    dcdt: np.ndarray
    run_role: np.ndarray
    network_seed: int

    @property
    def n_frames(self) -> int:
        return len(self.time)

    @property
    def dt(self) -> float:
        """The time step. Raises BadInput if the frames are not equally spaced."""
        steps = np.diff(self.time)
        if len(steps) == 0 or not np.allclose(steps, steps[0], rtol=1e-6):
            raise BadInput(self.path, "time", "unequal steps" if len(steps) else "one frame", "equally spaced frames, for graph_model.flux_limiter")
        return float(steps[0])

    @property
    def n_training_runs(self) -> int:
        return int((self.run_role == TRAINING).sum())

    def training_frames(self, n_runs: int) -> tuple[np.ndarray, np.ndarray]:
        """(frames, M) concentration and dc/dt of the first `n_runs` training runs.

        Raises:
            BadInput: the file has fewer training runs.
        """
        if n_runs > self.n_training_runs:
            raise BadInput(self.path, "n_runs", n_runs, f"1..{self.n_training_runs} (the file's training trajectories)")
        runs = np.flatnonzero(self.run_role == TRAINING)
        return self._frames(runs[:n_runs], ~self._held_out())

    def validation_frames(self) -> tuple[np.ndarray, np.ndarray]:
        """(frames, M) of the validation runs; of the held-out time blocks where there is no validation run."""
        runs = np.flatnonzero(self.run_role == VALIDATION)
        if len(runs):
            return self._frames(runs, np.ones(self.n_frames, bool))
        return self._frames(np.arange(len(self.run_role)), self._held_out())

    def _held_out(self) -> np.ndarray:
        """(T,) bool: the 5th and 10th tenth of the time axis if no run is for validation, else nothing."""
        if (self.run_role == VALIDATION).any():
            return np.zeros(self.n_frames, bool)
        return (np.arange(self.n_frames) * 10 // self.n_frames) % 5 == 4

    def _frames(self, runs: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        width = self.graph.n_metabolites
        return self.concentration[runs][:, keep].reshape(-1, width), self.dcdt[runs][:, keep].reshape(-1, width)


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


# --- graph ------------------------------------------------------------------------------------------------------------


def graph_variables(graph: Graph) -> dict[str, xr.Variable]:
    """The graph as variables; every file of the workflow carries it."""
    describe = {
        "edge_metabolite": "metabolite index of the candidate edge",
        "edge_reaction": "reaction index of the candidate edge",
        "edge_is_substrate": "candidate role: 1 substrate (the rate depends on it), 0 product",
    }
    variables = {
        name: xr.Variable("edge", getattr(graph, name).astype(np.int8 if name == "edge_is_substrate" else np.int64), {"long_name": text, "units": "1"})
        for name, text in describe.items()
    }
    variables["metabolite"] = xr.Variable("metabolite", np.arange(graph.n_metabolites), {"long_name": "metabolite index", "units": "1"})
    variables["reaction"] = xr.Variable("reaction", np.arange(graph.n_reactions), {"long_name": "reaction index", "units": "1"})
    return variables


def graph_of(dataset: xr.Dataset, path: str | Path) -> Graph:
    """The graph in a file's dataset. Raises BadInput if it does not match the data."""
    for name in _GRAPH:
        if name not in dataset.variables:
            raise BadInput(path, name, "nothing", f"a variable {name}(edge)")
        if dataset[name].dims != ("edge",):
            raise BadInput(path, name, f"dimensions {dataset[name].dims}", "(edge)")
        if not np.isfinite(dataset[name].values.astype(float)).all():
            raise BadInput(path, name, "NaN", "integers")
    metabolite, reaction = (dataset[name].values.astype(np.int64) for name in _GRAPH[:2])
    if not np.isin(dataset["edge_is_substrate"].values, (0, 1)).all():
        raise BadInput(path, "edge_is_substrate", "other values", "0 or 1")
    n_reactions = dataset.sizes.get("reaction", int(reaction.max(initial=-1)) + 1)
    try:
        return Graph(dataset.sizes["metabolite"], n_reactions, metabolite, reaction, dataset["edge_is_substrate"].values.astype(bool))
    except ValueError as error:
        raise BadInput(path, "graph", error, "indices within the data, unique edges sorted by reaction, then metabolite") from None


# --- data.nc --------------------------------------------------------------------------------------------------------


def write_simulation(path: str | Path, simulation: Simulation, regime: Regime, master_seed: int | None = None) -> None:
    """Write data.nc with its /truth group. `master_seed`: what the regime's four seeds were derived from, if anything."""
    kinetics = simulation.kinetics
    trajectory = ("run", "time", "metabolite")
    data = xr.Dataset(
        {
            "concentration": (trajectory, simulation.concentration, {"long_name": "concentration", "units": "concentration unit"}),
            "dcdt": (trajectory, simulation.dcdt, {"long_name": "time derivative of the concentration", "units": "concentration unit / time unit"}),
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
            "stoichiometry": (("metabolite", "reaction"), kinetics.stoichiometry, {"long_name": "stoichiometric coefficient", "units": "1"}),
            "log_k": ("reaction", kinetics.log_k, {"long_name": "log10 of the rate constant", "units": "log10(1 / time unit)"}),
            "edge_is_true": ("edge", simulation.edge_is_true.astype(np.int8), {"long_name": "1 true edge, 0 decoy", "units": "1"}),
            **mlp_variables("substrate_func", kinetics.substrate_func),
            **mlp_variables("rate_func", kinetics.rate_func),
        },
        attrs={"dt": regime.dt, "flux_limiter": int(regime.kinetics.flux_limiter)},
    )
    netcdf.write(path, data, truth=truth)


def mlp_variables(name: str, mlp: MLP) -> dict[str, tuple]:
    """Weights of a two-layer MLP as variables `<name>_weight1` ..."""
    shapes = {"weight1": ("hidden", "input"), "bias1": ("hidden",), "weight2": ("output", "hidden"), "bias2": ("output",)}
    return {
        f"{name}_{part}": (tuple(f"{name}_{dim}" for dim in dims), getattr(mlp, part), {"long_name": f"{name}: {part}", "units": "1"})
        for part, dims in shapes.items()
    }


def _mlp_of(dataset: xr.Dataset, name: str) -> MLP:
    return MLP(*(dataset[f"{name}_{part}"].values for part in ("weight1", "bias1", "weight2", "bias2")))


def read_data(path: str | Path) -> Data:
    """What a learner may see in data.nc; /truth is not opened.

    Raises:
        BadInput: missing or damaged file, missing variable, a graph that does not match the data, NaN or negative
            concentrations.
    """
    dataset = netcdf.read(path, required=("time", "concentration", "dcdt", *_GRAPH))
    for name in ("concentration", "dcdt"):
        variable = dataset[name]
        if variable.dims != ("run", "time", "metabolite"):
            raise BadInput(path, name, f"dimensions {variable.dims}", "(run, time, metabolite)")
        if variable.size == 0:
            raise BadInput(path, name, f"shape {variable.shape}", "at least one run, frame and metabolite")
        _refuse(path, variable, ~np.isfinite(variable.values), "finite numbers")
    _refuse(path, dataset["concentration"], dataset["concentration"].values < 0, "numbers >= 0")
    roles = dataset["run_role"].values if "run_role" in dataset else np.zeros(dataset.sizes["run"], np.int8)
    if not np.isin(roles, (TRAINING, VALIDATION)).all() or not (roles == TRAINING).any():
        raise BadInput(path, "run_role", roles.tolist(), "0 (training, at least one) or 1 (validation)")
    return Data(
        Path(path),
        graph_of(dataset, path),
        dataset["time"].values.astype(float),
        dataset["concentration"].values.astype(float),
        dataset["dcdt"].values.astype(float),
        roles.astype(np.int8),
        int(dataset.attrs.get("network_seed", -1)),
    )


def _refuse(path: str | Path, variable: xr.DataArray, bad: np.ndarray, allowed: str) -> None:
    if bad.any():
        first = np.unravel_index(np.argmax(bad), bad.shape)
        place = ", ".join(f"{dim} {index}" for dim, index in zip(variable.dims, first))
        raise BadInput(path, variable.name, f"{variable.values[first]:.4g} at {place} ({bad.sum()} such values)", allowed)


def read_truth(path: str | Path, graph: Graph) -> Truth:
    """The /truth group of a simulated data.nc, for scoring.

    Raises:
        BadInput: the file has no /truth (a user's own data), or it belongs to another graph.
    """
    dataset = netcdf.read(path, ("stoichiometry", "log_k", "edge_is_true"), group="truth")
    stoichiometry = dataset["stoichiometry"].values.astype(int)
    if stoichiometry.shape != (graph.n_metabolites, graph.n_reactions):
        raise BadInput(path, "truth/stoichiometry", f"shape {stoichiometry.shape}", f"({graph.n_metabolites}, {graph.n_reactions}), as the graph")
    is_true = dataset["edge_is_true"].values.astype(bool)
    if len(is_true) != graph.n_edges or not np.array_equal(graph.on_edges(stoichiometry) != 0, is_true):
        raise BadInput(path, "truth/edge_is_true", "another network's truth", "the truth of the same graph")
    log_k = dataset["log_k"].values
    kinetics = PdeM1(stoichiometry, log_k, _mlp_of(dataset, "substrate_func"), _mlp_of(dataset, "rate_func"))
    return Truth(stoichiometry, log_k, is_true, kinetics, float(dataset.attrs["dt"]), bool(dataset.attrs["flux_limiter"]))
