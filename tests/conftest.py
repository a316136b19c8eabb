"""A tiny regime, simulated once per session, for every test that needs data."""

import numpy as np
import pytest

from stoirec.config import FitConfig, Regime
from stoirec.dataset import read_data, read_truth, write_simulation
from stoirec.simulate import simulate

TINY = {
    "name": "tiny",
    "n_metabolites": 10,
    "n_reactions": 16,
    "reaction_shapes": {"1-1": 0.25, "2-1": 0.25, "2-2": 0.25, "3-2": 0.25},
    "n_runs": 2,
    "n_frames": 200,
    "dt": 0.1,
    "log_k": [-2.0, -1.0],
    "initial_concentration": [1.0, 9.0],
    "kinetics": {"initialisation": "monotone", "hidden_dim": 12, "output_size": 6},
    "seeds": {"network": 1, "rate_constants": 2, "mlps": 3, "initial_concentrations": 4},
}
TINY_FIT = {"n_epochs": 2, "data_augmentation_loop": 20, "batch_size": 16, "n_runs": 2, "n_snapshots": 4, "learning_rate_start": 5e-3}


@pytest.fixture(scope="session")
def tiny_regime() -> Regime:
    return Regime.model_validate(TINY)


@pytest.fixture(scope="session")
def small_regime() -> Regime:
    """Another network, with few frames: enough to look at results."""
    changed = {
        "n_reactions": 14,
        "reaction_shapes": {"1-1": 0.3, "1-2": 0.2, "2-1": 0.2, "2-2": 0.3},
        "n_runs": 1,
        "n_frames": 40,
        "log_k": [-3.0, -1.0],
        "kinetics": {"initialisation": "monotone"},
        "seeds": {"network": 5, "rate_constants": 6, "mlps": 7, "initial_concentrations": 8},
    }
    return Regime.model_validate(TINY | changed)


@pytest.fixture(scope="session")
def limited_regime() -> Regime:
    """Default-initialised MLPs, dt=1, flux limiter: the published setting, tiny."""
    changed = {
        "name": "tiny_limited",
        "dt": 1.0,
        "initial_concentration": [0.0, 2.0],
        "kinetics": {"initialisation": "default", "hidden_dim": 12, "output_size": 6, "flux_limiter": True},
        "integration": {"method": "Euler"},
    }
    return Regime.model_validate(TINY | changed)


@pytest.fixture(scope="session")
def tiny_simulation(tiny_regime):
    return simulate(tiny_regime)


@pytest.fixture(scope="session")
def tiny_path(tiny_regime, tiny_simulation, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "tiny.nc"
    write_simulation(path, tiny_simulation, tiny_regime)
    return path


@pytest.fixture(scope="session")
def tiny_data(tiny_path):
    return read_data(tiny_path)


@pytest.fixture(scope="session")
def tiny_truth(tiny_path, tiny_data):
    return read_truth(tiny_path, tiny_data.graph)


@pytest.fixture
def tiny_fit() -> FitConfig:
    return FitConfig(**TINY_FIT)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
