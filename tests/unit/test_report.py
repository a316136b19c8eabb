"""The report: what it says is what the tables say, it stands alone, and it refuses what it cannot use."""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from stoirec.answer.decode import METHODS, REFINED
from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.network.graph import from_pairs
from stoirec.network.notation import column_text, equation
from stoirec.report import contents, present, provenance, results, tables
from stoirec.report import page as pages
from stoirec.report.answer import answer
from stoirec.report.calibration import calibration
from stoirec.report.data import numbers
from stoirec.report.data.figures import trajectories
from stoirec.report.limits.ceilings import beside_ceilings
from stoirec.report.limits.confidence import calibrations, confidences, sure_entries
from stoirec.report.recovery import charts as recovery_charts
from stoirec.report.recovery import figures as recovery_figures
from stoirec.report.recovery import mistakes
from stoirec.report.recovery.selected import better_baseline, selected_fit
from stoirec.report.study import effects
from stoirec.report.study.conclusions import conclusions
from stoirec.report.study.val_loss import val_loss_prediction
from stoirec.score.metrics import NAMES, confusion

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def store(small_regime, finish_study, tmp_path_factory):
    """A finished study on two networks: three variants, one of which diverges, and one with a name that is no name."""
    folder = tmp_path_factory.mktemp("store")
    study = {
        "name": "small",
        "regime": str(folder / "regime.yaml"),
        "network_seeds": [1, 2],
        "base": {
            "n_runs": 1,
            "n_epochs": 1,
            "data_augmentation_loop": 40,
            "n_snapshots": 3,
            "learning_rate_start": 5e-3,
        },
        "stages": [
            {
                "name": "only",
                "variants": {
                    "role": {"role_prior": True},
                    HOSTILE: {},
                    "diverging": {"learning_rate_start": 1e30, "optimiser": "adam"},
                },
            }
        ],
    }
    finish_study(folder, study, {"regime": small_regime})
    write_notebooks(folder / "notebooks")
    return folder


@pytest.fixture(scope="module")
def found(store):
    return results.load(store / "study.yaml", store, store / "metrics.csv", store / "baselines.csv")


def write_notebooks(folder: Path, executed: bool = True) -> None:
    """Notebooks as papermill leaves them: a heading, code, a figure and a table."""
    folder.mkdir(exist_ok=True)
    figure = '<figure><img src="data:image/png;base64,AA==" alt="dots"><figcaption>Dots.</figcaption></figure>'
    for name in contents.chapter_names():
        outputs = [
            new_output("stream", name="stderr", text="a log line"),
            new_output("display_data", {"text/html": figure, "text/plain": "<Html>"}),
            new_output("display_data", {"text/html": figure, "text/plain": "<Html>"}),
        ]
        cells = [
            new_markdown_cell(f"# Chapter {name}\n\nProse."),
            new_markdown_cell("## Cause & effect"),
            new_code_cell(
                "secret_code()", outputs=outputs if executed else [], execution_count=1 if executed else None
            ),
        ]
        nbformat.write(new_notebook(cells=cells), folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def page(found, store):
    output = store / "out" / "report.html"
    pages.write(found, store / "notebooks", store / "study.yaml", output)
    assert [path.name for path in output.parent.iterdir()] == ["report.html"]  # no temporary file is left
    return output.read_text()


# --- what the report says ---------------------------------------------------------------------------------------------


def test_the_answer_is_the_best_mean_of_the_table(found, page, store):
    metrics = pd.read_csv(store / "metrics.csv")
    answers = metrics[metrics["is_answer"]]
    best = answers.assign(entry_exact=answers["entry_exact"].fillna(0)).groupby("variant")["entry_exact"].mean()
    assert found.best_configuration == best.idxmax()
    lead = re.search(r'<p class="lead">(.*?)</p>', page, re.DOTALL)[1]
    assert f"{100 * best.max():.1f} %" in lead and f"entry_exact {best.max():.3f}" in lead
    baselines = pd.read_csv(store / "baselines.csv")
    for name in ("baseline_unit", "baseline_balanced"):
        of = baselines[(baselines["variant"] == name) & (baselines["method"] == "mass_balanced")]
        assert f"{of['entry_exact'].mean():.3f}" in lead
    assert "val_loss" in lead


def test_a_diverged_fit_counts_as_nothing_recovered(found, page):
    row = found.configurations.loc["diverging"]
    assert row["n_diverged"] == row["n_fits"] == 2
    assert row["entry_exact"] == 0 and row["val_loss"] == np.inf
    assert "2 of 6 fits diverged" in page
    assert found.val_loss_configuration != "diverging"


def test_results_with_roles_are_marked(found, page):
    assert "role_prior" in page
    assert found.configurations["role_prior"].to_dict() == {"role": True, HOSTILE: False, "diverging": False}


def test_every_reference_stands_in_the_headline(found):
    table = tables.headline(found)
    assert set(results.REFERENCES.values()) <= set(table.index)
    chosen = found.configurations.loc[found.best_configuration]
    assert table.loc[found.best_configuration, "entry_exact"] == chosen["entry_exact"]


def test_baselines_are_decoded_by_the_method_of_the_answer(found, store):
    baselines = pd.read_csv(store / "baselines.csv")
    for method in METHODS:
        table = found.references(method)
        rows = baselines[baselines["method"] == method].groupby("variant")[list(NAMES)].mean()
        assert table.loc["baseline_unit", "entry_exact"] == pytest.approx(rows.loc["baseline_unit", "entry_exact"])
    scaled = baselines[(baselines["variant"] == "oracle_scale_blind") & (baselines["method"] == "scaled")]
    assert found.references("nearest").loc["oracle_scale_blind", "entry_exact"] == pytest.approx(
        scaled["entry_exact"].mean()
    )


def test_the_page_has_provenance(found, page, store):
    for piece in (
        provenance.versions()["torch"],
        "regime tiny",
        str(found.data_attributes("tiny-seed1")["seed_mlps"]),
        "network_seeds:",
    ):
        assert piece in page
    assert provenance.git_commit() in page


def test_wall_times_are_summed_over_the_jobs_of_this_study(found, tmp_path):
    other = results.Results(found.study, found.fits, tmp_path, found.metrics, found.baselines)
    jobs = {
        f"train/{found.fits[0].fit_id}": 10.0,
        f"train/{found.fits[1].fit_id}": 80.0,
        "train/another-seed1/defaults-0": 1e6,
        "simulate/tiny-seed1": 2.0,
        "notebook/small/1_data": 3.0,
        "collect/smaller": 1e6,
    }
    for name, seconds in jobs.items():
        path = tmp_path / "benchmarks" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\tmax_vms\n{seconds}\t0:00:00\t-\t-\n")
    found_times = {row["rule"]: (row["jobs"], row["seconds"], row["memory"]) for row in provenance.rule_times(other)}
    assert found_times == {"train": (2, 90.0, "–"), "simulate": (1, 2.0, "–"), "notebook": (1, 3.0, "–")}
    assert [provenance.duration(seconds) for seconds in (4.21, 185, 7800)] == ["4.2 s", "3 min 05 s", "2 h 10 min"]


def test_only_one_is_shown_as_one():
    assert [present.share(value) for value in (1.0, 0.9996, 0.99999, 0.87, -0.5)] == [
        "1.000",
        "0.9996",
        "0.99999",
        "0.870",
        "−0.500",
    ]
    assert [present.percent(value) for value in (1.0, 0.9996, 0.8704, 0.0)] == ["100.0 %", "99.96 %", "87.0 %", "0.0 %"]


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_stands_alone(page):
    assert not re.search(r"""(src|href|url\()\s*=?\s*["']?\s*(https?:)?//""", page)
    assert "http" not in re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL)
    assert "secret_code" not in page and "a log line" not in page
    targets = set(re.findall(r'href="#([^"]*)"', page))
    assert targets and targets <= set(re.findall(r'id="([^"]*)"', page))


def test_figures_and_chapters_are_numbered(page):
    assert [f"<b>Figure {chapter}.{number}</b>" in page for chapter in range(1, 7) for number in (1, 2)] == [True] * 12
    assert "1 Chapter 1_data" in page
    assert page.count("Cause &amp; effect") == 12 and "&amp;amp;" not in page  # in the chapter and in the navigation
    assert all('alt="' in image for image in re.findall(r"<img[^>]*>", page))


def test_what_comes_from_a_study_is_escaped(page, found):
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    shown = (
        present.table(tables.overview(found), HOSTILE, index=HOSTILE)._repr_html_()
        + present.items([HOSTILE])._repr_html_()
        + present.text(HOSTILE)._repr_html_()
    )
    assert HOSTILE not in shown


@pytest.mark.parametrize("part", ["cell_type", "source", "metadata", "outputs", "execution_count", "nbformat", "cells"])
def test_a_damaged_notebook_is_named(tmp_path, part):
    write_notebooks(tmp_path)
    path = sorted(tmp_path.iterdir())[1]
    path.write_text(path.read_text().replace(f'"{part}"', '"other"'))
    with pytest.raises(BadInput, match=f"^{path}: file: found not readable as a notebook"):
        pages.chapters(tmp_path)


def test_missing_or_unexecuted_notebooks_are_refused(found, store, tmp_path):
    with pytest.raises(BadInput, match="1_data.ipynb"):
        pages.write(found, tmp_path, store / "study.yaml", tmp_path / "report.html")
    write_notebooks(tmp_path, executed=False)
    with pytest.raises(BadInput, match="not executed"):
        pages.chapters(tmp_path)
    (tmp_path / "1_data.ipynb").write_text("{")
    with pytest.raises(BadInput, match="1_data.ipynb"):
        pages.chapters(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_tables_that_lack_a_fit_are_refused(store, tmp_path):
    metrics = pd.read_csv(store / "metrics.csv")
    metrics[metrics["fit_id"] != metrics["fit_id"].iloc[0]].to_csv(tmp_path / "metrics.csv", index=False)
    with pytest.raises(BadInput, match="no row for"):
        results.load(store / "study.yaml", store, tmp_path / "metrics.csv", store / "baselines.csv")
    with pytest.raises(BadInput, match="existing CSV"):
        results.load(store / "study.yaml", store, tmp_path / "none.csv", store / "baselines.csv")
    metrics.drop(columns="is_answer").to_csv(tmp_path / "metrics.csv", index=False)
    with pytest.raises(BadInput, match="is_answer"):
        results.load(store / "study.yaml", store, tmp_path / "metrics.csv", store / "baselines.csv")


def test_what_is_long_is_folded_and_numbered_all_the_same():
    frame = pd.DataFrame({"a": range(13)})
    folded, short, open_ = (
        present.table(frame, HOSTILE)._repr_html_(),
        present.table(frame[:12], "")._repr_html_(),
        present.table(frame, "", unfolded=True)._repr_html_(),
    )
    assert folded.startswith('<details><summary class="caption">&lt;script&gt;') and "13 rows" in folded
    assert "<details" not in short + open_ and "sorted" in open_ and "sorted" not in short
    assert "13 items" in present.items(["x"] * 13)._repr_html_()
    chapter = pages._numbered(3, "", folded + short, [])
    assert chapter.body.index("<b>Table 3.1</b>") < chapter.body.index("</summary>") < chapter.body.index("Table 3.2")


def test_a_section_with_nothing_to_show_is_a_line(found, store, tmp_path):
    """Of what it says, not of what its text says; a section that shows something stays."""
    write_notebooks(tmp_path)
    path = tmp_path / "4_study.ipynb"
    notebook = nbformat.read(path, 4)
    said = [new_output("display_data", {"text/html": present.nothing(HOSTILE)._repr_html_()})] * 2
    notebook.cells += [
        new_markdown_cell("## Nowhere & back\n\nLong prose."),
        new_code_cell("x", outputs=said, execution_count=1),
    ]
    nbformat.write(notebook, path)
    chapter = pages.chapters(tmp_path)[3]
    assert chapter.empty == [("Nowhere & back", HOSTILE)] and len(chapter.sections) == 1
    assert "Nowhere" not in chapter.body and "Long prose" not in chapter.body
    text = pages.render(found, [chapter], "")
    assert "<li>Nowhere &amp; back. &lt;script&gt;alert(1)&lt;/script&gt;</li>" in text and HOSTILE not in text


# --- effects ----------------------------------------------------------------------------------------------------------


def test_matched_pairs_differ_in_one_parameter_only(found):
    pairs = effects.matched_pairs(found)
    assert set(pairs["parameter"]) == {"role_prior", "learning_rate_start"}
    answers = found.answers
    for _, pair in pairs.iterrows():
        first, second = answers.loc[pair["first"]], answers.loc[pair["second"]]
        assert first["data"] == second["data"]
        assert [column for column in found.varied if first[column] != second[column]] == [f"param.{pair['parameter']}"]
    roles = effects.matched_effects(found).set_index("parameter").loc["role_prior"]
    assert (roles["from"], roles["to"], roles["pairs"]) == ("False", "True", 2)
    exact = answers.set_index(["configuration", "data"])["entry_exact"]
    assert roles["mean"] == pytest.approx((exact["role"] - exact[HOSTILE]).mean())


def test_fits_on_another_regime_are_no_pair_though_the_network_has_the_same_seed(found):
    answers = found.answers.copy()
    answers["data"] = [f"{data}-{place}" for place, data in enumerate(answers["data"])]
    elsewhere = SimpleNamespace(answers=answers, varied=found.varied)
    assert effects.matched_pairs(elsewhere).empty and effects.matched_effects(elsewhere).empty


def test_crossed_pairs_differ_in_these_two_only(found):
    (pair, fits), *others = effects.crossed_pairs(found).items()
    assert not others and set(pair) == {"param.role_prior", "param.learning_rate_start"}
    rest = [column for column in found.answers if column.startswith("param.") and column not in pair]
    assert len(fits) == 6 and (found.answers.loc[fits, rest].nunique(dropna=False) == 1).all()


def test_conclusions_name_the_best_and_what_diverged(found):
    sentences = " ".join(conclusions(found))
    assert f"by {found.best_configuration}" in sentences and "2 of 6 fits diverged" in sentences


def test_the_fit_shown_is_the_best_answer(found, store):
    metrics = pd.read_csv(store / "metrics.csv")
    best = metrics[metrics["is_answer"]]["entry_exact"].max()
    assert found.answers.at[found.best_fit, "entry_exact"] == best
    assert f"{best:.3f}" in selected_fit(found) and "val_loss alone would pick" in selected_fit(found)


def test_selecting_by_val_loss_never_gains(found):
    assert val_loss_prediction(found).regret >= 0


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_wrong_reactions_are_listed_with_equations(found):
    """A recovery made by hand: one column doubled, one with a wrong entry, all others right."""
    name = found.data_names[0]
    truth, graph = found.truth(name), found.data(name).graph
    recovery = found.recovery(found.fits[0].fit_id).copy(deep=True)
    matrix = truth.stoichiometry.copy()
    doubled, other = 0, 1
    matrix[:, doubled] *= 2
    first = graph.edge_metabolite[graph.edges_of(other)][0]
    matrix[first, other] = -matrix[first, other]
    recovery["stoichiometry"].values[:] = matrix
    table = mistakes.wrong_reactions(graph, truth, recovery).set_index("reaction")
    assert set(table.index) == {"R0", "R1"}
    assert table["only scale"].to_dict() == {"R0": True, "R1": False}
    assert list(table["k"]) == sorted(table["k"])
    substrate = graph.edge_metabolite[graph.edges_of(doubled)][graph.edge_is_substrate[graph.edges_of(doubled)]][0]
    size = -matrix[substrate, doubled]
    assert f"{size} M{substrate}" in table.at["R0", "recovered"].split(" → ")[0]
    assert table.at["R1", "wrong entries"].startswith("1 of")


def test_error_rates_and_calibration_count_everything_once():
    rng = np.random.default_rng(0)
    log_k, wrong = rng.uniform(-3, -1, 100), rng.random(100) < 0.3
    rate = mistakes.error_rate(log_k, wrong)
    assert rate["n"].sum() == 100 and (rate["share"] * rate["n"]).sum() == pytest.approx(wrong.sum())
    assert ((rate["lower"] <= rate["share"]) & (rate["share"] <= rate["upper"]) & (rate["upper"] <= 1)).all()
    confidence = np.concatenate([rng.random(98), [0.0, 1.0]])
    bins = calibration(confidence, ~wrong)
    assert bins["entries"].sum() == 100
    assert (bins["share right"] * bins["entries"]).sum() == pytest.approx((~wrong).sum())
    sure = confidence >= 0.99
    assert bins["entries"].iloc[-1] == sure.sum()


def test_every_configuration_stands_beside_its_ceilings(found):
    table = beside_ceilings(found)
    assert list(table.index) == list(dict.fromkeys(found.answers["configuration"]))
    assert table["fits"].sum() == len(found.fits)
    diverged = found.answers[found.answers["status"] != "ok"]["configuration"].unique()
    assert (table.loc[diverged, "mean"] == 0).all() and (table["lowest"] <= table["mean"]).all()
    assert (table["oracle: true fluxes, mass balance"] >= table["better baseline"]).all()


def test_sure_entries_are_counted_over_all_networks(found):
    entries = confidences(found)
    assert len(entries) == sum(found.data(row["data"]).graph.n_edges for _, row in found.ended.iterrows())
    table = sure_entries(entries)
    for name, group in entries.groupby("configuration"):
        sure = group[group["confidence"] >= 0.99]
        assert table.at[name, "share sure"] == pytest.approx(len(sure) / len(group))
        assert len(sure) == 0 or table.at[name, "right among sure"] == pytest.approx(sure["right"].mean())
    curves = calibrations(entries)
    assert sum(curve["entries"].sum() for curve in curves.values()) == len(entries)


# --- answers that refinement decided ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def refined(small_regime, finish_study, tmp_path_factory):
    """A study in which one variant is refined; its answer is by a method that no reference has."""
    folder = tmp_path_factory.mktemp("refined")
    refinement = {"role_prior": True, "refinement_rounds": 1, "refinement_steps": 2, "refinement_frames": 40}
    study = {
        "name": "refined",
        "regime": str(folder / "regime.yaml"),
        "network_seeds": [1, 2],
        "base": {
            "n_runs": 1,
            "n_epochs": 1,
            "data_augmentation_loop": 20,
            "n_snapshots": 3,
            "learning_rate_start": 5e-3,
        },
        "stages": [{"name": "only", "variants": {"plain": {"role_prior": True}, "with": refinement}}],
    }
    finish_study(folder, study, {"regime": small_regime})
    metrics = pd.read_csv(folder / "metrics.csv")
    if REFINED not in set(metrics["method"]):
        own = metrics[(metrics["variant"] == "with") & metrics["is_answer"]]
        metrics.loc[own.index, "is_answer"] = False
        metrics = pd.concat([metrics, own.assign(method=REFINED, is_answer=True)], ignore_index=True)
    metrics.loc[metrics["method"] == REFINED, "entry_exact"] = 0.98  # whatever so short a refinement reaches
    metrics.to_csv(folder / "metrics.csv", index=False)
    return results.load(folder / "study.yaml", folder, folder / "metrics.csv", folder / "baselines.csv")


def test_a_refined_answer_has_a_column_and_comparable_references(refined):
    assert refined.methods == [*METHODS, REFINED]
    assert refined.configurations["method"].to_dict() == {"with": REFINED, "plain": "mass_balanced"}
    pd.testing.assert_frame_equal(refined.references(REFINED), refined.references("mass_balanced"))
    fits = list(refined.answers.index)
    table = tables.by_method(refined, fits, refined.data_names)
    assert list(table.columns) == refined.methods
    labels = refined.answers.loc[refined.answers["configuration"] == "with", "label"]
    assert table.loc[labels, REFINED].notna().all() and table[REFINED].notna().sum() == len(labels)
    assert list(tables.by_method(refined, [], refined.data_names)) == list(METHODS)  # nothing refines a reference
    assert REFINED in tables.overview(refined) and set(tables.overview(refined)["answer by"]) == {
        REFINED,
        "mass_balanced",
    }


def test_a_refined_answer_is_told_as_one(refined):
    assert refined.best_configuration == "with"
    headline = tables.headline(refined)
    balanced = refined.references("mass_balanced", *refined.seen_by("with"))
    for name, label in results.REFERENCES.items():
        assert headline.at[label, "entry_exact"] == balanced.at[name, "entry_exact"]
    lead = " ".join(answer(refined)["sentences"])
    assert "decided by refinement" in lead and "decoded by mass balanced" in lead
    assert "decided by refinement" in selected_fit(refined)
    assert "by with" in " ".join(conclusions(refined))
    assert beside_ceilings(refined)["better baseline"].notna().all()
    graph = refined.data("tiny-seed1").graph
    true = graph.on_edges(refined.truth("tiny-seed1").stoichiometry)
    better = better_baseline(refined.data("tiny-seed1").space, true, REFINED)
    assert (better == true).mean() == pytest.approx(refined.best_baseline("mass_balanced", ["tiny-seed1"]))


# --- names and coefficients -------------------------------------------------------------------------------------------

NAMES_OF = {"metabolite_names": ("atp_c", HOSTILE, "$x_{", "_y"), "reaction_names": ("<b>PFK</b>", "R 2")}


@pytest.fixture
def named():
    return replace(from_pairs(4, 2, [0, 1, 2, 1, 3], [0, 0, 0, 1, 1], [1, 1, 0, 1, 0]), **NAMES_OF)


def test_names_of_a_file_reach_equations_and_tables(named):
    coefficient = np.array([-1.0, -2.0, 1.5, -1.0, 1.0])
    assert equation(named, coefficient, 0) == f"atp_c + 2 {HOSTILE} → 1.5 $x_{{"
    assert column_text(named, coefficient, 1) == f"−1 {HOSTILE}, +1 _y"
    assert equation(replace(named, metabolite_names=()), coefficient, 1) == "M1 → M3"
    drives = np.zeros(named.n_edges, bool)
    drives[named.edges_of(1).start] = True
    without = np.where(drives, 0.0, coefficient)
    assert equation(replace(named, metabolite_names=()), without, 1, "⇌", drives) == "M1 ⇌ M3 + M1"
    recovery = xr.Dataset(
        {
            "stoichiometry": (("metabolite", "reaction"), named.matrix(coefficient * [1, 1, 1, 2, 2])),
            "alternative": (("rank", "edge"), coefficient[None]),
            "confidence": ("edge", np.ones(5)),
        }
    )
    truth = SimpleNamespace(stoichiometry=named.matrix(coefficient), log_k=np.zeros(2))
    (row,) = mistakes.wrong_reactions(named, truth, recovery).to_dict("records")
    assert (row["reaction"], row["only scale"], row["rank of truth"]) == ("R 2", True, "1")
    assert row["recovered"] == f"2 {HOSTILE} → 2 _y"
    shown = present.table(mistakes.wrong_reactions(named, truth, recovery), "")._repr_html_()
    assert HOSTILE not in shown and "&lt;script&gt;" in shown


def test_names_of_a_file_reach_the_legends(named):
    time = np.linspace(0, 1, 5)
    figure = trajectories(named, time, np.ones((5, 4)) + time[:, None], np.ones((5, 2)))
    texts = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in figure.axes]
    assert len(texts[0]) == 4 and len(texts[1]) == 2  # a name with _ in front is in its legend, too
    assert "atp_c" in texts[0] and "<b>PFK</b>" in texts[1]
    present.figure(figure, HOSTILE, HOSTILE)  # $ in a name is no mathematics: it draws


def test_names_cannot_end_what_a_chart_is_made_of(named):
    coefficient = np.array([-1.0, -2.0, 1.5, -1.0, 1.0])
    recovery = xr.Dataset(
        {
            "stoichiometry": (("metabolite", "reaction"), named.matrix(coefficient)),
            "coefficient": ("edge", coefficient * [1, 1, np.nan, 1, 1]),
            "confidence": ("edge", np.ones(5)),
        }
    )
    text = recovery_charts.matrix(named, recovery, coefficient)
    assert "<script>alert" not in text and text.count("</script>") == 1
    content = json.loads(re.search(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)[1])
    assert HOSTILE in json.dumps(content["chart"], ensure_ascii=False)


@pytest.mark.parametrize("largest", [1, 2, 3, 7, 60])
def test_figures_of_the_recovery_take_any_coefficient(largest):
    rng = np.random.default_rng(0)
    true = rng.integers(-largest, largest + 1, (6, 9)).astype(float)
    recovered = np.where(rng.random(true.shape) < 0.2, -true, true)
    recovered[0, 0] = true[0, 0] = largest + 0.5
    table = confusion(recovered.ravel(), true.ravel())
    assert table.sum() == true.size - 1
    figure = recovery_figures.coefficients(true.ravel() * 1.1, recovered.ravel(), true.ravel(), table)
    low, high = figure.axes[0].get_xlim()
    assert low < true.min() and true.max() < high
    figure.draw_without_rendering()
    recovery_figures.matrices(true, recovered).draw_without_rendering()


def test_coefficients_are_counted_with_their_fractions():
    graph = from_pairs(4, 1, [0, 1, 2, 3], [0] * 4, [1, 1, 0, 0])
    truth = SimpleNamespace(stoichiometry=graph.matrix(np.array([-3.0, 0.0, 1.5, 1.5])))
    table = numbers.coefficient_counts(truth, graph)
    assert list(table["true coefficient"]) == ["−3", "0", "+1.5"] and list(table["edges"]) == [1, 1, 2]


# --- provenance -------------------------------------------------------------------------------------------------------


def test_provenance_is_read_from_the_file_and_from_its_truth(found, store, tmp_path):
    """Seeds and configuration were attributes of the file once; from them S can be simulated again."""
    source = store / "data" / "tiny-seed1.nc"
    root, truth = netcdf.read(source), netcdf.read(source, group="truth")
    both = root.attrs | truth.attrs
    hidden = {key: both[key] for key in both if key in ("regime", "config", "network_seed") or key.startswith("seed_")}
    public = {key: value for key, value in root.attrs.items() if key not in hidden}
    for name, (outside, inside) in {"old": (public | hidden, {}), "new": (public, hidden)}.items():
        root.attrs, truth.attrs = outside, {"dt": 0.1, "flux_limiter": 0} | inside
        netcdf.write(tmp_path / "data" / f"{name}.nc", root, truth=truth)
        read = replace(found, store=tmp_path).data_attributes(name)
        assert {key: read[key] for key in hidden} == hidden and "git_commit" in read


# --- chapters ---------------------------------------------------------------------------------------------------------


def imports(source: str) -> set[str]:
    """Dotted names of what a piece of Python imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_no_chapter_imports_another():
    """Nor does what they share import a chapter. A notebook imports its own chapter's folder."""
    chapters = [name.split("_", 1)[1] for name in contents.chapter_names()]
    folder = Path(results.__file__).parent
    beside = {"map", "own_data", "beforehand"}  # what chapter and page share, and the pages without a study
    assert set(chapters) | beside == {path.parent.name for path in folder.glob("*/__init__.py")}
    sources = {path: (path.parent.name, path.read_text()) for path in folder.rglob("*.py")}
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        sources[path] = (path.stem.split("_", 1)[1], "\n".join(cells))
    for path, (own, source) in sources.items():
        others = [f"stoirec.report.{chapter}" for chapter in chapters if chapter != own]
        found = [name for name in imports(source) if any(f"{name}.".startswith(f"{other}.") for other in others)]
        assert found == [], path


def test_a_new_notebook_is_a_new_chapter(found, store, tmp_path, monkeypatch):
    sources, executed = tmp_path / "sources", tmp_path / "executed"
    for folder in (sources, executed):
        write_notebooks(folder)
    assert contents.chapter_names(sources) == contents.chapter_names()
    monkeypatch.setattr(pages, "chapter_names", lambda folder=sources: contents.chapter_names(folder))
    (sources / "7_more.ipynb").write_text((sources / "1_data.ipynb").read_text())
    with pytest.raises(BadInput, match="7_more.ipynb"):
        pages.write(found, executed, store / "study.yaml", tmp_path / "report.html")
    (executed / "7_more.ipynb").write_text((sources / "1_data.ipynb").read_text())
    assert [chapter.title[0] for chapter in pages.chapters(executed)] == list("1234567")
    (sources / "7_more.ipynb").unlink()  # what was executed once and is no chapter any more is left out
    assert len(pages.chapters(executed)) == 6


@pytest.mark.parametrize("name", contents.chapter_names())
def test_notebooks_run_on_a_study_with_refined_answers(name, refined, run_cells):
    """The cells, without a kernel: what they show is made."""
    shown = [part for _, parts in run_cells(NOTEBOOKS / f"{name}.ipynb", refined) for part in parts]
    assert len(shown) > 3 and all(isinstance(part, present.Html) for part in shown)


# --- the committed notebooks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", contents.chapter_names())
def test_notebooks_are_committed_without_outputs(name):
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    names = re.findall(r"^(\w+) =", "".join(tagged[0]["source"]), re.MULTILINE)
    assert names == ["study", "store", "metrics", "baselines"]
