"""Metabolites that nobody measured: read, inferred from what they drive, left out of what is judged."""

import numpy as np
import pandas as pd
import pytest
import torch

from stoirec.answer.prediction import answered_model, with_rollout_errors
from stoirec.answer.recovery import recover
from stoirec.cli import app
from stoirec.config.fit import FitConfig
from stoirec.data.dataset import read_data
from stoirec.data.overview import overview, sentences
from stoirec.errors import BadInput, Unsuitable
from stoirec.files import netcdf
from stoirec.learn.inferred import InferredCourses, place_of
from stoirec.learn.observations import Observations, std
from stoirec.learn.refinement_rounds import RefinementRounds
from stoirec.learn.training import train
from stoirec.report.own_data import page
from stoirec.score.oracle import true_frames
from stoirec.simulate.trajectories import simulate
from stoirec.simulate.truth import read_truth, write_simulation

LEFT_OUT = 4
CPU = torch.device("cpu")
FIT = FitConfig(n_epochs=1, epoch_steps=30, n_runs=2, role_prior=True, refinement_frames=40)
REFINED = FIT.model_copy(update={"refinement_rounds": 2, "refinement_steps": 2})


@pytest.fixture(scope="module")
def data(tiny_path, tmp_path_factory):
    """The tiny data without a metabolite, its derivatives given."""
    dataset = netcdf.read(tiny_path, ()).load()
    for name in ("concentration", "dcdt"):
        dataset[name].values[..., LEFT_OUT] = np.nan
    path = tmp_path_factory.mktemp("data") / "own.nc"
    netcdf.write(path, dataset)
    return read_data(path)


@pytest.fixture(scope="module")
def measured(tiny_regime, tmp_path_factory):
    """(path, data, truth) of time courses without two metabolites."""
    asked = {"frames": 60, "spacing": "even", "unmeasured": 2}
    regime = type(tiny_regime).model_validate(tiny_regime.model_dump() | {"measured": asked})
    path = tmp_path_factory.mktemp("data") / "measured.nc"
    write_simulation(path, simulate(regime), regime)
    data = read_data(path)
    return path, data, read_truth(path, data.graph)


def test_what_has_no_value_is_told_apart(data, measured):
    assert data.unmeasured.tolist() == [LEFT_OUT]
    assert np.isfinite(data.concentration).all() and not data.dcdt[..., LEFT_OUT].any()
    path, courses, truth = measured
    empty = np.isnan(netcdf.read(path, ())["concentration"].values).all(axis=(0, 1))
    assert courses.unmeasured.tolist() == np.flatnonzero(empty).tolist() and len(courses.unmeasured) == 2
    told = overview(courses)
    assert told["unmeasured"] == [courses.graph.metabolite_name(place) for place in courses.unmeasured]
    assert not set(told["unmeasured"]) & set(told["still"]) and told["missing"] == 0
    assert any("nobody measured" in line for line in sentences(told))


def test_all_metabolites_without_a_value_are_refused(tiny_regime):
    asked = {"frames": 60, "unmeasured": 10}
    with pytest.raises(ValueError, match="measured.unmeasured: 10 of 10 metabolites"):
        simulate(type(tiny_regime).model_validate(tiny_regime.model_dump() | {"measured": asked}))


def test_transposed_data_are_named_as_before(tiny_path, tmp_path):
    dataset = netcdf.read(tiny_path, ()).load()
    netcdf.write(tmp_path / "own.nc", dataset.assign(dcdt=dataset["dcdt"].transpose()))
    with pytest.raises(BadInput, match="dcdt: found dimensions"):
        read_data(tmp_path / "own.nc")


def test_a_value_here_and_there_is_not_unmeasured(tiny_path, tmp_path):
    dataset = netcdf.read(tiny_path, ()).load()
    dataset["concentration"].values[..., LEFT_OUT] = np.nan  # dcdt is there
    netcdf.write(tmp_path / "own.nc", dataset)
    with pytest.raises(BadInput, match=r"concentration\[run 0, time 0, metabolite \d\]: found nan"):
        read_data(tmp_path / "own.nc")


def test_splines_have_the_derivatives_they_say(data):
    courses = InferredCourses(data, torch.float64, CPU)
    inner, step = data.time[5:-5], 1e-6
    ahead, behind = (courses._basis(np.r_[0.0, inner + shift, data.time[-1]])[0] for shift in (step, -step))
    slope = courses._basis(np.r_[0.0, inner, data.time[-1]])[1]
    np.testing.assert_allclose(slope[1:-1], ((ahead - behind) / (2 * step))[1:-1], atol=1e-6)
    with torch.no_grad():
        courses.log_c += 0.3 * torch.randn(courses.log_c.shape, generator=torch.Generator().manual_seed(1))
    c, rate = courses.at(1, torch.arange(data.n_frames))
    np.testing.assert_allclose((rate / c).detach(), courses.slope[1] @ courses.log_c[1].detach(), atol=1e-12)
    finer, every = InferredCourses.finer(courses, data), torch.arange(data.n_frames)
    assert finer.n_splines > courses.n_splines
    np.testing.assert_allclose(finer.at(0, every)[0].detach(), courses.at(0, every)[0].detach(), rtol=0.05)


def test_frames_know_where_they_stand(data):
    observed = Observations.of(data, FIT, CPU)
    run, place = place_of(observed, data)
    np.testing.assert_array_equal(data.time[place], observed.frames.time)
    courses = InferredCourses(data, torch.float64, CPU)
    runs, places = torch.as_tensor(run), torch.as_tensor(place)
    filled, slope = courses.filled(observed.training.concentration, observed.training.dcdt, runs, places)
    kept = np.delete(np.arange(data.graph.n_metabolites), LEFT_OUT)
    assert torch.equal(filled[:, kept], observed.training.concentration[:, kept])
    assert torch.allclose(filled[:, LEFT_OUT], courses.log_c[0, 0, 0].exp()) and slope.requires_grad


def test_at_the_true_model_the_true_course_is_found(data, tiny_data, tiny_truth, fit_with_true_weights):
    config = FitConfig(graph_model={"hidden_dim": 12, "output_size": 6})
    fit = fit_with_true_weights(data, tiny_truth, config)
    model = answered_model(fit, data, data.graph.on_edges(tiny_truth.stoichiometry), tiny_truth.log_k)
    courses = InferredCourses.finer(InferredCourses(data, torch.float64, CPU), data)
    for _ in range(2):
        courses.fit(model, data, std(torch.as_tensor(data.dcdt.reshape(-1, data.graph.n_metabolites))))
    found, true = courses.into(data), tiny_data.concentration[..., LEFT_OUT]
    error = np.abs(found.concentration[..., LEFT_OUT] - true)
    assert np.median(error) < 0.01 * true.std() and np.quantile(error, 0.9) < 0.1 * true.std()
    others = np.delete(np.arange(data.graph.n_metabolites), LEFT_OUT)
    np.testing.assert_array_equal(found.concentration[..., others], data.concentration[..., others])


def test_losses_leave_out_what_nobody_measured(data):
    observed = Observations.of(data, FIT, CPU)
    numbers = torch.arange(data.graph.n_metabolites, dtype=torch.float64)
    assert observed.validation.mean(numbers) == np.delete(numbers.numpy(), LEFT_OUT).mean()


@pytest.mark.parametrize("kind", ["derivatives", "courses"])
def test_a_fit_keeps_its_courses_and_predicts_with_them(data, measured, kind):
    own = data if kind == "derivatives" else measured[1]
    fit = train(own, REFINED, CPU)
    inferred = fit["inferred_concentration"]
    assert inferred.shape == (len(own.run_role), own.n_frames, len(own.unmeasured)) and (inferred > 0).all()
    assert fit["unmeasured"].values.tolist() == own.unmeasured.tolist()
    recovery = with_rollout_errors(recover(fit, "fit.nc"), fit, own)
    assert recovery["rollout_error_refined"] > 0
    text = page.render("own.nc", own, fit, recovery, "best")
    assert "Nobody measured" in text and "Run 0" in text


@pytest.mark.parametrize("kind", ["derivatives", "courses"])
def test_a_run_killed_in_its_refinement_resumes_to_the_same_numbers(data, measured, kind, tmp_path, monkeypatch):
    data = data if kind == "derivatives" else measured[1]
    whole, path, advance = train(data, REFINED, CPU), tmp_path / "fit.ckpt", RefinementRounds.advance

    def die_in_the_second(rounds):
        if rounds.done == 1:
            raise KeyboardInterrupt
        return advance(rounds)

    monkeypatch.setattr(RefinementRounds, "advance", die_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(data, REFINED, CPU, path)
    monkeypatch.setattr(RefinementRounds, "advance", advance)
    resumed = train(data, REFINED, CPU, path)
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name].values, resumed[name].values, err_msg=name)


def test_without_refinement_the_courses_are_inferred_at_the_end(data):
    fit = train(data, FIT, CPU)
    assert np.ptp(fit["inferred_concentration"].values[0]) > 0 and np.isfinite(fit["val_loss"])


def test_a_fit_of_other_data_is_named(data, measured, tiny_data):
    fit = train(tiny_data, FIT, CPU)
    with pytest.raises(Unsuitable, match="concentration: found nothing of M4, which the fit does not have"):
        with_rollout_errors(recover(fit, "fit.nc"), fit, data)


def test_an_oracle_knows_what_nobody_measured(measured):
    _, data, truth = measured
    flux, dcdt = true_frames(data, truth)
    left = np.abs(dcdt - flux @ truth.stoichiometry.T)
    assert left.max() < 1e-2 * np.abs(dcdt).max()


@pytest.fixture
def chain(tmp_path):
    """A chain of ten species, and the name of its model file."""
    rows = [f"R{i},S{i} -> S{i + 1}" for i in range(9)]
    (tmp_path / "model.csv").write_text("\n".join(["reaction,equation", *rows]) + "\n")
    return tmp_path / "model.csv"


@pytest.mark.parametrize(("missing", "inferred"), [("S4", True), ("S9", False)])
def test_a_species_without_a_column_is_inferred_if_it_drives(chain, tmp_path, missing, inferred, caplog):
    caplog.set_level("INFO")
    names = [f"S{i}" for i in range(10) if f"S{i}" != missing]
    values = {
        (run, time): [1 + (run + i) % 3 + 0.5 ** (time + i) for i in range(9)] for run in (1, 2) for time in range(8)
    }
    rows = [[*key, *row] for key, row in values.items()]
    lines = [",".join(map(str, row)) for row in [["run", "time", *names], *rows]]
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n")
    arguments = ["import", str(chain), "--table", str(tmp_path / "runs.csv"), "-o", str(tmp_path / "data.nc")]
    app(arguments, standalone_mode=False)
    data = read_data(tmp_path / "data.nc")
    assert [data.graph.metabolite_name(place) for place in data.unmeasured] == ([missing] if inferred else [])
    assert data.graph.n_metabolites == (10 if inferred else 9)
    assert any("never measured, to be inferred" in line for line in caplog.messages) == inferred


def test_a_template_is_a_table_once_it_is_filled_in(chain, tmp_path):
    table = tmp_path / "runs.csv"
    app(["import", str(chain), "--template", "-o", str(table)], standalone_mode=False)
    filled = pd.read_csv(table)
    assert list(filled.columns[:4]) == ["run", "time", "S0", "S0 se"] and len(filled) == 10
    for place, name in enumerate(filled.columns[2:]):
        filled[name] = 0.01 if name.endswith("se") else 1 + np.exp(-filled["time"] * (1 + place) / 9)
    filled.to_csv(table, index=False)
    app(["import", str(chain), "--table", str(table), "-o", str(tmp_path / "data.nc")], standalone_mode=False)
    data = read_data(tmp_path / "data.nc")
    assert len(data.run_role) == 2 and data.noise == pytest.approx(0.01)
    for more, named in ((["-o", "t.nc"], "a name with .csv"), (["-o", "t.csv", "--table", str(table)], "one of them")):
        with pytest.raises(BadInput, match=named):
            app(["import", str(chain), "--template", *more], standalone_mode=False)


@pytest.mark.parametrize("first", ["run", "time", "value", "SE", "B_se"])
def test_a_template_of_species_with_names_of_columns_is_long(tmp_path, first):
    model, table = tmp_path / "model.csv", tmp_path / "runs.csv"
    model.write_text(f"reaction,equation\nR1,{first} -> B\nR2,B -> C\n")
    app(["import", str(model), "--template", "-o", str(table)], standalone_mode=False)
    filled = pd.read_csv(table).assign(se=0.01)
    assert list(filled.columns) == ["run", "time", "species", "value", "se"] and len(filled) == 30
    rates = filled["species"].map({first: 1.0, "B": 0.5, "C": 0.2})
    filled.assign(value=1 + np.exp(-rates * filled["time"])).to_csv(table, index=False)
    app(["import", str(model), "--table", str(table), "-o", str(tmp_path / "data.nc")], standalone_mode=False)
    data = read_data(tmp_path / "data.nc")
    assert [data.graph.metabolite_name(place) for place in range(3)] == [first, "B", "C"]
    assert not len(data.unmeasured) and data.noise == pytest.approx(0.01)
