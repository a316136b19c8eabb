"""The commands as a user types them; bad input is in test_bad_input.py."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from stoirec import cli
from stoirec.config.fit import FitConfig
from stoirec.learn import recipe


def stoirec(*arguments, expect=0):
    result = subprocess.run([sys.executable, "-m", "stoirec", *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == expect, result.stderr
    return result


@pytest.mark.parametrize(
    "command",
    [
        "simulate",
        "import",
        "check",
        "export",
        "train",
        "round",
        "score",
        "recover",
        "oracle",
        "plan",
        "schema",
        "choose",
        "collect",
        "fits",
        "report",
    ],
)
def test_help_has_an_example(command):
    assert f"Example: stoirec {command}" in stoirec(command, "--help").stdout


def test_without_a_command_it_shows_the_road():
    shown = stoirec().stdout
    assert [f"stoirec {name} " in shown for name in ("import", "check", "recover", "export", "train")] == [True] * 5
    assert len(shown.splitlines()) < 15


def test_the_shell_completes_commands():
    given = {"_STOIREC_COMPLETE": "complete_bash", "COMP_WORDS": "stoirec rec", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "stoirec"]
    assert subprocess.run(command, env=os.environ | given, capture_output=True, text=True).stdout.split() == ["recover"]


def test_quiet_leaves_the_answer_and_json_is_for_programs(tiny_path, tmp_path, monkeypatch, capsys, caplog):
    caplog.set_level("INFO")  # and as it was, afterwards
    monkeypatch.setattr(recipe, "load", lambda name: FitConfig(n_epochs=1, batch_size=16, data_augmentation_loop=5))
    answer = tmp_path / "recovery.nc"
    command = ["recover", str(tiny_path), "--starts", "1", "-o", str(answer), "--quiet", "--json"]
    monkeypatch.setattr(sys, "argv", ["stoirec", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    found = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and not [record for record in caplog.records if record.levelname == "INFO"]
    assert found["sure"] + found["unsure"] + found["none_of_these"] == 16
    assert [found[kind] for kind in ("matrix", "page", "fit")] == [
        str(tmp_path / f"recovery{ending}") for ending in (".nc", ".html", ".fit.nc")
    ]


def test_what_is_written_is_said_as_json(tiny_path, tmp_path, monkeypatch, capsys):
    def said(*arguments):
        monkeypatch.setattr(sys, "argv", ["stoirec", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        return json.loads(capsys.readouterr().out)

    config, fit, matrix, model = (tmp_path / name for name in ("fit.yaml", "fit.nc", "recovery.nc", "model.csv"))
    config.write_text("{n_epochs: 1, epoch_steps: 5, n_runs: 1}")
    (trained,) = said("train", tiny_path, "--config", config, "--device", "cpu", "-o", fit)["fits"]
    assert (trained["fit"], trained["status"]) == (str(fit), "ok") and trained["val_loss"] > 0 < trained["train_loss"]
    rounded = said("round", fit, "-o", matrix)
    assert rounded == {
        "matrix": str(matrix),
        "status": "ok",
        "method": "mass_balanced",
        "val_loss": trained["val_loss"],
    }
    model.write_text("reaction,equation\none,A + 2 B <-> C\ntwo,C -> D\n")
    posed = said("import", model, "-o", tmp_path / "data.nc")
    assert [posed[name] for name in ("species", "reactions", "both_ways", "sought", "open")] == [4, 2, 1, 8, 0]
    assert posed["data"] == str(tmp_path / "data.nc") and posed["remarks"] == ["no formulas: nothing is conserved"]


def test_plan_as_json(tmp_path):
    found = json.loads(stoirec("plan", "config/studies/default.yaml", "--store", tmp_path, "--json").stdout)
    assert (found["study"], found["fits"], found["left"]) == ("default", 9, 9)


def test_recover_works_on_a_users_own_file_and_score_and_oracle_give_json(tiny_path, tmp_path):
    """The learner's file has no /truth; the score is taken against the file that has."""
    blind, answer = tmp_path / "own.nc", tmp_path / "recovery.nc"
    with xr.open_dataset(tiny_path) as dataset:
        dataset.load().drop_attrs().to_netcdf(blind)
    log = stoirec("recover", blind, "--device", "cpu", "--threads", 1, "-o", answer).stderr
    assert "train: step" in log and "s left" in log and "val_loss" in log  # plain lines where there is no terminal
    assert [line.startswith("recipe best: ") for line in log.splitlines() if "recipe" in line] == [
        True
    ]  # which, and why, in one line
    with xr.open_dataset(answer) as recovery:
        assert np.issubdtype(recovery["stoichiometry"].dtype, np.integer)
        assert recovery["stoichiometry"].shape == (10, 16)
        assert (recovery["stoichiometry"].sum("metabolite") == 0).all()
    assert not list(tmp_path.glob("*.ckpt"))

    found = json.loads(stoirec("score", answer, "--truth", tiny_path, "--json").stdout)
    assert {"entry_exact", "reaction_exact", "r2", "val_loss", "methods"} <= set(found)
    assert found["methods"][found["method"]]["entry_exact"] == found["entry_exact"]
    oracle = json.loads(stoirec("oracle", tiny_path, "--json").stdout)
    assert oracle["oracle_balanced"]["mass_balanced"]["entry_exact"] == 1.0
    assert len(oracle["condition_number"]) == 10


def test_simulate_repeats_and_seed_changes_everything(tiny_regime, tmp_path):
    regime = tmp_path / "tiny.yaml"
    regime.write_text(tiny_regime.model_dump_json())
    files = []
    for name, options in (("a", ["--seed", 7]), ("b", ["--seed", 7]), ("c", ["--seed", 8])):
        stoirec("simulate", regime, *options, "-o", tmp_path / f"{name}.nc")
        with (
            xr.open_dataset(tmp_path / f"{name}.nc") as data,
            xr.open_dataset(tmp_path / f"{name}.nc", group="truth") as truth,
        ):
            files.append(
                (
                    data["concentration"].values,
                    truth["stoichiometry"].values,
                    truth["log_k"].values,
                    truth.attrs["network_seed"],
                )
            )
    assert all(np.array_equal(one, two) for one, two in zip(files[0][:3], files[1][:3]))
    assert not any(np.array_equal(one, two) for one, two in zip(files[0][:3], files[2][:3]))
    assert [file[3] for file in files] == ["7", "7", "8"]


def test_an_output_that_cannot_be_written_and_a_file_that_is_no_fit_end_in_one_line(tiny_path, tmp_path):
    (tmp_path / "file").write_text("")
    recovery = tmp_path / "recovery.nc"
    for arguments, named in (
        (("round", tiny_path, "-o", recovery), "coefficient"),
        (("recover", tiny_path, "-o", tmp_path / "file" / "recovery.nc"), "file"),
    ):
        error = stoirec(*arguments, expect=2).stderr.strip().splitlines()[-1]
        assert error.startswith("error: ") and named in error
    with xr.open_dataset(tiny_path) as dataset:
        dataset.load().assign(coefficient=("edge", np.zeros(dataset.sizes["edge"]))).drop_attrs().to_netcdf(
            tmp_path / "bare.nc"
        )
    assert "found nothing" in stoirec("round", tmp_path / "bare.nc", "-o", recovery, expect=2).stderr
    assert not recovery.exists()
