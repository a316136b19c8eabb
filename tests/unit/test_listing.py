"""stoirec fits: every fit of a results folder with its state, parameters and metrics."""

import json
import os
import subprocess
import sys
import time

import pandas as pd
import pytest
import xarray as xr

from stoirec.config.fit import FitConfig
from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.score.metrics import NAMES
from stoirec.study import listing
from stoirec.study.budget import _measured
from stoirec.study.identity import config_id
from stoirec.study.store import Store


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One fit in each state."""
    folder = tmp_path_factory.mktemp("results")
    states = {
        "done": FitConfig(batch_size=8),
        "diverged": FitConfig(learning_rate_start=1e8),
        "trained": FitConfig(batch_size=16, role_prior=True),
        "running": FitConfig(batch_size=64),
        "stopped": FitConfig(batch_size=128),
        "failed": FitConfig(batch_size=256),
    }
    for state, config in states.items():
        fit = folder / "fits" / "tiny-seed1" / config_id(config)
        log = folder / "logs/train/tiny-seed1" / f"{config_id(config)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        if state == "failed":
            continue
        fit.mkdir(parents=True)
        (fit / "fit.yaml").write_text(config.model_dump_json(exclude_defaults=True))
        if state in ("done", "diverged", "trained"):
            attributes = {
                "status": "diverged" if state == "diverged" else "ok",
                "n_steps": 100,
                "wall_time_s": 2.5,
                "threads": 1,
                "device": "cpu",
            }
            netcdf.write(fit / "fit.nc", xr.Dataset(attrs=attributes))
        if state in ("done", "diverged"):
            (fit / "recovery.nc").touch()
        if state == "stopped":
            for path in (fit / "fit.yaml", log):
                os.utime(path, (time.time() - 3600,) * 2)
    done = f"tiny-seed1/{config_id(states['done'])}"
    rows = [
        {"fit_id": done, "is_answer": answer, "val_loss": 0.5, **dict.fromkeys(NAMES, value)}
        for answer, value in ((True, 0.75), (False, 0.1))
    ]
    (folder / "small").mkdir()
    pd.DataFrame(rows).to_csv(folder / "small/metrics.csv", index=False)
    return folder


def test_a_job_that_a_signal_ended_is_stopped_though_snakemake_took_its_configuration_back(tmp_path):
    store, name = Store(tmp_path), f"tiny-seed1/{config_id(FitConfig())}"
    for trace in (store.log("train", name), store.checkpoint(name)):
        trace.parent.mkdir(parents=True)
        trace.touch()
    assert listing.fits(store)["state"].tolist() == ["stopped"]
    store.checkpoint(name).unlink()
    assert listing.fits(store)["state"].tolist() == ["failed"]


def test_fits_of_a_pack_are_what_their_job_is(tmp_path):
    """Snakemake takes back the pack's file when its job fails, but not what the job wrote of its fits."""
    store, configs = Store(tmp_path), [FitConfig(batch_size=size) for size in (8, 16)]
    names = [f"tiny-seed1/{config_id(config)}" for config in configs]
    pack = "tiny-seed1/2-0123456789"
    log = store.log("train_pack", pack)
    for path in (log, store.pack(pack), *map(store.config, names)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, config in zip(names, configs):
        store.config(name).write_text(config.model_dump_json(exclude_defaults=True))
    store.pack(pack).write_text("".join(f"{name}\n" for name in names))
    assert listing.fits(store)["state"].tolist() == ["running", "running"]
    for path in (log, *map(store.config, names)):
        os.utime(path, (time.time() - 3600,) * 2)
    assert listing.fits(store)["state"].tolist() == ["stopped", "stopped"]
    log.touch()
    assert listing.fits(store)["state"].tolist() == ["running", "running"]
    store.pack(pack).unlink()
    assert listing.fits(store)["state"].tolist() == ["failed", "failed"]
    store.checkpoint(names[0]).touch()
    assert sorted(listing.fits(store)["state"]) == ["failed", "stopped"]


def test_every_state_is_told(results):
    table = listing.fits(Store(results))
    assert sorted(table["state"]) == ["diverged", "done", "failed", "running", "stopped", "trained"]
    done = table[table["state"] == "done"].iloc[0]
    assert (done["parameters"], done["entry_exact"], done["val_loss"], done["n_steps"]) == (
        "batch_size 8",
        0.75,
        0.5,
        100,
    )
    assert table.loc[table["state"] != "done", "entry_exact"].isna().all()


@pytest.mark.parametrize(
    "spoilt",
    [{"status": "fine"}, {"n_steps": "many"}, {"wall_time_s": -1.0}, {"wall_time_s": "2 s"}, {"config": "{"}, {}],
    ids=str,
)
def test_a_fit_of_other_attributes_is_failed_and_its_time_counts_for_nothing(tmp_path, spoilt):
    store, config = Store(tmp_path), FitConfig(batch_size=8)
    name = f"tiny-seed1/{config_id(config)}"
    good = {"status": "ok", "config": "{}", "n_steps": 1, "wall_time_s": 2.5, "threads": 1, "device": "cpu"}
    netcdf.write(store.fit(name), xr.Dataset(attrs=good | spoilt))
    (store.fit(name).parent / "fit.yaml").write_text("batch_size: 8\n")
    state = listing.fits(store)["state"].item()
    assert state == ("failed" if spoilt.keys() - {"config"} else "trained")
    assert _measured(store, []) == (None if spoilt else 2.5)


def test_an_answer_of_other_attributes_is_named(tmp_path):
    path = Store(tmp_path).recovery("tiny-seed1/other")
    for config in ("[]", "{", "7"):
        netcdf.write(path, xr.Dataset(attrs={"status": "ok", "config": config}))
        with pytest.raises(BadInput, match=f"^{path}: config: found .*; allowed: "):
            listing.fits(Store(tmp_path))


def test_another_decoders_answer_has_its_trainings_costs(tmp_path):
    store, trained = Store(tmp_path), FitConfig(batch_size=8)
    nearest = trained.model_copy(update={"decoder": "nearest"})
    attributes = {"status": "ok", "config": trained.model_dump_json(), "n_steps": 100, "wall_time_s": 2.5}
    attributes |= {"threads": 1, "device": "cpu"}
    netcdf.write(store.fit(f"tiny-seed1/{config_id(trained)}"), xr.Dataset(attrs=attributes))
    store.config(f"tiny-seed1/{config_id(trained)}").write_text(trained.model_dump_json(exclude_defaults=True))
    answer = xr.Dataset(attrs=attributes | {"decoder": "nearest", "method": "nearest"})
    netcdf.write(store.recovery(f"tiny-seed1/{config_id(nearest)}"), answer)
    table = listing.fits(store).set_index("param.decoder")
    assert table.loc[["nearest", "auto"], "state"].tolist() == ["done", "trained"]
    assert table["n_steps"].tolist() == [100, 100]
    assert table.at["nearest", "parameters"] == "batch_size 8, decoder nearest"


@pytest.mark.parametrize(
    ("conditions", "states"),
    [
        (["batch_size=8"], ["done"]),
        (["batch_size>=16", "batch_size<128"], ["diverged", "running", "trained"]),
        (["param.role_prior=True"], ["trained"]),
        (["state!=done", "state!=failed", "batch_size!=32"], ["running", "stopped", "trained"]),
        (["entry_exact>0.5"], ["done"]),
        (["hidden_dim = 32", "state=running"], ["running"]),
        (["learning_rate_start>1"], ["diverged"]),
        (["batch_size == 8", "val_loss==0.5", "role_prior=false"], ["done"]),
        (["state!=done", "optimiser!=adam"], ["failed"]),
    ],
)
def test_conditions_hold_together(results, conditions, states):
    assert sorted(listing.filtered(listing.fits(Store(results)), conditions)["state"]) == states


def test_order_is_by_number_with_missing_values_last(results):
    table = listing.ordered(listing.fits(Store(results)), "batch_size", descending=True)
    assert table["param.batch_size"].dropna().tolist() == [128, 64, 32, 16, 8] and table["state"].iloc[-1] == "failed"
    assert listing.ordered(table, "state")["state"].is_monotonic_increasing


@pytest.mark.parametrize(
    "conditions",
    [
        *(["x~3"], ["nonsense=1"], ["state>a"], [""], ["state=dun"], ["state>1"], ["optimiser=adamm"], ["optimiser>1"]),
        *(["batch_size=8.5"], ["batch_size=0"], ["batch_size=eight"], ["role_prior=perhaps"], ["role_prior>0"]),
        *(["entry_exact=high"], ["entry_exact>nan"], ["val_loss=>1"], ["batch_size==="]),
    ],
)
def test_a_wrong_condition_is_named(results, conditions):
    with pytest.raises(BadInput):
        listing.filtered(listing.fits(Store(results)), conditions)


def test_the_command_lists_and_refuses(results, tmp_path):
    def stoirec(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-m", "stoirec", "fits", *arguments], capture_output=True, text=True)

    shown = stoirec(str(results), "--filter", "state=done", "--json")
    (fit,) = json.loads(shown.stdout)["fits"]
    assert fit["entry_exact"] == 0.75 and fit["param.batch_size"] == 8
    assert len(stoirec(str(results), "--sort", "val_loss").stdout.splitlines()) == 7
    for arguments in (
        [str(tmp_path)],
        [__file__],
        [str(results), "--sort", "nonsense"],
        [str(results), "--filter", "x"],
    ):
        refused = stoirec(*arguments)
        assert (
            refused.returncode == 2 and len(refused.stderr.splitlines()) == 1 and refused.stderr.startswith("error: ")
        )
