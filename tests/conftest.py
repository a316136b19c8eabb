"""A tiny regime, simulated once per session, for every test that needs data."""

import ast
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

# One thread in every process, those that the tests start included: nothing depends on which cores are free, and the
# processes of `make test` do not take them from each other. Libraries read these when they are imported.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import nbformat
import numpy as np
import pytest
import torch
import xarray as xr
from ruamel.yaml import YAML

from stoirec.answer.recovery import recover
from stoirec.config.fit import FitConfig
from stoirec.config.regime import Regime
from stoirec.data.dataset import read_data
from stoirec.files import netcdf
from stoirec.learn.training import train
from stoirec.report import results
from stoirec.simulate.trajectories import simulate
from stoirec.simulate.truth import read_truth, write_simulation
from stoirec.study.expansion import data_sets, expand
from stoirec.study.store import Store, StudyFolder
from stoirec.study.tables import baselines_table, metrics_table

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
TINY_FIT = {
    "n_epochs": 2,
    "data_augmentation_loop": 20,
    "batch_size": 16,
    "n_runs": 2,
    "n_snapshots": 4,
    "learning_rate_start": 5e-3,
}


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


@pytest.fixture(scope="session")
def finish_study():
    """A study and its regimes (file stem -> regime) to be written to a folder, and done there as the workflow would."""

    def finish(folder, study: dict, regimes: dict[str, Regime]) -> results.Results:
        for name, content in (
            {"study": study} | {stem: regime.model_dump(mode="json") for stem, regime in regimes.items()}
        ).items():
            with open(folder / f"{name}.yaml", "w") as handle:
                YAML().dump(content, handle)
        content, fits = expand(folder / "study.yaml")
        store, tables = Store(folder), StudyFolder(folder)
        for name, (file, seed) in data_sets(content).items():
            settings = regimes[Path(file).stem].with_master_seed(seed)
            write_simulation(store.data(name), simulate(settings), settings, seed)
        for fit in fits:
            path = store.fit(fit.training_id)
            if not path.is_file():
                netcdf.write(path, train(read_data(store.data(fit.data)), fit.config.trained, torch.device("cpu")))
            netcdf.write(store.recovery(fit.fit_id), recover(netcdf.read(path), str(path), fit.config.decoder))
        metrics_table(content.name, fits, store).to_csv(tables.metrics, index=False)
        baselines_table(content.name, fits, store).to_csv(tables.baselines, index=False)
        return results.load(folder / "study.yaml", folder, tables.metrics, tables.baselines)

    return finish


@pytest.fixture(scope="session")
def run_cells():
    """A notebook on a study without a kernel: (code cell, what it displays), one after the other."""

    def run(notebook: Path, found: results.Results) -> Iterator[tuple[nbformat.NotebookNode, list]]:
        paths = {"study": found.store / "study.yaml", "store": found.store}
        paths |= {table: found.store / f"{table}.csv" for table in ("metrics", "baselines")}
        space, shown = {key: str(path) for key, path in paths.items()}, []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("IPython.display.display", lambda *parts: shown.extend(parts))
            for cell in nbformat.read(notebook, 4).cells:
                if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
                    shown.clear()
                    *body, last = ast.parse(cell.source).body
                    exec(compile(ast.Module(body, []), notebook.stem, "exec"), space)
                    mode, node = ("eval", ast.Expression(last.value)) if isinstance(last, ast.Expr) else ("exec", None)
                    value = eval(compile(node or ast.Module([last], []), notebook.stem, mode), space)
                    yield cell, [*shown, *([] if value is None else [value])]

    return run


@pytest.fixture
def permissions_hold():
    """For root as well, which otherwise reads and writes what is closed: as for another owner of the same files."""
    libc, version = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable capabilities, twice 32 bits of them
    if os.geteuid() or libc.capget(version, held):
        yield
        return
    fewer = (ctypes.c_uint32 * 6)(*held)
    fewer[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(version, fewer) == 0
    yield
    assert libc.capset(version, held) == 0


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def fit_with_true_weights():
    """(data, truth, config) -> fit.nc of a network that found everything; by default as large as the regimes' own."""

    def found(data, truth, config: FitConfig | None = None) -> xr.Dataset:
        config = config or FitConfig(n_runs=1, n_epochs=1)
        parameters = {f"learned_{name}": values for name, values in truth.kinetics.parameters.items()}
        return xr.Dataset(
            {
                **{name: ([f"{name}_{axis}" for axis in range(each.ndim)], each) for name, each in parameters.items()},
                "coefficient": ("edge", data.graph.on_edges(truth.stoichiometry).astype(float)),
                "log_k": ("reaction", truth.log_k.copy()),
            },
            attrs={"config": config.model_dump_json(), "status": "ok"},
        )

    return found
