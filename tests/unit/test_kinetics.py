import math
from dataclasses import replace

import numpy as np
import pytest

from stoirec.config.regime import load_regime
from stoirec.simulate.kinetics import random_kinetics
from stoirec.simulate.network import random_stoichiometry
from stoirec.simulate.trajectories import simulate

PARTS = ("0_weight", "0_bias", "2_weight", "2_bias")


def brute_force_flux(kinetics, c):
    """The equations of PDE_M1, one scalar at a time."""

    def mlp(function, x):
        weight1, bias1, weight2, bias2 = (kinetics.parameters[f"{function}_{part}"] for part in PARTS)
        hidden = [math.tanh(sum(w * xi for w, xi in zip(row, x)) + b) for row, b in zip(weight1, bias1)]
        return [sum(w * h for w, h in zip(row, hidden)) + b for row, b in zip(weight2, bias2)]

    fluxes = []
    for column, log_k in zip(kinetics.stoichiometry.T, kinetics.log_k):
        total = [0.0] * len(kinetics.parameters["substrate_func_2_bias"])
        for i in np.flatnonzero(column < 0):
            message = mlp("substrate_func", [c[i], -column[i]])
            total = [t + m for t, m in zip(total, message)]
        fluxes.append(10**log_k * math.log1p(math.exp(mlp("rate_func", total)[0])))
    return np.array(fluxes)


@pytest.fixture
def kinetics(tiny_regime):
    return random_kinetics(tiny_regime, random_stoichiometry(tiny_regime))


def test_flux_is_the_written_equation(kinetics, rng):
    c = rng.uniform(0, 9, (3, 10))
    expected = np.array([brute_force_flux(kinetics, row) for row in c])
    assert kinetics.flux(c) == pytest.approx(expected, rel=1e-12)
    assert kinetics.derivative(expected) == pytest.approx(expected @ kinetics.stoichiometry.T, rel=1e-12)


@pytest.mark.parametrize("name", ["mass_action", "convenience"])
def test_textbook_fluxes_are_the_written_equations(tiny_regime, rng, name):
    regime = tiny_regime.model_copy(update={"kinetics": tiny_regime.kinetics.model_copy(update={"rate_law": name})})
    kinetics = random_kinetics(regime, random_stoichiometry(regime))
    # in the order of the edges: by reaction, then metabolite
    constants = iter(10 ** kinetics.parameters.get("log_half_saturation", np.zeros(100)))
    c = rng.uniform(0, 9, 10)
    expected = []
    for column, log_k in zip(kinetics.stoichiometry.T, kinetics.log_k):
        rate = 10**log_k
        for i in np.flatnonzero(column < 0):
            x, size = c[i] / next(constants), -column[i]
            rate *= x**size / (1 if name == "mass_action" else sum(x**n for n in range(size + 1)))
        expected.append(rate)
    assert kinetics.flux(c) == pytest.approx(np.array(expected), rel=1e-12)


def test_monotone_fluxes_rise_with_every_substrate_and_vanish_without(kinetics, rng):
    c = rng.uniform(1, 9, 10)
    base = kinetics.flux(c)
    for i in range(10):
        more, none = c.copy(), c.copy()
        more[i] += 0.5
        none[i] = 0.0
        uses = kinetics.stoichiometry[i] < 0
        assert (kinetics.flux(more)[uses] > base[uses]).all()
        assert (kinetics.flux(none)[uses] < 0.02 * 10 ** kinetics.log_k[uses]).all()
        assert np.array_equal(kinetics.flux(more)[~uses], base[~uses])


def test_limiter_never_over_consumes_and_leaves_the_rest_alone(limited_regime, rng):
    kinetics = random_kinetics(limited_regime, random_stoichiometry(limited_regime))
    c = np.concatenate([rng.uniform(0, 0.02, (50, 10)), rng.uniform(5, 9, (50, 10))])
    free, limited = replace(kinetics, dt=None).flux(c), kinetics.flux(c)
    consumed = limited @ np.maximum(-kinetics.stoichiometry, 0).T
    assert (consumed <= c * (1 + 1e-12)).all()
    assert (limited < free).any()
    demand = free @ np.maximum(-kinetics.stoichiometry, 0).T
    plentiful = (demand <= c).all(axis=1)
    assert plentiful.any() and np.array_equal(limited[plentiful], free[plentiful])


def test_limiter_by_hand(limited_regime):
    kinetics = random_kinetics(limited_regime, random_stoichiometry(limited_regime))
    c = np.full(10, 0.01)
    free = replace(kinetics, dt=None).flux(c)
    consumed = np.maximum(-kinetics.stoichiometry, 0)
    for j, column in enumerate(kinetics.stoichiometry.T):
        share = min([1.0] + [c[i] / (0.5 * sum(consumed[i] * free)) for i in np.flatnonzero(column < 0)])
        assert replace(kinetics, dt=0.5).flux(c)[j] == pytest.approx(free[j] * share, rel=1e-12)


def test_derivative_is_that_of_the_trajectory(tiny_simulation):
    """dc/dt as stored against a fourth-order difference of the concentrations."""
    c, h = tiny_simulation.concentration[0], tiny_simulation.time[1]
    difference = (c[:-4] - 8 * c[1:-3] + 8 * c[3:-1] - c[4:]) / (12 * h)
    assert difference == pytest.approx(tiny_simulation.dcdt[0][2:-2], abs=2e-5)


def test_mass_is_conserved_and_concentrations_stay_non_negative(tiny_simulation):
    total = tiny_simulation.concentration.sum(axis=-1)
    assert total == pytest.approx(np.broadcast_to(total[:, :1], total.shape), rel=1e-8)
    assert tiny_simulation.concentration.min() >= 0
    assert tiny_simulation.run_role.tolist() == [0, 0, 1]


def test_noise_is_added_to_the_derivative_alone_in_units_of_its_std(tiny_regime, tiny_simulation):
    noisy = simulate(tiny_regime.model_copy(update={"dcdt_noise": 0.05}))
    assert np.array_equal(noisy.concentration, tiny_simulation.concentration)
    relative = (noisy.dcdt - tiny_simulation.dcdt) / tiny_simulation.dcdt.std(axis=(0, 1))
    assert relative.std(axis=(0, 1)) == pytest.approx(0.05, rel=0.15) and abs(relative.mean()) < 0.005


def test_limited_regime_is_explicit_euler(limited_regime):
    result = simulate(limited_regime)
    step = result.concentration[:, 1:] - result.concentration[:, :-1]
    assert step == pytest.approx(limited_regime.dt * result.dcdt[:, :-1], abs=1e-12)


def test_frozen_regimes_have_the_published_sizes():
    for name in ("pde_m1", "flux_limited"):
        regime = load_regime(f"config/regimes/{name}.yaml")
        assert (regime.n_metabolites, regime.n_reactions, regime.n_frames, regime.n_runs) == (100, 256, 2880, 5)


def test_a_reaction_without_substrates_does_not_take_its_neighbours(tiny_regime, rng):
    """A source between two reactions, and one behind them all: each runs at the rate of no message."""
    whole = random_stoichiometry(tiny_regime)
    matrix = whole.copy()
    matrix[:, [3, 15]] = np.maximum(matrix[:, [3, 15]], 0)
    c = rng.uniform(1, 9, (4, 10))
    found, before = (random_kinetics(tiny_regime, s).flux(c) for s in (matrix, whole))
    expected = brute_force_flux(random_kinetics(tiny_regime, matrix), c[0])
    assert found[0] == pytest.approx(expected, rel=1e-12)
    others = np.delete(np.arange(16), [3, 15])
    assert found[:, others] == pytest.approx(before[:, others], rel=1e-13)
    assert (found[:, 3] == found[0, 3]).all()
