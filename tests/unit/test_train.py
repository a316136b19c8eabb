"""Training: repeatable, resumable, blind to the truth."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from stoirec.answer.recovery import read_fit
from stoirec.config.fit import FitConfig
from stoirec.data.dataset import read_data
from stoirec.errors import Unsuitable
from stoirec.files import netcdf
from stoirec.learn import checkpoint
from stoirec.learn.comparison import stuck
from stoirec.learn.evaluation import val_loss
from stoirec.learn.model import initial_log_k, new_model
from stoirec.learn.observations import scale_of, std
from stoirec.learn.recipe import load
from stoirec.learn.refinement_rounds import RefinementRounds
from stoirec.learn.schedule import Steps, stage
from stoirec.learn.training import Training, train
from stoirec.refine.refinement import Refinement
from stoirec.streams import learner_stream

CPU = torch.device("cpu")


def same(one: xr.Dataset, two: xr.Dataset) -> bool:
    return all(np.array_equal(one[name], two[name], equal_nan=True) for name in one.variables)


@pytest.fixture
def fit(tiny_data, tiny_fit):
    return train(tiny_data, tiny_fit, CPU)


def test_loss_falls_and_the_contract_of_fit_nc_holds(fit, tiny_fit):
    assert fit["loss_prediction"].values[-1] < 0.7 * fit["loss_prediction"].values[0]
    for name, dims in {
        "coefficient": ("edge",), "coefficient_se": ("edge",), "log_k": ("reaction",), "step": ("snapshot",),
        "coefficient_history": ("snapshot", "edge"), "loss_prediction": ("snapshot",), "val_loss": (),
    }.items():  # fmt: skip
        assert fit[name].dims == dims
    assert fit["step"].values[-1] == tiny_fit.n_steps(200) == 2 * 50
    assert np.array_equal(fit["coefficient_history"][-1], fit["coefficient"].astype(np.float32))
    assert (fit["coefficient_se"] > 0).all()
    assert json.loads(fit.attrs["config"]) == json.loads(tiny_fit.model_dump_json())
    assert {"status", "wall_time_s", "threads", "device"} <= set(fit.attrs)


def test_bit_for_bit_repeatable(fit, tiny_data, tiny_fit):
    assert same(fit, train(tiny_data, tiny_fit, CPU))
    assert not same(fit, train(tiny_data, tiny_fit.model_copy(update={"seed": 2}), CPU))


def test_a_killed_run_resumes_to_the_same_numbers(fit, tiny_data, tiny_fit, tmp_path):
    path = tmp_path / "fit.ckpt"

    def die(step, n_steps, record):
        if step == 37:  # between two snapshots
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_data, tiny_fit, CPU, path, 0.0, die)
    steps = []
    resumed = train(tiny_data, tiny_fit, CPU, path, 0.0, lambda step, *_: steps.append(step))
    assert steps[0] == 37  # the checkpoint of step 36; step 37 died before its own
    assert same(fit, resumed)


@pytest.mark.parametrize("gated", [False, True])
def test_a_run_killed_in_its_refinement_resumes_to_the_same_numbers(tiny_data, tiny_fit, tmp_path, monkeypatch, gated):
    steps = {"refinement_rounds": 2, "refinement_steps": 2}
    shape = tiny_fit.graph_model.model_copy(update={"substrate_gate": gated})
    config = tiny_fit.model_copy(update={"role_prior": True, "refinement_frames": 40, "graph_model": shape} | steps)
    whole = train(tiny_data, config, CPU)
    assert whole.attrs["n_steps"] == 100 + 2 * 2 + 2  # two rounds, and the end
    assert whole["column"].shape == (5, tiny_data.graph.n_edges) and (whole["column_probability"] <= 1).all()
    path, advance = tmp_path / "fit.ckpt", RefinementRounds.advance

    def die_in_the_second(rounds):
        if rounds.done == 1:
            raise KeyboardInterrupt
        return advance(rounds)

    monkeypatch.setattr(RefinementRounds, "advance", die_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_data, config, CPU, path)
    monkeypatch.setattr(RefinementRounds, "advance", advance)
    assert same(whole, train(tiny_data, config, CPU, path))


@pytest.mark.parametrize("n, expected", [(1, "e"), (2, "te"), (4, "xtee"), (25, "x" * 5 + "t" * 10 + "e" * 10)])
@pytest.mark.parametrize("allows_zero", [False, True])
def test_rounds_close_decoys_first_and_conclude_last(n, expected, allows_zero):
    letters = {"close": "x", "tie": "t", "conclude": "e"}
    found = "".join(letters[stage(round_, n, allows_zero)] for round_ in range(n))
    assert found == (expected if allows_zero else expected.replace("x", "t"))


def test_ties_that_are_contradicted_may_be_released_later():
    found = "".join(stage(round_, 15, False, contradicted=True)[0] for round_ in range(15))
    assert found == "t" * 13 + "c" * 2 and stage(0, 1, False, contradicted=True) == "conclude"


def test_coefficients_keep_the_signs_of_their_roles(tiny_data, tiny_fit):
    config = tiny_fit.model_copy(update={"role_prior": True, "role_signs": True, "learning_rate_start": 0.3})
    coefficient = train(tiny_data, config, CPU)["coefficient"].values
    is_substrate = tiny_data.graph.edge_is_substrate
    assert (coefficient[is_substrate] <= 0).all() and (coefficient[~is_substrate] >= 0).all()
    assert (coefficient == 0).any()


def test_another_jobs_checkpoint_and_a_damaged_one_are_started_over(fit, tiny_data, tiny_fit, tmp_path):
    path = tmp_path / "fit.ckpt"
    other = tiny_fit.model_copy(update={"seed": 2})
    checkpoint.save(path, checkpoint.fingerprint(tiny_data, other), Training(tiny_data, other, CPU).checkpoint())
    assert same(fit, train(tiny_data, tiny_fit, CPU, path))
    path.write_bytes(path.read_bytes()[:1000] if path.exists() else b"half a file")
    assert same(fit, train(tiny_data, tiny_fit, CPU, path))


def test_a_checkpoint_from_before_a_change_of_meaning_is_started_over(tiny_data, tiny_fit, monkeypatch):
    today = checkpoint.fingerprint(tiny_data, tiny_fit)
    assert checkpoint.fingerprint(tiny_data, tiny_fit) == today
    monkeypatch.setattr("stoirec.config.fit.TRAINING_MEANING", 0)
    assert checkpoint.fingerprint(tiny_data, tiny_fit) != today


def test_gradient_descent_ends_at_the_first_snapshot_that_is_good_enough(fit, tiny_data, tiny_fit, tmp_path):
    """And no sooner; a checkpoint of it leads to the same fit."""
    losses = fit["val_loss_history"].values
    place = len(losses) // 2
    config = tiny_fit.model_copy(update={"enough_val_loss": float(losses[: place + 1].min()) * (1 + 1e-9)})
    first = int(np.argmax(losses < config.enough_val_loss))
    path = tmp_path / "checkpoint.pt"
    ended, again = (train(tiny_data, config, CPU, path) for _ in range(2))
    assert np.array_equal(ended["step"], fit["step"][: first + 1])
    assert np.array_equal(ended["coefficient_history"], fit["coefficient_history"][: first + 1])
    assert ended["coefficient"].equals(again["coefficient"]) and ended.attrs["n_steps"] == ended["step"][-1]


def test_divergence_is_recorded_with_its_history(tiny_data, tiny_fit):
    fit = train(tiny_data, tiny_fit.model_copy(update={"learning_rate_start": 1e8, "schedule": "constant"}), CPU)
    assert fit.attrs["status"] == "diverged"
    assert np.isfinite(fit["loss_prediction"].values[0]) and np.isnan(fit["val_loss"])
    assert len(fit["step"]) >= 2


def test_equations_without_a_solution_in_numbers_are_a_fit_that_diverged(tiny_data, tiny_fit, caplog, monkeypatch):
    """As after a step to a state with residuals of 1e29; not a traceback, and the next start is made."""
    monkeypatch.setattr(Refinement, "round", lambda *_: torch.linalg.cholesky(-torch.eye(2)))
    fit = train(tiny_data, tiny_fit.model_copy(update={"role_prior": True, "refinement_rounds": 2}), CPU)
    assert fit.attrs["status"] == "diverged" and "diverged in round 1 of refinement" in caplog.text
    assert stuck(fit) == "the fit diverged"


@pytest.mark.parametrize("factor", [1e60, 1e120, 1e200])
def test_a_fit_that_reached_numbers_no_file_has_is_one_that_diverged(
    factor, tiny_data, tiny_fit, tmp_path, monkeypatch
):
    """Of rate constants of 1e60 the loss is 1e120: finite, and more than readers take."""

    def astray(*arguments):
        state = a_round(*arguments)
        return replace(state, linear=factor * state.linear)

    a_round = Refinement.round
    monkeypatch.setattr(Refinement, "round", astray)
    fit = train(tiny_data, tiny_fit.model_copy(update={"role_prior": True, "refinement_rounds": 1}), CPU)
    netcdf.write(tmp_path / "fit.nc", fit)
    found = read_fit(tmp_path / "fit.nc")
    assert found.attrs["status"] == "diverged" and np.isnan(found["val_loss"]) and stuck(found) == "the fit diverged"


def test_the_learner_sees_nothing_of_the_truth(fit, tiny_path, tiny_fit, tmp_path):
    """The same file without /truth gives the same fit, bit for bit."""
    with xr.open_dataset(tiny_path) as dataset:
        dataset.load().to_netcdf(tmp_path / "blind.nc")
    assert same(fit, train(read_data(tmp_path / "blind.nc"), tiny_fit, CPU))


def test_validation_frames_are_not_trained_on(fit, tiny_data, tiny_fit):
    changed = tiny_data.dcdt.copy()
    changed[2] *= 2
    other = train(tiny_data.__class__(**{**vars(tiny_data), "dcdt": changed}), tiny_fit, CPU)
    assert np.array_equal(fit["coefficient"], other["coefficient"])
    assert fit["val_loss"] != other["val_loss"]


def test_two_phases_and_weights(tiny_fit):
    config = tiny_fit.model_copy(
        update={"n_epochs_init": 1, "first_coeff_L1": 0.5, "coeff_S_L1": 0.25, "coeff_mass_conservation": 0.1}
    )
    steps = Steps(config, 200)
    weights = [steps.loss_weights(step) for step in range(steps.n_steps)]
    assert weights == [(1.0, 0.5, 0.0, 0.1)] * 50 + [(1.0, 0.25, 0.0, 0.1)] * 50
    default = Steps(config.model_copy(update={"first_coeff_L1": None}), 200)
    assert default.loss_weights(0)[1] == 0.25


def test_every_step_is_weighted_as_its_schedule_says(tiny_data, tiny_fit, monkeypatch):
    asked = []
    weights = Steps.loss_weights
    monkeypatch.setattr(Steps, "loss_weights", lambda self, step: asked.append(step) or weights(self, step))
    train(tiny_data, tiny_fit, CPU)
    assert asked == list(range(100))


def test_learning_rates_reach_their_parameters(tiny_data, tiny_fit):
    config = FitConfig(
        **{
            **tiny_fit.model_dump(),
            "learning_rate_S_start": 1e-30,
            "graph_model": {"embedding_dim": 2},
            "learning_rate_embedding_start": 1e-30,
        }
    )
    job = Training(tiny_data, config, CPU)
    before = {name: parameter.detach().clone() for name, parameter in job.model.named_parameters()}
    for _ in range(3):
        job.descent.advance()
    moved = {name for name, parameter in job.model.named_parameters() if not torch.equal(parameter, before[name])}
    assert {"sto_all", "rate_parameters.embedding"}.isdisjoint(moved)
    assert {"log_k", "rate_parameters.substrate_func_0_weight", "rate_parameters.rate_func_2_bias"} <= moved


def test_regularisers_act_on_the_coefficients(tiny_data, tiny_fit):
    plain = train(tiny_data, tiny_fit, CPU)
    for key, variable in (
        ("coeff_S_L1", "loss_L1"),
        ("coeff_S_integer", "loss_integer"),
        ("coeff_mass_conservation", "loss_mass"),
    ):
        regularised = train(tiny_data, tiny_fit.model_copy(update={key: 1.0}), CPU)
        assert regularised[variable].values[-1] < 0.9 * plain[variable].values[-1], key


def test_schedule_decays_to_one_percent(tiny_fit):
    steps = Steps(tiny_fit, 200)
    assert steps.rate_factor(0) == pytest.approx(1.0)
    assert steps.rate_factor(steps.n_steps) == pytest.approx(0.01)


def test_val_loss_of_predicting_nothing_is_the_mean_square_over_the_variance(tiny_data, tiny_fit):
    job = Training(tiny_data, tiny_fit.model_copy(update={"precision": "float64"}), CPU)
    with torch.no_grad():
        job.model.sto_all.zero_()
    dcdt = tiny_data.dcdt[2]
    expected = (np.mean(dcdt**2, axis=0) / np.var(dcdt, axis=0, ddof=1)).mean()
    assert val_loss(job.model, job.observed.validation) == pytest.approx(expected)


def test_the_limiter_needs_equal_time_steps(tiny_data):
    config = FitConfig(n_runs=2, graph_model={"flux_limiter": True})
    uneven = replace(tiny_data, time=tiny_data.time**2)
    with pytest.raises(Unsuitable, match="time: found unequal steps; allowed: equally spaced frames"):
        new_model(uneven, config)
    assert new_model(tiny_data, config).limiter.dt == pytest.approx(0.1)


def test_frames_are_drawn_in_proportion_to_their_activity(tiny_data):
    """The mean over drawn frames of the squared size is that of frames weighted by their size."""
    config = FitConfig(n_runs=2, frame_sampling="activity")
    descent = Training(tiny_data, config, CPU).descent
    size = (descent.observed.dcdt / descent.scale).double().square().mean(1).sqrt().numpy()
    drawn = np.concatenate([descent.draw(1000) for _ in range(20)])
    assert size[drawn].mean() == pytest.approx((size**2).sum() / size.sum(), rel=0.005)


@pytest.mark.parametrize("sampling", ["uniform", "activity"])
def test_frames_are_those_drawn_step_by_step(tiny_data, tiny_fit, sampling):
    descent = Training(tiny_data, tiny_fit.model_copy(update={"frame_sampling": sampling}), CPU).descent
    rng, n, size = learner_stream("batches", tiny_fit.seed), len(descent.observed), tiny_fit.batch_size
    for _ in range(70):
        descent.advance()
        expected = rng.integers(n, size=size) if sampling == "uniform" else rng.choice(n, size=size, p=descent.chance)
        assert np.array_equal(descent.pack._frames[0].numpy(), expected)


def test_parameters_keep_their_place_in_the_optimisers(tiny_data, tiny_fit):
    """What a checkpoint gives a model reaches the tensor that the optimiser moves."""
    job, other = (Training(tiny_data, tiny_fit.model_copy(update={"seed": seed}), CPU) for seed in (1, 2))
    other.model.load_state_dict(job.model.state_dict())
    (whole,) = other.descent.optimiser.param_groups[0]["params"]
    assert torch.equal(whole, torch.cat([each.flatten() for each in job.model.parameters()]))
    other.descent.advance()
    assert torch.equal(whole, torch.cat([each.flatten() for each in other.model.parameters()]))


def test_each_optimiser_is_its_own(tiny_data, tiny_fit):
    """Three different ways from one start."""
    ends = {
        name: train(tiny_data, tiny_fit.model_copy(update={"optimiser": name}), CPU)
        for name in ("adam", "nadam", "radam")
    }
    coefficients = [fit["coefficient"].values for fit in ends.values()]
    assert not any(np.allclose(one, two) for one, two in itertools.combinations(coefficients, 2))
    kinds = {
        name: type(Training(tiny_data, tiny_fit.model_copy(update={"optimiser": name}), CPU).descent.optimiser).__name__
        for name in ends
    }
    assert kinds == {"adam": "Adam", "nadam": "NAdam", "radam": "RAdam"}


def test_residuals_are_scaled_as_asked(tiny_data, tiny_fit):
    frames = tiny_data.training_frames(2)
    concentration, dcdt = torch.as_tensor(frames.concentration), torch.as_tensor(frames.dcdt)
    by_std, by_nothing = (
        scale_of(dcdt, tiny_fit.model_copy(update={"residual_scaling": way})) for way in ("std", "none")
    )
    assert by_std.numpy() == pytest.approx(dcdt.numpy().std(axis=0, ddof=1)) and (by_nothing == 1).all()
    losses = {}
    for way in ("std", "none"):
        job = Training(tiny_data, tiny_fit.model_copy(update={"residual_scaling": way, "precision": "float64"}), CPU)
        losses[way] = float(job.descent.current_losses(job.observed.training)[0])
        residual = (job.model(concentration) - dcdt).detach()
        assert losses[way] == pytest.approx(float((residual / (by_std if way == "std" else 1)).square().mean()))
    assert losses["std"] > 2 * losses["none"]


def test_metabolites_that_do_not_move_take_no_part_in_the_scale():
    """More than half of them constant: the floor is that of those that move."""
    dcdt = torch.zeros(50, 7, dtype=torch.float64)
    dcdt[:, :2] = torch.linspace(-1, 1, 50)[:, None] * torch.tensor([1.0, 1e-6])
    assert float(std(dcdt)[0]) == pytest.approx(float(dcdt[:, 0].std()))
    assert std(dcdt)[1:].min() > 1e-10
    assert (std(torch.zeros(5, 3)) == 1).all()


def test_refinement_sees_the_data_in_double_precision(tiny_data, tiny_fit):
    """Whatever gradient descent computes in."""
    job = Training(tiny_data, tiny_fit.model_copy(update={"role_prior": True, "refinement_rounds": 1}), CPU)
    assert job.descent.observed.dcdt.dtype == torch.float32
    fitted = job.rounds.refinement().equations.windows
    known = {row.tobytes() for row in tiny_data.training_frames(2).concentration}
    assert all(row.tobytes() in known for row in fitted.points.numpy())


@pytest.mark.parametrize("factor", [1e-4, 1.0, 3600.0, 1e6])
def test_the_start_follows_the_unit_of_time(tiny_data, factor):
    """To within a decade, which descent crosses."""
    there, here = (initial_log_k(dcdt) for dcdt in (tiny_data.dcdt * factor, tiny_data.dcdt))
    assert abs(there - here - np.log10(factor)) <= 1 + 1e-9
    assert here == -2


def test_steps_need_not_depend_on_the_number_of_frames():
    config = FitConfig(epoch_steps=810, n_epochs=5)
    assert config.n_steps(50) == config.n_steps(2880) == 4050 == load("best").n_steps(2880)
    assert FitConfig(n_epochs=5).n_steps(2880) == 4050 and FitConfig(n_epochs=5).n_steps(50) == 70
