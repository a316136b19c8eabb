"""The loss terms against values computed by hand."""

import math

import pytest
import torch

from stoirec.learn import losses

S = torch.tensor([-1.0, 1.0, -2.0, 0.5, 1.25], dtype=torch.float64)
PTR = torch.tensor([0, 2, 5])  # two reactions: (-1, 1) and (-2, 0.5, 1.25)
MASS = losses.Columns(PTR, torch.ones(1, 5, dtype=torch.float64))


def test_l1():
    assert losses.l1(S, MASS)[0] == pytest.approx(1 + 1 + 2 + 0.5 + 1.25)


def test_integer():
    assert losses.integer(S, MASS)[0] == pytest.approx((0 + 0 + 0 + 1 + math.sin(math.pi / 4) ** 2) / 5)
    assert losses.integer(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]), MASS)[0] == pytest.approx(0, abs=1e-12)


def test_mass_is_the_mean_over_reactions():
    assert losses.mass(S, MASS)[0] == pytest.approx((0**2 + (-0.25) ** 2) / 2)


def test_every_conserved_quantity_counts():
    both = losses.Columns(PTR, torch.tensor([[1.0, 1, 1, 1, 1], [2, 2, 0, 4, 0]], dtype=torch.float64))
    sums = [[-1 + 1, -2 + 2], [-2 + 0.5 + 1.25, 4 * 0.5]]
    assert losses.mass(S, both)[0] == pytest.approx(sum(a**2 + b**2 for a, b in sums) / 2)


@pytest.mark.parametrize("term", losses.REGULARISERS, ids=lambda term: term.name)
def test_slopes_are_those_of_automatic_differentiation(term):
    both = losses.Columns(PTR, torch.tensor([[1.0, 1, 1, 1, 1], [2, 2, 0, 4, 0]], dtype=torch.float64))
    sto_all = S.clone().requires_grad_()
    value, slope = term.of(sto_all, both)
    (expected,) = torch.autograd.grad(value, sto_all)
    assert torch.allclose(slope(), expected, rtol=1e-12, atol=1e-12)


def test_the_slope_of_the_prediction_is_that_of_automatic_differentiation():
    predicted = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    value, slope = losses.prediction(predicted, torch.tensor([[0.0, 2.0], [3.0, 8.0]]), torch.tensor([1.0, 2.0]))
    assert torch.allclose(slope(), torch.autograd.grad(value, predicted)[0])


def test_prediction_divides_each_metabolite_by_its_scale():
    predicted = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    observed = torch.tensor([[0.0, 2.0], [3.0, 8.0]])
    assert losses.prediction(predicted, observed, torch.tensor([1.0, 2.0]))[0] == pytest.approx((1 + 0 + 0 + 4) / 4)
