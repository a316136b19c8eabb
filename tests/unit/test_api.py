"""`stoirec.recover`: what the command does, for a Python program."""

import subprocess
import sys

import pytest
import torch
import xarray as xr

import stoirec
from stoirec.errors import BadInput
from stoirec.learn import comparison, recipe


@pytest.fixture(autouse=True)
def quick(monkeypatch, tiny_fit):
    monkeypatch.setattr(recipe, "load", lambda name: tiny_fit)


def test_importing_the_package_imports_no_torch():
    code = (
        "import stoirec, sys; assert stoirec.__version__; sys.exit('torch' in sys.modules or 'xarray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_file_and_its_content_have_the_same_answer(tiny_path):
    with xr.open_dataset(tiny_path) as dataset:  # the root group alone: no truth
        content = dataset.load()
    threads = torch.get_num_threads()
    answers = [stoirec.recover(data, device="cpu") for data in (str(tiny_path), content)]
    assert torch.get_num_threads() == threads
    assert answers[0].equals(answers[1])
    assert answers[0]["stoichiometry"].dtype.kind == "i" and (abs(answers[0]["confidence"] - 0.5) <= 0.5).all()
    assert any(str(name).startswith("rollout_error_") for name in answers[0])


def test_of_several_starts_the_best_predicting_is_taken(tiny_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(comparison, "best_predicting", lambda fits: seen.update(fits) or ("mass_action", 2))
    answer = stoirec.recover(tiny_path, rate_law="mass_action", starts=2, device="cpu")
    assert set(seen) == {("mass_action", 1), ("mass_action", 2)}
    assert answer.attrs["config"] == seen["mass_action", 2].attrs["config"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"recipe": "bets"}, "recipe"), ({"rate_law": "hill"}, "rate_law"), ({"starts": 0}, "starts")],
)
def test_a_wrong_argument_is_named(tiny_path, arguments, named):
    with pytest.raises(BadInput, match=f"recover: {named}.*: found .*; allowed: "):
        stoirec.recover(tiny_path, **arguments)


def test_bad_data_is_named_as_it_was_given(tiny_path, tmp_path):
    with pytest.raises(BadInput, match=rf"^{tmp_path}/nowhere.nc: file"):
        stoirec.recover(tmp_path / "nowhere.nc")
    with xr.open_dataset(tiny_path) as dataset, pytest.raises(BadInput, match=r"^dataset: concentration\[run 0, "):
        stoirec.recover(dataset.assign(concentration=-dataset["concentration"]))
