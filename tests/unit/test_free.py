"""All B free: as from the inverse of the whole of J'J."""

import numpy as np
import pytest
import torch

from stoirec.data.windows import Windows
from stoirec.kinetics.limiter import FluxLimiter
from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.network.columns import ColumnSpace
from stoirec.refine import State
from stoirec.refine.blocks import Eliminated, Inverted
from stoirec.refine.descent import SCORE_DAMPING, damped, free_equations
from stoirec.refine.equations import Equations
from stoirec.refine.free import free_estimate
from stoirec.refine.functions import Functions
from stoirec.refine.unmeasured import Unmeasured
from stoirec.simulate.network import both_ways, candidate_graph

UNMOVED = 3  # a metabolite with residuals of next to nothing, as where nobody measured


def equations_and_state(stoichiometry, kind: str, rng) -> tuple[Equations, State]:
    """Random functions near what data say; with decoys, of which half are closed, where a gate allows them."""
    graph, _ = candidate_graph(stoichiometry, 1.0 if kind == "gate" else 0.0, seed=3)
    space = ColumnSpace.of_roles(graph)
    if kind == "opposite":
        space, _ = both_ways(space, np.arange(graph.n_reactions) % 3 == 0)
    graph, space = space.graph, space.with_decoys() if kind == "gate" else space
    law = PdeM1(graph, hidden_dim=4, output_size=3, gate=kind == "gate")
    functions = Functions(law, space, torch.device("cpu"))
    weights = law.pack({name: torch.as_tensor(law.initial(name, rng)) for name in law.shapes})
    log_k = torch.as_tensor(rng.uniform(-2, -1, graph.n_reactions))
    size = torch.as_tensor(rng.uniform(0.8, 2.2, graph.n_edges))
    closed = torch.arange(graph.n_edges) % 4 == 1
    if kind == "gate":
        size = torch.where(closed, 0.0, size)
    state = State(weights, functions.sign * size * 10 ** log_k[functions.reaction], log_k, closed=closed)
    concentration = torch.as_tensor(rng.uniform(1, 9, (25, 1, graph.n_metabolites)))
    one = torch.ones(1, dtype=torch.float64)
    scale = torch.ones(graph.n_metabolites, dtype=torch.float64)
    fitted = Windows(concentration, one, torch.zeros(25, len(scale), dtype=torch.float64), scale)
    rate = functions.rates(state, fitted)[..., 0]
    scale = (Equations(functions, fitted).matrix(state.linear) @ rate).std(1).index_fill(0, torch.tensor(UNMOVED), 1e8)
    limiter = FluxLimiter(graph, 20.0) if kind == "limited" else None
    unmeasured = Unmeasured(torch.tensor([2, 7]), 1.0, 0.7, (-3.0, 5.0)) if kind == "unmeasured" else None
    equations = Equations(functions, Windows(concentration, one, fitted.target, scale), limiter, unmeasured=unmeasured)
    target = equations.predicted(functions.rates(state, equations.windows), state.linear, equations.windows).T
    target = target + 0.01 * torch.as_tensor(rng.normal(size=target.shape))
    equations.windows = Windows(concentration, one, target, scale)
    return equations, state


@pytest.mark.parametrize("kind", ["plain", "gate", "opposite", "limited", "unmeasured"])
def test_free_columns_are_those_of_the_inverse_of_the_whole(tiny_truth, rng, kind):
    equations, state = equations_and_state(tiny_truth.stoichiometry, kind, rng)
    everything = torch.ones_like(state.log_k, dtype=torch.bool)
    as_free = State(state.weights, state.linear, state.log_k, outside=everything)
    free = free_equations(equations, as_free, opposite=False)
    assert kind != "gate" or not free.moves.all()
    inverse = torch.linalg.inv(damped(free.matrix, SCORE_DAMPING))
    edges = torch.arange(len(state.weights), len(state.weights) + len(state.linear))
    linear = state.linear - free.on_all(inverse @ free.gradient)[edges]
    place = (free.moves.cumsum(0) - 1)[edges]
    variance = equations.cost(state)[1] / equations.n_residuals
    found = free_estimate(equations, state)
    assert torch.equal(
        torch.cat([own.edges.flatten() for own in found]).sort().values, free.moves[edges].nonzero()[:, 0]
    )
    for own in found:
        assert (equations.reaction[own.edges] == own.reactions[:, None]).all()
        assert own.linear.numpy() == pytest.approx(linear[own.edges].numpy(), rel=1e-6)
        at = place[own.edges]
        expected = variance * inverse[at[:, :, None], at[:, None]]
        assert own.covariance.numpy() == pytest.approx(expected.numpy(), rel=1e-6, abs=1e-9 * float(expected.max()))


@pytest.mark.parametrize("n_left", [0, 5, 12])
def test_unknowns_of_single_rows_are_eliminated(rng, n_left):
    """Twelve unknowns in four rows of effects each with three others, which are in all; in any order."""
    effects, row = rng.normal(size=(15, 4, 20)), torch.full((15,), -1)
    row[3 : 3 + n_left] = torch.arange(n_left) % 4
    for unknown, own in enumerate(row.tolist()):
        effects[unknown, [other for other in range(4) if other != own and own >= 0]] = 0.0
    order = rng.permutation(15)
    effects, row = effects[order].reshape(15, -1), row[order]
    matrix = torch.as_tensor(effects @ effects.T)
    found, expected = Eliminated.of(matrix, row), torch.linalg.inv(matrix)
    right = torch.as_tensor(rng.normal(size=15))
    assert len(found.factor) == 15 - n_left
    assert found.solve(right).numpy() == pytest.approx((expected @ right).numpy())
    place = torch.as_tensor(order.argsort())
    groups = place[torch.tensor([[0, 3, 4, 5], [1, 2, 9, 4], [3, 0, 1, 8]])]
    there = expected[groups[:, :, None], groups[:, None]]
    assert found.inverse_of(groups).numpy() == pytest.approx(there.numpy())
    matrix[order.argsort()[4], order.argsort()[4]] -= 1e3
    assert Eliminated.of(matrix, row) is None


def test_an_inverse_of_which_a_few_unknowns_are_others(rng):
    """Of forty, two are gone, one is new and one has changed; with as many as a tenth it is built anew."""
    effects, names = torch.as_tensor(rng.normal(size=(40, 60)) / 8), torch.arange(0, 80, 2)
    base = Inverted(names, effects @ effects.T, torch.linalg.inv(effects @ effects.T))
    effects, own = effects.clone(), torch.as_tensor(rng.normal(size=60) / 8)
    effects[11] = own + 1
    names = torch.cat([names[:7], torch.tensor([13]), names[7:20], names[22:]])
    effects = torch.cat([effects[:7], own[None], effects[7:20], effects[22:]])
    found = base.changed(names, effects @ effects.T)
    assert found.numpy() == pytest.approx(torch.linalg.inv(effects @ effects.T).numpy(), rel=1e-9, abs=1e-11)
    effects[-3:] += 1
    assert base.changed(names, effects @ effects.T) is None
