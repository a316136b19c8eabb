"""Reactions both ways: two columns that are each other's opposite."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from stoirec.answer.recovery import recover
from stoirec.config.fit import FitConfig
from stoirec.config.judgement import DEFAULT
from stoirec.config.regime import Regime
from stoirec.data.dataset import Data
from stoirec.data.windows import Windows
from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.learn.model import MetabolismPropagation
from stoirec.learn.recipe import load
from stoirec.learn.training import train
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.refine import Refinement, State
from stoirec.refine.descent import _moved, free_equations
from stoirec.refine.evidence import weigh
from stoirec.refine.gains import gains, levels
from stoirec.refine.opposite import joined
from stoirec.refine.others import Others
from stoirec.refine.together import chosen_together
from stoirec.simulate.network import both_ways
from stoirec.simulate.trajectories import simulate

REACTIONS = {
    "R1": "A + B <-> 2 C",
    "R2": "C -> D",
    "R3": "D + E <-> 2 F",
    "R4": "F -> A",
    "R5": "2 B <-> E + G",
    "R6": "G + C <-> D + B",
    "R7": "F <-> G",
}


@pytest.fixture(scope="module")
def regime(tiny_regime) -> Regime:
    sizes = ("n_metabolites", "n_reactions", "reaction_shapes")
    content = {key: value for key, value in tiny_regime.model_dump().items() if key not in sizes}
    return Regime.model_validate(content | {"name": "reversible", "reactions": REACTIONS, "n_runs": 3})


@pytest.fixture(scope="module")
def simulation(regime):
    return simulate(regime)


@pytest.fixture
def setup(simulation):
    """A refinement, and the state that is the truth."""
    kinetics, space = simulation.kinetics, simulation.space
    frames = (x[:3, ::20].reshape(-1, 7) for x in (simulation.concentration, simulation.dcdt))
    concentration, dcdt = (torch.as_tensor(x) for x in frames)
    fitted = Windows(concentration[:, None], torch.ones(1, dtype=torch.float64), dcdt / dcdt.std(0), dcdt.std(0))
    refinement = Refinement(PdeM1(space.graph, hidden_dim=12, output_size=6), space, fitted)
    weights = refinement.functions.law.pack({name: torch.as_tensor(x) for name, x in kinetics.parameters.items()})
    integers = torch.as_tensor(space.graph.on_edges(kinetics.stoichiometry).astype(float))
    log_k = torch.as_tensor(kinetics.log_k)
    linear = integers * 10 ** log_k[refinement.functions.reaction]
    return refinement.equations, State(weights, linear, log_k, integers)


def disturbed(state, rng, tied=()):
    return replace(
        state,
        integers=None,
        weights=state.weights + 0.05 * torch.as_tensor(rng.normal(size=len(state.weights))),
        linear=state.linear * torch.as_tensor(rng.uniform(0.9, 1.1, len(state.linear))),
        tied=torch.zeros_like(state.log_k, dtype=torch.bool).index_fill(0, torch.tensor(tied, dtype=torch.int64), True),
    )


def test_a_regime_has_a_backward_reaction_after_each_that_runs_both_ways(simulation):
    graph, matrix = simulation.graph, simulation.kinetics.stoichiometry
    assert graph.reaction_names[:4] == ("R1", "R1_reverse", "R2", "R3")
    assert simulation.space.reverse_of.tolist() == [-1, 0, -1, -1, 3, -1, -1, 6, -1, 8, -1, 10]
    backward = np.flatnonzero(simulation.space.reverse_of >= 0)
    assert np.array_equal(matrix[:, backward], -matrix[:, simulation.space.reverse_of[backward]])
    assert np.array_equal(graph.on_edges(matrix) < 0, graph.edge_is_substrate)


def test_decoys_of_a_reaction_stand_in_both_directions(regime):
    found = simulate(regime.model_copy(update={"decoy_edges": 0.5}))
    graph, space = found.graph, found.space
    for backward in np.flatnonzero(space.reverse_of >= 0):
        own, other = graph.edges_of(backward), graph.edges_of(space.reverse_of[backward])
        assert np.array_equal(graph.edge_metabolite[own], graph.edge_metabolite[other])
        assert np.array_equal(graph.edge_is_substrate[own], ~graph.edge_is_substrate[other])
        assert np.array_equal(space.sign[own], -space.sign[other])
        assert np.array_equal(found.edge_is_true[own], found.edge_is_true[other])


@pytest.mark.parametrize("tied", [(), (0, 2, 5)])
def test_gains_of_two_directions_against_brute_force(setup, rng, tied):
    """Every column at the best two rate constants, by non-negative least squares beside all other B."""
    equations, truth = setup
    equations.judgement = DEFAULT.model_copy(update={"same_rate": 1e-9})  # brute force trusts the functions
    state, functions, fitted, graph = (
        disturbed(truth, rng, tied),
        equations.functions,
        equations.windows,
        equations.graph,
    )
    level = levels(equations, state)
    others = Others(equations, state)
    pair = functions.reversals[1]
    single = tuple(gains(equations, state, others, level, torch.tensor([reaction])).of(0) for reaction in pair)
    forward, backward = joined(equations, state, others, level, pair, single)
    assert torch.equal(backward.gain.flatten()[functions.mirrored(*pair)], forward.gain.flatten())

    rate = functions.rates(state, fitted)[..., 0].numpy()
    residual = equations.matrix(state.linear).numpy() @ rate - fitted.target.T.numpy()
    weight = ((residual**2).mean(1) + 1e-9) ** -0.5
    by_row = (weight / fitted.scale.numpy())[:, None]

    def in_rows(reaction, coefficients, own_rate):
        rows = np.zeros_like(residual)
        edges = graph.edges_of(reaction)
        rows[graph.edge_metabolite[edges]] = coefficients[:, None] * own_rate
        return (by_row * rows).flatten()

    columns = []
    for reaction in set(range(graph.n_reactions)) - set(pair):
        own = state.linear[graph.edges_of(reaction)].numpy()
        parts = [own] if state.tied[reaction] else own * np.eye(len(own))
        columns += [in_rows(reaction, part, rate[reaction]) for part in parts]
    design = np.array(columns).T
    design /= np.linalg.norm(design, axis=0)
    project = lambda rows: rows - design @ np.linalg.lstsq(design, rows, rcond=1e-10)[0]  # noqa: E731
    y = project((weight[:, None] * fitted.target.T.numpy()).flatten())
    sides = functions.sides(pair[0])
    for at in range(forward.gain.numel()):
        column = sides.columns(torch.tensor([at]))[0]
        if not sides.conserved.flatten()[at]:
            assert forward.gain.flatten()[at] == -torch.inf
            continue
        effects = []
        for reaction, own in zip(pair, (column, -column)):
            sizes = level[own[functions.sides(reaction).drives].abs().long()][None]
            its = functions.rates_of(torch.tensor([reaction]), state, sizes, fitted)[0, 0, :, 0].numpy()
            effects.append(project(in_rows(reaction, own.numpy(), its)))
        k, left = nnls(np.array(effects).T, y)
        assert float(forward.gain.flatten()[at]) == pytest.approx(y @ y - left**2, rel=1e-4)
        assert float(forward.k.flatten()[at]) == pytest.approx(k[0], rel=1e-3, abs=1e-5 * k.max())
        assert float(backward.k.flatten()[functions.mirrored(*pair)[at]]) == pytest.approx(
            k[1], rel=1e-3, abs=1e-5 * k.max()
        )


def test_both_directions_are_as_sure_and_have_opposite_columns(setup, rng):
    equations, truth = setup
    found = weigh(equations, disturbed(truth, rng))
    for forward, backward in equations.functions.reversals:
        own, other = (found.column[equations.graph.edges_of(reaction)] for reaction in (forward, backward))
        assert torch.equal(own, -other)
        assert float(found.chances[0, forward]) == pytest.approx(float(found.chances[0, backward]), rel=1e-9)
    column, _ = chosen_together(equations, replace(disturbed(truth, rng), tied=None), found)
    for forward, backward in equations.functions.reversals:
        edges = (equations.graph.edges_of(reaction) for reaction in (forward, backward))
        assert torch.equal(column[next(edges)], -column[next(edges)])


def test_directions_with_other_candidates_are_weighed_one_by_one():
    graph = from_pairs(3, 2, [0, 1, 0, 2], [0, 0, 1, 1], [1, 0, 0, 1])
    space = replace(ColumnSpace.of_roles(graph), reverse_of=np.array([-1, 0]))
    one = torch.ones(1, 3, dtype=torch.float64)
    fitted = Windows(one[None], one[0, :1], one, one[0])
    functions = Refinement(PdeM1(graph, hidden_dim=4, output_size=2), space, fitted).functions
    assert functions.reversals == [] and functions.partner == {}


def test_reactions_with_too_many_columns_are_left_as_they_are(simulation, setup, rng, monkeypatch):
    """Both directions of one of them: the others are weighed all the same."""
    equations, truth = setup
    functions, pair = equations.functions, equations.functions.reversals[0]
    for reaction in pair:
        sides = functions.sides(reaction)
        functions._sides[reaction] = replace(sides, conserved=sides.conserved[:0])
    found = weigh(equations, disturbed(truth, rng))
    assert not found.chances[:, list(pair)].any()
    assert (found.chances[0, [j for j in range(12) if j not in pair]] > 0).all()
    chosen_together(equations, replace(disturbed(truth, rng), tied=None), found)


def test_known_columns_are_known_both_ways():
    graph = from_pairs(2, 2, [0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 1, 0])
    known = np.array([-1.5, 2.0, np.nan, np.nan])
    space, edges = both_ways(replace(ColumnSpace.of_roles(graph), known=known), np.array([True, False]))
    assert edges.tolist() == [0, 1, 0, 1, 2, 3]
    assert np.array_equal(space.known, [-1.5, 2.0, 1.5, -2.0, np.nan, np.nan], equal_nan=True)


@pytest.mark.parametrize("tied", [(), (0, 1, 2)])
def test_a_step_moves_both_directions_by_one_column(setup, rng, tied):
    """J'r against differences of the objective, where B of backward reactions follows that of the forward ones."""
    equations, truth = setup
    functions = equations.functions
    state = _moved(
        equations, disturbed(truth, rng, tied), truth.weights.new_zeros(len(truth.weights) + len(truth.linear))
    )
    n_weights = len(state.weights)
    free = free_equations(equations, state)
    held, gradient = ~free.moves, free.on_all(free.gradient)
    untied = ~state.tied[functions.reaction[functions.backward]]
    assert held[n_weights + functions.backward].all()  # they follow: their column, or the forward reaction
    assert not held[n_weights + functions.forward[untied]].any()
    for at in rng.permutation(torch.nonzero(~held)[:, 0].numpy())[:12]:
        step = torch.zeros_like(gradient)
        step[at] = 1e-6
        up, down = (equations.cost(_moved(equations, state, sign * step))[0] for sign in (-1, 1))
        assert (up - down) / 4e-6 == pytest.approx(float(gradient[at]), rel=1e-4, abs=1e-7)
    moved = _moved(equations, state, 1e-2 * torch.as_tensor(rng.normal(size=len(gradient))))
    s = moved.linear / 10 ** moved.log_k[functions.reaction]
    backward, forward = functions.backward[untied], functions.forward[untied]
    assert torch.allclose(s[backward], -s[forward], rtol=1e-12)


def test_a_model_has_one_column_for_both_directions(simulation):
    model = MetabolismPropagation(simulation.space, FitConfig(role_prior=True)).double()
    with torch.no_grad():
        model.sto_all.copy_(torch.as_tensor(np.random.default_rng(3).normal(size=len(model.sto_all))))
    forward = simulation.space.opposite_edge
    turned = forward >= 0
    coefficient = model.coefficient.detach().numpy()
    assert np.array_equal(coefficient[turned], -coefficient[forward[turned]])
    model(torch.as_tensor(simulation.concentration[0, :3])).sum().backward()
    assert not model.sto_all.grad[torch.as_tensor(turned)].any()


def test_a_reversible_network_comes_out_exactly(simulation):
    data = Data(simulation.space, simulation.time, simulation.concentration, simulation.dcdt, simulation.run_role)
    recipe = load("best").model_copy(update={"n_runs": 3, "n_epochs": 3})
    found = recover(train(data, recipe, torch.device("cpu")), "fit.nc")
    assert np.array_equal(found["stoichiometry"].values, simulation.kinetics.stoichiometry)
