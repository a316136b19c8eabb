"""Gauss-Newton refinement against automatic differentiation, and from a disturbed truth back to it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stoirec.config import FitConfig
from stoirec.model import MetabolismPropagation
from stoirec.refine import Refinement, State


@pytest.fixture
def setup(tiny_data, tiny_truth):
    """A refinement on the tiny network, and the state that is the truth."""
    graph, kinetics = tiny_data.graph, tiny_truth.kinetics
    model = MetabolismPropagation(graph, FitConfig(precision="float64", graph_model={"hidden_dim": 12, "output_size": 6}))
    with torch.no_grad():
        for learned, true in ((model.substrate_func, kinetics.substrate_func), (model.rate_func, kinetics.rate_func)):
            for parameter, value in zip(learned.parameters(), (true.weight1, true.bias1, true.weight2, true.bias2)):
                parameter.copy_(torch.as_tensor(value))
    concentration, dcdt = (torch.as_tensor(x[::4]) for x in tiny_data.training_frames(2))
    sign = np.where(graph.edge_is_substrate, -1, 1)
    refinement = Refinement(graph, sign, model.substrate_func, model.rate_func, concentration, dcdt, dcdt.std(0))
    weights = torch.cat([parameter.detach().flatten() for parameter in refinement.functions.parameters()])
    pattern = torch.as_tensor(graph.on_edges(tiny_truth.stoichiometry).astype(float))
    log_k = torch.as_tensor(tiny_truth.log_k)
    return refinement, State(weights, pattern * 10 ** log_k[refinement.reaction], pattern, log_k)


def test_rates_are_the_generators(setup, tiny_truth):
    refinement, truth = setup
    rate = refinement.rates(truth.weights, truth.pattern, refinement.concentration)
    expected = tiny_truth.kinetics.flux(refinement.concentration.numpy()).T
    assert (10 ** truth.log_k[:, None] * rate).numpy() == pytest.approx(expected, rel=1e-12)
    assert refinement.fit(truth, 1).cost < 1e-20


def test_normal_equations_are_those_of_the_jacobian(setup, rng):
    refinement, truth = setup
    refinement.concentration, refinement.dcdt = refinement.concentration[:6], refinement.dcdt[:6]
    state = replace(
        truth,
        weights=truth.weights + 0.1 * torch.as_tensor(rng.normal(size=len(truth.weights))),
        linear=truth.linear * torch.as_tensor(rng.uniform(0.7, 1.3, len(truth.linear))),
    )

    def residuals(weights, linear):
        features, present = refinement._features(refinement.concentration, truth.pattern)
        rate = refinement._rates(weights, features, present[:, None])
        fit = ((refinement._matrix(linear) @ rate).T - refinement.dcdt).flatten() / refinement.dcdt.numel() ** 0.5
        return torch.cat([fit, refinement._column_sums(linear, truth.log_k) * (1e-2 / 16) ** 0.5])

    jacobian = torch.cat(torch.func.jacrev(residuals, argnums=(0, 1))(state.weights, state.linear), dim=1)
    value = residuals(state.weights, state.linear)
    normal, right = refinement._normal_equations(state)
    assert normal.numpy() == pytest.approx((jacobian.T @ jacobian).numpy(), rel=1e-8, abs=1e-12)
    assert right.numpy() == pytest.approx((jacobian.T @ value).numpy(), rel=1e-8, abs=1e-12)
    assert refinement._cost(state)[0] == pytest.approx(float(value.square().sum()))


def test_decode_takes_the_nearest_direction_and_keeps_the_length(setup, rng):
    refinement, truth = setup
    noisy = replace(truth, linear=truth.linear * torch.as_tensor(rng.uniform(0.95, 1.05, len(truth.linear))))
    assert torch.equal(refinement.decode(noisy).pattern, truth.pattern)
    blank = replace(noisy, pattern=torch.zeros_like(truth.pattern))
    found = refinement.decode(blank).pattern / truth.pattern
    for reaction in range(16):
        assert len(set(found[refinement.graph.edges_of(reaction)].tolist())) == 1  # right up to the length


def test_score_test_finds_wrong_lengths_and_leaves_right_ones(setup):
    """Most of them: on so small a network the functions can absorb a wrong length of some reactions."""
    refinement, truth = setup
    tried = right = 0
    for reaction in range(16):
        edges = refinement.graph.edges_of(reaction)
        for wrong in (2 * truth.pattern[edges], truth.pattern[edges] / 2):
            if not (refinement.candidates[reaction] == wrong).all(1).any():
                continue
            pattern, log_k = truth.pattern.clone(), truth.log_k.clone()
            pattern[edges] = wrong
            log_k[reaction] -= float(torch.log10(wrong / truth.pattern[edges])[0])
            found = refinement.rescale(replace(truth, pattern=pattern, log_k=log_k))
            right += torch.equal(found.pattern[edges], truth.pattern[edges])
            tried += 1
    assert tried >= 4 and right >= 0.75 * tried
    assert torch.equal(refinement.rescale(truth).pattern, truth.pattern)


def test_columns_are_balanced_and_have_the_signs(setup):
    refinement, truth = setup
    for reaction, columns in enumerate(refinement.candidates):
        true = truth.pattern[refinement.graph.edges_of(reaction)]
        assert (columns.sum(1) == 0).all() and (torch.sign(columns) == torch.sign(true)).all()
        assert (columns == true).all(1).any()


def test_rounds_lead_from_a_disturbed_truth_back_to_it(setup, rng):
    refinement, truth = setup
    state = replace(
        truth,
        weights=truth.weights + 0.02 * torch.as_tensor(rng.normal(size=len(truth.weights))),
        linear=truth.linear * torch.as_tensor(rng.uniform(0.95, 1.05, len(truth.linear))),
    )
    costs = [refinement._cost(state)[1]]
    for _ in range(6):
        state = refinement.round(state, 6)
        costs.append(state.cost)
    assert torch.equal(state.pattern, truth.pattern)
    assert costs[-1] < 1e-6 * costs[0]


def test_standard_errors_are_positive_and_fall_with_the_residual(setup):
    refinement, truth = setup
    coarse, fine = (refinement.coefficient_se(replace(truth, cost=cost)) for cost in (1e-4, 1e-8))
    assert (fine > 0).all() and (coarse / fine).numpy() == pytest.approx(np.full(len(fine), 100.0))
