"""Staged studies: what follows from what, honest selection, searches that repeat, and the count beforehand."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from stoirec.config.fit import FitConfig, GraphModel
from stoirec.config.study import Choice, load_study
from stoirec.errors import BadInput
from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.study import waves
from stoirec.study.budget import (
    REFINEMENT_SECONDS,
    REFINEMENT_SECONDS_GATED,
    START_SECONDS,
    STEP_SECONDS,
    budget,
    summary,
)
from stoirec.study.expansion import expand, fits_of
from stoirec.study.expansion import waves as waves_of
from stoirec.study.identity import flatten, nested, recipe
from stoirec.study.plans import plan_path, write_plan
from stoirec.study.search import propose
from stoirec.study.selection import best, outcomes
from stoirec.study.store import Store

ROOT = Path(__file__).parents[2]
RATES = {"name": "rates", "grid": {"learning_rate_start": [1e-3, 5e-3, 1e-2]}}
BALANCE = {"name": "balance", "grid": {"coeff_mass_conservation": [0.0, 0.03]}}
SEARCH = {
    "name": "search",
    "search": "optuna",
    "space": {
        "learning_rate_start": {"float": [1e-4, 1e-1], "log": True},
        "graph_model.hidden_dim": {"int": [8, 64]},
        "role_prior": {"categorical": [False, True]},
    },
    "n_trials": 10,
    "batch_size": 4,
}


class Trial:
    """A study around the tiny regime whose fits are judged by a formula instead of being trained."""

    def __init__(self, folder: Path, regime: str, *stages: dict, **others) -> None:
        self.path, self.store = folder / "study.yaml", Store(folder / "results")
        (folder / "regime.yaml").write_text(regime)
        content = {
            "name": "trial",
            "regime": str(folder / "regime.yaml"),
            "network_seeds": [1],
            "select_by": "val_loss",
            "results_dir": str(self.store.root),
            "base": {"n_runs": 2},
            "stages": list(stages),
        } | others
        self.path.write_text(json.dumps(content))
        self.study = load_study(self.path)

    def run(self, judge) -> dict[str, list]:
        """Plan every wave in order, each from the answers `judge` gives to the fits before it."""
        found = {}
        for wave in waves_of(self.study):
            if wave.planned:
                before = waves.fits_before(self.study, wave, self.path)
                write_plan(
                    plan_path(self.study, wave.name),
                    waves.decide(self.study, wave, answers_of(before, judge), self.path),
                )
            found[wave.name] = fits_of(self.study, wave, self.path)
        return found

    def plan(self, wave: str) -> dict:
        return json.loads(plan_path(self.study, wave).read_text())


@pytest.fixture
def trial(tmp_path, tiny_regime):
    return lambda *stages, **others: Trial(tmp_path, tiny_regime.model_dump_json(), *stages, **others)


def answers_of(fits, judge) -> pd.DataFrame:
    rows = []
    for fit in fits:
        value = judge(fit)
        ok = math.isfinite(value)
        shares = dict.fromkeys(("entry_exact", "reaction_exact"), 1 / (1 + value) if ok else math.nan)
        rows.append(
            {
                "fit_id": fit.fit_id,
                "status": "ok" if ok else "diverged",
                "val_loss": value if ok else math.nan,
                **shares,
            }
        )
    return pd.DataFrame(rows, columns=["fit_id", "status", "val_loss", "entry_exact", "reaction_exact"]).set_index(
        "fit_id"
    )


def distance(fit) -> float:
    """Best at learning rate 5e-3, with the mass term, and wide."""
    config = fit.config
    return (
        abs(math.log(config.learning_rate_start / 5e-3))
        + abs(config.coeff_mass_conservation - 0.03)
        + 8 / config.graph_model.hidden_dim
    )


# --- stages -----------------------------------------------------------------------------------------------------------


def test_a_stage_stands_around_the_winner_of_the_stage_before(trial):
    found = trial(RATES, BALANCE, seeds=[1, 2]).run(distance)
    assert {fit.config.learning_rate_start for fit in found["balance"]} == {5e-3}
    assert {(fit.config.coeff_mass_conservation, fit.config.seed) for fit in found["balance"]} == {
        (0.0, 1),
        (0.0, 2),
        (0.03, 1),
        (0.03, 2),
    }
    assert {fit.config.n_runs for fit in found["balance"]} == {2}


def test_only_the_first_stage_is_known_before_anything_ran(trial):
    study = trial(RATES, BALANCE, evaluation_seeds=[2])
    assert {fit.stage for fit in expand(study.path)[1]} == {"rates"}
    study.run(distance)
    assert {fit.stage for fit in expand(study.path)[1]} == {"rates", "balance", "evaluation"}


def test_the_winner_stays_in_the_running(trial):
    """A stage whose values are all worse changes nothing."""
    study = trial(
        RATES,
        {"name": "worse", "grid": {"learning_rate_start": [1.0, 2.0]}},
        {"name": "last", "grid": {"batch_size": [8]}},
    )
    found = study.run(distance)
    assert {fit.config.learning_rate_start for fit in found["last"]} == {5e-3}
    assert study.plan("last")["winners"][0]["variant"] == "winner_of_rates"


def test_a_stage_that_diverges_as_a_whole_is_passed_over(trial):
    study = trial({"name": "rates", "grid": {"learning_rate_start": [1.0, 2.0]}}, BALANCE)
    found = study.run(lambda fit: math.inf if fit.config.learning_rate_start >= 1 else distance(fit))
    assert {fit.config.learning_rate_start for fit in found["balance"]} == {1e-3}
    assert study.plan("balance")["winners"] == []


def test_the_evaluation_is_on_other_networks_and_has_both_winners(trial):
    def judge(fit):  # val_loss likes 1e-3, recovery 1e-2
        return fit.config.learning_rate_start

    study = trial(RATES, seeds=[1, 2], evaluation_seeds=[8, 9], compare_with={"plain": {"batch_size": 16}})
    found = study.run(judge)["evaluation"]
    assert {fit.network_seed for fit in found} == {8, 9}
    assert {fit.variant for fit in found} == {"selected_by_val_loss", "selected_by_entry_exact", "plain"}
    assert len(found) == 3 * 2 * 2
    assert {fit.config.n_runs for fit in found} == {2}


def test_the_choice_is_that_of_the_last_stage_whatever_seeds_the_others_had(trial):
    study = trial(RATES | {"seeds": [1, 2]}, BALANCE | {"seeds": [3]}, evaluation_seeds=[8])
    found = study.run(distance)["evaluation"]
    assert {(fit.config.coeff_mass_conservation, fit.config.seed) for fit in found} == {(0.03, 3)}


def test_stages_of_a_study_without_selection_are_all_known(trial):
    study = trial(RATES, BALANCE, select_by=None)
    assert {fit.stage for fit in expand(study.path)[1]} == {"rates", "balance"}
    with pytest.raises(BadInput, match="wave"):
        waves.wave_of(study.study, "balance", study.path)


def test_growing_a_stage_keeps_the_fits_it_had(trial):
    before = {fit.fit_id for fits in trial(RATES, BALANCE).run(distance).values() for fit in fits}
    grown = BALANCE | {"grid": {"coeff_mass_conservation": [0.0, 0.01, 0.03]}}
    after = {fit.fit_id for fits in trial(RATES, grown).run(distance).values() for fit in fits}
    assert before < after and len(after) == len(before) + 1


def test_a_plan_of_an_earlier_edition_is_not_used(trial):
    last = {"name": "last", "grid": {"batch_size": [8]}}
    trial(RATES, BALANCE, last).run(distance)
    for stages, others, known in [
        ([RATES, BALANCE, last], {"name": "other"}, {"rates", "balance", "last"}),
        ([RATES, BALANCE, last | {"grid": {"batch_size": [16]}}], {}, {"rates", "balance"}),
        ([RATES | {"grid": {"learning_rate_start": [1e-3]}}, BALANCE, last], {}, {"rates"}),
        ([RATES, BALANCE, last], {"select_by": "entry_exact"}, {"rates"}),
        ([RATES, BALANCE, last], {"evaluation_seeds": [3]}, {"rates", "balance", "last"}),
    ]:
        assert {fit.stage for fit in expand(trial(*stages, **others).path)[1]} == known


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda plan: plan.pop("fits"), "fits: found nothing"),
        (lambda plan: plan["fits"][0].pop("stage"), "fits.0.stage: found nothing"),
        (lambda plan: plan["fits"][0].update(config=7), "fits.0.config: found 7"),
        (lambda plan: plan["fits"][0]["config"].update(batch_size=0), "batch_size: found 0"),
        (lambda plan: plan["fits"][0].update(network_seed=11), "network_seed: found 11; allowed: 1"),
        (lambda plan: plan["winners"][0].update(n_fits="two"), "winners.0.n_fits: found 'two'"),
        (lambda plan: plan.update(proposals=["other"]), "proposals: found other; allowed: recipes of its fits"),
        (lambda plan: plan.update(proposal=[]), "proposal: found an unknown key"),
    ],
)
def test_a_plan_that_holds_something_else_is_named(trial, spoil, named):
    staged = trial(RATES, SEARCH)
    staged.run(distance)
    path, plan = plan_path(staged.study, "search-0"), staged.plan("search-0")
    wave = next(wave for wave in waves_of(staged.study) if wave.name == "search-1")
    answers = answers_of(waves.fits_before(staged.study, wave, staged.path), distance)
    spoil(plan)
    path.write_text(json.dumps(plan))
    with pytest.raises(BadInput, match=re.escape(f"{path}: {named}")):
        waves.fits_before(staged.study, wave, staged.path)
        waves.decide(staged.study, wave, answers, staged.path)


@pytest.mark.parametrize(
    ("stages", "others", "named"),
    [
        ([RATES, BALANCE], {"evaluation_seeds": [1]}, ["evaluation_seeds", "network_seeds"]),
        ([RATES, RATES], {}, ["different names"]),
        ([RATES], {"select_by": "luck"}, ["select_by", "luck", "val_loss"]),
        ([RATES], {"select_by": None, "evaluation_seeds": [3]}, ["select_by"]),
        ([RATES], {"compare_with": {"a": {}}}, ["compare_with", "evaluation_seeds"]),
        ([RATES], {"evaluation_seeds": [3], "compare_with": {"a": {"batch_sise": 1}}}, ["compare_with", "batch_sise"]),
        ([RATES, {"name": "late", "grid": {"batch_sise": [1]}}], {}, ["stage late", "batch_sise", "batch_size"]),
        ([RATES, {"name": "late", "grid": {"batch_size": []}}], {}, ["stages.1.grid.batch_size", "no values"]),
        ([SEARCH], {"select_by": None}, ["search", "select_by"]),
        ([SEARCH | {"grid": {"seed": [1]}}], {}, ["search", "grid"]),
        ([SEARCH | {"space": {"batch_sise": {"int": [1, 2]}}}], {}, ["batch_sise", "batch_size"]),
        ([SEARCH | {"space": {"n_epochs": {"int": [0, 2]}}}], {}, ["n_epochs", "0"]),
        ([SEARCH | {"space": {"n_epochs": {"int": [2, 1]}}}], {}, ["low < high"]),
        ([SEARCH | {"space": {"n_epochs": {"integer": [1, 2]}}}], {}, ["space.n_epochs.integer", "int"]),
        ([SEARCH | {"n_trials": None}], {}, ["n_trials"]),
    ],
)
def test_a_wrong_study_is_named_before_anything_runs(trial, stages, others, named):
    with pytest.raises(BadInput) as error:
        expand(trial(*stages, **others).path)
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in named), message


# --- selection --------------------------------------------------------------------------------------------------------


def test_a_configuration_is_judged_by_its_mean_not_by_a_lucky_draw(trial):
    fits = trial(RATES, seeds=[1, 2]).run(distance)["rates"]
    values = {(1e-3, 1): 0.01, (1e-3, 2): 9.0, (5e-3, 1): 0.1, (5e-3, 2): 0.2, (1e-2, 1): 0.3, (1e-2, 2): 0.3}
    answers = answers_of(fits, lambda fit: values[fit.config.learning_rate_start, fit.config.seed])
    table = outcomes(fits, answers, "val_loss")
    assert list(table["n_fits"]) == [2, 2, 2]
    assert table["mean"].tolist() == pytest.approx([0.3, math.sqrt(0.02), 0.3])
    assert (table["lowest"].iloc[0], table["highest"].iloc[0]) == (0.01, 9.0)
    assert best(fits, answers, "val_loss") == recipe(fits[2].config)


@pytest.mark.parametrize("criterion", ["val_loss", "entry_exact"])
def test_a_diverged_fit_counts_as_the_worst(trial, criterion):
    fits = trial(RATES, seeds=[1, 2]).run(distance)["rates"]
    answers = answers_of(
        fits,
        lambda fit: (
            math.inf
            if (fit.config.learning_rate_start, fit.config.seed) == (1e-3, 1)
            else 0.5 * fit.config.learning_rate_start
        ),
    )
    assert best(fits, answers, criterion) == recipe(fits[2].config)
    assert outcomes(fits, answers, criterion)["n_diverged"].tolist() == [1, 0, 0]
    assert best(fits, answers_of(fits, lambda fit: math.inf), criterion) is None


def test_fewer_draws_do_not_compete(trial):
    fits = trial(RATES, seeds=[1, 2]).run(distance)["rates"]
    assert best(
        fits[1:], answers_of(fits, lambda fit: 1e-9 if fit.config.learning_rate_start == 1e-3 else 1.0), "val_loss"
    ) == recipe(fits[2].config)


def test_ties_go_to_the_lower_val_loss(trial):
    fits = trial(RATES).run(distance)["rates"]
    answers = answers_of(fits, lambda fit: 1.0)
    answers["val_loss"] = [3.0, 2.0, 1.0]
    assert best(fits, answers, "entry_exact") == recipe(fits[2].config)


# --- search -----------------------------------------------------------------------------------------------------------


def test_a_search_repeats_and_learns(trial):
    study = trial(SEARCH)
    first = {name: [fit.config for fit in fits] for name, fits in study.run(distance).items()}
    assert list(first) == ["search-0", "search-1", "search-2"] and [len(fits) for fits in first.values()] == [4, 4, 2]
    again = {name: [fit.config for fit in fits] for name, fits in study.run(distance).items()}
    assert again == first
    other = {
        name: [fit.config for fit in fits]
        for name, fits in study.run(lambda fit: fit.config.learning_rate_start).items()
    }
    assert other["search-0"] == first["search-0"]


def test_results_are_told_in_the_order_of_the_proposals():
    space = {"x": Choice.model_validate({"float": [0.0, 1.0]})}
    told = [[0.1, 0.9, 0.5, math.inf], [0.3, 0.2, 0.8, 0.4], [0.6, 0.7, 0.05, 0.15]]
    sizes = [4, 4, 4, 4]
    assert propose(space, told, sizes, 1) == propose(space, [list(batch) for batch in told], sizes, 1)
    assert propose(space, told, sizes, 1) != propose(space, [batch[::-1] for batch in told], sizes, 1)
    assert propose(space, told, sizes, 1) != propose(space, told, sizes, 2)
    assert propose(space, told[:1], sizes, 1) == propose(space, told[:1], sizes[:2], 1)


def test_equal_proposals_share_their_fits(trial):
    space = {"role_prior": {"categorical": [False, True]}}
    study = trial(SEARCH | {"space": space, "n_trials": 6, "batch_size": 3}, BALANCE)
    found = study.run(distance)
    assert len(study.plan("search-0")["proposals"]) == 3 and len(found["search-0"]) <= 2
    assert len(found["balance"]) == 2


# --- budget -----------------------------------------------------------------------------------------------------------


def test_a_flat_study_is_counted_exactly(trial):
    study = trial({"name": "s", "grid": {"n_epochs": [1, 2]}}, select_by=None, network_seeds=[1, 2],
                  base={"n_runs": 1, "batch_size": 10, "data_augmentation_loop": 5})  # fmt: skip
    # 200 frames * 5 / 10 * 0.2 = 20 steps an epoch
    need = budget(study.study, study.path, study.store)
    assert (need.fits, need.steps, need.at_most, need.left, need.measured) == (4, 120, False, 4, False)
    assert need.seconds == pytest.approx(120 * STEP_SECONDS + 4 * START_SECONDS)
    line = summary(study.study, study.path, study.store)
    assert line == "study trial: 4 fits on 2 network(s), 120 steps; 0.01 core hours to go (time per step assumed)"
    fit = expand(study.path)[1][0]
    recovery = study.store.recovery(fit.fit_id)
    recovery.parent.mkdir(parents=True)
    recovery.touch()
    assert "; 1 done; " in summary(study.study, study.path, study.store)


def test_answers_by_several_decoders_are_trained_once(trial):
    stage = {"name": "s", "grid": {"decoder": ["nearest", "auto"]}}
    study = trial(
        stage, select_by=None, base={"n_runs": 1, "n_epochs": 1, "batch_size": 10, "data_augmentation_loop": 5}
    )
    need = budget(study.study, study.path, study.store)
    assert (need.fits, need.left, need.steps) == (2, 2, 20)
    assert need.seconds == pytest.approx(20 * STEP_SECONDS + 2 * START_SECONDS)
    trained = study.store.fit(expand(study.path)[1][0].training_id)
    trained.parent.mkdir(parents=True)
    trained.touch()
    assert budget(study.study, study.path, study.store).seconds == pytest.approx(2 * START_SECONDS)


@pytest.mark.parametrize("shape", [{}, {"hidden_dim": 7, "output_size": 3}, {"n_layers": 2}, {"n_layers": 5}])
@pytest.mark.parametrize("gated, per_weight", [(False, REFINEMENT_SECONDS), (True, REFINEMENT_SECONDS_GATED)])
def test_refinement_counts_by_its_rounds_and_weights(trial, gated, per_weight, shape):
    shape = {"substrate_gate": gated} | shape
    law = PdeM1.of(ColumnSpace.of_roles(from_pairs(2, 1, [0, 1], [0, 0], [True, False])), GraphModel(**shape))
    seconds = 3 * per_weight * sum(math.prod(size) for size in law.shapes.values())
    refined = {"role_prior": True, "role_signs": True, "refinement_rounds": 3, "graph_model": shape}
    found = []
    for extra in (refined, {}):
        study = trial(RATES, {"name": "duration", "grid": {"n_epochs": [1, 2]}}, base={"n_runs": 1} | extra)
        found.append(budget(study.study, study.path, study.store))
    need, without = found
    assert need.at_most and need.left == without.left
    assert need.seconds - without.seconds == pytest.approx(need.left * seconds)


@pytest.mark.parametrize("judge", [distance, lambda fit: -fit.config.n_epochs + 100, lambda fit: fit.config.n_epochs])
@pytest.mark.parametrize("with_search", [False, True])
def test_a_staged_study_never_takes_more_than_its_bound(trial, judge, with_search):
    stages = [RATES, {"name": "duration", "grid": {"n_epochs": [1, 7]}}, BALANCE, *([SEARCH] if with_search else [])]
    study = trial(*stages, seeds=[1, 2], evaluation_seeds=[5, 6], compare_with={"long": {"n_epochs": 9}})
    bound = budget(study.study, study.path, study.store)
    assert bound.at_most and "at most" in summary(study.study, study.path, study.store)
    study.run(judge)
    spent = budget(study.study, study.path, study.store)
    assert not spent.at_most and spent.fits == len(expand(study.path)[1])
    assert spent.fits <= bound.fits and spent.steps <= bound.steps
    assert bound.steps <= 4 * spent.steps  # a bound that says something


# --- the studies that come with the project ---------------------------------------------------------------------------


def test_search_and_staged_study_have_the_same_budget(monkeypatch):
    monkeypatch.chdir(ROOT)
    steps = {}
    for name in ("staged", "search"):
        study = load_study(f"config/studies/{name}.yaml").model_copy(
            update={"evaluation_seeds": [], "compare_with": {}}
        )
        steps[name] = budget(study, name, Store("nowhere")).steps
    assert steps["search"] == pytest.approx(steps["staged"], rel=0.05)
    assert load_study("config/studies/search.yaml").compare_study == "config/studies/staged.yaml"


def test_the_staged_study_compares_with_the_default_studys_best(monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study("config/studies/staged.yaml")
    assert [stage.name for stage in study.stages] == [
        "learning_rates",
        "regularisation",
        "duration",
        "architecture",
        "code_level",
    ]
    (wanted,) = [fit.config for fit in expand("config/studies/default.yaml")[1] if fit.variant == "role_mass"]
    assert FitConfig.model_validate(nested(flatten(study.base) | flatten(study.compare_with["role_mass"]))) == wanted
