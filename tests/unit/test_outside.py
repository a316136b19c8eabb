"""Reactions that no column of their space is right for: told from those that are only unclear, and named."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stoirec.data.windows import Windows
from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.network.columns import ColumnSpace
from stoirec.refine import Refinement, State
from stoirec.refine.evidence import Evidence, _chances_about, weigh
from stoirec.refine.free import FreeColumns
from stoirec.refine.outside import at_prior, log_odds, odds_to_probability
from stoirec.refine.selection import select
from stoirec.simulate.network import LARGE, ODD, odd_column, random_stoichiometry

COLUMN = torch.tensor([-1.0, -2.0, 2.0, 1.0], dtype=torch.float64)
SHARP = 1e-6 * torch.eye(4, dtype=torch.float64)


@pytest.mark.parametrize(
    "free, covariance, low, high",
    [
        (COLUMN, SHARP, -9, -7),  # Occam: what is predicted and found is likelier than what may be anything
        (COLUMN * torch.tensor([1.0, 1.02, 0.97, 1.0]), SHARP, -12, -6),  # functions are not quite right
        (torch.tensor([-1.0, -2.0, 2.0, 2.0], dtype=torch.float64), SHARP, 20, 1e9),
        (torch.tensor([-1.0, -2.0, 2.0, 2.0], dtype=torch.float64), 4e6 * SHARP, -1, 0.5),  # nothing known
        (-COLUMN, SHARP, 100, 1e9),  # no length of it is better than none
        (-COLUMN, 4e8 * SHARP, -15, 0.1),
    ],
)
def test_odds_of_any_real_column_over_an_integer_one(free, covariance, low, high):
    odds = float(log_odds(free, covariance, COLUMN, 2, 0.05))
    assert low < odds < high
    k = 1e-3
    assert float(log_odds(k * free, k**2 * covariance, COLUMN, 2, 0.05)) == pytest.approx(odds)
    order = [2, 0, 3, 1]
    turned = log_odds(free[order], covariance[order][:, order], COLUMN[order], 2, 0.05)
    assert float(turned) == pytest.approx(odds)


@pytest.mark.parametrize("alike", [1.0, 50.0])
def test_columns_are_as_likely_as_they_are_near_to_free_ones(rng, alike):
    """Every column at its best length, that of none included; those that are not listed have no chance."""
    columns = torch.tensor([[-1.0, -2, 2, 1], [-2, -1, 2, 1], [-1, -1, 1, 1], [1, 2, -2, -1], [0, 0, 0, 0]]).double()
    spread = torch.as_tensor(rng.normal(0, 1e-3, (4, 4)))
    covariance = spread @ spread.T + 1e-7 * torch.eye(4)
    free = 1e-2 * columns[0] + torch.as_tensor(rng.normal(0, 1e-3, 4))
    nothing = torch.zeros(1)
    chances = torch.tensor([[0.4], [0.3], [0.2], [0.1], [0.0]]).double()
    found = Evidence(nothing, nothing, nothing, columns, chances, nothing, nothing, nothing, nothing)
    estimate = [FreeColumns(torch.zeros(1).long(), torch.arange(4)[None], free[None], covariance[None])]
    expected = []
    for column in columns[:4]:
        lengths = torch.linspace(0, 3e-2, 30001).double()[:, None]
        off = free - lengths * column
        expected.append(-float((off @ torch.linalg.inv(alike * covariance) * off).sum(1).min()) / 2)
    result = _chances_about(estimate, found, alike)[:, 0]
    assert result[:4].numpy() == pytest.approx(torch.tensor(expected).softmax(0).numpy(), abs=1e-3)
    assert result[4] == 0
    unknown = _chances_about(None, found, alike)[:, 0]
    assert unknown.numpy() == pytest.approx([0.25] * 4 + [0])


@pytest.mark.parametrize("kind", ODD)
def test_odd_columns_are_what_they_are_called(kind, rng):
    for column in ([-1, 2, -1], [1, -1, 2, -2], [-2, 1, 1, 2, -2]):
        column = np.array(column, np.int8)
        for _ in range(20):
            found = odd_column(kind, column, 2, rng)
            assert found.dtype == np.int8 and (found * column >= 0).all()
            if kind == "open":
                assert (found != 0).sum() == 1
            elif kind == "large":
                assert found.sum() == 0 and np.abs(found).max() == LARGE and (found != 0).all()
                assert np.gcd.reduce(found) == 1
            else:
                assert found.sum() != 0 and np.abs(found).max() <= 2 and (found != 0).all()
    assert odd_column("large", np.array([-1, 1], np.int8), 2, rng) is None


def test_a_share_of_the_reactions_is_odd(tiny_regime):
    plain = random_stoichiometry(tiny_regime)
    found = random_stoichiometry(tiny_regime.model_copy(update={"odd_reactions": 0.25}))
    changed = (plain != found).any(axis=0)
    odd = (found.sum(axis=0) != 0) | (np.abs(found).max(axis=0) == LARGE)
    assert np.array_equal(changed, odd) and odd.sum() == 4
    assert (found != 0).any(axis=1).all()


def test_ties_that_make_it_worse_say_nothing_for_other_columns(tiny_simulation):
    """What was outside stays so while more is left than without ties."""
    simulation = tiny_simulation
    law = PdeM1(simulation.graph, hidden_dim=4, output_size=3)
    one = torch.ones(2, simulation.graph.n_metabolites, dtype=torch.float64)
    fitted = Windows(one[:, None], one[0, :1], one, one[0])
    refinement = Refinement(law, ColumnSpace.of_roles(simulation.graph), fitted)
    rng = np.random.default_rng(0)
    weights = law.pack({name: torch.as_tensor(law.initial(name, rng)) for name in law.shapes})
    n_edges, n_reactions = simulation.graph.n_edges, simulation.graph.n_reactions
    outside = torch.arange(n_reactions) == 3
    state = State(
        weights,
        torch.as_tensor(simulation.graph.role_sign * 1e-2),
        torch.full((n_reactions,), -2.0, dtype=torch.float64),
        closed=torch.zeros(n_edges, dtype=torch.bool),
        tied=~outside,
        outside=outside,
        cost=1e-5,
        loose_cost=1e-6,
    )
    assert state.committed
    weighed = weigh(refinement.equations, state)
    nothing = torch.zeros_like(state.log_k)
    # no reaction has lost its column: none is chosen anew with those outside
    clear = torch.zeros_like(weighed.chances).index_fill(0, torch.tensor(0), 1.0)
    nowhere = replace(weighed, outside=nothing, misfit=nothing, chances=clear)
    as_weighed = "conclude", lambda *_: nowhere
    assert torch.equal(select(refinement.equations, state, *as_weighed).outside, outside)
    assert not select(refinement.equations, replace(state, loose_cost=1e-4), *as_weighed).outside.any()


def test_the_same_odds_with_another_probability_before_the_data(rng):
    log_odds, prior = torch.as_tensor(rng.normal(0, 9, 40)), torch.as_tensor(rng.uniform(0.001, 0.9, 40))
    found = at_prior(odds_to_probability(log_odds, torch.tensor(0.001).double()), 0.001, prior)
    assert found.numpy() == pytest.approx(odds_to_probability(log_odds, prior).numpy())
