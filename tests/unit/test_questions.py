"""Answers computed from runs: a planted effect is found, and what was not varied is not answered."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from stoirec.report import evaluation
from stoirec.report.differences import compared, interval, share_interval
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
from stoirec.score.metrics import NAMES
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


NETWORKS = pd.MultiIndex.from_product([["a", "b", "c"], [1, 2]], names=["data", "seed"])


def test_an_interval_counts_networks_not_pairs():
    """By hand: the mean of three networks is 0.2, their standard error 0.1 / sqrt(3), and t of 2 degrees is 4.3027."""
    each = pd.Series([0.1, 0.1, 0.2, 0.2, 0.3, 0.3], NETWORKS)
    mean, low, high = interval(each)
    assert mean == pytest.approx(0.2) and (high - low) / 2 == pytest.approx(4.3027 * 0.1 / np.sqrt(3), rel=1e-4)
    assert interval(each) == pytest.approx(interval(pd.concat([each] * 5)))  # more pairs of the same networks
    one = each.xs("b", drop_level=False) + [-0.1, 0.1]
    assert interval(one) == pytest.approx(interval(pd.Series([0.1, 0.3])))  # of one network: its training seeds
    assert np.isnan(interval(pd.Series([0.1, 0.2], NETWORKS[[0, 0]]))[1:]).all()


def test_the_mean_of_unequal_networks_is_that_of_all_entries():
    entries = pd.Series([1.0] * 90 + [0.0] * 10 + [1.0] * 10, ["a"] * 100 + ["b"] * 10)
    mean, low, high = interval(entries)
    assert mean == pytest.approx(100 / 110) and (low + high) / 2 == pytest.approx(mean)
    assert share_interval(entries)[0] >= 0 and share_interval(entries)[1] == 1


def test_where_all_are_right_the_share_is_as_sure_as_so_many_networks():
    """Wilson's interval of 3 of 3: from 1 / (1 + 1.96^2 / 3), however many entries a network has."""
    right = pd.Series(1.0, NETWORKS.repeat(100))
    assert share_interval(right) == pytest.approx((1 / (1 + 1.96**2 / 3), 1), rel=1e-4)
    assert share_interval(1 - right) == pytest.approx((0, 1 - 1 / (1 + 1.96**2 / 3)), rel=1e-4, abs=1e-12)
    assert np.isnan(share_interval(right[:100])).all()  # one network, one training seed


def test_the_final_table_says_how_far_networks_differ():
    """Two names on three networks with two training seeds; each seed of a network has the same entry_exact."""
    fits, rows = [], []
    for (name, gain), (data, seed) in itertools.product((("selected_by_val_loss", 0.1), ("role", 0.0)), NETWORKS):
        identity = f"{name}-{data}-{seed}"
        fits.append(SimpleNamespace(fit_id=identity, variant=name, data=data, config=SimpleNamespace(seed=seed)))
        exact = {"a": 0.6, "b": 0.7, "c": 0.8}[data] + gain
        rows.append({"fit_id": identity, "is_answer": True, "status": "ok", "method": "nearest", "val_loss": 1.0}
                    | dict.fromkeys(NAMES, exact))  # fmt: skip
    table = pd.DataFrame(rows)
    baseline = pd.DataFrame({"baseline_unit": dict.fromkeys(NAMES, 0.5)}).T
    found = SimpleNamespace(metrics=table, evaluation=fits, held_out_names=["a", "b", "c"],
                            training=pd.DataFrame({"n_steps": 5}, index=table["fit_id"]),
                            study=SimpleNamespace(select_by="val_loss"),
                            references=lambda *_: baseline)  # fmt: skip
    own = evaluation.final(found).loc["selected_by_val_loss"]
    assert (own["from"], own["to"]) == pytest.approx(share_interval(pd.Series([0.7, 0.8, 0.9])))
    first, beside = evaluation.sentences(found)
    assert "(6 fits, 0.700 to 0.900; 95 % interval over networks 0.552 to 1.000)" in first
    assert "+0.100 in entry_exact over 6 pairs" in beside and "better" in beside


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
