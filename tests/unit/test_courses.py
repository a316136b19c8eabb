"""Measured time courses: noise and gaps, smooth courses through them, and integrals along them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from stoirec import cli
from stoirec.config.fit import FitConfig
from stoirec.config.regime import Measured
from stoirec.data import dataset
from stoirec.data.courses import courses_of
from stoirec.data.data_file import network_dataset, with_trajectories
from stoirec.data.dataset import TRAINING, read_data, read_n_frames, read_space
from stoirec.data.overview import MOVING, TimeCourses, advice, by_metabolite, overview, sentences
from stoirec.data.windows import integrals, steps
from stoirec.errors import BadInput, Unsuitable
from stoirec.files import netcdf
from stoirec.learn import recipe
from stoirec.learn.checkpoint import fingerprint
from stoirec.learn.cost import expected
from stoirec.network.balance import balances
from stoirec.report.beforehand.page import render
from stoirec.score.oracle import true_frames
from stoirec.simulate.measurement import measure

SPANS = (3.0, 5.0)  # of the two runs
RATES = np.array([0.3, 1.0, 2.0])


def trajectory(time):
    """(n, 3) concentrations that decay, each at its own rate, and their derivatives."""
    value = 1 + 4 * np.exp(-RATES * np.asarray(time)[:, None])
    return value, -RATES * (value - 1)


@pytest.fixture
def times():
    rng = np.random.default_rng(0)
    return [np.sort(np.r_[0, span * rng.random(78), span]) for span in SPANS]


def test_a_course_without_noise_goes_through_every_value(times):
    values = [trajectory(time)[0] for time in times]
    courses, noise = courses_of(times, values)
    assert not noise.any()
    for course, time, value in zip(courses, times, values):
        concentration, dcdt = course.at(time)
        np.testing.assert_allclose(concentration, value, atol=1e-7)
        np.testing.assert_allclose(dcdt, trajectory(time)[1], atol=1e-4)


@pytest.mark.parametrize("proportional", [False, True])
def test_noise_is_told_from_curvature_and_smoothed(times, proportional):
    rng, noisy = np.random.default_rng(1), []
    for time in times:
        value = trajectory(time)[0]
        error = 0.05 * rng.normal(size=value.shape)
        noisy.append(value + error * (value / 3 if proportional else 1))
    courses, noise = courses_of(times, noisy)
    size = [np.sqrt(np.mean((trajectory(t)[0] / 3) ** 2, axis=0)) if proportional else np.ones(3) for t in times]
    np.testing.assert_allclose(noise, 0.05 * np.mean(size, axis=0), rtol=0.35)
    for course, time, value in zip(courses, times, noisy):
        true, smooth = trajectory(time)[0], course.at(time)[0]
        assert np.square(smooth - true).mean() < 0.5 * np.square(value - true).mean()


def test_known_errors_say_what_a_value_weighs(times):
    """A value whose error is known to be large is passed by, and the others are not."""
    values = [trajectory(time)[0] for time in times]
    rng = np.random.default_rng(4)
    errors = [np.full(value.shape, 0.02) for value in values]
    noisy = [value + 0.02 * rng.normal(size=value.shape) for value in values]
    errors[0][40], noisy[0][40] = 3.0, noisy[0][40] + 3.0
    courses, _ = courses_of(times, noisy, errors)
    near = courses[0].at(times[0][40:41])[0]
    np.testing.assert_allclose(near, values[0][40:41], atol=0.1)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_course_stays_as_it_is_before_its_first_value_and_after_its_last(times, noise):
    rng, fast = np.random.default_rng(6), [np.exp(-8 * time[:, None] * [1.0, 1.2, 1.5]) for time in times]
    values = [value + noise * rng.normal(size=value.shape) for value in fast]
    values[0][:9, 1], values[0][-9:, 2] = np.nan, np.nan
    course = courses_of(times, values)[0][0]
    smooth = course.at(times[0])[0]
    assert np.isfinite(smooth).all()
    np.testing.assert_allclose(smooth[:9, 1], smooth[9, 1], atol=0.02)
    np.testing.assert_allclose(smooth[-9:, 2], smooth[-10, 2], atol=0.02)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_units_and_gaps_change_nothing_but_the_values_that_are_missing(times, noise):
    rng = np.random.default_rng(2)
    values = [value + noise * rng.normal(size=value.shape) for value in (trajectory(time)[0] for time in times)]
    values[0][3:7, 1] = np.nan
    courses, found = courses_of(times, values)
    others, of_others = courses_of([60 * time for time in times], [1000 * value for value in values])
    np.testing.assert_allclose(of_others, 1000 * found, rtol=1e-6)
    for course, other, time in zip(courses, others, times):
        at, dcdt = course.at(time)
        np.testing.assert_allclose(other.at(60 * time)[0], 1000 * at, rtol=1e-3)
        np.testing.assert_allclose(other.in_unit(1000).at(60 * time)[1], dcdt / 60, rtol=2e-2, atol=1e-3)
    np.testing.assert_allclose(courses[0].at(times[0])[0], trajectory(times[0])[0], atol=0.2 if noise else 2e-4)


# --- integrals --------------------------------------------------------------------------------------------------------


@pytest.fixture
def measured_file(tiny_simulation, tmp_path):
    """A data.nc with values at times of each run's own, with gaps, without derivatives."""

    def write(noise=0.0, frames=60, missing=0.02):
        asked = Measured(frames=frames, noise=noise, missing=missing)
        regime = type("Asked", (), {"measured": asked, "seeds": type("S", (), {"initial_concentrations": 3})})
        time, value = measure(tiny_simulation, regime)
        network = network_dataset(tiny_simulation.space, "measured")
        path = tmp_path / "measured.nc"
        netcdf.write(path, with_trajectories(network, time, value, None, tiny_simulation.run_role))
        return path

    return write


def test_the_integral_of_the_true_rates_is_the_measured_change(measured_file, tiny_simulation):
    data = read_data(measured_file())
    assert not data.noise.any() and data.courses and np.isnan(data.courses[0].value).any()
    frames = data.training_frames(data.n_training_runs)
    assert len(np.unique(frames.run)) == (data.run_role == TRAINING).sum()
    changes = integrals(frames, data.courses, np.full(data.graph.n_metabolites, 0.1), 10_000)
    kinetics = tiny_simulation.kinetics
    dcdt = torch.as_tensor(kinetics.derivative(kinetics.flux(changes.points.numpy())))
    size = float(changes.target.std())
    assert changes.over_points(dcdt.T).T.numpy() == pytest.approx(changes.target.numpy(), abs=2e-3 * size)
    nodes = dcdt.T.unflatten(-1, changes.concentration.shape[:2])
    torch.testing.assert_close(changes.over_nodes(nodes), changes.over_points(dcdt.T))
    assert changes.noise == pytest.approx(np.full(data.graph.n_metabolites, 0.01), rel=0.05)


def test_between_measured_times_the_mean_of_the_true_rates_is_known(measured_file, tiny_simulation):
    data = read_data(measured_file(frames=20, missing=0.0))
    frames = data.training_frames(data.n_training_runs)
    scale = torch.as_tensor(data.dcdt.std(axis=(0, 1)))
    fitted = steps(frames, data.courses, scale, 10_000)
    n_steps = sum(len(data.courses[run].time) - 1 for run in np.unique(frames.run))
    assert len(fitted) == n_steps and fitted.noise == 0
    kinetics = tiny_simulation.kinetics
    dcdt = torch.as_tensor(kinetics.derivative(kinetics.flux(fitted.concentration.numpy())))  # (windows, nodes, M)
    left = fitted.over_nodes(dcdt.permute(2, 0, 1)).T / scale - fitted.target
    of_frames = kinetics.derivative(kinetics.flux(frames.concentration)) - frames.dcdt
    assert left.square().mean() < 0.1 * np.square(of_frames / scale.numpy()).mean()
    assert len(steps(frames, data.courses, scale, 30)) == 30


def test_fewer_values_are_means_of_neighbours(measured_file):
    data = read_data(measured_file(noise=0.05))
    frames = data.training_frames(data.n_training_runs)
    every, fewer = (integrals(frames, data.courses, data.noise, number) for number in (10_000, 40))
    n_stretches = len(every)
    mean_of = every.target.unflatten(0, (n_stretches, -1))[:, :10].mean(1)
    n_each = every.target.shape[0] // fewer.target.shape[0]
    if n_each == 10:
        torch.testing.assert_close(fewer.target.unflatten(0, (n_stretches, -1))[:, 0], mean_of)
    assert (fewer.noise < every.noise).all()
    parts = list(fewer.chunks(1))
    assert len(parts) == n_stretches
    torch.testing.assert_close(torch.cat([part.target for part in parts]), fewer.target)


def test_who_asks_for_the_graph_or_the_number_of_frames_waits_for_no_smooth_courses(
    measured_file, tiny_path, monkeypatch
):
    path = measured_file(noise=0.05)
    measured, derived = read_data(path), read_data(tiny_path)
    monkeypatch.setattr(dataset, "courses_of", None)
    for file, data in ((path, measured), (tiny_path, derived)):
        assert read_n_frames(file) == data.n_frames
        space = read_space(file)
        assert all(
            np.array_equal(getattr(space.graph, name), getattr(data.graph, name))
            for name in ("edge_metabolite", "edge_reaction", "edge_is_substrate")
        )
        assert np.array_equal(space.bound, data.space.bound)


def test_a_scale_divides_residuals_and_their_noise(measured_file):
    data = read_data(measured_file(noise=0.05))
    changes = integrals(data.training_frames(1), data.courses, data.noise, 1000)
    scale = changes.target.std(0)
    scaled = changes.scaled(scale)
    torch.testing.assert_close(scaled.target * scale, changes.target)
    assert scaled.noise == pytest.approx(float(np.mean(changes.noise / scale.numpy() ** 2)))


# --- files ------------------------------------------------------------------------------------------------------------


def test_runs_have_times_of_their_own_and_may_be_filled_up(measured_file, tmp_path):
    path = measured_file()
    whole = read_data(path)
    dataset = netcdf.read(path, ()).load()
    value, time = dataset["concentration"].values.copy(), dataset["time"].values.copy()
    value[0, 40:], time[0, 40:] = np.nan, np.nan
    shorter = dataset.assign(concentration=(("run", "time", "metabolite"), value), time=(("run", "time"), time))
    netcdf.write(tmp_path / "shorter.nc", shorter)
    found = read_data(tmp_path / "shorter.nc")
    assert len(found.courses[0].time) == 40 and len(found.courses[1].time) == len(whole.courses[1].time)
    assert found.time[0, -1] == time[0, 39] and (found.concentration >= 0).all()
    assert found.concentration.shape == found.dcdt.shape == (*found.time.shape, found.graph.n_metabolites)


def _without(run, metabolite, value):
    """`value` (runs, n, M) with nothing of a metabolite in the first run."""
    return np.concatenate([np.where(np.arange(value.shape[-1]) == metabolite, np.nan, run), value[1:]])


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda time, value: (time[:, ::-1], value), "time, run 0: found times that do not rise"),
        (lambda time, value: (time, np.where(np.arange(60)[:, None] < 56, np.nan, value)), "run 0: found 4 frames"),
        (lambda time, value: (time, _without(value[:1], 2, value)), "metabolite 2 less than twice in a run"),
        (lambda time, value: (time, np.full_like(value, np.nan)), "concentration: found no value"),
        (lambda time, value: (time, -value), r"concentration\[run 0, time 0, metabolite 0\]: found -"),
    ],
)
def test_courses_that_say_too_little_are_named(measured_file, tmp_path, change, named):
    dataset = netcdf.read(measured_file(), ()).load()
    time, value = change(dataset["time"].values, dataset["concentration"].values)
    changed = dataset.assign(concentration=(("run", "time", "metabolite"), value), time=(("run", "time"), time))
    netcdf.write(tmp_path / "bad.nc", changed)
    with pytest.raises(BadInput, match=named):
        read_data(tmp_path / "bad.nc")


@pytest.mark.parametrize("spacing", ["irregular", "even", "geometric"])
def test_frames_are_measured_from_the_first_to_the_last(tiny_simulation, spacing):
    asked = Measured(frames=30, spacing=spacing, missing=0.1)
    regime = type("Asked", (), {"measured": asked, "seeds": type("S", (), {"initial_concentrations": 3})})
    time, value = measure(tiny_simulation, regime)
    assert time.shape == value.shape[:2] == (len(tiny_simulation.run_role), 30)
    assert (np.diff(time) > 0).all() and (time[:, [0, -1]] == tiny_simulation.time[[0, -1]]).all()
    assert 0.05 < np.isnan(value).mean() < 0.15
    place = np.searchsorted(tiny_simulation.time, time[0])
    there = np.isfinite(value[0])
    np.testing.assert_array_equal(value[0][there], tiny_simulation.concentration[0][place][there])


# --- what they can tell -----------------------------------------------------------------------------------------------


def test_an_overview_of_measured_courses(measured_file):
    data = read_data(measured_file(noise=0.02))
    told = overview(data)
    assert told["training_runs"] + told["validation_runs"] == len(data.run_role)
    assert told["values_per_run"] == [60, 60] and told["derivatives"] == "estimated"
    assert 0.005 < told["missing"] < 0.04 and 0 < told["relative_noise"] < 1
    drivers = [
        frozenset(data.graph.edge_metabolite[edges][data.graph.edge_is_substrate[edges]])
        for edges in map(data.graph.edges_of, range(data.graph.n_reactions))
    ]
    twins = {drivers[int(name[1:])] for names in told["same_drivers"] for name in names}
    assert all(drivers.count(own) > 1 for own in twins)
    assert sum(drivers.count(own) for own in twins) == sum(map(len, told["same_drivers"]))
    text = "\n".join(sentences(told))
    assert "60 times each" in text and "derivatives are estimated" in text


def test_metabolites_that_do_not_move_are_named(tiny_data):
    still = replace(tiny_data, concentration=np.where(np.arange(10) == 3, 1.0, tiny_data.concentration))
    told = overview(still)
    assert told["still"] == ["M3"] and told["derivatives"] == "given" and told["missing"] == 0
    assert any("hardly move, whose rows nothing tells: M3" in line for line in sentences(told))


def test_an_oracle_has_integrals_of_the_true_fluxes_beside_the_changes(measured_file, tiny_truth):
    data = read_data(measured_file(noise=1e-3))
    flux, change = true_frames(data, tiny_truth)
    left = change - flux @ tiny_truth.stoichiometry.T
    assert np.sqrt(np.mean(left**2, axis=0)) == pytest.approx(data.noise, rel=0.5)


def test_a_constant_metabolite_has_no_noise(times):
    values = [np.c_[trajectory(time)[0], np.full(len(time), 5.0)] for time in times]
    assert not courses_of(times, values)[1].any()


def test_times_that_rounding_does_not_tell_apart_are_named(measured_file, tmp_path):
    dataset = netcdf.read(measured_file(), ()).load()
    later = dataset.assign(time=(("run", "time"), 1e15 + np.arange(60.0) + 0 * dataset["time"].values))
    netcdf.write(tmp_path / "late.nc", later)
    with pytest.raises(BadInput, match="time, run 0: found times that do not rise"):
        read_data(tmp_path / "late.nc")


def test_a_limiter_needs_measured_derivatives(measured_file):
    with pytest.raises(Unsuitable, match="dcdt: found nothing; allowed: measured derivatives"):
        _ = read_data(measured_file()).dt


def test_another_standard_error_is_another_job(measured_file):
    data = read_data(measured_file(noise=0.02))
    assert fingerprint(data, FitConfig()) != fingerprint(replace(data, noise=2 * data.noise), FitConfig())


# --- what would help, and the page that says it -----------------------------------------------------------------------


def test_metabolites_are_told_by_what_was_measured_of_them(measured_file):
    data = read_data(measured_file(noise=0.02, missing=0.1))
    table = by_metabolite(data)
    training = [course.value for course, role in zip(data.courses, data.run_role) if role == TRAINING]
    assert table["values"].values == pytest.approx(np.isfinite(np.concatenate(training)).mean(0))
    spread = table["standard_deviation"]
    assert (table["least"] < table["largest"]).all() and table[
        "relative_noise"
    ].values * spread.values == pytest.approx(data.noise)
    assert ((table["moves"] == MOVING) == (spread > 3 * data.noise)).all()
    drivers = data.graph.edge_metabolite[data.graph.edge_is_substrate]
    assert table["drives"].sum() == len(drivers) and table["stands_in"].sum() == data.graph.n_edges
    assert table.loc[f"M{drivers[0]}", "drives"] == (drivers == drivers[0]).sum()


def test_advice_names_what_is_missing(tiny_data, measured_file):
    def advised(data):
        return " | ".join(advice(overview(data), by_metabolite(data)))

    plain = advised(tiny_data)
    assert "replicates" not in plain and "measuring" not in plain and "formulas of" not in plain
    space = replace(tiny_data.space, conserved=tiny_data.space.conserved[:0])
    assert "formulas of the species" in advised(replace(tiny_data, space=space))
    still = replace(tiny_data, concentration=np.where(np.isin(np.arange(10), (3, 5)), 1.0, tiny_data.concentration))
    drives = by_metabolite(still)["drives"]
    first = max(("M3", "M5"), key=lambda name: drives[name])
    assert f"runs that start with more or less of M3, M5; of them {first} drives most reactions" in advised(still)
    one = replace(tiny_data, run_role=np.where(np.arange(len(tiny_data.run_role)) == 0, TRAINING, 1))
    assert "runs that start elsewhere: those there are say as much as 1 of their own" in advised(one)
    assert "replicates" in advised(read_data(measured_file(noise=0.2)))


def test_the_page_of_a_check_names_everything_and_escapes_it(measured_file, tmp_path, capsys):
    path, page = measured_file(noise=0.02), tmp_path / "check.html"
    cli.check.check(path, output=page)
    text = page.read_text()
    data = read_data(path)
    names = [data.graph.reaction_name(j) for j in range(data.graph.n_reactions)]
    assert all(f"<th>{name}</th>" in text for name in [*names, *(f"M{i}" for i in range(10))])
    said = capsys.readouterr().out
    assert "What would help most" in text and "recipe best" in said
    assert re.search(r"recovering S takes about \d+ s to \d+ (s|min) on a core of this time, and 0\.\d GiB", said)
    hostile = TimeCourses.of(
        data, ("<b>best</b>", "<script>alert"), {"least_seconds": 1.0, "most_seconds": 2.0, "bytes": 1.0}
    )
    shown = render("<i>data.nc", data.space, balances(data.space), hostile)
    assert "<script>alert" not in shown and "<b>" not in shown and "<i>" not in shown
    json.dumps(hostile.as_dict(), allow_nan=False)


def test_what_a_fit_takes_grows_with_what_it_has_to_find(tiny_data):
    config = recipe.configured("best", tiny_data, "pde_m1", 1)
    half = np.flatnonzero(tiny_data.graph.edge_reaction < 8)
    small, whole = (
        expected(data, config) for data in (replace(tiny_data, space=tiny_data.space.part(half)), tiny_data)
    )
    assert small.least_seconds < whole.least_seconds < whole.most_seconds and small.bytes < whole.bytes
    unrefined = expected(tiny_data, config.model_copy(update={"refinement_rounds": 0}))
    assert unrefined.least_seconds < unrefined.most_seconds < whole.most_seconds
    full = expected(tiny_data, config.model_copy(update={"refinement_rounds": 0, "enough_val_loss": 0.0}))
    assert full.least_seconds == full.most_seconds == unrefined.most_seconds


def test_a_check_does_not_write_over_its_data(measured_file):
    path = measured_file(noise=0.02)
    before = path.read_bytes()
    with pytest.raises(BadInput, match="this is read by the command"):
        cli.check.check(path, output=path)
    assert path.read_bytes() == before
