"""Studies: which fits they ask for, and how a fit is known."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stoirec.config.fit import FitConfig
from stoirec.config.regime import load_regime
from stoirec.config.study import load_study
from stoirec.errors import BadInput
from stoirec.learn.recipe import load as load_recipe
from stoirec.study.expansion import data_sets, expand
from stoirec.study.identity import config_id, flat

ROOT = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path, tiny_regime):
    """Write a study around the tiny regime: stages, and whatever else differs."""
    regime = tmp_path / "regime.yaml"
    regime.write_text(tiny_regime.model_dump_json())

    def write_study(*stages: dict, **others) -> Path:
        content = {
            "name": "trial",
            "regime": str(regime),
            "network_seeds": [1],
            "base": {"n_runs": 2},
            "stages": list(stages),
        } | others
        path = tmp_path / "study.yaml"
        path.write_text(json.dumps(content))
        return path

    return write_study


def ids(path: Path) -> list[str]:
    return [fit.fit_id for fit in expand(path)[1]]


def test_a_stage_is_the_product_of_its_grid_for_each_variant_on_each_network(write):
    grid = {"batch_size": [8, 32], "graph_model.hidden_dim": [16, 64]}
    study, fits = expand(
        write(
            {"name": "s", "variants": {"plain": {}, "role": {"role_prior": True}}, "grid": grid}, network_seeds=[1, 2]
        )
    )
    wanted = [
        (role, batch, width, seed)
        for role in (False, True)
        for batch in (8, 32)
        for width in (16, 64)
        for seed in (1, 2)
    ]
    assert [
        (f.config.role_prior, f.config.batch_size, f.config.graph_model.hidden_dim, f.network_seed) for f in fits
    ] == wanted
    assert {(f.stage, f.variant) for f in fits} == {("s", "plain"), ("s", "role")}
    assert {f.data for f in fits} == {"tiny-seed1", "tiny-seed2"}
    assert len({f.fit_id for f in fits}) == 16
    assert all(f.config.n_runs == 2 for f in fits)


def test_grid_goes_over_variant_goes_over_base(write):
    path = write(
        {"name": "s", "variants": {"v": {"batch_size": 2, "n_epochs": 2}}, "grid": {"n_epochs": [3]}},
        base={"n_runs": 1, "batch_size": 1, "n_epochs": 1},
    )
    (fit,) = expand(path)[1]
    assert (fit.config.n_runs, fit.config.batch_size, fit.config.n_epochs) == (1, 2, 3)


def test_dotted_and_nested_keys_are_the_same(write):
    dotted = ids(write({"name": "s", "variants": {"v": {"graph_model.hidden_dim": 8}}}))
    assert dotted == ids(write({"name": "s", "variants": {"v": {"graph_model": {"hidden_dim": 8}}}}))


def test_a_fit_asked_for_twice_is_trained_once(write):
    path = write({"name": "a", "grid": {"batch_size": [8, 32]}}, {"name": "b", "grid": {"batch_size": [32, 64]}})
    assert [(f.stage, f.config.batch_size) for f in expand(path)[1]] == [("a", 8), ("a", 32), ("b", 64)]


def test_identity_is_data_and_configuration_alone(write):
    one = ids(write({"name": "a", "grid": {"batch_size": [8, 16]}}))
    two = ids(write({"name": "other", "variants": {"x": {"batch_size": 16}}}, name="another", results_dir="elsewhere"))
    assert two == one[1:]


def test_every_parameter_counts_for_the_identity():
    default = FitConfig()
    changed = {
        "seed": 2,
        "n_epochs": 11,
        "coeff_S_L1": 1e-5,
        "role_prior": True,
        "optimiser": "nadam",
        "first_coeff_L1": 0.0,
        "decoder": "nearest",
    }
    found = {config_id(default.model_copy(update={key: value})) for key, value in changed.items()}
    assert len(found | {config_id(default)}) == len(changed) + 1
    # a value given is the same as a value left to its default
    assert config_id(FitConfig(n_epochs=10)) == config_id(default)
    assert config_id(FitConfig(coeff_S_L1=0)) == config_id(FitConfig(coeff_S_L1=0.0))


def test_identities_are_readable_file_names():
    identity = config_id(FitConfig(role_prior=True, coeff_mass_conservation=0.03))
    assert identity.startswith("coeff_mass_conservation~0.03+role_prior~True-")
    sevens = ("n_epochs", "batch_size", "data_augmentation_loop", "n_runs", "seed", "n_epochs_init", "n_snapshots")
    small = ("coeff_S_L1", "coeff_S_integer", "coeff_mass_conservation", "learning_rate_start")
    long = FitConfig(**dict.fromkeys(sevens, 7), **dict.fromkeys(small, 1e-7))
    assert len(config_id(long)) <= 140 and "/" not in config_id(long)


def test_an_unrefined_fit_is_known_by_the_meaning_of_training_alone(monkeypatch):
    plain = FitConfig(role_prior=True, learning_rate_start=5e-3)
    assert config_id(plain) == "learning_rate_start~0.005+role_prior~True-c067793144"  # since training means 13
    refined = plain.model_copy(update={"refinement_rounds": 12})
    before = {config: config_id(config) for config in (plain, refined)}
    monkeypatch.setattr("stoirec.config.fit.REFINEMENT_MEANING", 99)
    assert config_id(plain) == before[plain] and config_id(refined) != before[refined]
    monkeypatch.setattr("stoirec.config.fit.ROUNDING_MEANING", 99)
    assert config_id(plain) == before[plain]
    monkeypatch.setattr("stoirec.config.fit.TRAINING_MEANING", 99)
    assert config_id(plain) != before[plain]


def test_fits_that_differ_in_the_decoder_alone_share_a_training(write):
    grid = {"decoder": ["nearest", "auto"], "batch_size": [8, 16]}
    fits = expand(write({"name": "s", "grid": grid}))[1]
    assert len({fit.fit_id for fit in fits}) == 4
    assert {fit.training_id for fit in fits} == {fit.fit_id for fit in fits if fit.config.decoder == "auto"}
    assert all(fit.config.trained.batch_size == fit.config.batch_size for fit in fits)


def test_growing_a_grid_keeps_the_identities_it_had(write):
    before = ids(write({"name": "s", "grid": {"batch_size": [8, 16]}}))
    after = ids(write({"name": "s", "grid": {"batch_size": [8, 12, 16]}}))
    assert set(before) < set(after) and len(after) == 3


@pytest.mark.parametrize(
    ("stage", "others", "named"),
    [
        ({"name": "s", "grid": {"batch_sise": [8]}}, {}, ["stage s", "batch_sise", "did you mean batch_size?"]),
        (
            {"name": "s", "variants": {"v": {"graph_model": {"hiden_dim": 8}}}},
            {},
            ["variant v", "graph_model.hiden_dim", "hidden_dim"],
        ),
        ({"name": "s", "grid": {"batch_size": ["8"]}}, {}, ["batch_size", "8", "integer"]),
        ({"name": "s", "grid": {"batch_size": []}}, {}, ["stages.0.grid.batch_size", "no values"]),
        ({"name": "s", "grid": {"batch_size": 8}}, {}, ["stages.0.grid.batch_size", "8", "list"]),
        ({"name": "s", "grid": {"coeff_S_L1": [-1.0]}}, {}, ["coeff_S_L1", "-1.0", "greater than or equal to 0"]),
        ({"name": "s", "grid": {"n_runs": [3]}}, {}, ["n_runs", "3", "1..2"]),
        ({"name": "s", "grid": {"dt": [0.1]}}, {}, ["dt", "simulation parameter", "regime"]),
        ({"name": "s", "grid": {"n_epochs_init": [11]}}, {}, ["n_epochs_init", "n_epochs"]),
        ({"name": "s"}, {"network_seeds": []}, ["network_seeds"]),
        ({"name": "s"}, {"regime": "nowhere.yaml"}, ["nowhere.yaml", "existing YAML file"]),
        ({"name": "s"}, {"results": "x"}, ["results", "results_dir"]),
        ({"name": "a/b"}, {}, ["stages.0.name", "a/b"]),
        ({"name": "s"}, {"network_seeds": [-1]}, ["network_seeds.0", "-1", "greater than or equal to 0"]),
        ({"name": "s", "seeds": [2**63 - 1, -1]}, {}, ["stages.0.seeds.1", "-1"]),
        ({"name": "s"}, {"results_dir": "r/{data}"}, ["results_dir", "{data}", "wildcards"]),
        ({"name": "s"}, {"results_dir": "<x>"}, ["results_dir", "<x>", "wildcards"]),
        ({"name": "s"}, {"results_dir": "../r"}, ["results_dir", "../r", ".."]),
        ({"name": "s"}, {"results_dir": "~/r"}, ["results_dir", "~/r"]),
        ({"name": "s"}, {"results_dir": f"{ROOT}/README.md/r"}, ["results_dir", "README.md is a file"]),
        ({"name": "s"}, {"compare_study": "nowhere.yaml"}, ["nowhere.yaml", "existing YAML file"]),
        ({"name": "s", "variants": {"": {}}}, {}, ["stages.0.variants", "at least 1 character"]),
        ({"name": "s", "grid": {"seed": [*range(1001)]}, "seeds": [*range(100)]}, {}, ["stage s", "100,100 fits"]),
        (
            {"name": "s", "variants": {"v": {"graph_model": 3, "graph_model.n_layers": 3}}},
            {},
            ["graph_model", "3 beside graph_model.n_layers"],
        ),
        (
            {"name": "s", "variants": {"v": {"graph_model": {"n_layers": 4}, "graph_model.n_layers": 3}}},
            {},
            ["graph_model.n_layers", "one dotted and one nested"],
        ),
    ],
)
def test_a_wrong_study_is_named(write, stage, others, named):
    with pytest.raises(BadInput) as error:
        expand(write(stage, **others))
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in named), message


# --- the studies that come with the project ---------------------------------------------------------------------------


@pytest.fixture
def bundled(monkeypatch):
    monkeypatch.chdir(ROOT)
    return lambda name: expand(f"config/studies/{name}.yaml")


def test_the_default_study_goes_one_factor_at_a_time_around_the_plain_recipe(bundled):
    _, fits = bundled("default")
    by_variant = {fit.variant: flat(fit.config) for fit in fits}
    plain = by_variant["plain"]
    differing = {name: {key for key in plain if values[key] != plain[key]} for name, values in by_variant.items()}
    assert differing["mass"] == {"coeff_mass_conservation"}
    assert differing["integer"] == {"coeff_S_integer"}
    assert differing["L1"] == {"coeff_S_L1"}
    assert differing["role"] == {"role_prior"}
    assert any("learning_rate_start" in keys for keys in differing.values())
    assert not plain["role_prior"] and len(fits) == 9


def test_the_default_study_ends_with_the_recipe_of_recover(bundled):
    study, fits = bundled("default")
    assert study.stages[-1].name == "recipe" == fits[-1].stage
    own, recipe = fits[-1].config, load_recipe("best")  # as many steps on this regime's frames
    assert own.model_copy(update={"epoch_steps": recipe.epoch_steps}) == recipe and recipe.refinement_rounds
    assert own.n_steps(load_regime(ROOT / study.regime).n_frames) == recipe.n_steps(1)


def test_the_networks_study_is_the_default_studys_best_recipe_on_three_networks(bundled):
    _, fits = bundled("networks")
    (recipe,) = {fit.config for fit in bundled("default")[1] if fit.variant == "role_mass"}
    assert [fit.network_seed for fit in fits] == [201, 202, 203]
    assert {fit.config for fit in fits} == {recipe}


def test_the_full_grid_keeps_the_order_of_exploration(bundled):
    study, fits = bundled("full")
    order = ["learning_rates", "regularisation", "two_phases", "duration", "architecture", "refined"]
    assert [stage.name for stage in study.stages] == order
    assert {fit.network_seed for fit in fits} == set(study.network_seeds) == {101, 102, 103}
    assert {fit.stage for fit in fits} == {stage.name for stage in study.stages}


def test_studies_do_not_share_a_results_folder():
    paths = sorted((ROOT / "config/studies").glob("*.yaml"))
    studies = [load_study(path) for path in paths]
    assert len({study.results_dir for study in studies}) == len({study.name for study in studies}) == len(paths)
    active = YAML(typ="safe", pure=True).load(ROOT / "config/config.yaml")["study"]
    assert load_study(ROOT / active).results_dir == "results"


def test_a_stage_may_have_its_own_regime_and_networks(write):
    own = {"name": "noisy", "regime": "config/regimes/pde_m1_noise_1.yaml", "network_seeds": [7]}
    path = write({"name": "clean"}, own, base={"n_runs": 2})
    study, fits = expand(path)
    assert {(fit.data, fit.stage) for fit in fits} >= {("pde_m1_noise_1-seed7", "noisy")}
    assert not any(fit.stage == "noisy" and fit.network_seed != 7 for fit in fits)
    assert data_sets(study)["pde_m1_noise_1-seed7"] == ("config/regimes/pde_m1_noise_1.yaml", 7)
    assert {fit.data for fit in fits} == set(data_sets(study))


def test_a_regime_like_another_has_its_keys_and_its_own_over_them(tmp_path):
    noisy, clean = load_regime("config/regimes/pde_m1_noise_5.yaml"), load_regime("config/regimes/pde_m1.yaml")
    assert noisy == clean.model_copy(update={"name": "pde_m1_noise_5", "dcdt_noise": 0.05})
    chain = tmp_path / "chain.yaml"
    chain.write_text("like: twice.yaml\nname: chain\n")
    (tmp_path / "twice.yaml").write_text("like: other.yaml\nname: twice\n")
    with pytest.raises(BadInput, match="like"):
        load_regime(chain)


@pytest.mark.parametrize(
    "name, stage", [("best", "clean"), *((name, name) for name in ("flux_limited", "decoys", "unsigned"))]
)
def test_the_recipes_of_recover_are_those_that_the_recovery_study_measures(name, stage):
    _, fits = expand(ROOT / "config/studies/recovery.yaml")
    trained = [fit.config for fit in fits if fit.stage == stage]
    assert trained and all(config == load_recipe(name) for config in trained)


def test_the_recovery_study_varies_runs_and_noise_alone(bundled):
    """On networks the clean stage has as well, so that their figures make curves."""
    study, fits = bundled("recovery")
    of = {stage.name: [fit for fit in fits if fit.stage == stage.name] for stage in study.stages}
    assert sorted({fit.network_seed for fit in of["clean"]}) == list(range(301, 311))
    assert all({fit.network_seed for fit in own} == {301, 302, 303} for name, own in of.items() if name != "clean")
    (clean,) = {fit.config for fit in of["clean"]}
    assert {fit.config for fit in of["runs"]} == {clean.model_copy(update={"n_runs": n_runs}) for n_runs in (1, 2, 3)}
    noisy = {name: own for name, own in of.items() if name.startswith("noise")}
    assert {fit.config for own in noisy.values() for fit in own} == {clean}
    levels = [load_regime(data_sets(study)[own[0].data][0]).dcdt_noise for own in noisy.values()]
    assert levels == [0.001, 0.01, 0.05, 0.1]
