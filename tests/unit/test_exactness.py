"""From data to the exact matrix: training and refinement together, in any order, and the truth stays put."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from stoirec.answer.recovery import recover
from stoirec.config.fit import FitConfig
from stoirec.config.regime import Regime
from stoirec.data.dataset import Data
from stoirec.data.windows import windows
from stoirec.kinetics.limiter import FluxLimiter
from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.learn.evaluation import val_loss
from stoirec.learn.fit_file import learned_model
from stoirec.learn.observations import Observed, activity, std
from stoirec.learn.training import Training, train
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.refine import Refinement, State
from stoirec.refine.descent import _moved, descend
from stoirec.refine.evidence import weigh
from stoirec.refine.functions import relaxed
from stoirec.simulate.network import LARGE, candidate_graph
from stoirec.simulate.trajectories import Simulation, simulate

CPU = torch.device("cpu")
RECIPE = FitConfig(
    role_prior=True,
    n_runs=3,
    n_epochs=5,
    data_augmentation_loop=120,
    learning_rate_start=1e-2,
    coeff_mass_conservation=0.03,
    refinement_rounds=8,
    n_snapshots=5,
    graph_model={"hidden_dim": 16, "output_size": 8},
)


@pytest.fixture(scope="module")
def small(tiny_regime) -> Regime:
    return tiny_regime.model_copy(update={"n_runs": 3, "n_frames": 400})


def data_of(simulation: Simulation) -> Data:
    """What a learner may see of a simulation."""
    return Data(
        ColumnSpace.of_roles(simulation.graph),
        simulation.time,
        simulation.concentration,
        simulation.dcdt,
        simulation.run_role,
    )


def answer(data: Data, config: FitConfig = RECIPE) -> np.ndarray:
    """(M, R) the recovered matrix."""
    recovery = recover(train(data, config, CPU), "fit.nc")
    assert recovery.attrs["method"] == "refined"
    return recovery["stoichiometry"].values


@pytest.mark.parametrize("seed", [1, 2])
def test_a_small_network_is_recovered_exactly(small, seed):
    simulation = simulate(small.with_master_seed(seed))
    fit = train(data_of(simulation), RECIPE, CPU)
    recovery = recover(fit, "fit.nc")
    assert np.array_equal(recovery["stoichiometry"], simulation.kinetics.stoichiometry)
    assert recovery["confidence"].min() > 0.99
    edges = fit["edge_metabolite"].values, fit["edge_reaction"].values
    assert np.array_equal(recovery["stoichiometry"].values[edges], fit["refined_coefficient"].values)
    assert fit["coefficient"].values == pytest.approx(fit["refined_coefficient"].values)


def test_a_last_round_that_goes_astray_is_not_the_end(small, monkeypatch):
    simulation, own = simulate(small.with_master_seed(1)), Refinement.round

    def astray(self, state, steps, stage):
        found = own(self, state, steps, stage)
        if not self.settled(found):
            return found
        linear = torch.where(torch.arange(len(found.linear)) < 20, 2 * found.linear, found.linear)
        return replace(found, linear=linear, cost=1.0)

    monkeypatch.setattr(Refinement, "round", astray)
    assert np.array_equal(answer(data_of(simulation)), simulation.kinetics.stoichiometry)


@pytest.mark.parametrize("seed", [1, 4])
def test_signs_need_not_be_known(small, seed):
    """Who drives a rate is known; coefficients start at random."""
    simulation = simulate(small.with_master_seed(seed))
    fit = RECIPE.model_copy(update={"role_prior": False, "initial_magnitude": 0.2})
    assert np.array_equal(answer(data_of(simulation), fit), simulation.kinetics.stoichiometry)


@pytest.mark.parametrize("seed", [3, 5])
def test_open_reactions_and_larger_bounds_are_known_where_a_file_declares_them(small, seed):
    """Reactions of one edge, of any sum, and with coefficients of 3."""
    simulation = simulate(small.model_copy(update={"odd_reactions": 0.2}).with_master_seed(seed))
    true, data = simulation.kinetics.stoichiometry, data_of(simulation)
    large = np.abs(true).max(axis=0) == LARGE
    is_open, bound = true.sum(axis=0) != 0, np.where(large[data.graph.edge_reaction], LARGE, 2)
    assert ((true != 0).sum(axis=0) == 1).any() and large.any() and is_open.sum() == 2
    told = replace(data, space=replace(data.space, is_open=is_open, bound=bound))
    assert np.array_equal(answer(told), true)


def test_where_no_reaction_is_in_its_space_nothing_is_sure_and_the_cause_is_named(small, caplog):
    simulation = simulate(small.model_copy(update={"odd_reactions": 1.0}).with_master_seed(1))
    with caplog.at_level(logging.WARNING):
        recovery = recover(train(data_of(simulation), RECIPE, CPU), "fit.nc")
    assert recovery["confidence"].max() < 0.99
    assert "not all can be right" in caplog.text and "more runs" not in caplog.text


def permuted(data: Data, metabolites: np.ndarray, reactions: np.ndarray, runs: np.ndarray) -> Data:
    """The same data in another order; new index i is old metabolites[i], and so on."""
    graph = data.graph
    new_metabolite, new_reaction = np.argsort(metabolites), np.argsort(reactions)
    edges = np.random.default_rng(2).permutation(graph.n_edges)  # in any order, too
    moved = from_pairs(
        graph.n_metabolites,
        graph.n_reactions,
        new_metabolite[graph.edge_metabolite[edges]],
        new_reaction[graph.edge_reaction[edges]],
        graph.edge_is_substrate[edges],
    )
    order = (runs[:, None, None], np.arange(data.n_frames)[:, None], metabolites)
    return Data(
        ColumnSpace.of_roles(moved), data.time, data.concentration[order], data.dcdt[order], data.run_role[runs]
    )


@pytest.mark.parametrize("moved", ["metabolites", "reactions", "runs"])
def test_order_changes_nothing(small, moved):
    simulation = simulate(small.with_master_seed(2))
    rng, data = np.random.default_rng(1), data_of(simulation)
    sizes = {"metabolites": 10, "reactions": 16, "runs": 4}
    order = {name: rng.permutation(size) if name == moved else np.arange(size) for name, size in sizes.items()}
    expected = simulation.kinetics.stoichiometry[np.ix_(order["metabolites"], order["reactions"])]
    assert np.array_equal(answer(permuted(data, **order)), expected)


@pytest.mark.parametrize("unit", [1e3, 1e-3])
def test_the_unit_of_concentration_changes_nothing(small, unit):
    simulation = simulate(small.with_master_seed(3))
    data = data_of(simulation)
    plain, scaled = (train(one, RECIPE, CPU) for one in (data, data.in_unit(unit)))
    assert np.array_equal(recover(scaled, "fit.nc")["stoichiometry"], simulation.kinetics.stoichiometry)
    assert scaled["log_k"].values == pytest.approx(plain["log_k"].values - np.log10(unit), abs=1e-6)
    # the functions are in the unit of the file
    of_file = data.in_unit(unit)
    validation = Observed.of(of_file.validation_frames(), CPU)
    loss = val_loss(learned_model(scaled, of_file), validation)
    assert loss == pytest.approx(float(scaled["val_loss"]), rel=1e-3) and loss < 1e-4


def test_coefficients_of_1_alone_are_not_doubled(small):
    """(S, k) and (2 S, k / 2) fit equally well: the shorter columns are the answer, and half sure."""
    ones = {"max_coefficient": 1, "reaction_shapes": {"1-1": 0.3, "2-2": 0.5, "3-3": 0.2}}
    simulation = simulate(small.model_copy(update=ones).with_master_seed(3))
    recovery = recover(train(data_of(simulation), RECIPE, CPU), "fit.nc")
    assert np.array_equal(recovery["stoichiometry"], simulation.kinetics.stoichiometry)
    assert (recovery["length_is_convention"] == 1).all()
    assert recovery["confidence"].values == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(recovery["alternative"][1], 2 * recovery["alternative"][0])


# --- the truth --------------------------------------------------------------------------------------------------------

REGIMES = {
    "clean": {},
    "noise": {"dcdt_noise": 0.05},
    "decoys": {"decoy_edges": 1.0},
    "decoys and noise": {"decoy_edges": 1.0, "dcdt_noise": 0.01},
    "limiter": {"limited": True},
    "limiter and noise": {"limited": True, "dcdt_noise": 0.01},
}


def truth_of(regime: Regime, simulation: Simulation | None = None) -> tuple[Refinement, State]:
    """The refinement of a regime's data, and the state that is its truth."""
    simulation = simulation or simulate(regime)
    kinetics, data, limited = simulation.kinetics, data_of(simulation), regime.kinetics.flux_limiter
    frames = data.training_frames(regime.n_runs)
    scale = std(torch.as_tensor(frames.dcdt))
    chance = activity(torch.as_tensor(frames.dcdt), scale).numpy() if limited else None
    fitted = windows(frames, scale, 60, chance, smooth=not limited)
    gate = regime.decoy_edges > 0
    law = PdeM1(data.graph, regime.kinetics.hidden_dim, regime.kinetics.output_size, gate=gate)
    refinement = Refinement(law, data.space, fitted, FluxLimiter(data.graph, regime.dt) if limited else None)
    log_k = torch.as_tensor(kinetics.log_k)
    true = torch.as_tensor(data.graph.on_edges(kinetics.stoichiometry).astype(float))
    weights = law.pack({name: torch.as_tensor(values) for name, values in kinetics.parameters.items()})
    if not gate:  # what stands for 1 and 2 in the functions is not 1 and 2 there
        one, two = relaxed(torch.tensor([1.0, 2.0], dtype=torch.float64))[0]
        slope = 1 / (two - one)
        weights = law.pack(law.with_sizes(law.unpack(weights), 1 - slope * one, slope))
    return refinement, State(weights, true * 10 ** log_k[refinement.functions.reaction], log_k)


@pytest.mark.parametrize("name", REGIMES)
def test_the_truth_is_a_fixed_point_of_refinement(small, limited_regime, name):
    """Its residual is that of the noise; no clear column is another one, and the descent does not lead away."""
    changes = dict(REGIMES[name])
    limited = changes.pop("limited", False)
    regime = (limited_regime if limited else small).model_copy(update=changes | {"n_runs": 2, "n_frames": 400})
    simulation = simulate(regime)
    refinement, truth = truth_of(regime, simulation)
    fitted = refinement.equations.windows
    width = {1: 1, 7: 7 if limited else 800 // 60}[fitted.concentration.shape[1]]
    noise = regime.dcdt_noise * simulation.dcdt.std(axis=(0, 1)) / fitted.scale.numpy()
    expected, residual = float((noise**2).mean()) / width, refinement.equations.cost(truth)[1]
    assert residual == pytest.approx(expected, rel=0.6) if expected else residual < 1e-20

    weighed = weigh(refinement.equations, truth)
    true = truth.linear / 10 ** truth.log_k[refinement.functions.reaction]
    if not limited:  # a limited reaction of the tiny network tells its length to nobody
        clear = (weighed.certainty > refinement.equations.judgement.clear)[refinement.functions.reaction]
        assert torch.equal(weighed.column[clear], true[clear])
        assert clear.double().mean() > (0.1 if expected else 0.9)
    descended = descend(refinement.equations, truth, 3)
    assert descended.cost <= residual + 1e-20
    if not expected:
        assert refinement.coefficient(descended).numpy() == pytest.approx(true.numpy(), rel=1e-9)


@pytest.mark.parametrize("decoys", [0.0, 1.0])
def test_the_truth_in_integers_is_the_truth(small, decoys):
    """Nothing is lost when integers take the place of what stood for them."""
    refinement, truth = truth_of(small.model_copy(update={"n_runs": 2, "decoy_edges": decoys}))
    final = refinement.finish(refinement.round(truth, 3, "conclude"), 3)
    true = truth.linear / 10 ** truth.log_k[refinement.functions.reaction]
    assert torch.equal(final.integers, true.round())
    assert refinement.coefficient(final).numpy() == pytest.approx(true.numpy())
    assert refinement.equations.cost(final)[1] < 1e-6  # three steps after what stood for 1 and 2 has changed


def test_what_refinement_found_is_what_the_model_predicts_with(small):
    """Weights, coefficients and rate constants are taken over: model and refinement have the same residual."""
    data = data_of(simulate(small))
    training = Training(data, RECIPE.model_copy(update={"n_epochs": 1, "refinement_rounds": 2}), CPU)
    for _ in range(training.descent.schedule.n_steps):
        training.descent.advance()
    while training.rounds.left():
        training.rounds.advance()
        fitted, state = training.rounds.refinement().equations.windows, training.rounds.state
        assert training.model.log_k.tolist() == state.log_k.tolist()
    with torch.no_grad():
        residual = training.model(fitted.points) / fitted.scale - fitted.target
    assert float(residual.square().mean()) == pytest.approx(state.cost, rel=1e-6)


def test_standard_errors_say_how_far_coefficients_scatter(small):
    """Over draws of the noise, the mean squared deviation is that of the standard errors."""
    refinement, truth = truth_of(small.model_copy(update={"n_runs": 2}))
    equations, clean = refinement.equations, refinement.equations.windows.target
    true = refinement.coefficient(truth)
    truth = replace(truth, integers=true)
    rng, ratios = np.random.default_rng(0), []
    for _ in range(6):
        noise = 1e-4 * torch.as_tensor(rng.normal(size=clean.shape))
        equations.windows = replace(equations.windows, target=clean + noise)
        found = descend(equations, truth, 12)
        ratios.append(((refinement.coefficient(found) - true) / refinement.coefficient_se(found)).square())
    assert 0.2 < float(torch.stack(ratios).median() / 0.455) < 5  # the median of a chi-square of one degree


def test_a_step_changes_no_rate_constant_by_more_than_its_limit(small):
    refinement, truth = truth_of(small.model_copy(update={"n_runs": 1}))
    far = torch.zeros(len(truth.weights) + len(truth.linear) + len(truth.log_k), dtype=torch.float64)
    far[-len(truth.log_k) :] = torch.linspace(-5, 5, len(truth.log_k), dtype=torch.float64)
    change = truth.log_k - _moved(refinement.equations, truth, far).log_k
    assert change.numpy() == pytest.approx(far[-len(truth.log_k) :].clamp(-0.4, 0.4).numpy())


def test_without_a_limit_on_steps_the_descent_would_run_away(small):
    """Rate constants two decades off: the descent comes back, by steps that stay within the limit."""
    refinement, truth = truth_of(small.model_copy(update={"n_runs": 2}))
    rng = np.random.default_rng(3)
    off = torch.as_tensor(rng.normal(0, 0.3, len(truth.log_k)))
    start = replace(truth, log_k=truth.log_k + off, linear=truth.linear * 10 ** off[refinement.functions.reaction])
    assert descend(refinement.equations, start, 25).cost < 1e-3 * refinement.equations.cost(start)[1]


def test_candidates_of_zero_are_found_with_decoys(small):
    """The decoys recipe on as many candidates again: no decoy is taken for an edge, and the true columns are exact."""
    regime = small.with_master_seed(1).model_copy(update={"decoy_edges": 0.3})
    simulation = simulate(regime)
    assert not candidate_graph(simulation.kinetics.stoichiometry, 0.3, regime.seeds.network)[1].all()
    decoys = RECIPE.model_copy(
        update={
            "role_signs": True,
            "initial_magnitude": 0.2,
            "coeff_S_L1": 1e-5,
            "refinement_rounds": 16,
            "graph_model": RECIPE.graph_model.model_copy(update={"substrate_gate": True}),
        }
    )
    found = answer(data_of(simulation), decoys)
    true = simulation.kinetics.stoichiometry
    assert ((found != 0) == (true != 0)).mean() > 0.98
    assert (found == true)[true != 0].mean() > 0.9


def test_lengths_that_were_learned_the_wrong_way_round_are_exchanged(small, monkeypatch):
    """All one-substrate reactions at the other length, functions fitted to that, and no length clear."""
    refinement, truth = truth_of(small)
    graph, space = refinement.functions.graph, refinement.functions.space
    true = truth.linear / 10 ** truth.log_k[refinement.functions.reaction]
    single = np.bincount(graph.edge_reaction, graph.edge_is_substrate, graph.n_reactions) == 1
    log_k, n_wrong = truth.log_k.clone(), 0
    for j in np.flatnonzero(single):
        own = true[graph.edges_of(j)].round().numpy()
        other = space.other_length(j, own)
        if other is not None:
            log_k[j] -= float(np.log10(np.abs(other).sum() / np.abs(own).sum()))
            n_wrong += 1
    assert n_wrong >= 2
    tied = torch.ones(graph.n_reactions, dtype=torch.bool)
    start = replace(truth, log_k=log_k, tied=tied, closed=torch.zeros_like(truth.linear, dtype=torch.bool))
    state = refinement._descend(start, 30)
    unclear = replace(weigh(refinement.equations, state), chances=torch.full((5, graph.n_reactions), 0.2).double())
    monkeypatch.setattr("stoirec.refine.refinement.weigh", lambda *_: unclear)
    found = refinement._other_lengths(state, 20)
    assert found is not None and found.cost < state.cost / 2
    sizes = found.linear / 10 ** found.log_k[refinement.functions.reaction]
    right = torch.as_tensor(single)[refinement.functions.reaction]
    assert sizes[right].numpy() == pytest.approx(true[right].numpy(), rel=0.05)


@pytest.mark.parametrize("seed, lengths_known", [(4, True), (2, False)])
def test_odd_reactions_are_named_and_spoil_no_other(small, caplog, seed, lengths_known):
    """On 2 two metabolites drive all five reactions of one substrate alone: their lengths are short, and unsure."""
    simulation = simulate(small.model_copy(update={"odd_reactions": 0.13}).with_master_seed(seed))
    fit = train(data_of(simulation), RECIPE, CPU)
    true = simulation.kinetics.stoichiometry
    odd = (true.sum(axis=0) != 0) | (np.abs(true).max(axis=0) == LARGE)
    with caplog.at_level(logging.WARNING):
        recovery = recover(fit, "fit.nc")
    assert np.array_equal(recovery["no_column_probability"].values > 0.5, odd) and odd.sum() == 2
    of_odd = odd[recovery["edge_reaction"].values]
    confidence = recovery["confidence"].values
    right = (recovery["stoichiometry"].values == true)[recovery["edge_metabolite"], recovery["edge_reaction"]]
    assert right[confidence > 0.99].all() and (confidence > 0.99).mean() > 0.7 and confidence[of_odd].max() < 0.01
    if lengths_known:
        assert right.all() and confidence[~of_odd].min() > 0.99  # the integers nearest to real columns, where odd
    named = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(named) == 2
    for reaction in np.flatnonzero(odd):
        assert any(f"no allowed column explains reaction R{reaction} " in text for text in named)
