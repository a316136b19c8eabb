"""Packs: what fits learn together is what each learns alone, and a study knows which were trained together."""

import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from ruamel.yaml import YAML

from stoirec.cli import app
from stoirec.config.fit import FitConfig
from stoirec.errors import BadInput
from stoirec.learn.pack import Pack
from stoirec.learn.training import Training, train, train_all
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.signals import Stopped
from stoirec.study.budget import budget, summary
from stoirec.study.expansion import expand
from stoirec.study.packs import packs
from stoirec.study.store import Store

CPU = torch.device("cpu")
SHORT = {"n_epochs": 1, "epoch_steps": 70, "batch_size": 8, "n_runs": 2, "n_snapshots": 4, "precision": "float64"}
WEIGHTS = {"coeff_S_L1": 1e-3, "coeff_S_integer": 0.01, "coeff_mass_conservation": 0.1, "learning_rate_S_start": 3e-3}


def configs(*changes: dict, **shared) -> list[FitConfig]:
    own = [SHORT | shared | {"seed": seed} | change for seed, change in enumerate(changes, start=1)]
    return [FitConfig(**each) for each in own]


def alike(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Up to how products are rounded that a library takes together: seen was no difference at all."""
    pairs = ((one[name], other[name]) for name in one.variables)
    return one.attrs["status"] == other.attrs["status"] and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True) for a, b in pairs
    )


ROLES = {"role_prior": True, "role_signs": True, "initial_magnitude": 0.2}
SHARED = {
    "embedding": {"graph_model": {"embedding_dim": 2, "hidden_dim": 5, "n_layers": 4}},
    "gate": {"graph_model": {"substrate_gate": True, "hidden_dim": 6}, **ROLES},
    "limiter": {"graph_model": {"flux_limiter": True, "hidden_dim": 6}},
    "mass action": {"graph_model": {"rate_law": "mass_action"}},
    "convenience": {"graph_model": {"rate_law": "convenience"}},
    "another optimiser": {"optimiser": "nadam", "graph_model": {"hidden_dim": 6}},
}


@pytest.mark.parametrize("optimiser", ["adam", "nadam", "radam"])
def test_no_step_waits_for_the_compiler_to_be_imported(optimiser):
    """2 seconds of each job, for what nothing here uses."""
    code = (
        "import sys, torch; from stoirec.learn.pack import _OPTIMISERS; p = torch.nn.Parameter(torch.ones(1)); "
        f"o = _OPTIMISERS[{optimiser!r}]([p], lr=0.1); p.grad = torch.ones(1); "
        "torch.set_grad_enabled(False); o.step(); o.load_state_dict(o.state_dict()); assert p.item() < 1; "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", SHARED)
def test_a_fit_learns_in_a_pack_what_it_learns_alone(kind, tiny_data):
    asked = configs({}, WEIGHTS, {"frame_sampling": "activity", "learning_rate_start": 2e-2}, **SHARED[kind])
    together = list(train_all(tiny_data, asked, CPU, [None] * 3))
    assert all(alike(train(tiny_data, config, CPU), fit) for config, fit in zip(asked, together))
    assert not np.allclose(together[0]["coefficient"], together[1]["coefficient"])


def test_who_diverges_or_ends_sooner_leaves_the_others_alone(tiny_data):
    changes = [
        {},
        {"learning_rate_start": 1e8, "schedule": "constant"},
        {"epoch_steps": 40},
        {"residual_scaling": "none"},
    ]
    asked = configs(*changes)
    together = list(train_all(tiny_data, asked, CPU, [None] * 4))
    alone = [train(tiny_data, config, CPU) for config in asked]
    assert all(map(alike, alone, together))
    assert [fit.attrs["status"] for fit in together] == ["ok", "diverged", "ok", "ok"]
    assert [fit.attrs["n_steps"] for fit in together] == [fit.attrs["n_steps"] for fit in alone]


def test_courses_that_nobody_measured_are_each_fits_own(tiny_data):
    data, asked = replace(tiny_data, unmeasured=np.array([3])), configs({}, WEIGHTS, epoch_steps=30)
    assert all(map(alike, (train(data, each, CPU) for each in asked), train_all(data, asked, CPU, [None] * 2)))


def test_copies_of_a_reversible_reaction_are_turned_within_themselves():
    graph = from_pairs(2, 2, [0, 1, 0, 1], [0, 0, 1, 1], [True, False, False, True])
    space = replace(ColumnSpace.of_roles(graph), reverse_of=np.array([-1, 0]))
    assert space.opposite_edge.tolist() == [-1, -1, 0, 1]
    assert space.copies(2).opposite_edge.tolist() == [-1, -1, 0, 1, -1, -1, 4, 5]
    # what drives both directions and stays has the sign of a role in both
    graph = from_pairs(3, 2, [0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1], [True, False, True, False, True, True])
    regulated = replace(
        ColumnSpace.of_roles(graph), reverse_of=np.array([-1, 0]), known=np.array([np.nan, np.nan, 0] * 2)
    )
    assert regulated.opposite_edge.tolist() == [-1, -1, -1, 0, 1, 2]


def test_refinement_goes_on_from_the_pack_one_by_one(tiny_data):
    steps = {"refinement_rounds": 1, "refinement_steps": 1, "refinement_frames": 20, "role_prior": True}
    asked = configs({}, {}, **steps, graph_model={"hidden_dim": 4, "output_size": 2})
    alone = [train(tiny_data, config, CPU) for config in asked]
    found = list(train_all(tiny_data, asked, CPU, [None] * 2))
    assert [fit["refined_coefficient"].values.tolist() for fit in found] == [
        fit["refined_coefficient"].values.tolist() for fit in alone
    ]


def test_every_fit_has_a_checkpoint_that_another_pack_goes_on_from(tiny_data, tmp_path):
    """Stopped as three, gone on with as two and as one."""
    asked = configs({}, WEIGHTS, {"epoch_steps": 50}, graph_model={"hidden_dim": 6})
    paths = [tmp_path / f"{place}.ckpt" for place in range(3)]
    whole = list(train_all(tiny_data, asked, CPU, [None] * 3))

    def stop(step, *_):
        if step == 33:
            raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped):
        list(train_all(tiny_data, asked, CPU, paths, progress=stop))
    assert all(path.is_file() for path in paths)
    steps = []
    first = list(train_all(tiny_data, asked[:2], CPU, paths[:2], progress=lambda step, *_: steps.append(step)))
    assert steps == list(range(34, 71))
    assert all(map(alike, whole, [*first, train(tiny_data, asked[2], CPU, paths[2])]))


def test_fits_of_a_pack_hold_their_frames_once_and_share_their_time(tiny_data):
    jobs: list[Training] = []
    for config in configs({}, {}, graph_model={"hidden_dim": 6}):
        jobs.append(Training(tiny_data, config, CPU, jobs))
    one, other = jobs
    assert other.given is one.given and other.descent.observed is one.descent.observed
    pack = Pack([job.descent for job in jobs])
    assert pack.advance().shape == (2, 4) and one.descent.pack is other.descent.pack is pack
    rows = {parameter.untyped_storage().data_ptr() for job in jobs for parameter in job.model.parameters()}
    assert len(rows) == 1


@pytest.fixture
def arguments(tiny_path, tmp_path):
    """Of `stoirec train` with a configuration for each of some changes, and as many fits."""

    def of(*changes: dict) -> list[str]:
        found = ["train", str(tiny_path), "--device", "cpu"]
        for place, config in enumerate(configs(*changes, epoch_steps=3)):
            (tmp_path / f"{place}.yaml").write_text(config.model_dump_json(exclude_defaults=True))
            found += ["--config", str(tmp_path / f"{place}.yaml"), "-o", str(tmp_path / f"{place}.nc")]
        return found

    return of


def test_the_command_writes_every_fit(arguments, tmp_path):
    app(arguments({}, WEIGHTS), standalone_mode=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.nc", "0.yaml", "1.nc", "1.yaml"]
    with xr.open_dataset(tmp_path / "1.nc") as fit:
        assert json.loads(fit.attrs["config"])["coeff_mass_conservation"] == 0.1


def test_what_is_no_pack_is_refused_before_it_begins(arguments, tmp_path):
    with pytest.raises(BadInput, match=r"1.yaml: batch_size: found 4; allowed: 8, as in .*0.yaml: a pack has one"):
        app(arguments({}, {"batch_size": 4}), standalone_mode=False)
    with pytest.raises(BadInput, match="--output: found 2 of them; allowed: as many as --config, 1"):
        app([*arguments({}), "-o", str(tmp_path / "more.nc")], standalone_mode=False)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".yaml", ".yaml"]


# --- studies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def study(tiny_regime, tmp_path):
    """A study of 7 trainings, one of them rounded in two ways, and its store."""
    (tmp_path / "regime.yaml").write_text(tiny_regime.model_dump_json())
    content = {
        "name": "packed",
        "regime": str(tmp_path / "regime.yaml"),
        "network_seeds": [7],
        "pack": 3,
        "base": {"n_runs": 2, "epoch_steps": 100},
        "stages": [
            {"name": "masses", "grid": {"coeff_mass_conservation": [0.0, 0.1, 0.2, 0.3]}},
            {"name": "rest", "variants": {"roles": {"role_prior": True}, "long": {"n_epochs": 20}, "own": {"seed": 2}}},
            {"name": "rounded", "variants": {"nearest": {"decoder": "nearest"}}},
        ],
    }  # fmt: skip

    def written(**changes):
        with open(tmp_path / "study.yaml", "w") as handle:
            YAML().dump(content | changes, handle)
        return tmp_path / "study.yaml"

    return written, Store(tmp_path / "results")


def trained(store: Store, name: str, pack: list[str] | None = None) -> None:
    """As the jobs of a pack, or of one alone, would leave them."""
    for fit in pack or [name]:
        store.fit(fit).parent.mkdir(parents=True)
        store.fit(fit).touch()
    if pack:
        store.pack(name).parent.mkdir(parents=True, exist_ok=True)
        store.pack(name).write_text("".join(f"{fit}\n" for fit in pack))


def test_fits_with_the_same_shapes_and_steps_of_a_stage_are_packed(study):
    written, store = study
    _, fits = expand(written())
    (found,) = packs(fits, 3, store).values()
    assert found == [fit.training_id for fit in fits[:3]]
    sizes = {size: [len(pack) for pack in packs(fits, size, store).values()] for size in (1, 2, "auto")}
    assert sizes == {1: [], 2: [2, 2], "auto": [4]}
    refined = [replace(fit, config=fit.config.model_copy(update={"refinement_rounds": 1})) for fit in fits]
    assert packs(refined, "auto", store) == {}


def test_a_study_that_grows_packs_what_is_new(study):
    written, store = study
    _, fits = expand(written())
    ((name, members),) = packs(fits, 3, store).items()
    trained(store, name, members)
    trained(store, fits[3].training_id)
    grid = {"coeff_mass_conservation": [0.05, 0.0, 0.1, 0.15, 0.2, 0.3]}
    _, grown = expand(written(stages=[{"name": "masses", "grid": grid}]))
    found = packs(grown, 3, store)
    assert sorted(found.pop(name)) == sorted(members)
    ((_, new),) = found.items()
    assert new == [grown[0].training_id, grown[3].training_id]
    store.fit(members[0]).unlink()  # is trained anew, and the others stay what they are
    assert sorted(packs(grown, 1, store)[name]) == sorted(members[1:])


def test_the_plan_counts_packs_and_what_they_save(study):
    written, store = study
    studied = {size: expand(path := written(pack=size))[0] for size in (1, 3)}
    alone, packed = (budget(studied[size], path, store) for size in (1, 3))
    assert (alone.packs, packed.packs) == (0, 1)
    assert packed.steps == alone.steps and 0.5 * alone.seconds < packed.seconds < alone.seconds
    assert "core hours to go, 1 pack(s)" in summary(studied[3], path, store)
    assert json.loads(studied[3].model_dump_json())["pack"] == 3
