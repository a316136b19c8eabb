"""Answers computed from runs: a planted effect is found, and what was not varied is not answered."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from stoirec.report.differences import compared
from stoirec.report.study import effects, figures, questions
from stoirec.report.study.questions import (
    INTEGER,
    L1,
    LR_S,
    MASS,
    column_scales,
    directedness,
    interaction,
    phases,
    together,
)
from stoirec.study.expansion import expand
from stoirec.study.identity import flat

ROOT = Path(__file__).parents[2]

DEFAULTS = {
    "param.learning_rate_start": 0.01,
    LR_S: 0.0,
    L1: 0.0,
    INTEGER: 0.0,
    MASS: 0.0,
    "param.n_epochs_init": 0,
    "param.first_coeff_L1": np.nan,
}


def study(rows: list[dict], value, diverged=lambda row: False) -> SimpleNamespace:
    """What questions need of a Results: fits of three training seeds on one network, judged by a formula."""
    noise = np.random.default_rng(1)
    table = []
    for row, seed in itertools.product(rows, (1, 2, 3)):
        full = DEFAULTS | row
        status = "diverged" if diverged(full) else "ok"
        table.append(
            full
            | {
                "network_seed": 1,
                "param.seed": seed,
                "status": status,
                "data": "d",
                "entry_exact": value(full) + 0.001 * noise.standard_normal(),
                "val_loss": 1.0,
            }
        )
    answers = pd.DataFrame(table, index=pd.Index([f"fit{number}" for number in range(len(table))], name="fit_id"))
    varied = [column for column in DEFAULTS if answers[column].nunique(dropna=False) > 1]
    history = np.concatenate([np.zeros((4, 5)), np.linspace(0, 1, 8)[:, None] * np.ones(5)])
    return SimpleNamespace(answers=answers, varied=varied, ended=answers[answers["status"] == "ok"],
                           fit=lambda fit_id: {"coefficient_history": SimpleNamespace(values=history)})  # fmt: skip


def grid(**values: list) -> list[dict]:
    return [dict(zip(values, row)) for row in itertools.product(*values.values())]


def test_a_planted_interaction_is_found():
    found = study(
        grid(**{L1: [0.0, 1e-5, 1e-4], INTEGER: [0.0, 0.01]}),
        lambda row: 0.5 + (0.2 if row[L1] == 1e-4 and row[INTEGER] else 0.0),
    )
    both = interaction(found, L1, INTEGER)
    assert both.first == (0.0, 1e-4) and len(both.effects) == 3
    assert both.effects["at_low"].mean() == pytest.approx(0.0, abs=0.01) and both.effects[
        "at_high"
    ].mean() == pytest.approx(0.2, abs=0.01)
    (sentence,) = together(found, L1, INTEGER)
    assert "each helps the other" in sentence and "3 sets" in sentence


def test_what_acts_apart_is_told_apart():
    (sentence,) = together(
        study(grid(**{L1: [0.0, 1e-4], MASS: [0.0, 0.1]}), lambda row: 0.5 + 1000 * row[L1] + row[MASS]), MASS, L1
    )
    assert "no interaction" in sentence and "+0.100" in sentence


def test_the_learning_rate_of_s_is_that_of_the_mlps_where_it_is_0():
    found = study(grid(**{LR_S: [0.0, 0.05], INTEGER: [0.0, 0.01]}), lambda row: 0.5)
    assert interaction(found, LR_S, INTEGER).first == (0.01, 0.05)
    sentences = together(found, LR_S, INTEGER)
    assert "1.00 at lr_S 0.01 (mostly drift)" in sentences[1]


def test_a_diverged_fit_counts_as_nothing():
    found = study(
        grid(**{L1: [0.0, 1e-4], INTEGER: [0.0, 0.01]}),
        lambda row: 0.5,
        diverged=lambda row: row[L1] > 0 and row[INTEGER] > 0,
    )
    assert interaction(found, L1, INTEGER).effects["at_high"].mean() == pytest.approx(-0.5, abs=0.01)


def test_fits_that_differ_in_more_say_nothing():
    rows = [
        {L1: 0.0, INTEGER: 0.0, MASS: 0.0},
        {L1: 1e-4, INTEGER: 0.0, MASS: 0.1},
        {L1: 0.0, INTEGER: 0.1, MASS: 0.2},
        {L1: 1e-4, INTEGER: 0.1, MASS: 0.3},
    ]
    assert together(study(rows, lambda row: 0.5), L1, INTEGER) == []


def test_phases_are_compared_all_else_equal():
    one = [{L1: 1e-5}, {L1: 1e-4}]
    two = [{L1: 1e-4, "param.n_epochs_init": 1, "param.first_coeff_L1": 0.0}]
    (sentence,) = phases(study(one + two, lambda row: 0.5 + 0.1 * row["param.n_epochs_init"]))
    assert "two phases are better" in sentence and "3 matched fits" in sentence
    assert "no fits with two phases" in phases(study(one, lambda row: 0.5))[0]


def test_movement_is_drift_or_oscillation():
    steps = np.arange(20)[:, None]
    assert directedness(steps * np.ones(3)) == pytest.approx(1.0)
    assert directedness((-1.0) ** steps * np.ones(3)) < 0.2
    assert np.isnan(directedness(np.full((20, 3), np.nan)))


def test_scale_traded_with_k_is_told_from_scale_that_is_not():
    rng = np.random.default_rng(0)
    edge_reaction = np.repeat(np.arange(50), 4)
    true = rng.choice([-2, -1, 1, 2], 200)
    scale = rng.uniform(-0.2, 0.2, 50)
    coefficient = true * 10 ** scale[edge_reaction]
    error, undone = column_scales(edge_reaction, coefficient, true, -scale)
    assert error == pytest.approx(np.median(np.abs(scale))) and undone == pytest.approx(1.0)
    assert column_scales(edge_reaction, coefficient, true, np.zeros(50))[1] == pytest.approx(0.0)


def test_paired_differences_have_a_verdict():
    assert compared(pd.Series([0.1, 0.11, 0.09]))["verdict"] == "better"
    assert compared(pd.Series([-0.1, -0.11, -0.09]))["verdict"] == "worse"
    assert compared(pd.Series([-0.1, 0.1, np.nan])) | {"from": 0, "to": 0} == {
        "pairs": 2,
        "difference": 0.0,
        "from": 0,
        "to": 0,
        "verdict": "a tie: the interval holds 0",
    }
    assert compared(pd.Series([0.0, 0.0]))["verdict"] == "the same"
    assert compared(pd.Series([0.3]))["verdict"] == "too few pairs"


def test_the_interactions_study_can_answer_every_question(monkeypatch):
    monkeypatch.chdir(ROOT)
    content, fits = expand("config/studies/interactions.yaml")
    rows = [
        {f"param.{key}": value for key, value in flat(fit.config).items()} | {"network_seed": fit.network_seed}
        for fit in fits
    ]
    answers = pd.DataFrame(rows, index=pd.Index([fit.fit_id for fit in fits], name="fit_id")).assign(
        status="ok", entry_exact=0.5
    )
    found = SimpleNamespace(
        answers=answers,
        varied=[
            column
            for column in answers
            if answers[column].nunique(dropna=False) > 1 and column not in ("param.seed", "network_seed")
        ],
    )
    for first, second in ((LR_S, INTEGER), (LR_S, L1), (LR_S, MASS), (L1, INTEGER), (MASS, L1)):
        assert len(interaction(found, first, second).effects) == len(content.seeds), (first, second)
    assert f"{len(content.seeds)} matched fits" in phases(found)[0]
    assert all(questions._without_and_with(found, parameter) for parameter in (L1, INTEGER, MASS))


def test_figures_draw_any_study():
    found = study(
        grid(**{L1: [0.0, 1e-5, 1e-4], INTEGER: [0.0, 0.01], MASS: [0.0, 0.1]}),
        lambda row: 0.5 + row[MASS],
        diverged=lambda row: row[L1] == 1e-5,
    )
    changes = effects.matched_effects(found)
    assert {"low", "high"} <= set(changes) and changes.iloc[0]["parameter"] in ("coeff_S_L1", "coeff_mass_conservation")
    assert len(figures.main_effects(changes).axes) == 1
    assert len(figures.parallel(found.answers, found.varied).axes) == 1
