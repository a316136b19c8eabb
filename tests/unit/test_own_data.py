"""The page of one answer, for who has data and no truth."""

import html
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stoirec import cli
from stoirec.answer.prediction import spread, with_rollout_errors
from stoirec.answer.recovery import recover
from stoirec.config.fit import FitConfig
from stoirec.errors import BadInput
from stoirec.files.outputs import ANSWER_PAGE
from stoirec.learn.training import train
from stoirec.network.balance import LENGTH, balances
from stoirec.report.map.reactions import recovered_reactions
from stoirec.report.own_data import figures, numbers, page
from stoirec.report.own_data.predictions import _error, predictions

HOSTILE = '<script>alert("1")</script> & $x_1$'


@pytest.fixture(scope="module")
def answered(tiny_data):
    """Data whose metabolites have names that nobody should give, a short fit of them, and its recovery."""
    names = (HOSTILE, *(f"M{place}" for place in range(1, tiny_data.graph.n_metabolites)))
    graph = replace(tiny_data.graph, metabolite_names=names)
    data = replace(tiny_data, space=replace(tiny_data.space, graph=graph))
    config = FitConfig(n_epochs=1, epoch_steps=60, n_runs=2, learning_rate_start=1e-2, role_prior=True)
    fit = train(data, config, "cpu")
    return data, fit, with_rollout_errors(recover(fit, "fit.nc"), fit, data)


def test_the_page_says_what_is_sure_and_what_is_predicted(answered):
    data, fit, recovery = answered
    text = page.render("own.nc", data, fit, recovery, "best: because")
    sure = (recovery["confidence"].values >= 0.99).mean()
    assert f">{100 * sure:.1f} %<" in text
    assert "best: because" in text and "What cannot be told" in text
    for run, role in enumerate(data.run_role):
        assert f"Run {run}, {'which nothing was trained on' if role else 'one of those trained on'}" in text
    assert text.count("<tr id=") == data.graph.n_reactions
    assert "not the true column" not in text and ">right<" not in text  # nobody knows


def test_the_page_calls_runs_and_units_as_the_file_does(answered):
    data, fit, recovery = answered
    names = tuple(f"flask {place}" for place in range(len(data.run_role)))
    text = page.render("own.nc", replace(data, run_names=names, time_unit="min", unit="mM"), fit, recovery, "best")
    assert all(f"Run {name}, " in text for name in names)
    assert "until [min]" in text and "mM / min" in text and "[time unit]" not in text


def test_reactions_whose_length_alone_is_open_are_told_from_others(answered):
    """Of the first the double is as likely, of the second it is likelier, of the third another column is."""
    data, fit, recovery = answered
    recovery, graph = recovery.copy(deep=True), data.graph
    answer = graph.on_edges(recovery["stoichiometry"].values)
    recovery["confidence"][:] = np.array([0.5, 0.1, 0.1, *[1.0] * graph.n_reactions])[graph.edge_reaction]
    recovery["no_column_probability"] = ("reaction", np.zeros(graph.n_reactions))
    other = np.where(
        graph.edge_reaction == 2, answer + (np.arange(graph.n_edges) == graph.edges_of(2).start), 2 * answer
    )
    recovery["alternative"] = recovery["alternative"].astype(int)
    recovery["alternative"][:2] = np.stack([answer, other])
    with np.errstate(divide="ignore"):
        recovery["alternative_cost"][:] = np.inf
        recovery["alternative_cost"][:2, :3] = -2 * np.log([[0.5, 0.1, 0.1], [0.5, 0.9, 0.9]])
    reactions = recovered_reactions(data.space, recovery)
    assert numbers.unsure(data.space, recovery, reactions) == (["R0", "R1"], ["R2"])
    said = "\n".join(numbers.untold(data, fit, recovery, reactions))
    assert "Sure but for a common factor of their coefficients: R0, R1." in said
    assert "than the one that refinement decided: R1, R2; see next best." in said
    lines = page.summary(data, recovery)
    assert lines[1].endswith("common factor of their coefficients: R0, R1") and lines[2].endswith("may be right: R2")
    recovery["confidence"][:] = 0.0  # the functions hold nowhere, nor do these probabilities: balance does
    one_to_one = [
        name
        for name, each in zip(map(graph.reaction_name, range(graph.n_reactions)), balances(data.space))
        if each.says == LENGTH
    ]
    assert numbers.unsure(data.space, recovery, recovered_reactions(data.space, recovery))[0] == one_to_one
    assert 0 < len(one_to_one) < graph.n_reactions


def test_the_page_stands_alone_and_escapes_names(answered):
    text = page.render(HOSTILE, *answered, HOSTILE)
    assert "<script>alert" not in text and html.escape(HOSTILE)[:20] in text
    assert 'src="http' not in text and 'href="http' not in text


def test_the_held_out_error_is_that_of_the_recovery(answered):
    data, fit, recovery = answered
    held_out = [run for run in predictions(data, fit, recovery) if run.held_out]
    found = float(recovery[f"rollout_error_{recovery.attrs['method']}"])
    assert [run.relative for run in held_out] == pytest.approx([found], rel=0.05)
    assert any(line.startswith(f"{found:6.3f} ") for line in page.summary(data, recovery))
    lost = recovery.assign({f"rollout_error_{recovery.attrs['method']}": np.inf})
    assert page.summary(data, lost)[-1].strip() == "the held-out courses cannot be predicted from their first frame"
    assert f"predicted with {found:.2g} of the error" in page.render("own.nc", data, fit, recovery, "best")


def test_a_metabolite_that_was_not_measured_in_a_run_has_no_error(answered):
    data, fit, recovery = answered
    run = predictions(data, fit, recovery)[0]
    measured = run.measured.copy()
    measured[:, 3] = np.nan
    error = np.where(np.arange(len(run.error)) == 3, np.nan, run.error)
    found = _error(run.predicted - measured, spread(data))
    np.testing.assert_allclose(found, error)
    drawn = figures.courses(replace(run, measured=measured, error=found), [f"M{i}" for i in range(len(error))])
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert texts[2 * 3 : 2 * 3 + 2] == ["M3", ""] and texts[1] == f"{error[0]:.2g}"
    lines = drawn.axes[0].collections[1].get_segments()
    assert len(lines) == len(error) and len(lines[3]) == min(len(run.time), 200)  # predicted all the same


def test_a_fit_that_diverged_has_a_page(answered):
    data, fit, _ = answered
    fit = fit.copy(deep=True)
    fit.attrs["status"] = "diverged"
    recovery = with_rollout_errors(recover(fit, "fit.nc"), fit, data)
    text = page.render("own.nc", data, fit, recovery, "best")
    assert "the fit diverged" in text.lower() and "Predicted courses" not in text and "<svg" not in text
    assert page.summary(data, recovery) == ["the fit diverged: nothing was found"]


def test_courses_that_cannot_be_followed_are_named(answered):
    data, fit, recovery = answered
    wild = recovery.copy(deep=True)
    method = recovery.attrs["method"]
    wild[f"log_k_{method}"] = wild[f"log_k_{method}"] + 9
    wild["stoichiometry"] = abs(wild["stoichiometry"])
    wild[f"rollout_error_{method}"] = np.inf
    assert "cannot be followed" in page.render("own.nc", data, fit, wild, "best")
    lost = predictions(data, fit, wild)[0]
    assert np.isinf(lost.relative) and np.isinf(lost.predicted[-1]).all()


def test_an_answer_writes_over_no_page_but_that_of_an_answer(answered, tiny_path, tmp_path):
    """A study's report may lie under the name that an answer's page would have."""
    report = tmp_path / "report.html"
    report.write_text("<title>Study: recovery</title>")
    with pytest.raises(BadInput, match=r"another name: .*report\.html, beside it, is no page of an answer"):
        cli.recover.recover(tiny_path, tmp_path / "report.nc", device="cpu")
    assert report.read_text() == "<title>Study: recovery</title>" and list(tmp_path.iterdir()) == [report]
    own = tmp_path / "own.html"
    page.write(own, Path("data.nc"), *answered, "best")
    assert ANSWER_PAGE.wrote(own) and not ANSWER_PAGE.wrote(report)
