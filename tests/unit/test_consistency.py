"""dc/dt that contradicts concentrations and time is named, and nothing else is."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from stoirec.data.consistency import contradiction
from stoirec.data.dataset import read_data
from stoirec.data.overview import overview, sentences
from stoirec.learn.training import train
from stoirec.simulate.trajectories import simulate
from stoirec.simulate.truth import write_simulation


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda d: replace(d, dcdt=d.dcdt * 60), "0.0167 times as much"),
        (lambda d: replace(d, time=d.time / 24), "24 times as much"),
        (lambda d: replace(d, concentration=d.concentration * 1e3), "1e[+]03 times as much"),
        (lambda d: replace(d, concentration=d.concentration[:, ::-1], dcdt=d.dcdt[:, ::-1]), "-1 times as much"),
        (lambda d: replace(d, dcdt=0 * d.dcdt), "0 throughout"),
        (lambda d: replace(d, dcdt=np.roll(d.dcdt, 1, axis=2)), "another order"),
    ],
)
def test_contradictions_are_named(tiny_data, wrong, words):
    assert re.search(words, contradiction(wrong(tiny_data)))


@pytest.mark.parametrize("name", ["tiny_regime", "limited_regime"])
def test_simulated_data_do_not_contradict_themselves(request, name, rng, tmp_path):
    regime = request.getfixturevalue(name)
    write_simulation(tmp_path / "data.nc", simulate(regime), regime)
    data = read_data(tmp_path / "data.nc")
    assert contradiction(data) is None
    noise = rng.normal(size=data.dcdt.shape)
    assert contradiction(replace(data, dcdt=data.dcdt + 0.1 * data.dcdt.std(axis=(0, 1)) * noise)) is None
    noisy = data.concentration + 0.01 * data.concentration.std(axis=(0, 1)) * noise
    assert contradiction(replace(data, concentration=noisy)) is None
    still = replace(data, concentration=np.ones_like(data.concentration), dcdt=0 * data.dcdt)
    assert contradiction(still) is None


def test_training_says_it_first(tiny_data, tiny_fit, caplog):
    with caplog.at_level(logging.WARNING):
        train(replace(tiny_data, dcdt=60 * tiny_data.dcdt), tiny_fit, torch.device("cpu"))
    assert "dcdt contradicts concentration and time: concentrations change 0.0167" in caplog.text


def test_a_check_says_it(tiny_data):
    told = overview(replace(tiny_data, dcdt=60 * tiny_data.dcdt))
    assert any("dcdt contradicts concentration and time: concentrations change 0.0167" in t for t in sentences(told))
    assert not any("contradicts" in text for text in sentences(overview(tiny_data)))


@pytest.mark.parametrize("mistake", ["none", "unit", "columns", "noise"])
def test_a_total_that_no_reaction_changes_shows_mistakes_in_a_table(tiny_data, rng, mistake):
    """All columns sum to zero: so the sum of all concentrations stays, within noise."""
    c = tiny_data.concentration.copy()
    moves = c.std(axis=(0, 1)).argsort()
    if mistake == "unit":
        c[..., moves[-1]] *= 1000
    elif mistake == "columns":
        c[2][:, moves[[0, -1]]] = c[2][:, moves[[-1, 0]]] * [3.0, 0.2]
    elif mistake == "noise":
        c = c * (1 + 0.1 * rng.normal(size=c.shape))
    noise = 0.1 * c.mean(axis=(0, 1)) if mistake == "noise" else tiny_data.noise
    told = overview(replace(tiny_data, concentration=c, noise=noise))
    is_mistaken = mistake in ("unit", "columns")
    assert list(told["drifting"]) == ["mass"] * is_mistaken
    assert any("totals change that no reaction here may change, mass by" in t for t in sentences(told)) == is_mistaken
    opened = replace(tiny_data.space, is_open=np.arange(16) == 3)  # something may flow in or out
    assert not overview(replace(tiny_data, concentration=c, noise=noise, space=opened))["drifting"]


def test_runs_may_have_times_of_their_own(tiny_data):
    shifted = tiny_data.time + np.arange(len(tiny_data.run_role))[:, None]
    assert contradiction(replace(tiny_data, time=shifted)) is None
    assert "24 times as much" in contradiction(replace(tiny_data, time=shifted / 24))
