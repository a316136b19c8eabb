"""The truth of a simulated data.nc: a group of its own, for the score; no learner opens it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.interpolate import make_interp_spline

from stoirec.config.regime import Regime
from stoirec.data.data_file import network_dataset, with_trajectories
from stoirec.data.dataset import Data
from stoirec.errors import BadInput, Unsuitable
from stoirec.files import netcdf
from stoirec.files.contents import CONCENTRATION, FUNCTIONS, RECORDED, TRUTH
from stoirec.kinetics.mechanistic import HILL, LOG_HALF_SATURATION
from stoirec.kinetics.pde_m1 import REACTION_EMBEDDING
from stoirec.kinetics.rate_law import RateLaw
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph
from stoirec.simulate.kinetics import TrueKinetics, true_law
from stoirec.simulate.measurement import measure, unmeasured
from stoirec.simulate.trajectories import Simulation

# variables of the group, and the parameters of the rate law they hold
_FUNCTIONS = {
    f"{function}_{part}{layer + 1}": f"{function}_{2 * layer}_{part}"
    for function in ("substrate_func", "rate_func")
    for layer in (0, 1)
    for part in ("weight", "bias")
}
_VARIABLES = {
    "pde_m1": _FUNCTIONS,
    "pde_m1_enzymes": _FUNCTIONS | {REACTION_EMBEDDING: REACTION_EMBEDDING},
    "mass_action": {},
    "convenience": {LOG_HALF_SATURATION: LOG_HALF_SATURATION, HILL: HILL},
}  # by rate law
_REVERSE_OF, _CATALYSES = "reaction_reverse_of", "edge_catalyses"
_UNMEASURED, _TIME, _DEGREE = "unmeasured_concentration", "unmeasured_time", 5


@dataclass(frozen=True)
class RecordedFlux:
    """Fluxes that are known at the frames of a file alone: those of a model with laws of its own.

    Attributes:
        by_frame: bytes of a frame's concentrations (M,) -> its fluxes (R,).
    """

    by_frame: dict[bytes, np.ndarray]
    n_reactions: int

    def flux(self, concentration: np.ndarray) -> np.ndarray:
        """(..., M) concentrations of frames of the file -> (..., R) fluxes. Raises Unsuitable at others."""
        frames = np.ascontiguousarray(concentration, dtype=float).reshape(-1, concentration.shape[-1])
        try:
            rows = [self.by_frame[frame.tobytes()] for frame in frames]
        except KeyError:
            raise Unsuitable("truth: flux", "nothing at these concentrations", "frames of the file") from None
        return np.reshape(rows, (*concentration.shape[:-1], self.n_reactions))


@dataclass(frozen=True)
class Truth:
    """What a learner may not see.

    Attributes:
        stoichiometry: (M, R), integers unless a coefficient is fractional.
        log_k: (R,) log10 rate constants.
        edge_is_true: (E,) False for decoys.
        kinetics: the generator's kinetics, or the fluxes that a model's own laws gave.
        unmeasured: (runs, n, unmeasured) concentrations that the file leaves out, and time: (runs, n) when; None: none.
    """

    stoichiometry: np.ndarray
    log_k: np.ndarray
    edge_is_true: np.ndarray
    kinetics: TrueKinetics | RecordedFlux
    unmeasured: np.ndarray | None = None
    time: np.ndarray | None = None

    def completed(self, data: Data) -> Data:
        """`data` with the true courses of what nobody measured. Raises Unsuitable: they are of other data."""
        if self.unmeasured is None or not len(data.unmeasured):
            return data
        shape = self.unmeasured.shape[0], self.unmeasured.shape[2]
        if shape != (len(data.run_role), len(data.unmeasured)):
            allowed = f"{len(data.run_role)} and {len(data.unmeasured)}, as the data"
            raise Unsuitable("truth/unmeasured_concentration", "{} runs of {} metabolites".format(*shape), allowed)
        splines = [
            make_interp_spline(time, value, k=min(_DEGREE, len(time) - 1))
            for time, value in zip(self.time, self.unmeasured)
        ]
        times = [data.time_of(run) for run in range(len(splines))]
        concentration = np.stack([spline(time) for spline, time in zip(splines, times)])
        return data.with_inferred(
            concentration, np.stack([spline.derivative()(time) for spline, time in zip(splines, times)])
        )

    def flux(self, concentration: np.ndarray) -> np.ndarray:
        """(..., M) concentrations -> (..., R) true fluxes, limited where the regime limits them."""
        return self.kinetics.flux(concentration)


def write_simulation(path: str | Path, simulation: Simulation, regime: Regime, master_seed: int | None = None) -> None:
    """Write data.nc with its /truth group. `master_seed`: what the regime's seeds were derived from, if anything."""
    network = network_dataset(simulation.space, "simulated metabolic network")
    frames = (simulation.time, simulation.concentration, simulation.dcdt)
    if regime.measured is not None:
        frames = (*measure(simulation, regime), None)
    data = with_trajectories(network, *frames, simulation.run_role)
    truth = _truth_group(simulation, regime, master_seed).assign(_unmeasured_variables(simulation, regime, frames[0]))
    netcdf.write(path, data, truth=truth)


def recorded_truth(stoichiometry: np.ndarray, edge_is_true: np.ndarray, flux: np.ndarray) -> xr.Dataset:
    """The /truth group of a model with laws of its own: (M, R), (E,) bool, (runs, T, R). It has no rate constants."""
    return xr.Dataset(
        {
            "stoichiometry": (
                ("metabolite", "reaction"),
                stoichiometry,
                {"long_name": "stoichiometric coefficient", "units": "1"},
            ),
            "log_k": ("reaction", np.full(stoichiometry.shape[1], np.nan), {"long_name": "no rate constant"}),
            "edge_is_true": ("edge", edge_is_true.astype(np.int8), {"long_name": "1 true edge, 0 decoy"}),
            "flux": (
                ("run", "time", "reaction"),
                flux,
                {"long_name": "flux", "units": "concentration unit / time unit"},
            ),
        },
        attrs={"rate_law": RECORDED, "dt": 0.0, "flux_limiter": 0},
    )


def _recorded(dataset: xr.Dataset, path: str | Path) -> RecordedFlux:
    frames = netcdf.read(path, (CONCENTRATION,))["concentration"].values.astype(float)
    if dataset["flux"].shape[:2] != frames.shape[:2]:
        raise BadInput(path, "truth/flux", "other frames", "the file's frames")
    flux = dataset["flux"].values.reshape(-1, dataset.sizes["reaction"])
    own = np.ascontiguousarray(frames).reshape(len(flux), -1)
    return RecordedFlux({frame.tobytes(): row for frame, row in zip(own, flux)}, flux.shape[1])


def _truth_group(simulation: Simulation, regime: Regime, master_seed: int | None) -> xr.Dataset:
    kinetics = simulation.kinetics
    return xr.Dataset(
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
            **_parameter_variables(kinetics.parameters),
            **_drivers(simulation.space),
        },
        attrs={
            # from these S can be simulated again: a learner must not have them either
            "regime": regime.name,
            "config": regime.model_dump_json(),
            "network_seed": str(regime.seeds.network if master_seed is None else master_seed),
            **{f"seed_{part}": str(seed) for part, seed in regime.seeds},
            "dt": regime.dt,
            "flux_limiter": int(regime.kinetics.flux_limiter),
            "rate_law": regime.kinetics.rate_law,
        },
    )


def _drivers(space: ColumnSpace) -> dict[str, tuple]:
    """What else than substrates rates depend on."""
    found: dict[str, tuple] = {}
    if space.reverse_of is not None:
        text = {"long_name": "the reaction that it is the other direction of; -1: of none", "units": "1"}
        found[_REVERSE_OF] = ("reaction", space.reverse_of, text)
    if space.catalyses.any():
        text = {"long_name": "1: drives its reaction without a change", "units": "1"}
        found[_CATALYSES] = ("edge", space.catalyses.astype(np.int8), text)
    return found


def _unmeasured_variables(simulation: Simulation, regime: Regime, time: np.ndarray) -> dict[str, tuple]:
    """The courses that the data leave out, at their `time` (runs, n)."""
    own = unmeasured(regime, simulation.concentration.shape[2])
    if not len(own):
        return {}
    places = np.searchsorted(simulation.time, time)
    value = np.take_along_axis(simulation.concentration, places[:, :, None], axis=1)[..., own]
    text = {"long_name": "concentration that nobody measured", "units": "concentration unit"}
    return {
        _UNMEASURED: (("run", "frame", "unmeasured"), value, text),
        _TIME: (("run", "frame"), time, {"long_name": "time", "units": "time unit"}),
    }


def _rate_law(dataset: xr.Dataset, stoichiometry: np.ndarray, graph: Graph) -> tuple[RateLaw, dict[str, np.ndarray]]:
    """The true rate law and its parameters by its names."""
    name = dataset.attrs.get("rate_law", "pde_m1")
    parameters = {
        own: dataset[variable].values.astype(float)
        for variable, own in _VARIABLES[name].items()
        if variable != HILL or HILL in dataset
    }
    hidden, out = (
        parameters[bias].size if bias in parameters else 0
        for bias in ("substrate_func_0_bias", "substrate_func_2_bias")
    )
    reverse_of = dataset[_REVERSE_OF].values.astype(int) if _REVERSE_OF in dataset else None
    catalyses = graph.matrix(dataset[_CATALYSES].values.astype(bool)) if _CATALYSES in dataset else None
    enzyme_dim = dataset.sizes.get("enzyme_number", 0)
    return true_law(name, stoichiometry, hidden, out, enzyme_dim, reverse_of, catalyses), parameters


def _parameter_variables(parameters: dict[str, np.ndarray]) -> dict[str, tuple]:
    """The weights of PDE_M1's two functions as variables `substrate_func_weight1` ...; constants of other laws."""
    if LOG_HALF_SATURATION in parameters:
        text = {"long_name": "log10 half-saturation constant", "units": "log10(concentration unit)"}
        constants: dict[str, tuple] = {LOG_HALF_SATURATION: ("substrate_edge", parameters[LOG_HALF_SATURATION], text)}
        if HILL in parameters:
            text = {"long_name": "Hill coefficient, of an activator below 0", "units": "1"}
            constants[HILL] = ("catalyst", parameters[HILL], text)
        return constants
    found = {}
    for variable, name in _FUNCTIONS.items() if parameters else ():
        function, part = variable.rsplit("_", 1)
        found[variable] = (FUNCTIONS[variable], parameters[name], {"long_name": f"{function}: {part}", "units": "1"})
    if REACTION_EMBEDDING in parameters:
        text = {"long_name": "by which enzymes differ", "units": "1"}
        found[REACTION_EMBEDDING] = (("reaction", "enzyme_number"), parameters[REACTION_EMBEDDING], text)
    return found


def read_truth(path: str | Path, graph: Graph) -> Truth:
    """The /truth group of a simulated data.nc, for scoring.

    Raises:
        BadInput: the file has no /truth (a user's own data), or it belongs to another graph.
    """
    dataset = netcdf.read(path, TRUTH, group="truth")
    stoichiometry = dataset["stoichiometry"].values
    if np.array_equal(stoichiometry, np.round(stoichiometry)):
        stoichiometry = stoichiometry.astype(int)
    if stoichiometry.shape != (graph.n_metabolites, graph.n_reactions):
        raise BadInput(
            path,
            "truth/stoichiometry",
            f"shape {stoichiometry.shape}",
            f"({graph.n_metabolites}, {graph.n_reactions}), as the graph",
        )
    is_true = dataset["edge_is_true"].values.astype(bool)
    on_edges = graph.on_edges(stoichiometry)
    if not np.array_equal(on_edges != 0, is_true) or (graph.matrix(on_edges) != stoichiometry).any():
        raise BadInput(path, "truth/edge_is_true", "another network's truth", "the truth of the same graph")
    log_k = dataset["log_k"].values
    if dataset.attrs.get("rate_law") == RECORDED:
        return Truth(stoichiometry, log_k, is_true, _recorded(dataset, path))
    law, parameters = _rate_law(dataset, stoichiometry, graph)
    dt = float(dataset.attrs["dt"]) if float(dataset.attrs["flux_limiter"]) else None
    kinetics = TrueKinetics(stoichiometry, log_k, law, parameters, dt)
    left_out = [dataset[name].values for name in (_UNMEASURED, _TIME)] if _UNMEASURED in dataset else []
    return Truth(stoichiometry, log_k, is_true, kinetics, *left_out)
