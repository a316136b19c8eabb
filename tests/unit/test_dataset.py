import dataclasses
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from stoirec.data.dataset import read_data
from stoirec.data.frames import effective_runs, frames_of
from stoirec.data.graph_variables import space_of, space_variables
from stoirec.errors import BadInput, Unsuitable
from stoirec.files import netcdf
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.simulate.trajectories import simulate
from stoirec.simulate.truth import read_truth, write_simulation


@pytest.fixture
def root(tiny_path):
    with xr.open_dataset(tiny_path) as dataset:
        return dataset.load()


def test_contract_of_data_nc(root, tiny_path, tiny_regime):
    assert {"run", "time", "metabolite", "reaction", "edge"} <= set(root.sizes)
    assert root["concentration"].dims == root["dcdt"].dims == ("run", "time", "metabolite")
    assert all({"units", "long_name"} <= set(v.attrs) for v in root.variables.values())
    assert set(root.attrs) == {"title", "stoirec_version", "git_commit"}  # nothing S can be simulated again from
    assert not {"stoichiometry", "log_k", "edge_is_true"} & set(root.variables)
    with xr.open_dataset(tiny_path, group="truth") as truth:
        assert {"stoichiometry", "log_k", "edge_is_true", "substrate_func_weight1", "rate_func_bias2"} <= set(
            truth.variables
        )
        assert np.issubdtype(truth["stoichiometry"].dtype, np.integer)
        assert {"regime", "config", "network_seed", "seed_network", "seed_mlps"} <= set(truth.attrs)


def test_a_learner_cannot_find_the_file_nor_what_it_was_simulated_from(tiny_data, tiny_path, tiny_regime):
    """Of the simulated file: neither its path, nor its seeds, nor its regime stand in what a learner is given."""
    shown = repr(vars(tiny_data)) + repr(vars(tiny_data.graph))
    assert str(tiny_path) not in shown and tiny_regime.name not in shown
    texts = {name: value for name, value in vars(tiny_data).items() if isinstance(value, Path | str)}
    assert texts == {"time_unit": "time unit", "unit": "concentration unit"} and tiny_data.run_names == ()


def test_frames_know_their_run_and_time(tiny_data):
    frames = tiny_data.training_frames(2)
    for at in (0, 199, 200, 399):
        run, place = frames.run[at], np.flatnonzero(tiny_data.time == frames.time[at])[0]
        assert (run, place) == divmod(at, 200)
        assert np.array_equal(frames.concentration[at], tiny_data.concentration[run, place])
    assert np.array_equal(frames.stretch, frames.run)
    assert frames.concentration.dtype == frames.dcdt.dtype == np.float64


def test_held_out_blocks_cut_runs_into_stretches(tiny_data):
    own = dataclasses.replace(tiny_data, run_role=np.zeros(3, np.int8))
    frames = own.training_frames(3)
    step = np.diff(frames.time)
    gap = (np.diff(frames.run) != 0) | (step > 1.5 * np.median(step))
    assert np.array_equal(np.diff(frames.stretch), gap.astype(int)) and frames.stretch[-1] == 3 * 2 - 1


@pytest.mark.parametrize("n_frames", [1, 4])
def test_too_few_frames_to_hold_any_out_are_named(tiny_data, n_frames):
    short = dataclasses.replace(
        tiny_data,
        time=tiny_data.time[:n_frames],
        concentration=tiny_data.concentration[:, :n_frames],
        dcdt=tiny_data.dcdt[:, :n_frames],
        run_role=np.zeros(3, np.int8),
    )
    with pytest.raises(Unsuitable, match="time: found .* frames a run; allowed: at least 10"):
        short.validation_frames()


def test_names_and_column_space_go_through_a_file(tiny_data, tmp_path):
    graph = dataclasses.replace(
        tiny_data.graph,
        metabolite_names=tuple("ABCDEFGHIJ"),
        reaction_names=tuple(f"r {j}" for j in range(16)),
        metabolite_labels=("glucose",) * 10,
    )
    space = ColumnSpace.of_roles(graph, bound=3)
    known = np.where(np.arange(graph.n_edges) == 2, -1.5, np.nan)
    elements = np.arange(20.0).reshape(2, 10)
    space = dataclasses.replace(space, known=known, conserved=elements, is_open=np.arange(16) == 3)
    netcdf.write(tmp_path / "space.nc", xr.Dataset(space_variables(space)))
    found = space_of(netcdf.read(tmp_path / "space.nc"), "space.nc")
    assert found.graph.metabolite_names == graph.metabolite_names
    assert found.graph.reaction_names == graph.reaction_names
    assert found.graph.metabolite_labels == graph.metabolite_labels and found.graph.reaction_labels == ()
    for name in ("sign", "bound", "known", "conserved", "is_open"):
        assert np.array_equal(getattr(found, name), getattr(space, name), equal_nan=name == "known"), name
    usual = space_variables(tiny_data.space)
    assert not usual.keys() & {"edge_bound", "conserved", "edge_is_real", "reaction_reverse_of"}  # the default


def test_labels_are_text_one_for_each(tiny_data):
    dataset = xr.Dataset(space_variables(tiny_data.space)).assign(reaction_label=("reaction", np.arange(16)))
    with pytest.raises(BadInput, match="data.nc: reaction_label: found int64"):
        space_of(dataset, "data.nc")


@pytest.mark.parametrize("reverse_of", [[-1, 0, 1], [1, 0, -1], [-1, 0, 0], [-1, 3, -1], [0, -1, -1], [-1, 0.5, -1]])
def test_which_reaction_is_whose_reverse_has_to_make_sense(reverse_of):
    graph = from_pairs(2, 3, [0, 1] * 3, np.repeat(range(3), 2), [1, 0, 0, 1, 1, 0])
    space = dataclasses.replace(ColumnSpace.of_roles(graph), reverse_of=np.array(reverse_of))
    with pytest.raises(BadInput, match="data.nc: reaction_reverse_of"):
        space_of(xr.Dataset(space_variables(space)), "data.nc")


def test_a_files_word_on_what_is_real_is_0_or_1(tiny_data):
    real = np.arange(tiny_data.graph.n_edges) % 2 == 0
    dataset = xr.Dataset(space_variables(dataclasses.replace(tiny_data.space, real=real)))
    assert np.array_equal(space_of(dataset, "data.nc").real, real)
    dataset["edge_is_real"] = dataset["edge_is_real"] * 2
    with pytest.raises(BadInput, match=r"edge_is_real\[edge 0\]: found 2 \(\d+ such values\); allowed: 0 or 1"):
        space_of(dataset, "data.nc")


def test_round_trip(tiny_simulation, tiny_data, tiny_truth):
    assert np.array_equal(tiny_data.concentration, tiny_simulation.concentration)
    assert np.array_equal(tiny_data.dcdt, tiny_simulation.dcdt)
    c = tiny_simulation.concentration[0, :5]
    assert np.array_equal(tiny_truth.flux(c), tiny_simulation.kinetics.flux(c))


def test_users_own_file_without_truth_and_roles_holds_out_time_blocks(root, tmp_path, tiny_data):
    path = tmp_path / "own.nc"
    root.drop_vars(["run_role", "reaction", "metabolite"]).drop_attrs().to_netcdf(path)
    own = read_data(path)
    with pytest.raises(BadInput, match="truth"):
        read_truth(path, own.graph)
    training, validation = own.training_frames(3).concentration, own.validation_frames().concentration
    assert len(training) + len(validation) == 3 * 200 and len(validation) == 3 * 40
    seen = {row.tobytes() for row in training}
    assert not any(row.tobytes() in seen for row in validation)


def test_n_runs_takes_the_first_training_runs_only(tiny_data):
    one = tiny_data.training_frames(1).concentration
    assert np.array_equal(one, tiny_data.concentration[0])
    with pytest.raises(Unsuitable, match="n_runs"):
        tiny_data.training_frames(3)
    assert np.array_equal(tiny_data.validation_frames().concentration, tiny_data.concentration[2])


def test_truth_of_another_network_is_refused(tiny_path, tiny_data):
    other = dataclasses.replace(tiny_data.graph, n_reactions=17)
    with pytest.raises(BadInput, match="shape"):
        read_truth(tiny_path, other)


@pytest.mark.parametrize("name", ["mass_action", "convenience"])
def test_the_truth_may_follow_a_textbook_law(tiny_regime, tmp_path, name):
    kinetics = tiny_regime.kinetics.model_copy(update={"rate_law": name})
    regime = tiny_regime.model_copy(update={"kinetics": kinetics, "initial_concentration": (0.2, 1.8)})
    simulation, path = simulate(regime), tmp_path / "data.nc"
    write_simulation(path, simulation, regime)
    truth = read_truth(path, simulation.graph)
    c = simulation.concentration[0, :5]
    assert np.array_equal(truth.flux(c), simulation.kinetics.flux(c))
    assert simulation.kinetics.derivative(truth.flux(c)) == pytest.approx(simulation.dcdt[0, :5], rel=1e-12)
    with netCDF4.Dataset(path, "a") as file:
        file["truth"].rate_law = "no such law"
    with pytest.raises(BadInput, match="rate_law.*no such law.*pde_m1"):
        read_truth(path, simulation.graph)


def test_runs_may_start_alike(tiny_regime):
    apart, alike = (
        simulate(tiny_regime.model_copy(update={"initial_variation": share})).concentration[:, 0]
        for share in (None, 0.02)
    )
    assert (np.ptp(alike, axis=0) < 0.04 * alike.mean(axis=0)).all() and np.ptp(apart, axis=0).max() > 1


def test_runs_count_as_far_as_they_differ(rng):
    def number(concentration):
        n_runs, n_frames, _ = concentration.shape
        every = np.arange(n_runs), np.ones(n_frames, bool)
        return effective_runs(frames_of(concentration, concentration, np.arange(n_frames), *every))

    decay = np.exp(-np.linspace(0, 2, 50))[:, None] * rng.uniform(1, 9, 20)
    one = np.stack([decay] * 4)
    assert number(decay[None]) == 1 and number(one) == pytest.approx(1)
    assert number(one * (1 + 0.02 * rng.normal(size=(4, 1, 20)))) < 1.1
    assert number(one * rng.uniform(0.1, 3, size=(4, 1, 20))) > 2.5
    apart = np.broadcast_to(rng.uniform(1, 9, (4, 1, 20)), one.shape)
    assert number(apart) == pytest.approx(4)
    assert number(np.ones((3, 5, 2))) == 1
