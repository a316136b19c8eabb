"""Gauss-Newton refinement against automatic differentiation, and from a disturbed truth back to it."""

import math
from copy import copy
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import torch

from stoirec.config.judgement import DEFAULT
from stoirec.data.windows import Frames, Integrals, Windows, relative_noise, windows
from stoirec.kinetics.limiter import FluxLimiter
from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.refine import Refinement, State, evidence
from stoirec.refine.blocks import Inverse
from stoirec.refine.descent import FreeEquations, _step, damped, descend, free_equations
from stoirec.refine.equations import MASS, Equations
from stoirec.refine.evidence import weigh, weigh_beside
from stoirec.refine.frequencies import SizeCounts, sizes_of
from stoirec.refine.functions import Functions
from stoirec.refine.gains import gains, levels
from stoirec.refine.integers import as_fast, candidates, decode
from stoirec.refine.others import Others
from stoirec.refine.selection import SETTLED, in_integers, likelier, select
from stoirec.refine.subsets import best_subsets
from stoirec.refine.together import _changed, _Columns, chosen_together, regrouped
from stoirec.refine.unmeasured import Unmeasured
from stoirec.simulate.network import candidate_graph


@pytest.fixture
def setup(tiny_data, tiny_truth):
    """A refinement on the tiny network, and the state that is the truth."""
    graph, kinetics = tiny_data.graph, tiny_truth.kinetics
    frames = tiny_data.training_frames(2)
    concentration, dcdt = (torch.as_tensor(x[::4]) for x in (frames.concentration, frames.dcdt))
    fitted = Windows(concentration[:, None], torch.ones(1, dtype=torch.float64), dcdt / dcdt.std(0), dcdt.std(0))
    refinement = Refinement(law_of(graph), tiny_data.space, fitted)
    weights = refinement.functions.law.pack({name: torch.as_tensor(x) for name, x in kinetics.parameters.items()})
    integers = torch.as_tensor(graph.on_edges(tiny_truth.stoichiometry).astype(float))
    log_k = torch.as_tensor(tiny_truth.log_k)
    return refinement, State(weights, integers * 10 ** log_k[refinement.functions.reaction], log_k, integers)


def law_of(graph, gate=False) -> PdeM1:
    """The law of the tiny network on a graph."""
    return PdeM1(graph, hidden_dim=12, output_size=6, gate=gate)


def functions_of(graph, with_decoys=False) -> Functions:
    space = ColumnSpace.of_roles(graph)
    return Functions(law_of(graph, with_decoys), space.with_decoys() if with_decoys else space, torch.device("cpu"))


def equations_of(graph, with_decoys=False) -> Equations:
    """Equations whose residuals nobody asks for."""
    one = torch.ones(1, graph.n_metabolites, dtype=torch.float64)
    return Equations(functions_of(graph, with_decoys), Windows(one[None], one[0, :1], one, one[0]))


def gradient_of(free: FreeEquations) -> torch.Tensor:
    """(P + E + R,) half the gradient; 0 of what does not move by itself."""
    return free.on_all(free.gradient)


def disturbed(state: State, rng, on_weights: float, on_linear: float) -> State:
    return replace(
        state,
        weights=state.weights + on_weights * torch.as_tensor(rng.normal(size=len(state.weights))),
        linear=state.linear * torch.as_tensor(rng.uniform(1 - on_linear, 1 + on_linear, len(state.linear))),
    )


def test_rates_are_the_generators(setup, tiny_truth):
    refinement, truth = setup
    fitted = refinement.equations.windows
    expected = tiny_truth.kinetics.flux(fitted.points.numpy()).T
    assert (10 ** truth.log_k[:, None] * refinement.functions.rates(truth, fitted)[..., 0]).numpy() == pytest.approx(
        expected, rel=1e-12
    )
    assert refinement.equations.cost(truth)[1] < 1e-20
    functions, reaction = refinement.functions, torch.tensor([3])
    column = truth.integers[refinement.equations.graph.edges_of(3)][functions.sides(3).drives]
    assert functions.rates_of(reaction, truth, column.abs()[None], fitted)[0, 0].numpy() == pytest.approx(
        functions.rates(truth, fitted)[3].numpy()
    )


def test_a_reaction_without_substrates_runs_at_the_rate_of_no_message(setup):
    """An inflow: its columns differ in nothing that the functions see."""
    refinement, truth = setup
    graph = from_pairs(10, 2, [0, 1, 2], [0, 0, 1], [True, False, False])
    functions = functions_of(graph)
    no_sizes = torch.zeros(2, 0).double()
    (found,) = functions.rates_of(torch.tensor([1]), truth, no_sizes, refinement.equations.windows)
    assert torch.allclose(
        found,
        functions.rates(replace(truth, integers=torch.tensor([-1.0, 1.0, 1.0]).double()), refinement.equations.windows)[
            1
        ],
    )
    assert found.unique().numel() == 1


def rates_by_formula(functions, weights, size, concentration):
    """(R, frames) F by a plain sum of messages, which functional differentiation can go through."""
    law = functions.law
    parameters = law.unpack(weights)
    of_substrates = size[functions.substrates][:, None]
    message = law.messages(parameters, concentration.T[law.metabolite], of_substrates, law.metabolite)
    summed = message.new_zeros(len(message), functions.graph.n_reactions, message.shape[2])
    return law.responses(parameters, summed.index_add(1, functions.reaction[functions.substrates], message))


def limited_by_formula(rate, linear, concentration, graph, dt):
    """(R, frames) min over substrates of c / (dt sum |B-| F), at most 1, times the rates."""
    consumption = torch.zeros(graph.n_metabolites, graph.n_reactions, dtype=torch.float64)
    substrate = torch.as_tensor(graph.edge_is_substrate)
    index = torch.as_tensor(graph.edge_metabolite)[substrate], torch.as_tensor(graph.edge_reaction)[substrate]
    consumption = torch.index_put(consumption, index, (-linear[substrate]).clamp(min=0))
    share = concentration.T / (dt * consumption @ rate)
    least = [share[index[0][index[1] == reaction]].amin(0).clamp(max=1) for reaction in range(graph.n_reactions)]
    return rate * torch.stack(least)


def along_two_stretches(windows: Windows, rng) -> Integrals:
    """Six frames as the nodes of two stretches, with weights and changes of no meaning."""
    weight, target = (
        torch.as_tensor(rng.normal(size=shape)) for shape in ((2, 4, 3), (8, windows.concentration.shape[2]))
    )
    return Integrals(windows.concentration.reshape(2, 3, -1), weight, target, windows.scale)


@pytest.mark.parametrize(
    "dt, along, ties", [(None, False, 0), (20.0, False, 0), (None, True, 0), (None, False, 5), (20.0, False, 5)]
)
@pytest.mark.parametrize("relaxed", [True, False])
def test_equations_are_those_of_the_jacobian(setup, rng, relaxed, dt, along, ties):
    refinement, truth = setup
    refinement.equations.windows = next(refinement.equations.windows.chunks(6))
    if along:
        refinement.equations.windows = along_two_stretches(refinement.equations.windows, rng)
    if dt is not None:
        refinement.equations.limiter = FluxLimiter(refinement.equations.graph, dt)
    state = disturbed(truth, rng, 0.1, 0.3)
    state = replace(
        state,
        log_k=state.log_k + 0.1 * torch.as_tensor(rng.normal(size=len(state.log_k))),
        integers=None if relaxed else truth.integers,
        tied=torch.arange(len(state.log_k)) < ties,
    )
    equations, functions = refinement.equations, refinement.functions
    is_tied = state.tied[functions.reaction]

    def residuals(weights, linear, log_k):
        along_column = state.linear * (10 ** (log_k - state.log_k))[functions.reaction]
        linear = torch.where(is_tied, along_column, linear)
        order = functions.relaxed_size(State(weights, linear, log_k))[0] if relaxed else truth.integers.abs()
        rate = rates_by_formula(functions, weights, order, equations.windows.points)
        if dt is not None:
            limited = limited_by_formula(rate, linear, equations.windows.points, refinement.equations.graph, dt)
            assert 0.2 < (limited < rate).double().mean() < 0.8
            rate = limited
        rate = equations.windows.over_points(rate)
        fit = ((equations.matrix(linear) @ rate).T - equations.windows.target).flatten() / equations.n_residuals**0.5
        sums = torch.zeros_like(log_k).index_add(0, functions.reaction, linear) / 10**log_k
        return torch.cat([fit, sums * (MASS / len(log_k)) ** 0.5])

    arguments = (state.weights, state.linear, state.log_k)
    jacobian = torch.cat(torch.func.jacrev(residuals, argnums=(0, 1, 2))(*arguments), dim=1)
    value = residuals(*arguments)
    free = free_equations(equations, state)
    matrix, gradient = free.matrix, free.gradient
    one = torch.ones_like(state.weights, dtype=torch.bool)
    assert torch.equal(free.moves, torch.cat([one, ~is_tied, torch.ones_like(state.tied)]))
    jacobian = jacobian[:, free.moves]
    assert matrix.numpy() == pytest.approx((jacobian.T @ jacobian).numpy(), rel=1e-8, abs=1e-12)
    assert gradient.numpy() == pytest.approx((jacobian.T @ value).numpy(), rel=1e-8, abs=1e-12)
    assert equations.cost(state)[0] == pytest.approx(float(value.square().sum()))


def test_equations_leave_out_what_unmeasured_concentrations_can_do(setup, rng):
    """The Schur complement of J'J over all unknowns, those of single windows included."""
    refinement, truth = setup
    fitted = next(refinement.equations.windows.chunks(6))
    nobody = Unmeasured(torch.tensor([2, 7]), 1.0, 0.7, (-3.0, 5.0))
    fitted = replace(fitted, scale=fitted.scale.index_fill(0, nobody.metabolites, 1e6))
    equations = Equations(refinement.functions, fitted, unmeasured=nobody)
    functions, state = refinement.functions, replace(disturbed(truth, rng, 0.1, 0.3), integers=None)
    log_c = nobody.in_the_middle(fitted)

    def residuals(weights, linear, log_k, log_c):
        size = functions.relaxed_size(State(weights, linear, log_k))[0]
        c = fitted.points.index_copy(1, nobody.metabolites, log_c.exp())
        rate = rates_by_formula(functions, weights, size, c)
        fit = ((equations.matrix(linear) @ rate).T - fitted.target).flatten() / equations.n_residuals**0.5
        sums = torch.zeros_like(log_k).index_add(0, functions.reaction, linear) / 10**log_k
        return torch.cat([fit, sums * (MASS / len(log_k)) ** 0.5])

    arguments = (state.weights, state.linear, state.log_k, log_c)
    slopes = torch.func.jacrev(residuals, argnums=(0, 1, 2, 3))(*arguments)
    jacobian, own = torch.cat(slopes[:3], dim=1), slopes[3].flatten(1)
    value = residuals(*arguments)
    n_fit = fitted.target.numel()
    prior = value[:n_fit].square().sum() / n_fit / nobody.spread**2
    square = own.T @ own + prior * torch.eye(own.shape[1])
    through = torch.linalg.solve(square, own.T @ jacobian).T
    off = prior * (log_c - nobody.usual).flatten()
    free = free_equations(equations, state)
    matrix, gradient = free.matrix, free.gradient
    expected = jacobian.T @ value - through @ (own.T @ value + off)
    assert matrix.numpy() == pytest.approx(
        (jacobian.T @ jacobian - through @ (own.T @ jacobian)).numpy(), rel=1e-4, abs=1e-4
    )
    assert gradient.numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-5)
    assert (jacobian.T @ jacobian - matrix).diagonal().max() > 1e-2  # they can do some of it


def test_unmeasured_concentrations_follow_in_a_descent(setup, rng):
    """From wrong ones, and other functions: what is left is less than they alone could mend, and less than without."""
    refinement, truth = setup
    nobody = Unmeasured(torch.tensor([2, 7]), 1.0, 0.7, (-3.0, 5.0))
    fitted = refinement.equations.windows
    wrong = fitted.concentration.index_fill(2, nobody.metabolites, 3.0)
    scale = fitted.scale.index_fill(0, nobody.metabolites, 1e6)
    fitted = replace(fitted, concentration=wrong, scale=scale, target=fitted.target * fitted.scale / scale)
    state = replace(disturbed(truth, rng, 0.02, 0.02), integers=None)
    with_them = Equations(refinement.functions, fitted, unmeasured=nobody)
    alone = with_them.followed(state).cost(state)[1]
    found, held = (descend(each, state, 8).cost for each in (with_them, Equations(refinement.functions, fitted)))
    assert found < 0.1 * alone and found < 0.1 * held


def test_equations_where_fewer_substrates_than_reactions_are_left(setup, rng):
    """Where edges are closed, reactions may have lost all that drove them."""
    refinement, truth = setup
    graph = refinement.equations.graph
    kept = np.flatnonzero(~graph.edge_is_substrate | (graph.edge_reaction < 4))
    equations = refinement.equations.part(torch.as_tensor(kept), torch.device("cpu"))
    assert len(equations.graph.substrate_edges) < graph.n_reactions
    state = disturbed(truth, rng, 0.1, 0.3)
    state = replace(state, linear=state.linear[kept], integers=state.integers[kept])
    rate = equations.functions.rates(state, equations.windows)[..., 0]

    def objective(linear, log_k):
        sums = torch.zeros_like(log_k).index_add(0, equations.reaction, linear) / 10**log_k
        fit = (equations.matrix(linear) @ rate).T - equations.windows.target
        return fit.square().mean() + MASS * sums.square().mean()

    expected = torch.func.grad(objective, argnums=(0, 1))(state.linear, state.log_k)
    half_gradient = gradient_of(free_equations(equations, state))
    found = half_gradient[len(state.weights) :]
    assert found.numpy() == pytest.approx(torch.cat(expected).numpy() / 2, rel=1e-8, abs=1e-12)


def test_with_a_gate_edges_that_would_leave_their_sign_are_held_at_zero(setup, rng):
    refinement, truth = setup
    refinement.functions.allows_zero = refinement.functions.law.allows_zero = True
    zero = torch.as_tensor(rng.random(len(truth.linear)) < 0.3)
    state = replace(disturbed(truth, rng, 0.1, 0.3), integers=None)
    state = replace(state, linear=torch.where(zero, 0.0, state.linear))
    functions, equations = refinement.functions, refinement.equations

    def objective(linear):
        size = functions.relaxed_size(State(state.weights, linear, state.log_k))[0]
        rate = rates_by_formula(functions, state.weights, size, equations.windows.points)
        sums = torch.zeros_like(state.log_k).index_add(0, functions.reaction, linear) / 10**state.log_k
        return (
            (equations.matrix(linear) @ rate).T - equations.windows.target
        ).square().mean() + MASS * sums.square().mean()

    gradient = torch.func.grad(objective)(state.linear) / 2
    outward = zero & (functions.sign * gradient >= 0)  # a step against the gradient would change the sign
    half_gradient = gradient_of(free_equations(equations, state))
    own = half_gradient[len(state.weights) : len(state.weights) + len(zero)]
    assert 0 < outward.sum() < zero.sum()
    assert own.numpy() == pytest.approx(torch.where(outward, 0.0, gradient).numpy(), rel=1e-6, abs=1e-12)
    descended = descend(equations, state, 5)
    assert (functions.sign * descended.linear >= 0).all() and descended.cost < equations.cost(state)[1]


def test_decode_takes_the_nearest_direction(setup, rng):
    refinement, truth = setup
    assert torch.equal(decode(refinement.equations, disturbed(truth, rng, 0, 0.05)), truth.integers)


def test_decode_reads_lengths_by_what_stands_for_them_in_other_reactions(setup):
    """If the functions stand for a lone substrate's 2 by 1.4, then (-1.4, 1.4) is (-2, 2): (-1.4, 0.7, 0.7) says so."""
    graph = from_pairs(
        6,
        4,
        [0, 1, 2, 0, 3, 1, 4, 2, 5],
        [0, 0, 0, 1, 1, 2, 2, 3, 3],
        [True, False, False, True, False, True, False, True, False],
    )
    learned = torch.tensor([-1.4, 0.7, 0.7, -1.4, 1.4, -1.0, 1.0, -1.35, 1.35], dtype=torch.float64)
    found = decode(
        equations_of(graph), State(torch.zeros(1), learned * 0.01, torch.full((4,), -2.0, dtype=torch.float64))
    )
    assert found.tolist() == [-2, 1, 1, -2, 2, -1, 1, -2, 2]


@pytest.mark.parametrize("allows_zero", [False, True])
def test_an_exchange_keeps_its_coefficient_although_no_column_of_it_is_balanced(allows_zero):
    graph = from_pairs(4, 3, [0, 1, 2, 3], [0, 0, 1, 2], [True, False, True, False])
    linear = 0.01 * torch.tensor([-1.0, 1.0, -1.9, 0.9], dtype=torch.float64)
    equations, log_k = equations_of(graph, allows_zero), torch.full((3,), -2.0, dtype=torch.float64)
    law = equations.functions.law
    rng = np.random.default_rng(0)
    weights = law.pack({name: torch.as_tensor(law.initial(name, rng)) for name in law.shapes})
    state = State(weights, linear, log_k)
    assert decode(equations, state).tolist() == [-1, 1, -2, 1]
    committed = select(equations, replace(state, spent=True), "tie")
    assert committed.committed and committed.outside[1:].all()
    assert committed.linear[2:].numpy() == pytest.approx(linear[2:].numpy())


@pytest.fixture
def with_decoys(setup, tiny_truth):
    """The true state on a graph with as many decoys as true edges, and the (E,) true columns."""
    refinement, truth = setup
    graph, _ = candidate_graph(tiny_truth.stoichiometry, 1.0, seed=3)
    found = Refinement(law_of(graph, gate=True), ColumnSpace.of_roles(graph), refinement.equations.windows)
    integers = torch.as_tensor(graph.on_edges(tiny_truth.stoichiometry).astype(float))
    return found, replace(truth, integers=integers, linear=integers * 10 ** truth.log_k[found.functions.reaction])


def brute_force_gain(equations, state, reaction, column, sizes=None):
    """|P y|^2 less what is left with the best k, over the residuals of all rows, by ordinary least squares."""
    graph, functions, fitted = equations.graph, equations.functions, equations.windows
    edges = graph.edges_of(reaction)
    rate = functions.rates(state, fitted)[..., 0].numpy()
    sizes = column if sizes is None else sizes
    drives = graph.edge_is_substrate[edges]
    (other,) = functions.rates_of(torch.tensor([reaction]), state, sizes.abs()[None, drives], fitted)[0, ..., 0].numpy()
    residual = equations.matrix(state.linear).numpy() @ rate - fitted.target.T.numpy()
    weight = ((residual**2).mean(1) + 1e-9) ** -0.5

    def in_rows(edges, coefficients, rate):
        """(M, frames) what coefficients on edges, at rates of their reactions, do to the rows."""
        rows = np.zeros_like(residual)
        for edge, coefficient, own in zip(edges, coefficients, rate):
            metabolite = graph.edge_metabolite[edge]
            rows[metabolite] = weight[metabolite] * coefficient * own / float(fitted.scale[metabolite])
        return rows.flatten()

    elsewhere = np.flatnonzero((graph.edge_reaction != reaction) & (state.linear != 0).numpy())
    tied = state.tied.numpy()[graph.edge_reaction[elsewhere]]
    groups = [[edge] for edge in elsewhere[~tied]]
    groups += [
        elsewhere[graph.edge_reaction[elsewhere] == own] for own in np.unique(graph.edge_reaction[elsewhere[tied]])
    ]
    design = np.array(
        [in_rows(group, state.linear[group].numpy(), rate[graph.edge_reaction[group]]) for group in groups]
    ).T
    design /= np.linalg.norm(design, axis=0)
    project = lambda rows: rows - design @ np.linalg.lstsq(design, rows, rcond=1e-10)[0]  # noqa: E731
    y = project((weight[:, None] * fitted.target.T.numpy()).flatten())
    x = project(in_rows(range(edges.start, edges.stop), column.numpy(), [other] * len(column)))
    k = max(0.0, x @ y / (x @ x))
    return y @ y - (y - k * x) @ (y - k * x)


@pytest.mark.parametrize("allows_zero", [False, True])
@pytest.mark.parametrize("tied", [[], [0, 2, 6, 7, 11]])
def test_evidence_against_brute_force(request, rng, monkeypatch, tied, allows_zero):
    """Probabilities of edges from the gains of all columns, each by a least-squares fit of its own."""
    refinement, truth = request.getfixturevalue("with_decoys" if allows_zero else "setup")
    equations, graph = refinement.equations, refinement.equations.graph
    equations.judgement = DEFAULT.model_copy(update={"same_rate": 1e-9})  # brute force trusts the functions
    monkeypatch.setattr(evidence, "levels", lambda *_: torch.arange(3, dtype=torch.float64))
    state = disturbed(replace(truth, integers=None), rng, 0.05, 0.1)
    state = replace(
        state,
        tied=torch.zeros_like(truth.log_k, dtype=torch.bool).index_fill(0, torch.tensor(tied, dtype=torch.int64), True),
    )
    found = weigh_beside(equations, state)
    for reaction in (1, 6):
        edges = graph.edges_of(reaction)
        sign = torch.where(torch.as_tensor(graph.edge_is_substrate[edges]), -1, 1).double()
        columns = [
            sign * torch.tensor(sizes).double()
            for sizes in product(range(0 if allows_zero else 1, 3), repeat=len(sign))
        ]
        columns = [c for c in columns if c.sum() == 0 and 1 <= (c < 0).sum() <= 3 and (c > 0).sum() <= 3]
        present = equations.functions.size(state)[edges]
        gain = np.array([brute_force_gain(equations, state, reaction, column) for column in columns])
        as_it_is = np.array([brute_force_gain(equations, state, reaction, column, present) for column in columns])
        prior = np.array([found.log_frequency[column.abs().long()].sum() for column in columns])
        log_chance = (gain - gain.max()) / 64  # those that gain nothing included
        if not allows_zero:
            drives = graph.edge_is_substrate[edges]
            far = np.array([(((present / column.abs()).log()[drives] / 0.05) ** 2).numpy() for column in columns])
            elsewhere = np.log(1e-3) - np.log1p(far).sum(1)
            log_chance = np.maximum(log_chance, (as_it_is - gain.max()) / 64 + elsewhere)
        chance = np.exp(log_chance + prior)
        chance /= chance.sum()
        of_those_that_gain = chance * (gain > 0) / chance[gain > 0].sum()
        expected = sum(p * (column != 0).double().numpy() for p, column in zip(of_those_that_gain, columns))
        assert found.probability[edges].numpy() == pytest.approx(expected, abs=1e-4)
        assert found.certainty[reaction] == pytest.approx(chance.max(), abs=1e-4)
        (own,) = (i for i, column in enumerate(columns) if torch.equal(found.column[edges], column))
        assert chance[own] == pytest.approx(chance.max())


@pytest.mark.parametrize("tied", [(), (0, 2, 5, 7)])
def test_reactions_with_the_same_columns_gain_together_what_each_does_alone(request, rng, tied):
    for name in ("setup", "with_decoys"):
        refinement, truth = request.getfixturevalue(name)
        equations = refinement.equations
        state = disturbed(replace(truth, integers=None), rng, 0.05, 0.05)
        is_tied = torch.isin(torch.arange(len(truth.log_k)), torch.tensor(tied, dtype=torch.int64))
        others, level = Others(equations, replace(state, tied=is_tied)), levels(equations, state)
        kinds = equations.functions.with_same_columns
        assert torch.cat(kinds).sort().values.tolist() == list(range(len(truth.log_k)))
        assert name == "with_decoys" or max(map(len, kinds)) > 1
        for reactions in kinds:
            together = gains(equations, state, others, level, reactions)
            for row, reaction in enumerate(reactions):
                alone = gains(equations, state, others, level, reaction[None])
                for part in ("k", "gain", "explained", "size"):
                    whole, own = getattr(together, part)[row], getattr(alone, part)[0]
                    rounding = 1e-9 * float(own.nan_to_num(neginf=0.0).abs().max())
                    assert torch.allclose(whole, own, rtol=1e-6, atol=rounding)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_of_a_column_is_a_square_where_the_others_can_do_nearly_all(setup, seed):
    """Few frames: rounding errors are as large as what is left, and must not be taken for gains."""
    refinement, truth = setup
    equations, rng = refinement.equations, np.random.default_rng(seed)
    equations.windows = next(equations.windows.chunks(12))
    state = disturbed(replace(truth, integers=None), rng, 0.05, 0.05)
    state = replace(state, tied=torch.as_tensor(rng.random(len(truth.log_k)) < 0.3))
    others, level = Others(equations, state), levels(equations, state)
    assert torch.linalg.cond(others.inverse) > 1e6
    for reactions in equations.functions.with_same_columns:
        found = gains(equations, state, others, level, reactions)
        least, most = torch.linalg.eigvalsh((found.size + found.size.mT) / 2)[..., [0, -1]].unbind(-1)
        assert (least > -1e-7 * most).all()
        assert not found.gain.isnan().any() and found.gain.max() < 1e6


@pytest.mark.parametrize("n_factors", [0, 3, 9])
def test_the_inverse_by_blocks_is_that_of_the_whole(rng, n_factors):
    """Nine unknowns in rows (0, 1, 2) of which the last ones are factors, and touch a second row as well."""
    effects = rng.normal(size=(9, 3, 20))
    effects[np.arange(9)[:, None] % 3 != np.arange(3)] = 0.0
    effects[9 - n_factors :, 1] = rng.normal(size=(n_factors, 20))
    one, other, row = (torch.as_tensor(part) for part in np.nonzero(np.einsum("awt,bwt->abw", effects, effects)))
    value = torch.as_tensor(np.einsum("awt,bwt->abw", effects, effects))[one, other, row]
    found = Inverse.of(one, other, value, row, 9 - n_factors, torch.arange(9))
    rows = effects.reshape(9, -1)
    expected = np.linalg.inv(rows @ rows.T + 1e-9 * np.eye(9))
    assert found.padded().numpy() == pytest.approx(np.pad(expected, (0, 1)), rel=1e-8, abs=1e-12)
    right = torch.as_tensor(rng.normal(size=(4, 9)))
    assert found.solve(right).numpy() == pytest.approx(right.numpy() @ expected, rel=1e-8, abs=1e-12)


def test_as_many_of_each_size_are_expected_before_the_data_as_after(setup, rng):
    """One of each is counted beforehand; and where the data say nothing, neither does the prior."""
    equations, truth = setup[0].equations, setup[1]
    state = disturbed(replace(truth, integers=None), rng, 0.01, 0.1)
    others, level = Others(equations, state), levels(equations, state)
    kinds = equations.functions.with_same_columns
    chances = [(some, gains(equations, state, others, level, some).gain / 64) for some in kinds]
    counts = SizeCounts(equations.functions)
    frequency = counts.likeliest(counts.gathered(chances))
    weight, before, after = frequency.exp(), 0.0, 0.0
    for reaction, log_chance in ((int(one), own) for some, of in chances for one, own in zip(some, of)):
        sides = equations.functions.sides(reaction)
        pairs = torch.nonzero(sides.conserved.flatten())[:, 0]
        columns = sides.columns(pairs).abs().long()
        prior = weight[columns].prod(1)
        posterior = prior * log_chance.flatten()[pairs].exp()
        twos = (columns == 2).sum(1)
        before += float((prior / prior.sum()) @ twos.double())
        after += float((posterior / posterior.sum()) @ twos.double())
    assert before + float(2 * weight[2] / weight[1:].sum()) == pytest.approx(after + 1, rel=0.02)
    assert float(frequency[0]) == 0 and float(weight[1:].mean()) == pytest.approx(1)
    assert counts.likeliest(torch.zeros(len(counts.reaction)).double()).numpy() == pytest.approx(0, abs=1e-9)


def test_a_real_column_may_be_larger_than_any_integer():
    sizes = sizes_of(torch.tensor([0.0, -1.0, 2.4, 7.0, -1e30, math.inf]).double(), 3)
    assert sizes.tolist() == [0, 1, 2, 2, 2, 2]


def test_frequencies_are_found_where_lengths_are_bound_by_four():
    """Every reaction A + B -> C + D may be that, or 2, 3 or 4 times that; some are twice that."""
    n = 60
    metabolite, reaction = np.tile(np.arange(4), n), np.repeat(np.arange(n), 4)
    graph = from_pairs(4, n, metabolite, reaction, metabolite < 2)
    alike = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]])
    space = replace(ColumnSpace.of_roles(graph), bound=np.full(4 * n, 4), conserved=alike)
    counts = SizeCounts(Functions(law_of(graph), space, torch.device("cpu")))
    size = counts.counts[:, 1:].argmax(1) + 1  # of all entries of a column
    assert torch.equal(size.bincount(), torch.tensor([0, n, n, n, n]))
    likely = torch.where(counts.reaction < 54, 1, 2)
    frequency = counts.likeliest(torch.where(size == likely, 1e6, 0.0).double())
    chance = counts.log_prior(frequency)[counts.reaction == 0].exp()  # of one length, 4 entries each
    expected = n * 4 * chance / chance.sum() + 4 * frequency[1:].exp() / frequency[1:].exp().sum()
    assert expected.numpy() == pytest.approx([4 * 54 + 1, 4 * 6 + 1, 1, 1], abs=1e-3)


def test_a_reaction_that_would_run_backward_explains_nothing(setup):
    """The column of one that is left out is as good as any other: what is left does not tell them apart."""
    equations, truth = setup[0].equations, setup[1]
    tied = torch.ones_like(truth.log_k, dtype=torch.bool)
    backward = torch.where(equations.reaction == 3, -truth.linear, truth.linear)
    rates = equations.functions.rates(truth, equations.windows)
    target = equations.predicted(rates, backward, equations.windows).T
    against = Equations(equations.functions, replace(equations.windows, target=target))
    state = replace(truth, integers=None, tied=tied)
    weighed = weigh(against, state)
    found = _Columns(against, state, weighed, truth.integers, truth.log_k)
    idle = _Columns(against, state, weighed, torch.where(equations.reaction == 3, 0.0, truth.integers), truth.log_k)
    assert found.unexplained == pytest.approx(idle.unexplained) and idle.unexplained > 1
    assert float(found.log_k[3]) < float(truth.log_k[3])


def test_reactions_that_explain_nothing_have_columns_that_are_allowed(setup, rng, monkeypatch):
    """Whatever their real columns have come to."""
    monkeypatch.setattr("stoirec.refine.gains.NOTHING", math.inf)
    refinement, truth = setup
    state = replace(truth, integers=None, linear=truth.linear * torch.as_tensor(rng.uniform(-500, 500, 56)))
    weighed, graph = weigh_beside(refinement.equations, state), refinement.equations.graph
    assert (weighed.chances == 0).all()
    assert (torch.sign(weighed.column) == refinement.functions.sign).all() and weighed.column.abs().max() == 2
    assert (graph.sum_by_reaction(weighed.column.numpy()) == 0).all()


def test_what_two_reactions_of_the_same_substrates_share_says_nothing_of_either(setup, rng):
    """Their rates differ by errors of the functions alone: only the sum shows where both have an edge."""
    graph = from_pairs(3, 2, [0, 1, 0, 2], [0, 0, 1, 1], [True, False, True, False])
    space = replace(ColumnSpace.of_roles(graph), conserved=np.zeros((0, 3)))
    law = law_of(graph)
    functions = Functions(law, space, torch.device("cpu"))
    weights = law.pack({name: torch.as_tensor(law.initial(name, rng)) for name in law.shapes})
    sign, log_k = torch.as_tensor(graph.role_sign).double(), torch.tensor([-1.0, -1.5]).double()
    truth = State(weights, sign * 10 ** log_k[functions.reaction], log_k)
    concentration = torch.as_tensor(rng.uniform(1, 9, (400, 1, 3)))
    one = torch.ones(3, dtype=torch.float64)
    fitted = Windows(concentration, one[:1], torch.zeros(400, 3, dtype=torch.float64), one)
    dcdt = Equations(functions, fitted).predicted(functions.rates(truth, fitted), truth.linear, fitted).T
    fitted = replace(fitted, target=dcdt * (1 + 1e-6 * torch.as_tensor(rng.normal(size=dcdt.shape))))
    longer = replace(truth, log_k=log_k + torch.tensor([0.0, 2e-3]).double())  # what stands for 1 is 0.5 % less
    equal = {}
    for same_rate in (1e-9, DEFAULT.same_rate):
        equations = Equations(functions, fitted, judgement=DEFAULT.model_copy(update={"same_rate": same_rate}))
        found = gains(equations, longer, Others(equations, longer), levels(equations, longer), torch.tensor([0]))
        columns = functions.sides(0).columns(torch.arange(found.gain.numel()))
        gain = {tuple(c): float(g) for c, g in zip(columns.int().tolist(), found.gain.flatten())}
        equal[same_rate] = abs(gain[(-1, 1)] - gain[(-1, 2)]) < DEFAULT.alike
    assert equal == {1e-9: False, DEFAULT.same_rate: True}


def test_ties_make_other_columns_clearer(with_decoys, rng):
    """The rows of a reaction whose neighbours are tied leave less to them."""
    refinement, truth = with_decoys
    state = disturbed(replace(truth, integers=None), rng, 0.05, 0.0)
    tied = torch.ones_like(truth.log_k, dtype=torch.bool)
    free, held = (weigh_beside(refinement.equations, replace(state, tied=own)) for own in (None, tied))
    assert held.certainty.mean() > 2 * free.certainty.mean()
    clear = (held.certainty > 0.9)[refinement.functions.reaction]
    assert clear.any() and torch.equal(held.column[clear], truth.integers[clear])


def test_a_tie_to_a_wrong_column_counts_for_nothing(with_decoys, rng):
    refinement, truth = with_decoys
    equations, everything = refinement.equations, torch.ones_like(truth.log_k, dtype=torch.bool)
    state = disturbed(replace(truth, integers=None, tied=everything), rng, 0.01, 0.0)
    wrong = int(truth.log_k.argmin())
    edges = refinement.equations.graph.edges_of(wrong)
    state = replace(
        state, linear=state.linear.index_put((torch.arange(edges.start, edges.stop),), 2 * state.linear[edges])
    )
    clear = weigh_beside(equations, replace(state, tied=None)).certainty > 0.99
    assert clear.any()
    expected = weigh_beside(equations, replace(state, tied=clear.index_fill(0, torch.tensor(wrong), False)))
    weighed = weigh(equations, state)
    assert weighed.chances[0].numpy() == pytest.approx(expected.certainty.numpy())


def test_selection_closes_decoys_and_no_true_edge(with_decoys):
    refinement, truth = with_decoys
    k = 10 ** truth.log_k[refinement.functions.reaction]
    linear = torch.where(truth.integers == 0, 0.02 * refinement.functions.sign * k, truth.linear)
    state = descend(refinement.equations, replace(truth, linear=linear, integers=None), 5)
    closed = select(refinement.equations, state, "close").closed
    assert not (closed & (truth.integers != 0)).any()
    assert closed.sum() >= 5


def test_columns_in_the_wrong_reactions_are_given_back(with_decoys):
    """Two reactions exchange what they can hold of each other's columns, and all are tied: together they come back."""
    refinement, truth = with_decoys
    equations, graph, truth = refinement.equations, refinement.equations.graph, replace(truth, integers=None)
    true = truth.linear / 10 ** truth.log_k[equations.reaction]
    columns = [
        {(m, r): e for e, m, r in zip(range(graph.n_edges)[of], graph.edge_metabolite[of], graph.edge_is_substrate[of])}
        for of in map(graph.edges_of, range(graph.n_reactions))
    ]
    n_moved = n_exact = 0
    for owner, of_owner in enumerate(columns):
        column = {key: edge for key, edge in of_owner.items() if true[edge] != 0}
        for holder, of_holder in enumerate(columns):
            own = {key for key, edge in of_holder.items() if true[edge] != 0}
            # exchanged ones nobody can tell
            if holder == owner or not set(column) <= set(of_holder) or own <= set(of_owner):
                continue
            linear = torch.where((equations.reaction == owner) | (equations.reaction == holder), 0.0, truth.linear)
            linear[[of_holder[key] for key in column]] = truth.linear[list(column.values())]
            log_k = truth.log_k.clone()
            log_k[holder] = truth.log_k[owner]
            moved = replace(truth, linear=linear, log_k=log_k, tied=torch.ones_like(log_k, dtype=torch.bool))
            weighed = weigh(equations, moved)
            found, found_log_k = chosen_together(equations, moved, weighed)
            for choose in 3 * (regrouped, chosen_together):
                again = replace(moved, linear=found * 10 ** found_log_k[equations.reaction], log_k=found_log_k)
                found, found_log_k = choose(equations, again, weigh(equations, again))[:2]
            # or others that leave nothing either: reactions of the same substrates can exchange theirs
            assert _Columns(equations, moved, weighed, found, found_log_k).unexplained < 1e-12, (owner, holder)
            n_exact += torch.equal(found, true)
            n_moved += 1
    assert n_moved >= 8 and n_exact >= 6


def test_the_true_columns_are_chosen_together_and_stay(with_decoys):
    refinement, truth = with_decoys
    state = replace(truth, integers=None, tied=torch.ones(len(truth.log_k), dtype=torch.bool))
    weighed = weigh(refinement.equations, state)
    unsure = replace(weighed, chances=torch.full_like(weighed.chances, 0.2))  # all are looked at again
    for choose in (chosen_together, regrouped):
        column, log_k = choose(refinement.equations, state, unsure)[:2]
        assert torch.equal(column, truth.integers)
        assert log_k.numpy() == pytest.approx(truth.log_k.numpy(), abs=1e-6)


def test_a_reaction_whose_real_column_another_one_shares_comes_back_into_its_space(with_decoys):
    """It did the work of both, so that no column of its own was right; the other one had lost its column."""
    refinement, truth = with_decoys
    equations, reaction = refinement.equations, refinement.functions.reaction
    outside = torch.arange(len(truth.log_k)) == 2
    linear = torch.where(reaction == 5, 0.0, truth.linear)
    linear = torch.where(outside[reaction], linear * torch.linspace(0.7, 1.3, len(linear)), linear)
    state = replace(truth, linear=linear, integers=None, tied=~outside, outside=outside)
    weighed = weigh(equations, state)
    chances = weighed.chances.clone()
    chances[0, 5] = 0.2
    column, _, still_outside = regrouped(equations, state, replace(weighed, chances=chances))
    assert not still_outside.any()
    assert torch.equal(column, truth.integers)


@pytest.mark.parametrize("decoys", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_columns_chosen_together_leave_no_more_than_those_they_started_from(request, decoys, seed):
    """And no single other column of any reaction leaves less."""
    refinement, truth = request.getfixturevalue("with_decoys" if decoys else "setup")
    equations, rng = refinement.equations, np.random.default_rng(seed)
    state = disturbed(replace(truth, integers=None), rng, 0.005, 0.0)
    weighed = weigh(equations, state)
    start = _Columns(equations, state, weighed, weighed.column, weighed.column_log_k)
    column, log_k = chosen_together(equations, state, weighed)
    found = _Columns(equations, state, weighed, column, log_k)
    assert found.objective <= start.objective + 1e-9 * start.unexplained
    for reaction in torch.nonzero(weighed.certainty < 1 - 1e-6)[:, 0].tolist():
        gained = gains(equations, state, found._beside([reaction]), found.level, torch.tensor([reaction]))
        sides, k = equations.functions.sides(reaction), gained.k.flatten()
        pairs = torch.nonzero(gained.gain.flatten() > 0)[:, 0]
        for pair, other in zip(pairs[:20], sides.columns(pairs[:20])):
            trial = copy(found)
            trial.give(reaction, other, k[pair].log10())
            trial.unexplained = trial._refit()
            assert trial.objective > found.objective - 1e-6 * found.unexplained


def test_a_reaction_that_the_descent_released_takes_its_mean_column(with_decoys):
    refinement, truth = with_decoys
    edges = refinement.equations.graph.edges_of(3)
    linear = truth.linear.clone()
    linear[edges] *= 0.01
    state = replace(truth, linear=linear, integers=None)
    weighed, found = weigh(refinement.equations, state, 64.0), select(refinement.equations, state, "close")
    assert torch.equal(found.linear[edges], torch.where(found.closed, 0.0, weighed.linear)[edges])
    assert found.log_k[3] == weighed.log_k[3]
    others = ~found.closed & (refinement.functions.reaction == 5)
    assert torch.equal(found.linear[others], linear[others])


def test_clear_columns_are_kept_and_committing_makes_integers_of_all(with_decoys):
    """From a model in which 0.8 and 1.6 stand for 1 and 2: the functions then mean the same by 1 and 2."""
    refinement, truth = with_decoys
    functions, unit = refinement.functions, torch.tensor(0.8).double()
    start = replace(
        truth,
        weights=functions.with_sizes(truth.weights, 1 / unit, 2 / unit),
        log_k=truth.log_k - unit.log10(),
        integers=None,
    )
    state = descend(refinement.equations, start, 8)
    clear = select(refinement.equations, state, "tie")
    edges = clear.tied[functions.reaction]
    assert clear.tied.sum() >= 8
    assert ((refinement.coefficient(clear) / unit)[edges].round() == truth.integers[edges]).double().mean() > 0.95
    more = refinement.round(refinement.round(clear, 10, "tie"), 10, "tie")
    committed = in_integers(refinement.equations, refinement.round(more, 10, "conclude"))
    column = refinement.coefficient(committed)
    assert column.numpy() == pytest.approx(column.round().numpy())
    assert (column.round() == truth.integers).double().mean() > 0.85
    assert torch.equal(committed.closed, column.round() == 0)
    assert refinement.equations.cost(committed)[1] < 1e-2
    final = refinement.finish(
        replace(committed, linear=1.1 * committed.linear, log_k=committed.log_k + math.log10(1.1)), 3
    )
    assert torch.equal(final.integers, column.round())
    assert refinement.coefficient(final).numpy() == pytest.approx(column.round().numpy())
    again = select(
        refinement.equations,
        replace(truth, integers=None, tied=committed.tied, closed=truth.integers == 0),
        "conclude",
    )
    assert again.settled == SETTLED  # all are clear
    assert refinement.coefficient(again).numpy() == pytest.approx(truth.integers.numpy())


def test_all_are_tied_once_no_more_become_clear_in_noise(with_decoys):
    refinement, truth = with_decoys
    state = replace(truth, integers=None, cost=1e-6)
    clear = select(refinement.equations, state, "tie")
    state = replace(clear, tied=torch.ones_like(clear.tied))
    assert not select(refinement.equations, state, "tie").tied.all()
    refinement.equations.windows = replace(refinement.equations.windows, noise=1e-6)
    assert (
        select(refinement.equations, state, "tie").tied.all()
        and not select(refinement.equations, clear, "close").tied.any()
    )
    assert not select(refinement.equations, replace(state, tied=torch.zeros_like(clear.tied)), "tie").tied.all()


def test_tied_reactions_move_along_their_columns(with_decoys, rng):
    refinement, truth = with_decoys
    tied = torch.as_tensor(rng.random(len(truth.log_k)) < 0.6)
    state = disturbed(replace(truth, integers=None, closed=truth.integers == 0), rng, 0.02, 0.0)
    state = replace(state, tied=tied)
    half_gradient = gradient_of(free_equations(refinement.equations, state))
    reaction = int(torch.nonzero(tied)[0, 0])
    own = (refinement.functions.reaction == reaction).double()

    def objective(by):
        along = torch.nn.functional.one_hot(torch.tensor(reaction), len(tied)).double() * by
        return refinement.equations.cost(
            replace(state, linear=state.linear * 10 ** (own * by), log_k=state.log_k + along)
        )[0]

    slope = (objective(1e-5) - objective(-1e-5)) / 2e-5
    assert 2 * half_gradient[len(state.weights) + len(state.linear) + reaction] == pytest.approx(slope, rel=1e-4)
    found = descend(refinement.equations, state, 8)
    edges = tied[refinement.functions.reaction]
    assert refinement.coefficient(found)[edges].numpy() == pytest.approx(refinement.coefficient(state)[edges].numpy())
    assert found.cost < 1e-2 * refinement.equations.cost(state)[1]


def test_a_step_keeps_signs_and_gains_more_than_one_cut_off(with_decoys, rng):
    refinement, truth = with_decoys
    functions = refinement.functions
    linear = truth.linear + 0.1 * functions.sign * 10 ** truth.log_k[functions.reaction]
    state = disturbed(replace(truth, linear=linear, integers=None), rng, 0.05, 0.3)
    equations = free_equations(refinement.equations, state)
    matrix, gradient = equations.matrix, equations.gradient
    gain = lambda step: float(step @ (2 * gradient - damped(matrix, 1e-3) @ step))  # noqa: E731
    step = _step(functions, state, equations, 1e-3)
    on_linear = slice(len(state.weights), len(state.weights) + len(linear))
    assert (functions.sign * (state.linear - step[on_linear]) >= -1e-12).all()
    free = torch.linalg.solve(damped(matrix, 1e-3), gradient)
    cut = free.clone()
    cut[on_linear] = state.linear - functions.sign * (functions.sign * (state.linear - free[on_linear])).clamp(min=0)
    assert not torch.equal(cut, free)
    assert gain(free) > gain(step) > gain(cut)


def test_a_reaction_taken_out_of_the_problem_of_all_gains_what_it_does_beside_the_others(setup, rng):
    refinement, truth = setup
    equations, state = refinement.equations, disturbed(replace(truth, integers=None), rng, 0.05, 0.05)
    state = replace(state, tied=torch.ones_like(state.log_k, dtype=torch.bool))
    columns = _Columns(equations, state, weigh(equations, state), truth.integers, truth.log_k)
    for reaction in range(equations.graph.n_reactions):
        one = torch.tensor([reaction])
        beside, taken_out = (
            gains(equations, columns.state, others, columns.level, one)
            for others in (columns._beside([reaction]), columns._all())
        )
        assert taken_out.gain.numpy() == pytest.approx(beside.gain.numpy(), rel=1e-6, abs=1e-9)
    kept = columns._all()
    columns.give(0, columns._own(0), columns.log_k[0] + 1)
    assert columns._all() is kept
    columns.give(0, 2 * columns._own(0), columns.log_k[0])
    assert columns._all() is not kept


@pytest.mark.parametrize("allows_zero", [False, True])
def test_where_nothing_changes_there_is_no_evidence(request, allows_zero):
    """No column explains anything: no evidence for edges, and none against them."""
    refinement, truth = request.getfixturevalue("with_decoys" if allows_zero else "setup")
    equations, state = refinement.equations, replace(truth, integers=None)
    equations.windows = replace(equations.windows, target=torch.zeros_like(equations.windows.target))
    found = weigh(equations, state)
    assert (found.probability == 1).all() and (found.chances == 0).all()
    assert torch.equal(found.linear, state.linear) and torch.equal(found.log_k, state.log_k)
    assert not select(equations, state, "tie").tied.any()


def test_closed_edges_stay_at_zero(with_decoys, rng):
    refinement, truth = with_decoys
    state = disturbed(replace(truth, integers=None, closed=truth.integers == 0), rng, 0.02, 0.05)
    found = descend(refinement.equations, state, 6)
    assert (found.linear[state.closed] == 0).all()
    assert found.cost < 1e-2 * refinement.equations.cost(state)[1]


def test_a_reaction_stays_as_fast_when_its_column_changes(setup):
    refinement, truth = setup
    edges = refinement.equations.graph.edges_of(4)
    other = replace(
        truth,
        integers=truth.integers.index_put((torch.arange(edges.start, edges.stop),), torch.sign(truth.integers[edges])),
    )
    after = as_fast(refinement.equations, truth, other)
    assert refinement.equations.cost(after)[1] < refinement.equations.cost(other)[1]
    assert torch.equal(after.linear[: edges.start], truth.linear[: edges.start])


def test_candidates_are_balanced_and_have_the_signs(setup):
    refinement, truth = setup
    space = refinement.functions.space
    for reaction in range(16):
        edges = refinement.equations.graph.edges_of(reaction)
        true = truth.integers[edges].numpy()
        columns = candidates(space, reaction, truth.linear[edges].numpy())
        assert (columns.sum(1) == 0).all() and (np.sign(columns) == np.sign(true)).all()
        assert (columns == true).all(1).any()


def test_decode_finds_the_zeros_of_decoys():
    graph = from_pairs(7, 1, range(7), [0] * 7, [True, True, True, False, False, False, False])
    linear = 0.03 * torch.tensor([-0.97, -0.08, -2.05, 1.02, 0.11, 1.95, 0.02], dtype=torch.float64)
    state = State(torch.zeros(1), linear, torch.tensor([math.log10(0.03)], dtype=torch.float64))
    found = decode(equations_of(graph, with_decoys=True), state)
    assert found.tolist() == [-1, 0, -2, 1, 0, 2, 0]


@pytest.mark.parametrize("held_is_right", [False, True])
def test_a_column_that_is_held_gives_way_to_a_far_likelier_one_that_leaves_no_more(setup, held_is_right):
    """What the evidence says of reaction 5 is made up: it may be wrong."""
    refinement, truth = setup
    equations, edges = refinement.equations, refinement.equations.graph.edges_of(5)
    other = truth.integers.clone()
    other[edges] = torch.tensor([2.0, -1.0, -2.0, 1.0], dtype=torch.float64)
    held, likely = (truth.integers, other) if held_is_right else (other, truth.integers)
    every = torch.ones_like(truth.log_k, dtype=torch.bool)
    linear = held * 10 ** truth.log_k[equations.reaction]
    state = replace(truth, integers=None, linear=linear, tied=every, closed=held == 0)
    state = refinement._descend(state, 10)
    weighed = weigh(equations, state)
    columns = torch.stack([likely, held, *torch.zeros(3, len(held), dtype=torch.float64)])
    chances = torch.tensor([0.9, 0.01, 0.0, 0.0, 0.0], dtype=torch.float64)[:, None].expand_as(weighed.chances)
    found = replace(weighed, columns=columns, chances=chances, column_log_k=truth.log_k)
    about_as_likely = torch.where(columns.any(1)[:, None], 0.5, chances)
    assert likelier(equations, state, replace(found, chances=about_as_likely)) is None
    assert torch.equal(in_integers(equations, likelier(equations, state, found)).integers, likely)
    end = refinement._likelier(state, found, 10)
    assert torch.equal(in_integers(equations, end).integers, truth.integers)


def test_descent_leads_back_to_the_truth(setup, rng):
    refinement, truth = setup
    state = disturbed(replace(truth, integers=None), rng, 0.02, 0.05)
    before = refinement.equations.cost(state)[1]
    assert descend(refinement.equations, state, 20).cost < 1e-5 * before


@pytest.mark.parametrize("limited", [False, True])
def test_rounds_find_the_columns(setup, rng, limited):
    refinement, truth = setup
    equations = refinement.equations
    if limited:
        equations.limiter = FluxLimiter(refinement.equations.graph, 12.0)
        flux = equations.kept(refinement.functions.rates(truth, equations.windows), truth.linear, equations.windows)
        assert 0.05 < (flux < refinement.functions.rates(truth, equations.windows)).double().mean() < 0.8
        equations.windows = replace(
            equations.windows,
            target=equations.predicted(
                refinement.functions.rates(truth, equations.windows), truth.linear, equations.windows
            ).T,
        )
    state, rounds = disturbed(replace(truth, integers=None), rng, 0.02, 0.1), 0
    while not refinement.settled(state):
        state, rounds = refinement.round(state, 12, "tie" if rounds < 2 else "conclude"), rounds + 1
    assert rounds <= 6
    found = refinement.finish(state, 12)
    assert torch.equal(found.integers, truth.integers)
    weighed = refinement.evidence(state)
    assert torch.equal(weighed.column, truth.integers) and weighed.certainty.min() > 0.99
    assert (weighed.chances.sum(0) <= 1 + 1e-12).all() and (weighed.chances.diff(dim=0) <= 0).all()


def test_columns_are_weighed_once_whatever_the_descents_tell(setup):
    refinement, truth = setup
    weighed = refinement._weigh(refinement.equations, truth)
    slow = replace(truth, slow=True, settled=1, damping=1e-9)
    assert refinement._weigh(refinement.equations, slow, refinement.equations.judgement.alike) is weighed
    tied = replace(truth, tied=torch.ones_like(truth.log_k, dtype=torch.bool))
    again = refinement._weigh(refinement.equations, tied)
    assert again is not weighed and not torch.equal(again.chances, weighed.chances)
    asked = weigh(refinement.equations, tied)
    assert torch.equal(again.chances, asked.chances) and torch.equal(again.columns, asked.columns)
    contradicted = replace(tied, cost=1.0, loose_cost=1e-3)
    assert refinement._weigh(refinement.equations, contradicted) is not again
    assert refinement._weigh(refinement.equations, tied, 2.0) is not again
    assert refinement._weigh(refinement.equations, tied, excess=2.0) is not again


def test_ties_that_do_not_help_are_released_for_a_round(setup, rng, monkeypatch):
    """Half of the reactions tied to a wrong column of their direction."""
    refinement, truth = setup
    tied = torch.arange(len(truth.log_k)) % 2 == 0
    wrong = torch.where(tied[refinement.functions.reaction], 2.0, 1.0) * truth.linear
    monkeypatch.setattr(
        "stoirec.refine.refinement.select",
        lambda _, state, *rest: replace(state, linear=wrong, tied=tied, closed=truth.integers == 0),
    )
    start = replace(truth, integers=None, linear=wrong, cost=1e-12)
    held = refinement.round(start, 4, "tie")
    assert held.stalled and torch.equal(held.tied, tied)
    free = refinement.round(held, 4, "tie")
    assert not free.stalled and not free.tied.any() and free.cost < held.cost
    assert not free.spent and refinement.round(replace(held, loose_cost=free.cost), 4, "tie").spent
    assert refinement.round(held, 1, "conclude").tied.any()
    assert not refinement.round(replace(start, cost=math.inf), 1, "tie").stalled
    every = replace(held, tied=torch.ones_like(tied))  # other columns, which leave hardly less, or far less
    for before, after, of_free, stalled in ((1.0, 0.6, 0.1, True), (1.0, 0.4, 0.1, False), (1.0, 0.6, 0.7, False)):
        start_of = replace(every, cost=before, loose_cost=of_free)
        assert refinement._stalled(start_of, replace(every, cost=after, settled=0)) == stalled
    refinement.equations.windows = replace(refinement.equations.windows, noise=held.cost)
    assert not refinement.round(start, 4, "tie").stalled


def test_standard_errors_are_positive_and_fall_with_the_residual(setup):
    refinement, truth = setup
    coarse, fine = (refinement.coefficient_se(replace(truth, cost=cost)) for cost in (1e-4, 1e-8))
    assert (fine > 0).all() and (coarse / fine).numpy() == pytest.approx(np.full(len(fine), 100.0))


def smooth_frames(n_frames: int, noise: float = 0.0, rng=None, n_runs: int = 1, end: float = 20.0) -> Frames:
    """Runs of two smooth metabolites that start in different places, so that dc/dt jumps from run to run."""
    time = np.linspace(0, end, n_frames)
    runs = [np.stack([np.sin(time + 2 * run), np.exp(-0.1 * time) + run], axis=1) for run in range(n_runs)]
    smooth = np.concatenate(runs)
    noisy = smooth if rng is None else smooth + noise * smooth.std(0) * rng.normal(size=smooth.shape)
    run = np.repeat(np.arange(n_runs), n_frames)
    return Frames(smooth, noisy, run, np.tile(time, n_runs), run)


def test_noise_is_measured_and_averaged_only_where_there_is_some(rng):
    smooth, noisy = smooth_frames(2000), smooth_frames(2000, 0.03, rng)
    scale = smooth.dcdt.std(0)
    assert relative_noise(smooth, scale) < 1e-6
    assert relative_noise(noisy, scale) == pytest.approx(0.03, rel=0.1)
    single, means = (windows(frames, torch.as_tensor(scale), 50) for frames in (smooth, noisy))
    assert means.noise == pytest.approx(0.03**2 / 40, rel=0.2) and single.noise < 1e-12
    assert single.concentration.shape == (50, 1, 2) and means.concentration.shape == (50, 7, 2)
    assert means.target.numpy() * scale == pytest.approx(noisy.dcdt.reshape(50, 40, 2).mean(1))
    assert torch.einsum("wnm,n->wm", means.concentration, means.weight).numpy() == pytest.approx(
        smooth.dcdt.reshape(50, 40, 2).mean(1), abs=1e-9
    )


@pytest.mark.parametrize("by_activity", [False, True])
def test_no_window_spans_two_runs(rng, by_activity):
    """The model's mean over a window is then that of dc/dt: the truth leaves noise and nothing else."""
    frames = smooth_frames(97, 0.03, rng, n_runs=4)
    smooth = smooth_frames(97, n_runs=4)
    jumps = np.abs(np.diff(frames.run, append=3)) * 50.0 + 1.0  # most likely at the ends of runs
    fitted = windows(frames, torch.ones(2, dtype=torch.float64), 20, jumps / jumps.sum() if by_activity else None)
    width = len(frames) // 20
    starts = [np.flatnonzero((smooth.concentration == first).all(1))[0] for first in fitted.concentration[:, 0].numpy()]
    starts = np.array(starts) - (0 if width <= 7 else round(0.05 * (width - 1)))
    assert (frames.run[starts] == frames.run[starts + width - 1]).all() and len(set(frames.run[starts])) == 4
    expected = np.stack([smooth.dcdt[start : start + width].mean(0) for start in starts])
    assert fitted.target.numpy() == pytest.approx(expected, abs=0.1)


def test_noise_is_that_within_runs(rng):
    """Many short runs: jumps between them are no noise."""
    frames = smooth_frames(9, n_runs=40, end=1.0)
    assert relative_noise(frames, frames.dcdt.std(0)) < 2e-2
    fitted = windows(smooth_frames(9, 0.5, rng, n_runs=40, end=1.0), torch.ones(2, dtype=torch.float64), 10)
    assert fitted.concentration.shape[1] == 7 and len(fitted) == 10  # no window is longer than the runs


def test_frames_are_as_dense_as_their_chance():
    time = np.arange(1000.0)[:, None]
    frames = Frames(time, time, np.zeros(1000, int), time[:, 0], np.zeros(1000, int))
    fitted = windows(frames, torch.ones(1, dtype=torch.float64), 90, np.where(time[:, 0] < 100, 9.0, 1.0))
    assert int((fitted.points < 100).sum()) == 45


def test_columns_are_less_certain_the_more_is_left_than_noise_leaves(with_decoys, rng):
    refinement, truth = with_decoys
    state = descend(refinement.equations, disturbed(replace(truth, integers=None), rng, 0.05, 0.3), 1)
    exact, misfit = (refinement.evidence(replace(state, cost=cost)) for cost in (1e-6, 1e-3))
    assert torch.equal(exact.chances, weigh(refinement.equations, state).chances)
    unsure = exact.certainty < 0.999
    assert unsure.any() and (misfit.certainty < exact.certainty)[unsure].double().mean() > 0.9
    refinement.equations.windows = replace(refinement.equations.windows, noise=1e-3)
    assert torch.equal(refinement.evidence(replace(state, cost=1e-3)).chances, exact.chances)


def test_at_least_one_column_is_not_allowed_where_more_is_left_than_noise_leaves(with_decoys, rng):
    """As likely as it is that the functions do not hold; where runs are alike, that says nothing of columns.

    A column that is left real in the end is as likely as not none of those allowed, before the data.
    """
    refinement, truth = with_decoys
    state = descend(refinement.equations, disturbed(replace(truth, integers=None), rng, 0.02, 0.1), 1)
    as_left = refinement.evidence(replace(state, cost=4 * DEFAULT.exact)).outside
    refinement.n_runs = DEFAULT.own_runs / 4
    alike = refinement.evidence(replace(state, cost=0.1 * DEFAULT.exact)).outside
    every = torch.ones_like(state.log_k, dtype=torch.bool)
    real = refinement.evidence(replace(state, cost=0.1 * DEFAULT.exact, outside=every)).outside
    chances = as_left, alike, 3 / 4 / len(state.log_k), DEFAULT.none_right, real, DEFAULT.taken_for_none
    odds = [chance / (1 - chance) for chance in chances]
    some = (alike > 1e-12) & (as_left < 0.999)
    assert some.sum() > 4
    assert (odds[0] / odds[1])[some].numpy() == pytest.approx(odds[2] / odds[3])
    some &= real < 0.999
    assert some.sum() > 4
    assert (odds[4] / odds[1])[some].numpy() == pytest.approx(odds[5] / odds[3])


def test_columns_are_less_certain_where_all_runs_are_alike(with_decoys, rng):
    """Functions along one trajectory can be those of wrong columns."""
    refinement, truth = with_decoys
    state = replace(disturbed(replace(truth, integers=None), rng, 0.001, 0.0), cost=1e-9)
    different = refinement.evidence(state)
    refinement.n_runs = 1.02
    alike = refinement.evidence(state)
    assert (alike.chances[0] <= different.chances[0] + 1e-12).all()
    assert (alike.certainty > DEFAULT.clear).sum() < (different.certainty > DEFAULT.clear).sum()
    refinement.n_runs = 1.6
    assert torch.equal(refinement.evidence(state).chances, different.chances)


def test_the_best_few_of_many_changes_against_all_of_them(rng):
    factor = torch.as_tensor(rng.normal(size=(20, 9)))
    slope, gram = factor.T @ torch.as_tensor(rng.normal(size=20)), factor.T @ factor
    group = torch.tensor([0, 0, 1, 1, 2, 2, 3, 4, 4])
    for size, found in enumerate(best_subsets(slope, gram, group), 2):
        allowed = [list(s) for s in combinations(range(9), size) if len(set(group[list(s)].tolist())) == size]
        gains = [float(2 * slope[s].sum() - gram[s][:, s].sum()) for s in allowed]
        assert found.tolist() == allowed[int(np.argmax(gains))]
    assert size == 4
    assert not best_subsets(slope[:1], gram[:1, :1], group[:1])
    assert not best_subsets(slope[:2], gram[:2, :2], group[:2])


def test_coefficients_of_one_metabolite_change_in_a_few_reactions_at_once(setup):
    """What is gained by a change is what refitting says, and wrong ones that hide each other are undone together."""
    refinement, truth = setup
    equations, graph = refinement.equations, refinement.equations.graph
    every = torch.ones_like(truth.log_k, dtype=torch.bool)
    right = replace(truth, integers=None, tied=every)
    weighed = weigh(equations, right)
    start = _Columns(equations, right, weighed, truth.integers, truth.log_k)
    n_tried = n_exact = 0
    for metabolite in range(graph.n_metabolites):
        for changes in start.few_changes(metabolite):
            wrong = copy(start)
            for reaction, column in changes:
                assert (column != start._own(reaction)).any()
                wrong.give(reaction, column, start.log_k[reaction])
            linear = wrong.column * 10 ** wrong.log_k[equations.reaction]
            state = replace(right, linear=linear, cost=1e-4)
            found, true = (_Columns(equations, state, weighed, one.column, one.log_k) for one in (wrong, start))
            back = next(one for one in found.few_changes(metabolite) if len(one) == len(changes))
            undone = _changed(copy(found), back)
            n_exact += undone.objective <= true.objective + 1e-6 * found.unexplained
            n_tried += 1
    assert n_exact > 0.9 * n_tried > 20
