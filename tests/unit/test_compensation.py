"""Function compensation: none where the learned functions are the true ones, the known one where a scale was moved."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from stoirec.config.fit import FitConfig
from stoirec.data import dataset
from stoirec.kinetics.mechanistic import MassAction
from stoirec.learn.model import MetabolismPropagation
from stoirec.report.recovery import compensation
from stoirec.simulate.trajectories import simulate
from stoirec.simulate.truth import read_truth, write_simulation

CONFIG = FitConfig(n_runs=1, n_epochs=1)


@pytest.fixture(scope="module")
def simulated(small_regime, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.nc"
    write_simulation(path, simulate(small_regime), small_regime)
    data = dataset.read_data(path)
    return data, read_truth(path, data.graph)


def test_true_weights_leave_nothing_to_compensate(simulated, fit_with_true_weights):
    data, truth = simulated
    found = compensation.compare(fit_with_true_weights(data, truth), data, truth)
    np.testing.assert_allclose(found.reactions["flux_r2"], 1, atol=1e-9)
    np.testing.assert_allclose(found.reactions[["log_factor", "log_column_scale", "log_k_difference"]], 0, atol=1e-9)
    assert found.curve_r2 == pytest.approx({1: 1.0, 2: 1.0}, abs=1e-9)
    assert found.shape_r2 == pytest.approx(1, abs=1e-9)
    assert found.message_r2 == pytest.approx(1, abs=1e-9)


def test_a_global_factor_between_k_and_the_functions_is_gauge(simulated, fit_with_true_weights):
    data, truth = simulated
    fit = fit_with_true_weights(data, truth)
    fit["log_k"] = fit["log_k"] + 0.7
    found = compensation.compare(fit, data, truth)
    assert found.gauge == pytest.approx(0.7)
    np.testing.assert_allclose(found.reactions["log_k_difference"], 0, atol=1e-9)
    np.testing.assert_allclose(found.reactions["flux_r2"], 1, atol=1e-9)


def test_a_scale_moved_between_a_column_and_its_flux_is_found(simulated):
    """A column 1.25 times too long with a flux 1.25 times too small explains the data as well."""
    data, truth = simulated
    graph, reaction = data.graph, 3
    learned = graph.on_edges(truth.stoichiometry).astype(float)
    learned[graph.edges_of(reaction)] *= 1.25
    true_flux = truth.flux(data.validation_frames().concentration)
    flux = true_flux.copy()
    flux[:, reaction] /= 1.25
    reactions = compensation.compare_fluxes(graph, flux, true_flux, learned, truth.stoichiometry)
    expected = np.zeros(graph.n_reactions)
    expected[reaction] = np.log10(1.25)
    np.testing.assert_allclose(reactions["log_column_scale"], expected, atol=1e-9)
    np.testing.assert_allclose(reactions["log_factor"], expected, atol=1e-9)
    np.testing.assert_allclose(reactions["flux_r2"], 1, atol=1e-9)


def test_flux_r2_is_not_a_squared_correlation():
    """A constant offset leaves the correlation at 1, but not 1 - SSE/SST: one factor cannot undo it."""
    graph = dataset.Graph(2, 1, np.array([0, 1]), np.array([0, 0]), np.array([True, False]))
    true = np.linspace(1, 2, 20)[:, None]
    found = compensation.compare_fluxes(graph, true + 5, true, np.array([-1.0, 1.0]), np.array([[-1], [1]]))
    assert found["flux_r2"][0] < 0.9


def test_a_column_of_wrong_sign_has_no_scale(simulated):
    data, truth = simulated
    flux = truth.flux(data.validation_frames().concentration)
    learned = -data.graph.on_edges(truth.stoichiometry).astype(float)
    assert (
        compensation.compare_fluxes(data.graph, flux, flux, learned, truth.stoichiometry)["log_column_scale"]
        .isna()
        .all()
    )


def test_messages_are_compared_up_to_an_affine_map():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(200, 3))
    mixed = true @ rng.normal(size=(3, 5)) + rng.normal(size=5)
    assert compensation.message_r2(mixed, true) == pytest.approx(1)
    assert compensation.message_r2(rng.normal(size=(200, 5)), true) < 0.2


@pytest.mark.parametrize(
    "shape",
    [
        {"n_layers": 4},
        {"embedding_dim": 2},
        {"substrate_gate": True},
        {"flux_limiter": True},
        {"n_layers": 2, "output_size": 3},
    ],
)
def test_every_architecture_is_rebuilt(simulated, shape):
    """The rebuilt network computes what the trained one computed."""
    data, truth = simulated
    config = CONFIG.model_copy(update={"graph_model": CONFIG.graph_model.model_copy(update=shape)})
    model = MetabolismPropagation(data.space, config, data.dt).double().requires_grad_(False)
    stored = {"sto_all": "coefficient", "log_k": "log_k"}
    variables = {}
    for name, parameter in model.named_parameters():
        variable = stored.get(name, "learned_" + name.removeprefix("rate_parameters."))
        variables[variable] = ([f"{variable}_{axis}" for axis in range(parameter.ndim)], parameter.detach().numpy())
    fit = xr.Dataset(variables, attrs={"config": config.model_dump_json(), "status": "ok"})
    rebuilt = compensation.learned_model(fit, data)
    concentration = torch.as_tensor(data.validation_frames().concentration)
    assert torch.equal(rebuilt(concentration), model(concentration))
    assert np.isfinite(compensation.compare(fit, data, truth).message_r2)


def test_a_diverged_fit_gives_nan_not_an_error(simulated, fit_with_true_weights):
    data, truth = simulated
    fit = fit_with_true_weights(data, truth)
    for name in fit.data_vars:
        fit[name] = fit[name] * np.nan
    found = compensation.compare(fit, data, truth)
    assert np.isnan(found.message_r2) and found.reactions["flux_r2"].isna().all()
    assert len(compensation.summary(found)) == 9


def test_where_the_true_law_has_no_shared_functions_fluxes_alone_are_compared(simulated, fit_with_true_weights):
    data, truth = simulated
    law = MassAction(truth.kinetics.law.graph)
    mechanistic = replace(truth, kinetics=replace(truth.kinetics, law=law, parameters={}))
    found = compensation.compare(fit_with_true_weights(data, truth), data, mechanistic)
    assert np.isfinite(found.reactions["flux_r2"]).all()
    assert np.isfinite(found.curves["learned"]).all() and np.isnan(found.curves["true"]).all()
    assert np.isnan([found.message_r2, found.shape_r2, *found.curve_r2.values()]).all()
    assert len(compensation.summary(found)) == 9


@pytest.mark.parametrize("name", ["mass_action", "convenience"])
def test_where_the_learned_law_has_no_shared_functions_fluxes_alone_are_compared(
    simulated, name, fit_with_true_weights
):
    data, truth = simulated
    config = CONFIG.with_rate_law(name)
    model = MetabolismPropagation(data.space, config)
    fit = fit_with_true_weights(data, truth, config).drop_vars(
        [f"learned_{own}" for own in truth.kinetics.parameters], errors="ignore"
    )
    for own, values in model.rate_parameters.items():
        fit[f"learned_{own}"] = (f"{own}_0", values.detach().numpy())
    found = compensation.compare(fit, data, truth)
    assert np.isfinite(found.reactions["flux_r2"]).all()
    assert np.isnan(found.message_r2) and np.isnan(found.shape_r2)
