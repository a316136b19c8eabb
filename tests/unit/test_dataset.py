import dataclasses

import numpy as np
import pytest
import xarray as xr

from stoirec.data.dataset import read_data
from stoirec.errors import BadInput
from stoirec.simulate.truth import read_truth


@pytest.fixture
def root(tiny_path):
    with xr.open_dataset(tiny_path) as dataset:
        return dataset.load()


def test_contract_of_data_nc(root, tiny_path, tiny_regime):
    assert {"run", "time", "metabolite", "reaction", "edge"} <= set(root.sizes)
    assert root["concentration"].dims == root["dcdt"].dims == ("run", "time", "metabolite")
    assert all({"units", "long_name"} <= set(v.attrs) for v in root.variables.values())
    assert {"config", "stoirec_version", "git_commit", "seed_network", "seed_mlps"} <= set(root.attrs)
    assert not {"stoichiometry", "log_k", "edge_is_true"} & set(root.variables)
    with xr.open_dataset(tiny_path, group="truth") as truth:
        assert {"stoichiometry", "log_k", "edge_is_true", "substrate_func_weight1", "rate_func_bias2"} <= set(
            truth.variables
        )
        assert np.issubdtype(truth["stoichiometry"].dtype, np.integer)


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
    training, _ = own.training_frames(3)
    validation, _ = own.validation_frames()
    assert len(training) + len(validation) == 3 * 200 and len(validation) == 3 * 40
    seen = {row.tobytes() for row in training}
    assert not any(row.tobytes() in seen for row in validation)


def test_n_runs_takes_the_first_training_runs_only(tiny_data):
    one, _ = tiny_data.training_frames(1)
    assert np.array_equal(one, tiny_data.concentration[0])
    with pytest.raises(BadInput, match="n_runs"):
        tiny_data.training_frames(3)
    assert np.array_equal(tiny_data.validation_frames()[0], tiny_data.concentration[2])


def test_truth_of_another_network_is_refused(tiny_path, tiny_data):
    other = dataclasses.replace(tiny_data.graph, n_reactions=17)
    with pytest.raises(BadInput, match="shape"):
        read_truth(tiny_path, other)
