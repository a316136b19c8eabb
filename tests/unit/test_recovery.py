import dataclasses
import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from stoirec.answer.confidence import likely_columns
from stoirec.answer.decode import METHODS, decode
from stoirec.answer.recovery import recover
from stoirec.errors import BadInput
from stoirec.files import netcdf
from stoirec.learn.training import train
from stoirec.learn.uncertainty import coefficient_se
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.score.metrics import recovery_metrics
from stoirec.score.oracle import conditioning, indistinguishable, least_squares, oracle_coefficients, true_frames
from stoirec.score.references import baseline_coefficients, reference_metrics
from stoirec.score.scoring import read_recovery, score
from stoirec.simulate.truth import read_truth, write_simulation


@pytest.fixture(scope="module")
def frames(tiny_data, tiny_truth):
    return true_frames(tiny_data, tiny_truth)


@pytest.fixture
def fit(tiny_data, tiny_fit):
    return train(tiny_data, tiny_fit, torch.device("cpu"))


def test_a_fit_that_learned_the_truth_is_recovered_exactly_and_confidently(fit, tiny_data, tiny_truth, rng):
    graph = tiny_data.graph
    fit["coefficient"].values[:] = graph.on_edges(tiny_truth.stoichiometry) + rng.normal(0, 0.02, graph.n_edges)
    fit["coefficient_se"].values[:] = 0.02
    fit["log_k"].values[:] = tiny_truth.log_k + 0.3
    fit["val_loss"].values[()] = fit["train_loss"].values[()] = 0.01
    recovery = recover(fit, "fit.nc")
    assert np.array_equal(recovery["stoichiometry"], tiny_truth.stoichiometry)
    assert (recovery["confidence"] > 0.99).all()
    assert np.array_equal(
        recovery["alternative"][0], recovery["stoichiometry"].values[fit["edge_metabolite"], fit["edge_reaction"]]
    )
    result = score(recovery, tiny_truth, graph)
    assert result["entry_exact"] == result["reaction_exact"] == 1 and result["log_k_r2"] == pytest.approx(1)
    assert set(result["methods"]) == set(METHODS)


def test_a_fit_worse_than_the_mean_on_a_new_trajectory_is_sure_of_nothing(fit, caplog):
    fit["val_loss"].values[()] = fit["train_loss"].values[()] = 0.99
    before = recover(fit, "fit.nc")
    assert (before["confidence"] > 0).any() and not caplog.records
    fit["val_loss"].values[()], fit["train_loss"].values[()] = 7.1, 0.01
    recovery = recover(fit, "fit.nc")
    assert (recovery["confidence"] == 0).all() and "val_loss 7.1" in caplog.text and "more runs" in caplog.text
    fit["train_loss"].values[()] = 4.0
    recover(fit, "fit.nc")
    assert "by no columns that are allowed" in caplog.text.splitlines()[-1]
    assert recovery.drop_vars(("confidence", "val_loss")).equals(before.drop_vars(("confidence", "val_loss")))


def test_a_fit_whose_loss_drew_coefficients_to_integers_is_sure_of_nothing_unless_it_was_refined(fit, tiny_fit, caplog):
    fit["val_loss"].values[()] = fit["train_loss"].values[()] = 0.01
    before = recover(fit, "fit.nc")
    fit.attrs["config"] = tiny_fit.model_copy(update={"coeff_S_integer": 1e-3}).model_dump_json()
    drawn = recover(fit, "fit.nc")
    assert (before["confidence"] > 0).any() and (drawn["confidence"] == 0).all() and "to integers" in caplog.text
    assert drawn["stoichiometry"].equals(before["stoichiometry"])
    shape = (1, fit.sizes["reaction"])
    fit["column"], fit["column_probability"] = (
        fit["coefficient"].round().expand_dims("rank"),
        (("rank", "reaction"), np.ones(shape)),
    )
    assert (recover(fit, "fit.nc", "nearest")["confidence"] > 0).any()


def test_answer_is_the_configured_decoders(fit):
    recovery = recover(fit, "fit.nc")
    assert np.array_equal(recovery["stoichiometry"], recovery["stoichiometry_mass_balanced"])
    assert ((recovery["confidence"] >= 0) & (recovery["confidence"] <= 1 + 1e-12)).all()
    probability = np.exp(-recovery["alternative_cost"].values / 2)
    assert (probability.sum(axis=0) <= 1 + 1e-12).all() and (np.diff(probability, axis=0) <= 0).all()


def test_a_diverged_fit_scores_nan(fit, tiny_truth, tiny_data):
    fit.attrs["status"] = "diverged"
    fit["coefficient"].values[:] = np.nan
    recovery = recover(fit, "fit.nc")
    assert (recovery["stoichiometry"] == 0).all() and (recovery["confidence"] == 0).all()
    result = score(recovery, tiny_truth, tiny_data.graph)
    assert result["status"] == "diverged" and np.isnan(result["entry_exact"])


def test_equally_good_columns_are_equally_likely():
    graph = from_pairs(2, 1, np.arange(2), np.zeros(2), np.array([True, False]))
    columns, probability = likely_columns(ColumnSpace.of_roles(graph), np.array([-1.5, 1.5]), np.full(2, 1e3), 2)
    assert sorted(columns.tolist()) == [[-2, 2], [-1, 1]] and probability[0, 0] == pytest.approx(probability[1, 0])


@pytest.mark.parametrize("coefficient", [[-1.1, 1.2], [-1.3, 0.2, 1.0], [-0.6, -2.1, 1.4, 1.5]])
def test_likely_columns_against_densities_of_all(coefficient):
    """Beside a second reaction, whose column has both 1 and 2 in it."""
    n = len(coefficient)
    graph = from_pairs(
        max(n, 3),
        2,
        np.r_[0:n, 0:3],
        np.r_[np.zeros(n), np.ones(3)],
        np.r_[np.array(coefficient) < 0, True, True, False],
    )
    coefficient, weight = np.r_[coefficient, -1.4, -0.7, 2.2], np.r_[np.linspace(20, 60, n), 9.0, 9.0, 9.0]
    every = np.array([p for p in itertools.product(range(-2, 3), repeat=n) if sum(p) == 0 and any(p)])
    space = ColumnSpace.of_roles(graph)
    columns, probability = likely_columns(space, coefficient, weight, len(every))

    found = decode(space, coefficient, weight, "scaled_mass_balanced")
    told = [{1, 2} <= set(np.abs(found.coefficient[graph.edges_of(j)])) for j in range(2)]
    factor = max(1.0, space.of_any_sign().best(coefficient, weight, 1)[1].sum() / (n - 1 + 2))
    variance = np.mean((found.scale[told] - 1) ** 2)
    density = [
        stats.multivariate_t.pdf(coefficient[:n], p, np.diag(factor / weight[:n]) + variance * np.outer(p, p), df=2)
        for p in every
    ]
    expected = dict(zip(map(tuple, every), density / np.sum(density)))
    assert told[1] and probability[:, 0] == pytest.approx([expected[tuple(p)] for p in columns[:, :n].tolist()])
    assert (np.diff(probability[:, 0]) <= 0).all() and probability[:, 0].sum() == pytest.approx(1)


def test_where_lengths_vary_a_direction_with_two_lengths_is_not_sure(tiny_data, tiny_truth, rng):
    """-1, 1 and -2, 2 are told apart by the length alone."""
    graph, true = tiny_data.graph, tiny_data.graph.on_edges(tiny_truth.stoichiometry)
    weight = np.full(graph.n_edges, 1e4)
    sure = []
    for spread in (0.0, 0.4):
        length = np.exp(spread * rng.normal(size=graph.n_reactions))[graph.edge_reaction]
        sure.append(
            likely_columns(tiny_data.space, length * true + rng.normal(0, 0.01, graph.n_edges), weight, 5)[1][0]
        )
    told = np.array([{1, 2} <= set(np.abs(true[graph.edges_of(j)])) for j in range(graph.n_reactions)])
    assert sure[0].min() > 0.99
    assert (~told).any() and sure[1][~told].max() < 0.99


def test_confidence_and_alternatives_of_a_refined_fit_are_its_evidence(fit):
    edge = ("rank", "edge")
    fit["val_loss"].values[()] = fit["train_loss"].values[()] = 0.01
    answer = recover(fit, "fit.nc")["stoichiometry"].values[fit["edge_metabolite"], fit["edge_reaction"]]
    columns = np.stack([-answer, answer, np.roll(answer, 1)])
    columns[2, 0] = answer[0]
    chances = np.outer([0.6, 0.3, 0.1], np.ones(fit.sizes["reaction"]))
    chances[2, 1] = 0.0
    fit["column"], fit["column_probability"] = (edge, columns), (("rank", "reaction"), chances)
    recovery = recover(fit, "fit.nc")
    assert np.array_equal(recovery["alternative"], columns)
    assert np.diff(recovery["alternative_cost"], axis=0)[0] == pytest.approx(
        np.full(fit.sizes["reaction"], 2 * np.log(2))
    )
    assert recovery["confidence"][0] >= 0.4  # in two of the columns
    assert recovery["alternative_cost"][2, 1] == np.inf
    assert recovery["confidence"].values == pytest.approx(
        (chances[:, fit["edge_reaction"]] * (columns == answer)).sum(axis=0)
    )


def test_standard_errors_are_those_of_ordinary_least_squares(tiny_data, tiny_truth, frames, rng):
    """The textbook formula, one metabolite by explicit regression with known noise."""
    graph, (flux, dcdt) = tiny_data.graph, frames
    noise = 1e-3
    se = coefficient_se(graph, flux.T @ flux, np.full(graph.n_metabolites, noise**2))
    edges = np.flatnonzero(graph.edge_metabolite == 4)
    design = flux[:, graph.edge_reaction[edges]]
    repeats = [np.linalg.lstsq(design, dcdt[:, 4] + rng.normal(0, noise, len(dcdt)), rcond=None)[0] for _ in range(400)]
    assert se[edges] == pytest.approx(np.std(repeats, axis=0), rel=0.15)


def test_oracle_with_balance_is_exact_and_beats_the_baselines(tiny_data, tiny_truth, frames):
    graph = tiny_data.graph
    references = reference_metrics(tiny_data.space, tiny_truth, *frames)
    assert references["oracle_balanced"]["mass_balanced"]["entry_exact"] == 1
    for name in ("baseline_unit", "baseline_balanced"):
        assert references[name]["nearest"]["entry_exact"] < 0.9
        assert references[name]["nearest"]["sign_accuracy"] == 1
    _, balanced = least_squares(tiny_data.space, *frames)
    assert np.bincount(graph.edge_reaction, balanced) == pytest.approx(np.zeros(16), abs=1e-5)


def test_what_the_true_fluxes_leave_open_stays_what_roles_and_balance_say(rng):
    """Of two reactions with one flux and the same metabolites only the sum of the columns can be told."""
    graph = from_pairs(3, 2, [0, 1, 2] * 2, [0] * 3 + [1] * 3, [True, False, False] * 2)
    space = ColumnSpace.of_roles(graph)
    flux = rng.uniform(1, 2, (50, 1)) * [1.0, 2.0]
    sums = np.array([-2.0, 1.0, 1.0]) * 1.0 + np.array([-3.0, 2.0, 1.0]) * 2.0
    _, balanced = least_squares(space, flux, flux[:, :1] * sums)
    assert balanced[:3] + 2 * balanced[3:] == pytest.approx(sums)
    assert balanced[:3].sum() == pytest.approx(0) and balanced[3:].sum() == pytest.approx(0)
    roles = np.array([-4 / 3, 2 / 3, 2 / 3])
    moved = balanced.reshape(2, 3) - roles
    assert moved[1] == pytest.approx(2 * moved[0])  # the least change that explains the sum


def test_scale_blind_oracle_has_lost_the_scale_of_every_column(tiny_data, frames):
    blind = oracle_coefficients(tiny_data.space, *frames)["oracle_scale_blind"]
    size = np.bincount(tiny_data.graph.edge_reaction, np.abs(blind)) / np.bincount(tiny_data.graph.edge_reaction)
    assert size == pytest.approx(np.ones(16))


def test_indistinguishable_reactions_are_those_with_proportional_fluxes(frames):
    flux = frames[0].copy()
    flux[:, 3] = 2.5 * flux[:, 7]
    assert [3, 7] in indistinguishable(flux)


def test_conditioning_is_numpys(tiny_data, frames):
    edges = np.flatnonzero(tiny_data.graph.edge_metabolite == 2)
    design = frames[0][:, tiny_data.graph.edge_reaction[edges]]
    assert conditioning(tiny_data.graph, frames[0])[2] == pytest.approx(
        np.linalg.cond(design / np.linalg.norm(design, axis=0)), rel=1e-4
    )


def test_baselines_know_only_roles(tiny_data):
    graph = tiny_data.graph
    balanced = baseline_coefficients(tiny_data.space)["baseline_balanced"]
    assert np.bincount(graph.edge_reaction, balanced) == pytest.approx(np.zeros(16))
    assert set(balanced[graph.edge_is_substrate]) == {-1.5}
    space = tiny_data.space
    nothing = dataclasses.replace(space, conserved=np.zeros((0, graph.n_metabolites)))
    some_open = dataclasses.replace(space, is_open=np.arange(16) < 3)
    found = [baseline_coefficients(each)["baseline_balanced"] for each in (nothing, some_open)]
    assert (found[0] == graph.role_sign).all()
    assert (found[1] == np.where(graph.edge_reaction < 3, graph.role_sign, balanced)).all()


def test_what_refinement_decided_is_the_answer(fit, tiny_data):
    """Even where no decoder of the learned reals would say so; another decoder has to be asked for."""
    decided = np.where(tiny_data.graph.edge_is_substrate, -2, 1).astype(np.int8)
    fit["refined_coefficient"] = ("edge", decided)
    recovery = recover(fit, "fit.nc")
    edges = fit["edge_metabolite"].values, fit["edge_reaction"].values
    assert recovery.attrs["method"] == "refined"
    assert np.array_equal(recovery["stoichiometry"].values[edges], decided)
    assert np.array_equal(recovery["stoichiometry_refined"], recovery["stoichiometry"])
    other = recover(fit, "fit.nc", decoder="nearest")
    assert other.attrs["method"] == "nearest" and other["stoichiometry"].equals(other["stoichiometry_nearest"])


@pytest.mark.parametrize(
    ("train_loss", "val_loss", "method"),
    [(0.2, 1.5, "roles"), (1.1, 0.8, "roles"), (0.02, 4.9, "refined"), (0.2, 0.8, "refined")],
)
def test_functions_that_hold_nowhere_say_no_more_than_the_roles(train_loss, val_loss, method, fit, tiny_data, caplog):
    space, graph = tiny_data.space, tiny_data.graph
    decided = np.where(graph.edge_is_substrate, -2, 1).astype(np.int8)
    fit["refined_coefficient"] = ("edge", decided)
    fit["train_loss"], fit["val_loss"] = ((), train_loss), ((), val_loss)
    found = recover(fit, "fit.nc", fall_back=True)
    unit = decode(space, graph.role_sign.astype(float), np.ones(graph.n_edges), "mass_balanced").coefficient
    assert found.attrs["method"] == method and ("roles and balance alone" in caplog.text) == (method == "roles")
    answer = unit if method == "roles" else decided
    assert np.array_equal(graph.on_edges(found["stoichiometry"].values), answer)
    assert found["confidence"].values.any() == (max(train_loss, val_loss) < 1)
    assert recover(fit, "fit.nc").attrs["method"] == "refined"  # in a comparison of fits


def test_a_recovery_from_before_a_method_was_known_is_read(fit, tiny_data, tiny_truth, tmp_path):
    recovery = recover(fit, "fit.nc").drop_vars(["stoichiometry_scaled", "log_k_scaled"])
    netcdf.write(tmp_path / "old.nc", recovery)
    result = score(read_recovery(tmp_path / "old.nc"), tiny_truth, tiny_data.graph)
    assert set(result["methods"]) == set(METHODS) - {"scaled"}
    netcdf.write(tmp_path / "spoilt.nc", recovery.drop_vars("stoichiometry_mass_balanced"))
    with pytest.raises(BadInput, match="stoichiometry_mass_balanced"):
        read_recovery(tmp_path / "spoilt.nc")


def test_fractional_truth_is_taken_as_it_is(tiny_data, tiny_simulation, tiny_regime, tmp_path):
    """1.5 is not 1, and 0.5 is an edge."""
    matrix = tiny_simulation.kinetics.stoichiometry.astype(float)
    matrix[matrix == 1] = 1.5
    matrix[matrix == 2] = 0.5
    kinetics = dataclasses.replace(tiny_simulation.kinetics, stoichiometry=matrix)
    write_simulation(tmp_path / "data.nc", dataclasses.replace(tiny_simulation, kinetics=kinetics), tiny_regime)
    truth = read_truth(tmp_path / "data.nc", tiny_data.graph)
    assert np.array_equal(truth.stoichiometry, matrix)
    learned = tiny_data.graph.on_edges(matrix)
    found = recovery_metrics(tiny_data.graph, learned, np.trunc(learned), truth.log_k, matrix, truth.log_k)
    assert found["r2"] == 1 and found["entry_exact"] == pytest.approx((learned < 0).mean())


def test_references_count_the_entries_that_an_answer_is_scored_by(tiny_data, tiny_truth):
    """What is known is no achievement, of a baseline either."""
    frames = true_frames(tiny_data, tiny_truth)
    true = tiny_data.graph.on_edges(tiny_truth.stoichiometry).astype(float)
    unit = baseline_coefficients(tiny_data.space)["baseline_unit"]
    known = np.where(unit == true, true, np.nan)  # all that the baseline has right
    references = reference_metrics(dataclasses.replace(tiny_data.space, known=known), tiny_truth, *frames)
    found = references["baseline_unit"]["nearest"]
    assert found["entry_exact"] == 0 and found["entry_exact_true_edges"] == pytest.approx((unit == true).mean())
