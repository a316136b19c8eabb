"""Integration of a regime's trajectories."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from stoirec.config.regime import Regime
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import Graph
from stoirec.simulate.kinetics import TrueKinetics, random_kinetics
from stoirec.simulate.network import candidate_space
from stoirec.streams import generator_stream

_MOST_EVALUATIONS = 50_000  # of the derivative, for a trajectory: 80 times what those of config/regimes take


@dataclass(frozen=True)
class Simulation:
    """A simulated regime: what a learner sees, and the truth.

    Attributes:
        time: (T,) [time unit].
        concentration, dcdt: (runs, T, M) [concentration], [concentration/time]; dcdt is the exact right-hand side,
            and the regime's dcdt_noise.
        run_role: (runs,) 0 training, 1 validation (the last run).
        space: candidate edges, and what a learner is told of the columns.
        edge_is_true: (E,) False for decoys.
        kinetics: stoichiometry, rate constants and functions.
    """

    time: np.ndarray
    concentration: np.ndarray
    dcdt: np.ndarray
    run_role: np.ndarray
    space: ColumnSpace
    edge_is_true: np.ndarray
    kinetics: TrueKinetics

    @property
    def graph(self) -> Graph:
        return self.space.graph


def simulate(regime: Regime, progress: Callable[[str], None] = lambda _: None) -> Simulation:
    """Simulate every training run and one extra validation run.

    Raises:
        ValueError: the regime admits no network, or a concentration became negative or not finite.
    """
    stoichiometry, space, edge_is_true = candidate_space(regime)
    kinetics = random_kinetics(regime, stoichiometry, space.reverse_of, space.graph.matrix(space.catalyses))
    if regime.measured is not None and regime.measured.unmeasured >= (number := space.graph.n_metabolites):
        raise ValueError(f"measured.unmeasured: {regime.measured.unmeasured} of {number} metabolites")

    n_runs = regime.n_runs + 1
    initial = initial_concentrations(regime, n_runs, space.graph.n_metabolites)
    time = np.arange(regime.n_frames) * regime.dt
    concentration = np.empty((n_runs, regime.n_frames, space.graph.n_metabolites))
    for run in range(n_runs):
        concentration[run] = (
            _euler(regime, kinetics, initial[run])
            if regime.kinetics.flux_limiter
            else _solve(regime, kinetics, initial[run], time)
        )
        progress(f"trajectory {run + 1}/{n_runs}")
    lowest = concentration.min()
    if not lowest >= 0:
        raise ValueError(
            f"kinetics: a concentration reached {lowest:.3g}; this regime does not keep concentrations non-negative"
        )

    role = np.zeros(n_runs, np.int8)
    role[-1] = 1
    dcdt = kinetics.derivative(kinetics.flux(concentration))
    if regime.dcdt_noise:
        noise = generator_stream("noise", regime.seeds.initial_concentrations).normal(size=dcdt.shape)
        dcdt = dcdt + regime.dcdt_noise * dcdt.std(axis=(0, 1)) * noise
    return Simulation(time, concentration, dcdt, role, space, edge_is_true, kinetics)


def initial_concentrations(regime: Regime, n_runs: int, n_metabolites: int) -> np.ndarray:
    """(n_runs, n_metabolites), uniform: each run anywhere, or all about the same concentrations."""
    rng = generator_stream("initial concentrations", regime.seeds.initial_concentrations)
    if regime.initial_variation is None:
        return rng.uniform(*regime.initial_concentration, (n_runs, n_metabolites))
    common = rng.uniform(*regime.initial_concentration, n_metabolites)
    return common * (1 + regime.initial_variation * rng.uniform(-1, 1, (n_runs, n_metabolites)))


def _solve(regime: Regime, kinetics: TrueKinetics, initial: np.ndarray, time: np.ndarray) -> np.ndarray:
    options, evaluations = regime.integration, itertools.count(1)

    def derivative(reached: float, c: np.ndarray) -> np.ndarray:
        if next(evaluations) > _MOST_EVALUATIONS:
            found = f"{options.method}, at time {reached:.3g} of {time[-1]:.3g} after {_MOST_EVALUATIONS:,} evaluations"
            raise ValueError(f"integration: {found}, which a smaller dt or Radau, for stiff networks, may spare")
        return kinetics.derivative(kinetics.flux(c))

    result = solve_ivp(
        derivative,
        (time[0], time[-1]),
        initial,
        method=options.method,
        t_eval=time,
        rtol=options.rtol,
        atol=options.atol,
    )
    if not result.success:
        raise ValueError(f"integration: {result.message}")
    # a substrate that is used up ends within the tolerance about 0
    rounding = options.atol + options.rtol * np.abs(result.y).max()
    return np.where((result.y < 0) & (result.y > -rounding), 0.0, result.y).T


def _euler(regime: Regime, kinetics: TrueKinetics, initial: np.ndarray) -> np.ndarray:
    path = np.empty((regime.n_frames, len(initial)))
    path[0] = initial
    for step in range(1, regime.n_frames):
        derivative = kinetics.derivative(kinetics.flux(path[step - 1]))
        # the limiter can use up a substrate exactly; rounding may then leave -1e-17
        path[step] = np.maximum(path[step - 1] + regime.dt * derivative, 0.0)
    return path
