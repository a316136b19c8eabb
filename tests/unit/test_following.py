"""How far functions follow a column to its other length."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stoirec.data.windows import Windows
from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.refine import State
from stoirec.refine.descent import SCORE_DAMPING, descend
from stoirec.refine.equations import Equations
from stoirec.refine.following import left_by_other_lengths, open_to_functions
from stoirec.refine.functions import Functions
from stoirec.simulate.network import both_ways

# A -> B, B -> C, 2 C -> 2 A, A + B -> C + D, 2 A -> C + D, 2 B + C -> A + 2 D, D -> A
COLUMNS = np.array(
    [
        [-1, 1, 0, 0],
        [0, -1, 1, 0],
        [2, 0, -2, 0],
        [-1, -1, 1, 1],
        [-2, 0, 1, 1],
        [1, -2, -1, 2],
        [1, 0, 0, -1],
    ]
).T

# A -> B, 2 B -> C + D, A + 2 B -> C + 2 D, ..., and E -> A
TOGETHER = np.array(
    [
        [-1, 1, 0, 0, 0],
        [0, -2, 1, 1, 0],
        [-1, -2, 1, 2, 0],
        [1, -1, -1, 1, 0],
        [-2, -1, 2, 1, 0],
        [0, -2, 0, 2, 0],
        [1, 0, -2, 1, 0],
        [1, 0, 0, 0, -1],
    ]
).T


def problem(rng, columns: np.ndarray, n_frames: int = 40, reversible: bool = False) -> tuple[Equations, State]:
    """The truth, on its own windows, of functions drawn at random; all reactions are tied."""
    metabolite, reaction = np.nonzero(columns)
    graph = from_pairs(len(columns), columns.shape[1], metabolite, reaction, columns[metabolite, reaction] < 0)
    space = ColumnSpace.of_roles(graph)
    column = graph.on_edges(columns).astype(float)
    if reversible:
        space, origin = both_ways(space, np.arange(graph.n_reactions) == graph.n_reactions - 1)
        column = np.abs(column[origin]) * space.sign
    law = PdeM1(space.graph, hidden_dim=4, output_size=3)
    functions = Functions(law, space, torch.device("cpu"))
    weights = law.pack({name: torch.as_tensor(law.initial(name, rng)) for name in law.shapes})
    log_k, tied = torch.full((space.graph.n_reactions,), -1.0).double(), torch.ones(space.graph.n_reactions).bool()
    state = State(weights, torch.as_tensor(column) * 0.1, log_k, tied=tied)
    concentration = torch.as_tensor(rng.uniform(1, 9, (n_frames, 1, len(columns))))
    one, scale = torch.ones(1).double(), torch.ones(len(columns)).double()
    windows = Windows(concentration, one, torch.zeros(n_frames, len(scale)).double(), scale)
    changes = Equations(functions, windows).predicted(functions.rates(state, windows), state.linear, windows).T
    scale = changes.std(0)
    return Equations(functions, Windows(concentration, one, changes / scale, scale)), state


def column_of(equations: Equations, state: State) -> torch.Tensor:
    return (state.linear / 10 ** state.log_k[equations.reaction]).round()


def residuals(equations: Equations, weights, log_k, size, column) -> torch.Tensor:
    """(M windows,) by automatic differentiation's means."""
    functions, windows = equations.functions, equations.windows
    law, parameters = functions.law, functions.law.unpack(weights)
    message = law.messages(parameters, windows.points.T[law.metabolite], size[:, None], law.metabolite)
    summed = message.new_zeros(len(message), functions.graph.n_reactions, message.shape[2])
    rate = law.responses(parameters, summed.index_add(1, functions.reaction[functions.substrates], message))
    linear = column * 10 ** log_k[functions.reaction]
    matrix = torch.zeros(len(windows.scale), len(log_k)).double()
    matrix = matrix.index_put((functions.metabolite, functions.reaction), linear) / windows.scale[:, None]
    return (matrix @ rate - windows.target.T).flatten()


@pytest.mark.parametrize("reversible", [False, True])
def test_what_is_left_beside_the_functions_is_that_of_the_whole_jacobian(rng, reversible):
    equations, state = problem(rng, COLUMNS, reversible=reversible)
    functions, column = equations.functions, column_of(equations, state)
    group = torch.tensor([0, 1, 2, 3, -1, -1, 4, 4] if reversible else [0, 1, 2, 3, -1, -1, 4])
    double = torch.where(column.abs() == 2, column / 2, 2 * column)
    found = left_by_other_lengths(equations, state, double, group)
    size = functions.size(state)[functions.substrates]
    of = functions.reaction[functions.substrates]
    level = [float(functions.relaxed_size(replace(state, linear=n * state.linear.sign() * 0.1))[0][0]) for n in (1, 2)]
    jacobian = torch.cat(
        torch.func.jacfwd(lambda *own: residuals(equations, *own, size, column), (0, 1))(state.weights, state.log_k), 1
    )
    n, n_weights = equations.n_residuals, len(state.weights)
    square = (jacobian.T @ jacobian / n).diagonal()
    damping = torch.diag((SCORE_DAMPING * square.clamp(min=1e-3) * n).sqrt())
    present = residuals(equations, state.weights, state.log_k, size, column)
    rate = functions.rates(state, equations.windows)[..., 0]
    for number in range(5):
        moved = torch.nonzero(group == number)[:, 0]
        other = size.clone()
        for edge in torch.nonzero(torch.isin(of, moved))[:, 0].tolist():
            other[edge] = level[int(double[functions.substrates[edge]].abs()) - 1]
        then = functions.law.rates(functions.law.unpack(state.weights), equations.windows.points, other)
        log_k = state.log_k.clone()
        for one in moved.tolist():  # as fast as before
            log_k[one] += float(((rate[one] @ then[one]) / then[one].square().sum()).log10())
        change = residuals(equations, state.weights, log_k, other, column) - present
        for expected, free in ((found.at_fitted, slice(None)), (found.at_fixed, slice(n_weights, None))):
            rows = torch.cat([jacobian[:, free], damping[free, free]])
            target = torch.cat([change, change.new_zeros(len(damping[free, free]))])[:, None]
            left = target - rows @ torch.linalg.lstsq(rows, target).solution
            assert float(expected[number]) == pytest.approx(float(left.square().sum()), rel=1e-6)
    assert found.left == pytest.approx(float(present.square().sum()), abs=1e-20)


def with_noise(rng, apart: bool, reversible: bool = False) -> tuple[Equations, State, torch.Tensor]:
    """Fitted to noise of 0.001; metabolite 4 drives one reaction, where the others are or far above them."""
    equations, state = problem(rng, TOGETHER, 120, reversible)
    functions, windows = equations.functions, equations.windows
    concentration = windows.concentration.clone()
    if apart:
        concentration[:, 0, 4] = torch.as_tensor(rng.uniform(20, 40, 120))
    exact = Equations(functions, replace(windows, concentration=concentration))
    target = exact.predicted(functions.rates(state, exact.windows), state.linear, exact.windows).T
    target = target + 1e-3 * torch.as_tensor(rng.normal(size=target.shape)) * target.std(0)
    equations = Equations(functions, replace(exact.windows, target=target))
    return equations, descend(equations, state, 30), column_of(equations, state)


@pytest.mark.parametrize("apart, reversible", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("seed", [0, 2])
def test_a_length_is_open_where_functions_fit_the_other_one_as_well(apart, reversible, seed):
    """Where the others are they tell what 1 and 2 are; far above they do not, but A tells it of A -> E running back."""
    equations, state, column = with_noise(np.random.default_rng(seed), apart, reversible)
    fits = []

    def fitted(one: State) -> State:
        fits.append(one)
        return descend(equations, one, 30)

    every = torch.ones_like(state.log_k, dtype=torch.bool)
    found = open_to_functions(equations, state, column, every, fitted)
    assert torch.nonzero(found)[:, 0].tolist() == ([7] if apart and not reversible else [])
    fits.clear()
    assert not open_to_functions(equations, state, column, ~every, fitted).any() and not fits
