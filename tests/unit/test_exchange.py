"""Columns that reactions may hold for each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stoirec.data.windows import Windows
from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs
from stoirec.refine import Evidence, State
from stoirec.refine.equations import Equations
from stoirec.refine.exchange import holders, shared_by_holders
from stoirec.refine.functions import Functions
from stoirec.simulate.network import candidate_graph

# A -> C, A + 2 B -> C + 2 D and B -> D, with E in none; then their candidates, 1 where an edge is
COLUMNS = np.array([[-1, 0, 1, 0, 0], [-1, -2, 1, 2, 0], [0, -1, 0, 1, 0]]).T
ALL, OWN = np.ones((5, 3), int), (COLUMNS != 0).astype(int)
PART = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [0, 1, 0, 1, 0]]).T


def space_of(candidates: np.ndarray, drives: tuple[int, ...] = (0, 1), **others) -> ColumnSpace:
    metabolite, reaction = np.nonzero(candidates)
    graph = from_pairs(len(candidates), candidates.shape[1], metabolite, reaction, np.isin(metabolite, drives))
    return replace(ColumnSpace.of_roles(graph).with_decoys(), **others)


def on_edges(space: ColumnSpace) -> np.ndarray:
    return space.graph.on_edges(COLUMNS).astype(float)


@pytest.mark.parametrize("seed", range(3))
def test_a_column_has_a_place_where_it_is_one_of_the_space(tiny_truth, seed):
    graph, _ = candidate_graph(tiny_truth.stoichiometry, 1.2, seed=seed)
    rng = np.random.default_rng(seed)
    known = np.where(rng.random(graph.n_edges) < 0.05, 0.0, np.nan)
    space = replace(ColumnSpace.of_roles(graph).with_decoys(), known=known, bound=rng.integers(1, 3, graph.n_edges))
    space = replace(space, sign=np.where(rng.random(graph.n_edges) < 0.1, 0, space.sign))
    column, n_placed = graph.on_edges(tiny_truth.stoichiometry).astype(float), 0
    for holder in range(graph.n_reactions):
        own = graph.edges_of(holder)
        for reaction in range(graph.n_reactions):
            edges = graph.edges_of(reaction)
            entries = {
                (int(graph.edge_metabolite[edge]), bool(graph.edge_is_substrate[edge])): column[edge]
                for edge in range(own.start, own.stop)
            }
            keys = list(zip(graph.edge_metabolite[edges].tolist(), graph.edge_is_substrate[edges].tolist()))
            expected = np.array([entries.get(key, 0.0) for key in keys])
            there = {key for key, value in entries.items() if value} <= set(keys)
            catalysts = [
                {int(graph.edge_metabolite[edge]) for edge in range(one.start, one.stop) if space.catalyses[edge]}
                for one in (own, edges)
            ]
            sides, drives = space.sides(reaction), graph.edge_is_substrate[edges]
            left, right = (sides.driving == expected[drives]).all(1), (sides.others == expected[~drives]).all(1)
            allowed = (sides.conserved & left[:, None] & right).any()
            found = space.placed(column[own], holder, reaction)
            assert (found is not None) == (there and allowed and catalysts[0] == catalysts[1])
            if found is not None:
                assert np.array_equal(found, expected)
                n_placed += holder != reaction
    assert n_placed > 0


def test_exchanged_columns_fit_the_same(rng):
    space = space_of(PART)
    functions = Functions(PdeM1(space.graph, 4, 3, gate=True), space, torch.device("cpu"))
    weights = functions.law.pack({n: torch.as_tensor(functions.law.initial(n, rng)) for n in functions.law.shapes})
    concentration = torch.as_tensor(rng.uniform(1, 9, (20, 1, 5)))
    one, target, scale = torch.ones(1).double(), torch.zeros(20, 5).double(), torch.ones(5).double()
    equations = Equations(functions, Windows(concentration, one, target, scale))
    column, log_k = on_edges(space), torch.tensor([-1.0, -1.5, -2.0]).double()
    found = holders(space, column, range(3))
    assert {reaction: [chance for _, chance in own] for reaction, own in found.items()} == {0: [0.5] * 2, 1: [0.5] * 2}
    changed = column.copy()
    for reaction in (0, 1):
        assert np.array_equal(found[reaction][0][0], column[space.graph.edges_of(reaction)])
        changed[space.graph.edges_of(reaction)] = found[reaction][1][0]
    predicted = [
        equations.predicted(functions.rates(state, equations.windows), state.linear, equations.windows)
        for state in (
            State(weights, torch.as_tensor(own) * 10 ** log_k[order][functions.reaction], log_k[order])
            for own, order in ((column, [0, 1, 2]), (changed, [1, 0, 2]))
        )
    ]
    assert predicted[0].abs().max() > 0 and predicted[1].numpy() == pytest.approx(predicted[0].numpy(), rel=1e-12)


def test_every_order_that_is_allowed_is_as_likely(rng):
    """No two change columns; then R0 and R2; then all three, of whose orders four are allowed."""
    candidates = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 0, 1, 0, 0]]).T
    columns = np.array([[-1, -2, 1, 2, 0], [-2, -1, 1, 1, 1], [-2, 0, 2, 0, 0]]).T
    space = space_of(candidates)
    found = holders(space, space.graph.on_edges(columns).astype(float), range(3))
    assert not found  # R2 can hold no other one's
    columns[:, 0] = [-1, 0, 1, 0, 0]
    found = holders(space, space.graph.on_edges(columns).astype(float), range(3))
    assert [chance for _, chance in found[0]] == [0.5, 0.5] and [chance for _, chance in found[2]] == [0.5, 0.5]
    assert set(found) == {0, 2}  # R0 cannot have the column of R1
    columns[:, 1] = [-2, -1, 2, 1, 0]
    found = holders(space, space.graph.on_edges(columns).astype(float), range(3))
    # orders: R2 has its own, R0 and R1 either way; or R2 has that of R0, R0 and R1 the others either way
    assert [sorted(chance for _, chance in found[one]) for one in range(3)] == [[0.25, 0.25, 0.5]] * 2 + [[0.5, 0.5]]
    assert found[1][0][1] == 0.5


@pytest.mark.parametrize(
    "space, expected",
    [
        (space_of(ALL), set()),  # of all the same was asked: they are known by their columns alone
        (space_of(OWN), set()),
        (replace(space_of(OWN), allows_zero=False), set()),
        (space_of(PART, known=np.where(np.arange(11) == 0, -1.0, np.nan)), {0, 1}),  # -1 of A have both
        (space_of(PART, known=np.where(np.arange(11) == 6, -2.0, np.nan)), set()),  # -2 of B has R1 alone
    ],
)
def test_a_column_is_that_of_another_only_where_that_is_allowed(space, expected):
    assert set(holders(space, on_edges(space), range(3))) == expected
    with_catalyst = replace(space, known=np.where(np.arange(space.graph.n_edges) == 1, 0.0, space.known))
    assert not holders(with_catalyst, on_edges(space), range(3))


def test_what_either_may_have_is_shared(rng):
    space = space_of(PART)
    column, n_edges = torch.as_tensor(on_edges(space)), space.graph.n_edges
    columns, chances = torch.zeros(5, n_edges).double(), torch.zeros(5, 3).double()
    columns[0], columns[1, :5] = column, torch.tensor([-2.0, 0, 2, 0, 0])
    chances[0], chances[1, 0] = torch.tensor([0.9, 1.0, 1.0]).double(), 0.1
    nothing = torch.zeros(0)
    evidence = Evidence(nothing, nothing, nothing, columns, chances, nothing, nothing, nothing, nothing)
    no_one = torch.zeros(3, dtype=torch.bool)
    found = shared_by_holders(evidence, column, no_one, space)
    assert found.chances.T[:, :3].numpy() == pytest.approx(np.array([[0.45, 0.45, 0.1], [0.5, 0.5, 0], [1, 0, 0]]))
    assert found.columns[:3, :5].tolist() == [[-1, 0, 1, 0, 0], [-1, -2, 1, 2, 0], [-2, 0, 2, 0, 0]]
    assert found.columns[1, 5:9].tolist() == [-1, 0, 1, 0]
    left_real = shared_by_holders(evidence, column, torch.tensor([True, False, False]), space)
    assert torch.equal(left_real.chances, chances) and torch.equal(left_real.columns, columns)
