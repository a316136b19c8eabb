"""Chapter 5 on a made study: the recipe on fewer runs and noisier data, without its parts, and where it is unsure."""

import numpy as np
import pandas as pd
import pytest

from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.network.graph import from_pairs
from stoirec.network.notation import column_text
from stoirec.report import results, tables
from stoirec.report.calibration import SURE
from stoirec.report.limits import confidence as trust
from stoirec.report.limits import figures, variations
from stoirec.report.limits.ceilings import beside_ceilings
from stoirec.report.present import table as shown
from stoirec.score.oracle import true_frames
from stoirec.score.references import reference_metrics

ORACLES = ["oracle_scale_blind", "oracle_least_squares", "oracle_balanced"]


@pytest.fixture(scope="module")
def found(small_regime, finish_study, tmp_path_factory):
    """Two networks, a third that only the clean stage has; fewer runs, a noisy regime, decoys, variants."""
    folder = tmp_path_factory.mktemp("limits")
    clean = small_regime.model_copy(update={"n_runs": 3})
    regimes = {
        "clean": clean,
        "noisy": clean.model_copy(update={"name": "noisy", "dcdt_noise": 0.1}),
        "decoys": clean.model_copy(update={"name": "decoys", "decoy_edges": 0.5}),
    }
    files = {name: str(folder / f"{name}.yaml") for name in regimes}
    study = {
        "name": "varied",
        "regime": files["clean"],
        "network_seeds": [1, 2],
        "base": {
            "n_runs": 3,
            "n_epochs": 1,
            "data_augmentation_loop": 20,
            "n_snapshots": 3,
            "learning_rate_start": 5e-3,
            "role_prior": True,
        },
        "stages": [
            {"name": "clean", "network_seeds": [1, 2, 3]},
            {"name": "runs", "grid": {"n_runs": [1, 2]}},
            {"name": "noise", "regime": files["noisy"]},
            {"name": "decoys", "regime": files["decoys"]},
            {
                "name": "without",
                "variants": {"roles": {"role_prior": False}, "all": {"learning_rate_start": 1e30, "n_runs": 1}},
            },
        ],
    }
    return finish_study(folder, study, regimes)


def clean_of(found, **values) -> pd.DataFrame:
    """Answers on the first regime, with these parameters and all else as in the base."""
    wanted = {"n_runs": 3, "role_prior": True, "learning_rate_start": 5e-3} | values
    of = found.answers["data"].str.startswith("tiny-")
    for key, value in wanted.items():
        of &= found.answers[f"param.{key}"] == value
    return found.answers[of]


# --- references on fewer runs -----------------------------------------------------------------------------------------


def test_oracles_of_fits_with_fewer_runs_see_these_runs_only(found):
    content = found.data("tiny-seed1")
    truth = found.truth("tiny-seed1")
    for n_runs in (1, 2):
        flux, dcdt = true_frames(content, truth, n_runs)
        assert len(flux) == len(dcdt) == n_runs * content.n_frames
        metrics = reference_metrics(content.space, truth, flux, dcdt)
        table = found.references("nearest", ["tiny-seed1"], n_runs)
        assert table.at["oracle_least_squares", "r2"] == pytest.approx(metrics["oracle_least_squares"]["nearest"]["r2"])
        assert table.at["baseline_unit", "entry_exact"] == metrics["baseline_unit"]["nearest"]["entry_exact"]
    assert not np.allclose(
        found.references("nearest", None, 1).loc[ORACLES, "r2"],
        found.references("nearest").loc[ORACLES, "r2"],
        rtol=1e-12,
        atol=0,
    )


def test_all_runs_are_the_references_of_whoever_sees_all(found):
    every = found.references("nearest", ["tiny-seed3"])
    assert every.equals(found.references("nearest", ["tiny-seed3"], 3))
    rows = found.baselines
    assert not rows.duplicated(["fit_id", "method"]).any()
    assert set(rows.loc[rows["fit_id"].str.startswith("tiny-seed3/"), "param.n_runs"].dropna()) == set()
    assert set(rows.loc[rows["fit_id"].str.startswith("tiny-seed1/"), "param.n_runs"].dropna()) == {1, 2}


def test_a_configuration_stands_beside_the_oracles_of_its_own_runs(found):
    table = beside_ceilings(found)
    method = found.answers["method"].iloc[0]
    for n_runs in (1, 2):
        (name,) = set(clean_of(found, n_runs=n_runs)["configuration"])
        own = found.references(method, ["tiny-seed1", "tiny-seed2"], n_runs)
        assert table.at[name, "oracle: true fluxes"] == own.at["oracle_least_squares", "entry_exact"]


def test_with_decoys_the_support_of_the_oracle_is_shown(found):
    table = beside_ceilings(found)
    (name,) = {name for name in table.index if "decoys" in name}
    blind = found.references("mass_balanced", ["decoys-seed1", "decoys-seed2"]).loc["oracle_scale_blind"]
    assert table.at[name, "oracle: fluxes up to a factor, scaled, support_f1"] == blind["support_f1"]
    assert table.at[name, "oracle: fluxes up to a factor, scaled, true edges"] == blind["entry_exact_true_edges"]


def test_a_table_without_the_references_of_fewer_runs_is_refused(found, tmp_path):
    rows = found.baselines[found.baselines["param.n_runs"] != 2]
    rows.to_csv(tmp_path / "baselines.csv", index=False)
    with pytest.raises(BadInput, match="no row for tiny-seed1 with n_runs 2"):
        results.load(found.store / "study.yaml", found.store, found.store / "metrics.csv", tmp_path / "baselines.csv")


# --- curves -----------------------------------------------------------------------------------------------------------


def test_curves_hold_the_recipes_fits_on_common_networks_only(found):
    curves = variations.curves(found)
    assert list(curves) == ["n_runs", "dcdt_noise"] and variations.not_varied(curves) == ""
    runs, noise = curves["n_runs"], curves["dcdt_noise"]
    for curve in curves.values():
        assert set(curve.points["network_seed"]) == {1, 2}  # the third was not trained everywhere
    for n_runs in (1, 2, 3):
        fits = clean_of(found, n_runs=n_runs).query("network_seed < 3")
        points = runs.points[runs.points["value"] == n_runs]
        assert set(points.index) == set(fits.index) and runs.means[n_runs] == pytest.approx(fits["entry_exact"].mean())
    assert {value: len(points) for value, points in noise.points.groupby("value")} == {0.0: 2, 0.1: 2}
    noisy = found.answers[found.answers["data"].str.startswith("noisy")]
    assert noise.means[0.1] == pytest.approx(noisy["entry_exact"].mean())


def test_the_answer_stands_beside_references_of_its_own_data(found):
    data, n_runs = found.seen_by(found.best_configuration)
    of = found.answers[found.answers["configuration"] == found.best_configuration]
    assert set(data) == set(of["data"]) < set(found.data_names) and {n_runs} == set(of["param.n_runs"])
    table, own = tables.headline(found), found.references(of["method"].iloc[0], data, n_runs)
    for name, label in results.REFERENCES.items():
        assert table.at[label, "entry_exact"] == own.at[name, "entry_exact"]
    assert found.seen_by(found.val_loss_configuration)[0] == data  # losses of other data do not compare


def test_curves_stand_beside_references_of_the_same_data(found):
    curves = variations.curves(found)
    clean, noisy = (["tiny-seed1", "tiny-seed2"], ["noisy-seed1", "noisy-seed2"])
    for name, value, data, n_runs in (
        ("n_runs", 1, clean, 1),
        ("n_runs", 3, clean, 3),
        ("dcdt_noise", 0.0, clean, 3),
        ("dcdt_noise", 0.1, noisy, 3),
    ):
        row = curves[name].references.loc[value]
        assert row["better baseline"] == found.best_baseline("mass_balanced", data)
        assert (
            row["oracle: true fluxes, nearest"]
            == found.references("nearest", data, n_runs).at["oracle_least_squares", "entry_exact"]
        )
        assert (
            row["oracle: true fluxes, mass_balanced"]
            == found.references("mass_balanced", data, n_runs).at["oracle_least_squares", "entry_exact"]
        )
        assert (
            row["oracle: fluxes up to a factor, scaled"]
            == found.references("mass_balanced", data, n_runs).at["oracle_scale_blind", "entry_exact"]
        )


def test_the_figure_has_a_point_a_fit(found):
    curves = variations.curves(found)
    figure = figures.curves(curves)
    assert len(figure.axes) == 2
    for axis, curve in zip(figure.axes, curves.values()):
        drawn = [line.get_ydata() for line in axis.lines if line.get_marker() == "o"]
        assert sorted(np.concatenate(drawn)) == sorted(curve.points["entry_exact"])
    assert len(figures.curves({"n_runs": curves["n_runs"]}).axes) == 1


def test_what_a_study_did_not_vary_it_says(found):
    fits = [fit for fit in found.fits if fit.stage != "noise"]
    curves = variations.curves(results.Results(found.study, fits, found.store, found.metrics, found.baselines))
    assert (
        list(curves) == ["n_runs"]
        and "the noise of dc/dt" in variations.not_varied(curves)
        and "number of runs" not in variations.not_varied(curves)
    )
    fits = [fit for fit in found.fits if fit.stage == "without"]
    curves = variations.curves(results.Results(found.study, fits, found.store, found.metrics, found.baselines))
    assert curves == {} and "the number of runs or the noise of dc/dt" in variations.not_varied(curves)


# --- ablations --------------------------------------------------------------------------------------------------------


def test_variants_are_paired_with_the_recipe_on_the_same_data(found):
    table = variations.ablations(found)
    assert list(table.index) == list(found.answers.loc[found.answers["stage"] == "without", "configuration"].unique())
    recipe = clean_of(found).set_index("network_seed")["entry_exact"][[1, 2]]
    without = clean_of(found, role_prior=False).set_index("network_seed")
    row = table.loc[without["configuration"].iloc[0]]
    assert row["entry_exact"] == pytest.approx(without["entry_exact"].mean()) and row["the recipe"] == pytest.approx(
        recipe.mean()
    )
    assert row["pairs"] == 2 and row["difference"] == pytest.approx((without["entry_exact"] - recipe).mean())
    times = [
        float(netcdf.attributes(found.fit_path(fit))["wall_time_s"]) for fit in clean_of(found, role_prior=False).index
    ]
    assert row["wall time [s]"] == pytest.approx(np.mean(times)) and row["of the recipe [s]"] > 0
    diverged = table.drop(index=without["configuration"].iloc[0]).iloc[0]
    assert diverged["entry_exact"] == 0 and diverged["difference"] == pytest.approx(-recipe.mean())


def test_a_study_without_variants_has_no_ablations(found):
    fits = [fit for fit in found.fits if fit.stage != "without"]
    assert variations.ablations(results.Results(found.study, fits, found.store, found.metrics, found.baselines)).empty


# --- unsure reactions -------------------------------------------------------------------------------------------------


def test_unsure_reactions_are_the_least_sure_of_each_configuration(found):
    table, total = trust.unsure_reactions(found, most=8)
    lowest = []
    for fit, answer in found.ended.iterrows():
        graph, confidence = found.data(answer["data"]).graph, found.recovery(fit)["confidence"].values
        lowest += [
            (answer["configuration"], value)
            for value in (confidence[graph.edges_of(j)].min() for j in range(graph.n_reactions))
            if value < SURE
        ]
    assert total == len(lowest) > 8 and len(table) == 8
    every = pd.DataFrame(lowest, columns=["configuration", "confidence"])
    for name, group in table.groupby("configuration"):
        assert np.allclose(
            group["confidence"], np.sort(every.loc[every["configuration"] == name, "confidence"])[: len(group)]
        )
    assert table["configuration"].nunique() == every["configuration"].nunique()  # none is left out for worse ones
    assert "next best" in shown(table, "")._repr_html_()


def test_answer_and_next_best_columns_are_those_of_the_recovery(found):
    table, _ = trust.unsure_reactions(found, most=1000)
    row = table.iloc[0]
    fit = found.ended[
        (found.ended["configuration"] == row["configuration"]) & (found.ended["data"] == row["data set"])
    ].index[0]
    graph, recovery = found.data(row["data set"]).graph, found.recovery(fit)
    reaction = int(row["reaction"].removeprefix("R"))
    answer = recovery["stoichiometry"].values[:, reaction]
    assert row["answer"] == column_text(graph, graph.on_edges(recovery["stoichiometry"].values), reaction)
    assert row["right"] == (answer == found.truth(row["data set"]).stoichiometry[:, reaction]).all()
    listed = [column_text(graph, column, reaction) for column in recovery["alternative"].values]
    others = [text for text in listed if text != row["answer"]][:2]
    assert [part.split(" (cost")[0] for part in row["next best"].split("; ")] == others


def test_a_column_is_written_substrates_first():
    graph = from_pairs(89, 2, [1, 88, 12, 3, 7, 40], [0, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 1])
    column = np.zeros(89)
    column[[88, 12, 3, 7, 40]] = 2, -1, 0, 1, -2.5
    assert column_text(graph, column[graph.edge_metabolite], 1) == "−1 M12, −2.5 M40, +1 M7, +2 M88"
    assert column_text(graph, np.zeros(6), 1) == "nothing"


def test_where_all_are_sure_there_is_nothing_to_show(found):
    none = results.Results(
        found.study,
        [fit for fit in found.fits if fit.config.learning_rate_start == 1e30],
        found.store,
        found.metrics,
        found.baselines,
    )
    table, total = trust.unsure_reactions(none)
    assert total == 0 and table.empty
