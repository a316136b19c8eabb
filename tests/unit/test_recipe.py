"""The recipe `stoirec recover` takes where none is asked for: by what a learner may see."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import xarray as xr

from stoirec.config.fit import RecipeName
from stoirec.data.dataset import read_data
from stoirec.learn.recipe import PER_SIDE, choose, configured, euler_steps, load, n_crowded
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.simulate.trajectories import simulate
from stoirec.simulate.truth import write_simulation


@pytest.fixture(scope="module")
def data_of(tmp_path_factory):
    """Simulate a regime and read what a learner may see of it."""
    folder = tmp_path_factory.mktemp("recipes")

    def read(regime, **changes):
        regime = regime.model_copy(update=changes)
        path = folder / f"{regime.name}{len(changes)}.nc"
        write_simulation(path, simulate(regime), regime)
        paths.append(path)
        return read_data(path)

    paths = read.paths = []

    return read


def test_the_best_recipe_is_for_smooth_trajectories_of_real_edges(tiny_data):
    name, reason = choose(tiny_data)
    assert name == "best" and "no Euler steps" in reason and "no reaction has" in reason
    assert n_crowded(tiny_data) == 0 and not euler_steps(tiny_data)


def test_gradient_descent_ends_early_only_where_runs_differ(tiny_data):
    """Runs that start alike look like the one that was held out, whatever was learned of them.

    Nor where reactions have constants of their own.
    """
    assert configured("best", tiny_data, "pde_m1", 1).enough_val_loss > 0
    assert configured("best", tiny_data, "convenience", 1).enough_val_loss == 0
    assert configured("reversible", tiny_data, "pde_m1", 1).enough_val_loss == 0
    alike = tiny_data.concentration[:1] * np.linspace(1, 1.01, len(tiny_data.run_role))[:, None, None]
    assert configured("best", replace(tiny_data, concentration=alike), "pde_m1", 1).enough_val_loss == 0


def test_euler_steps_call_for_the_limiter(limited_regime, data_of):
    limited = data_of(limited_regime)
    assert choose(limited)[0] == "flux_limited"
    stored = replace(
        limited,
        concentration=limited.concentration.astype(np.float32).astype(float),
        dcdt=limited.dcdt.astype(np.float32).astype(float),
    )
    assert euler_steps(stored)  # single precision is enough
    unequal = replace(limited, time=np.where(np.arange(limited.n_frames) > 5, limited.time + 0.5, limited.time))
    still = replace(limited, concentration=np.ones_like(limited.concentration), dcdt=np.zeros_like(limited.dcdt))
    one = replace(limited, time=limited.time[:1], concentration=limited.concentration[:, :1], dcdt=limited.dcdt[:, :1])
    assert not any(euler_steps(other) for other in (unequal, still, one))


def test_unknown_signs_call_for_a_start_near_zero(tiny_regime, limited_regime, data_of):
    name, reason = choose(data_of(tiny_regime, signs="unknown"))
    assert name == "unsigned" and "are not known" in reason and "untested" not in reason
    name, reason = choose(data_of(limited_regime, signs="unknown"))
    assert name == "unsigned" and "untested" in reason


def test_more_candidates_than_can_be_real_call_for_the_decoys_recipe(tiny_regime, limited_regime, data_of):
    name, reason = choose(data_of(tiny_regime, decoy_edges=1.0, signs="unknown"))
    assert name == "decoys" and "are not known" in reason
    crowded = data_of(tiny_regime, decoy_edges=1.0)
    name, reason = choose(crowded)
    assert name == "decoys" and f"{n_crowded(crowded)} of 16 reactions" in reason and "untested" not in reason
    name, reason = choose(data_of(limited_regime, decoy_edges=1.0))
    assert name == "decoys" and "untested" in reason


def test_reactions_both_ways_call_for_more_gradient_descent(tiny_data):
    reverse_of = np.full(16, -1)
    name, reason = choose(replace(tiny_data, space=replace(tiny_data.space, reverse_of=reverse_of)))
    assert name == "best"
    reverse_of[3] = 2
    name, reason = choose(replace(tiny_data, space=replace(tiny_data.space, reverse_of=reverse_of)))
    assert name == "reversible" and "1 of the reactions" in reason
    best, found = load("best"), load(name)
    assert found == best.model_copy(update={"n_epochs": found.n_epochs}) and found.n_epochs > best.n_epochs


def test_a_few_large_reactions_are_taken_as_they_are(tiny_data):
    graph = tiny_data.graph
    own = graph.edge_reaction == 0
    added = np.setdiff1d(np.arange(10), graph.edge_metabolite[own])[:4]
    larger = from_pairs(
        10,
        16,
        np.concatenate([graph.edge_metabolite, added]),
        np.concatenate([graph.edge_reaction, np.zeros(4, int)]),
        np.concatenate([graph.edge_is_substrate, np.ones(4, bool)]),
    )
    name, reason = choose(replace(tiny_data, space=ColumnSpace.of_roles(larger)))
    assert name == "best" and "only 1 of 16 reactions" in reason


def test_forward_differences_are_no_flux_limiter(tiny_data):
    """A user's np.diff(c) / dt: explicit Euler steps, but nothing is used up."""
    dcdt = np.diff(tiny_data.concentration, axis=1) / tiny_data.dt
    own = replace(tiny_data, time=tiny_data.time[:-1], concentration=tiny_data.concentration[:, :-1], dcdt=dcdt)
    assert choose(own)[0] == "best"


def test_candidates_are_counted_on_each_side(tiny_data):
    graph = tiny_data.graph
    per_reaction = np.bincount(graph.edge_reaction)
    assert per_reaction.max() > PER_SIDE  # both sides together may have more
    substrates_only = ColumnSpace.of_roles(replace(graph, edge_is_substrate=np.ones(graph.n_edges, bool)))
    assert n_crowded(replace(tiny_data, space=substrates_only)) == (per_reaction > PER_SIDE).sum()


def test_a_users_own_file_is_chosen_for_as_well(limited_regime, data_of, tmp_path):
    path = tmp_path / "own.nc"
    data_of(limited_regime)
    with xr.open_dataset(data_of.paths[-1]) as dataset:
        dataset.load().drop_vars(["run_role", "reaction", "metabolite"]).drop_attrs().to_netcdf(path)
    assert choose(read_data(path))[0] == "flux_limited"


def test_every_recipe_can_be_chosen_and_loaded():
    names = {*get_args(RecipeName)} - {"auto"}
    assert names == {"best", "flux_limited", "decoys", "unsigned", "reversible"}
    assert load("flux_limited").graph_model.flux_limiter and load("decoys").graph_model.substrate_gate
    shapes = {name: load(name).graph_model for name in names}
    extra = {"flux_limiter": False, "substrate_gate": False}
    assert all(shape.model_copy(update=extra) == shapes["best"] for shape in shapes.values())  # functions as large


def test_a_real_reaction_is_as_large_as_the_refinement_assumes():
    """Columns the refinement weighs have that many substrates or products, and never more."""
    graph = from_pairs(2 * PER_SIDE + 4, 1, range(2 * PER_SIDE + 4), [0] * (2 * PER_SIDE + 4), np.arange(10) < 5)
    sides = ColumnSpace.of_roles(graph).with_decoys().sides(0)
    assert (sides.driving < 0).sum(1).max() == (sides.others > 0).sum(1).max() == PER_SIDE


def test_a_file_that_says_which_edges_are_real_decides(tiny_regime, data_of):
    crowded = data_of(tiny_regime, decoy_edges=1.0)
    real = replace(crowded, space=replace(crowded.space, real=np.ones(crowded.graph.n_edges, bool)))
    assert choose(real)[0] == "best"
    some = data_of(tiny_regime)
    doubtful = replace(some, space=replace(some.space, real=np.arange(some.graph.n_edges) != 3))
    assert choose(doubtful) == ("decoys", f"1 of {some.graph.n_edges} edges may not be real")
