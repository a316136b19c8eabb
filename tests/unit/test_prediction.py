"""Courses that an answer predicts: the truth as a fixed point, a wrong answer, what cannot be followed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from stoirec.answer import prediction
from stoirec.answer.prediction import (
    answered_model,
    predicted,
    relative_error,
    rollout_error,
    spread,
    with_rollout_errors,
)
from stoirec.config.fit import FitConfig
from stoirec.files import netcdf
from stoirec.simulate.trajectories import simulate
from stoirec.simulate.truth import read_truth, write_simulation

CONFIG = FitConfig(graph_model={"hidden_dim": 12, "output_size": 6})


@pytest.fixture
def true_fit(tiny_data, tiny_truth, fit_with_true_weights):
    return fit_with_true_weights(tiny_data, tiny_truth, CONFIG)


def model_of(fit, data, truth):
    return answered_model(fit, data, data.graph.on_edges(truth.stoichiometry), truth.log_k)


def test_the_true_answer_predicts_the_simulated_course(true_fit, tiny_data, tiny_truth):
    model = model_of(true_fit, tiny_data, tiny_truth)
    for run in range(len(tiny_data.run_role)):
        course = predicted(model, tiny_data.concentration[run, 0], tiny_data.time)
        np.testing.assert_allclose(course, tiny_data.concentration[run], rtol=1e-4, atol=1e-4)
    assert rollout_error(model, tiny_data.validation_frames(), spread(tiny_data)) < 1e-4


def test_an_error_of_one_is_that_of_the_best_constants(true_fit, tiny_data, tiny_truth):
    """With a hundred-thousandth of every rate constant nothing moves: the course stays at the first frame."""
    model = answered_model(
        true_fit, tiny_data, tiny_data.graph.on_edges(tiny_truth.stoichiometry), tiny_truth.log_k - 5
    )
    held_out = tiny_data.validation_frames()
    scale, value = spread(tiny_data), held_out.concentration
    first, best = (np.square((value - of) / scale).mean() for of in (value[0], value.mean(axis=0)))
    assert rollout_error(model, held_out, scale) == pytest.approx(math.sqrt(first / best), rel=1e-3)
    assert relative_error(value - value.mean(axis=0), value, scale) == pytest.approx(1)


def test_what_was_not_measured_has_no_error():
    value = np.array([[1.0, np.nan], [3.0, 5.0]])
    assert relative_error(np.array([[0.5, np.nan], [0.5, 0.0]]), value, np.ones(2)) == pytest.approx(0.5)
    assert relative_error(np.array([[np.inf, 0.0], [0.0, 0.0]]), value, np.ones(2)) == math.inf


@pytest.mark.parametrize("time", [[0.0, 0.0, 1.0], [0.0, np.nan, 1.0], [2.0, 1.0, 0.0]])
def test_times_that_do_not_rise_are_not_followed(true_fit, tiny_data, tiny_truth, time):
    course = predicted(model_of(true_fit, tiny_data, tiny_truth), tiny_data.concentration[0, 0], np.array(time))
    assert course.shape == (3, 10) and np.isnan(course[1:]).all()


def test_stretches_of_one_frame_say_nothing(true_fit, tiny_data, tiny_truth):
    few = replace(
        tiny_data,
        **{name: getattr(tiny_data, name)[:, :10] for name in ("concentration", "dcdt")},
        time=tiny_data.time[:10],
        run_role=np.zeros_like(tiny_data.run_role),
    )
    held_out = few.validation_frames()
    assert np.isnan(rollout_error(model_of(true_fit, few, tiny_truth), held_out, spread(few)))


def test_jacobians_of_the_solver_are_derivatives(true_fit, tiny_data, tiny_truth):
    start = tiny_data.concentration[0, 0]
    rates = prediction._Rates(model_of(true_fit, tiny_data, tiny_truth), start)
    found, step = rates.jacobian(0.0, start), 1e-5
    for metabolite in range(len(start)):
        moved = np.eye(len(start))[metabolite] * step
        slope = (rates(0.0, start + moved) - rates(0.0, start - moved)) / (2 * step)
        np.testing.assert_allclose(found[:, metabolite], slope, atol=1e-5)


def test_a_limited_network_goes_from_frame_to_frame(limited_regime, fit_with_true_weights, tmp_path):
    from stoirec.data.dataset import read_data

    write_simulation(tmp_path / "data.nc", simulate(limited_regime), limited_regime)
    data = read_data(tmp_path / "data.nc")
    truth = read_truth(tmp_path / "data.nc", data.graph)
    shape = CONFIG.graph_model.model_copy(update={"flux_limiter": True})
    fit = fit_with_true_weights(data, truth, CONFIG.model_copy(update={"graph_model": shape}))
    course = predicted(model_of(fit, data, truth), data.concentration[-1, 0], data.time)
    np.testing.assert_allclose(course, data.concentration[-1], atol=1e-6)


def test_a_course_that_leaves_is_not_followed(true_fit, tiny_data, tiny_truth):
    grows = np.abs(tiny_data.graph.on_edges(tiny_truth.stoichiometry))  # everything is made, ever faster
    model = answered_model(true_fit, tiny_data, grows, tiny_truth.log_k + 6)
    assert np.isnan(predicted(model, tiny_data.concentration[0, 0], tiny_data.time)[-1]).all()
    assert rollout_error(model, tiny_data.validation_frames(), spread(tiny_data)) == math.inf


def recovery_of(data, truth):
    """Of two methods, of which one is right and the other has all columns doubled."""
    answers = {"refined": truth.stoichiometry, "nearest": 2 * truth.stoichiometry}
    variables = {f"stoichiometry_{name}": (("metabolite", "reaction"), each) for name, each in answers.items()}
    return xr.Dataset(variables | {f"log_k_{name}": ("reaction", truth.log_k) for name in answers})


def test_every_method_has_its_error(true_fit, tiny_data, tiny_truth):
    found = with_rollout_errors(recovery_of(tiny_data, tiny_truth), true_fit, tiny_data)
    assert found["rollout_error_refined"] < 1e-4 < 0.1 < found["rollout_error_nearest"]
    true_fit.attrs["status"] = "diverged"
    found = with_rollout_errors(recovery_of(tiny_data, tiny_truth), true_fit, tiny_data)
    assert np.isnan(found["rollout_error_refined"])


def test_without_a_validation_run_the_held_out_blocks_are_predicted(true_fit, tiny_data, tiny_truth):
    own = replace(tiny_data, run_role=np.zeros_like(tiny_data.run_role))
    held_out = own.validation_frames()
    assert held_out.stretch[-1] == 2 * len(own.run_role) - 1
    assert rollout_error(model_of(true_fit, own, tiny_truth), held_out, spread(own)) < 1e-4


def test_round_with_data_and_score_say_how_well_it_predicts(tiny_path, tmp_path, capsys):
    from stoirec.cli import app

    (tmp_path / "fit.yaml").write_text("n_epochs: 1\nepoch_steps: 5\nn_runs: 2\ngraph_model: {hidden_dim: 4}\n")
    fit, answer = str(tmp_path / "fit.nc"), str(tmp_path / "recovery.nc")
    app(["train", str(tiny_path), "--config", str(tmp_path / "fit.yaml"), "-o", fit], standalone_mode=False)
    for more, known in (([], False), (["--data", str(tiny_path)], True)):
        app(["round", fit, "-o", answer, *more], standalone_mode=False)
        capsys.readouterr()
        app(["score", answer, "--truth", str(tiny_path), "--json"], standalone_mode=False)
        assert ('"rollout_error": null' in capsys.readouterr().out) != known
    assert netcdf.read(answer)["rollout_error_nearest"] > 0
