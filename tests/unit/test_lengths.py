"""Lengths of columns: which the data leave open, and what is answered then."""

from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
import torch

from stoirec.kinetics.pde_m1 import PdeM1
from stoirec.network.columns import ColumnSpace
from stoirec.refine import Evidence, State
from stoirec.refine.equations import Equations, Windows
from stoirec.refine.functions import Functions
from stoirec.refine.gains import levels
from stoirec.refine.integers import decode
from stoirec.refine.lengths import (
    as_large_as_integers,
    exchanged,
    fitted,
    halved_where_faint,
    of_any_length,
    primitive,
    shortest,
    split,
)
from stoirec.simulate.network import candidate_graph

# by reaction: A -> B, 2 B -> 2 C, A + B -> C + D, and 2 A -> C + D, whose length is its own
COLUMNS = np.array([[-1, 1, 0, 0], [0, -2, 2, 0], [-1, -1, 1, 1], [-2, 0, 1, 1]]).T


def problem(columns: np.ndarray) -> tuple[Equations, State, torch.Tensor]:
    """Equations and a state whose reactions are tied to `columns` (M, R), and these on its edges."""
    graph, _ = candidate_graph(columns, 0.0, seed=0)
    one = torch.ones(1, len(columns), dtype=torch.float64)
    law = PdeM1(graph, hidden_dim=4, output_size=3)
    functions = Functions(law, ColumnSpace.of_roles(graph), torch.device("cpu"))
    rng = np.random.default_rng(0)
    weights = law.pack({name: torch.as_tensor(law.initial(name, rng)) for name in law.shapes})
    column = torch.as_tensor(graph.on_edges(columns).astype(float))
    log_k = torch.full((columns.shape[1],), -2.0, dtype=torch.float64)
    equations = Equations(functions, Windows(one[None], one[0, :1], one, one[0]))
    return equations, State(weights, column * 1e-2, log_k, cost=1e-9), column


@pytest.mark.parametrize(
    "reactions, fits, expected",
    [
        ([0, 1, 2], True, [1, 1, 1]),  # nothing says what 1 and 2 are
        ([0, 1, 2], False, [0, 0, 1]),  # A + B -> C + D is the shorter one already
        ([0, 1, 3], True, [0, 0, 0]),  # 2 A -> C + D does, for one substrate
        ([0, 1, 2, 3], True, [0, 0, 1, 0]),  # but not for two
    ],
)
def test_shorter_columns_are_taken_where_nothing_fixes_the_length_and_they_fit(reactions, fits, expected):
    equations, state, column = problem(COLUMNS[:, reactions])

    def descend(one: State) -> State:
        short = not torch.equal(one.log_k, state.log_k)
        return replace(one, cost=1e-3 if short and not fits else 1e-9)

    found, convention = shortest(equations, state, column, descend)
    assert convention.int().tolist() == expected
    halved = (found.log_k - state.log_k).numpy()
    is_double = [fits and bool(expected[j]) and (COLUMNS[:, r] % 2 == 0).all() for j, r in enumerate(reactions)]
    assert halved == pytest.approx(np.log10(2) * np.array(is_double))
    assert torch.equal(found.linear, state.linear)


def test_where_all_columns_are_halved_the_functions_do_at_1_what_they_did_at_2():
    equations, state, column = problem(2 * COLUMNS[:, [0, 2]])
    windows = equations.windows
    found, _ = shortest(equations, state, column, lambda one: replace(one, cost=1e-9))
    before, after = (
        equations.functions.rates(one, windows)
        for one in (replace(state, integers=column), replace(found, integers=column / 2))
    )
    assert after.numpy() == pytest.approx(before.numpy())


def test_an_open_length_is_shared_by_the_column_and_its_double():
    equations, _, column = problem(COLUMNS[:, [0, 2]])
    columns, chances = torch.zeros(5, 6).double(), torch.zeros(5, 2).double()
    columns[0], columns[1, :2], columns[2, :2] = 2 * column, column[:2], 3 * column[:2]
    chances[0], chances[1, 0], chances[2, 0] = torch.tensor([0.7, 1.0]), 0.2, 0.1
    nothing = torch.zeros(0)
    evidence = Evidence(nothing, nothing, nothing, columns, chances, nothing, nothing, nothing, nothing)
    found = split(evidence, column, torch.tensor([True, False]), equations.functions.space)
    assert torch.equal(found.columns[:3, :2], torch.stack([column[:2], 2 * column[:2], 3 * column[:2]]))
    assert found.chances[:, 0].numpy() == pytest.approx([0.45, 0.45, 0.1, 0, 0])
    assert torch.equal(found.columns[:, 2:], columns[:, 2:]) and torch.equal(found.chances[:, 1], chances[:, 1])


def test_where_a_reactions_own_parameters_may_do_what_sizes_do_all_lengths_that_are_allowed_are_open():
    """A -> B and 2 B -> 2 C, but not 2 A -> C + D, whose double is beyond the bounds; nor a column that is known."""
    equations, _, column = problem(COLUMNS[:, [0, 1, 3]])
    space = equations.functions.space
    columns, chances, nothing = torch.zeros(4, 7).double(), torch.zeros(4, 3).double(), torch.zeros(0)
    columns[0], chances[0] = column, torch.tensor([0.9, 0.8, 1.0])
    parts = (nothing, nothing, nothing, columns, chances, nothing, nothing, nothing, nothing)
    evidence = Evidence(*parts, convention=torch.zeros(3, dtype=torch.bool))
    every = torch.ones(3, dtype=torch.bool)
    found = of_any_length(evidence, column, every, space)
    assert found.chances[:2].T.numpy() == pytest.approx(np.array([[0.45, 0.45], [0.4, 0.4], [1.0, 0.0]]))
    assert found.columns[1].tolist() == [-2, 2, -1, 1, 0, 0, 0]
    known = replace(space, known=np.where(np.arange(7) < 2, column.numpy(), np.nan))
    assert of_any_length(evidence, column, every, known).chances[0].tolist() == pytest.approx([0.9, 0.4, 1.0])
    assert torch.equal(of_any_length(evidence, column, torch.tensor([False, False, True]), space).chances, chances)


@pytest.mark.parametrize("unclear, n_trials", [([0, 1], 1), ([2], 0), ([0, 1, 2], 1), ([], 0)])
def test_lengths_of_a_kind_are_exchanged_together_where_most_are_not_clear(unclear, n_trials):
    """A -> B becomes 2 A -> 2 B and the other way round; 2 A -> C + D stays what it is."""
    columns = COLUMNS[:, [0, 1, 3]]
    equations, state, column = problem(columns)
    chances = torch.ones(5, 3).double()
    chances[0, unclear] = 0.6
    nothing = torch.zeros(0)
    evidence = Evidence(nothing, nothing, nothing, nothing, chances, nothing, nothing, nothing, nothing)
    trials = list(exchanged(equations, state, column, evidence))
    assert len(trials) == n_trials
    for trial in trials:
        sizes = trial.linear / 10 ** trial.log_k[equations.reaction]
        assert sizes.numpy() == pytest.approx([-2, 2, -1, 1, -2, 1, 1])
        before, after = (
            equations.functions.rates(one, equations.windows).mean((1, 2)) * 10**one.log_k for one in (state, trial)
        )
        scale = sizes.abs() / column.abs()
        first = torch.tensor([0, 2, 4])  # an edge of each reaction
        assert (after * scale[first]).numpy() == pytest.approx(before.numpy())  # as fast as they were


def test_a_trial_is_fitted_until_it_is_better_or_no_longer_gains():
    state = replace(problem(COLUMNS)[1], cost=np.inf)
    costs = iter([1e-2, 1e-4, 1e-6, 1e-8])
    assert fitted(state, lambda one: replace(one, cost=next(costs)), repeat(1e-5)).cost == 1e-6
    costs = iter([1e-2, 0.9e-2])
    assert fitted(state, lambda one: replace(one, cost=next(costs)), repeat(1e-5)) is None


def test_shorter_columns_have_to_fit_as_well_as_the_others_do_after_as_many_steps():
    """Both gain at every descent, the shorter ones from far behind."""
    equations, state, column = problem(COLUMNS[:, [0, 1]])
    for slower, expected in ((1.5, 1), (3.0, 0)):

        def descend(one: State, slower=slower) -> State:
            short = not torch.equal(one.log_k, state.log_k)
            return replace(one, cost=1e-10 * slower if short else 1e-10)

        assert (shortest(equations, state, column, descend)[1] == expected).all()


@pytest.mark.parametrize("factor, halved", [(2, True), (1, False)])
def test_the_scale_of_a_network_of_doubled_columns_is_halved(factor, halved):
    """Functions do at half the sizes what they did, as far as these do not level off."""
    equations, state, _ = problem(factor * COLUMNS[:, [0, 2]])
    found = primitive(equations, state)
    assert (found is not state) == halved
    if halved:
        assert (found.log_k - state.log_k).numpy() == pytest.approx(np.log10(2) * np.ones(2))
        before, after = (equations.functions.rates(one, equations.windows) for one in (state, found))
        assert after.numpy() == pytest.approx(before.numpy(), rel=0.05)
        assert primitive(equations, found) is found


def test_columns_are_halved_where_all_of_a_kind_are_doubled_although_they_are_clear():
    """2 B -> 2 C and 2 D -> 2 C beside 2 A -> C + D, which has one length."""
    columns = COLUMNS[:, [1, 1, 3]]
    columns[:, 1] = 0, 0, 2, -2
    equations, state, column = problem(columns)
    sure, nothing = torch.ones(5, 3).double(), torch.zeros(0)
    evidence = Evidence(nothing, nothing, nothing, nothing, sure, nothing, nothing, nothing, nothing)
    (trial,) = exchanged(equations, state, column, evidence)
    sizes = trial.linear / 10 ** trial.log_k[equations.reaction]
    assert sizes.numpy() == pytest.approx([-1, 1, 1, -1, -2, 1, 1])


def test_a_number_that_no_column_has_is_that_many_times_what_stands_for_1():
    equations, state, _ = problem(COLUMNS[:, [0, 2]])
    found = levels(equations, replace(state, log_k=state.log_k - np.log10(1.3)))
    assert found[1] == pytest.approx(1.3, abs=0.05) and found[2] == pytest.approx(2 * float(found[1]))


def test_lengths_are_compared_with_all_reactions_where_none_of_as_many_substrates_has_one():
    """A -> B at what stands for 1 in A + B -> C + 2 D and 2 A + B -> 2 C + D is 1, though 1.7 is nearer to 2."""
    columns = np.array([[-1, 1, 0, 0], [-1, -2, 1, 2], [-2, -1, 1, 2]]).T
    equations, state, column = problem(columns)
    assert torch.equal(decode(equations, replace(state, log_k=state.log_k - np.log10(1.7))), column)


def test_coefficients_that_started_near_zero_become_as_large_as_integers():
    """The functions do at the larger sizes what they did at the smaller ones; large coefficients stay."""
    equations, state, _ = problem(COLUMNS)
    functions, small = equations.functions, replace(state, linear=0.2 * state.linear)
    found = as_large_as_integers(equations, small)
    before, after = (one.linear.abs() / 10 ** one.log_k[functions.reaction] for one in (small, found))
    assert float(after.median()) == pytest.approx(1.5)
    concentration = equations.windows.points
    rates = [
        functions.law.rates(functions.law.unpack(one.weights), concentration, size[functions.substrates])
        for one, size in ((small, before), (found, after))
    ]
    assert rates[1].numpy() == pytest.approx(rates[0].numpy())
    assert as_large_as_integers(equations, state) is state


@pytest.mark.parametrize("lengths", [(1, 2, 2), (2, 1, 1)])
@pytest.mark.parametrize("fits", [True, False])
def test_of_exchanged_lengths_the_shorter_sum_is_the_answer_where_both_fit(lengths, fits):
    """A -> B, B -> C, A -> D: functions may do at 1 what they did at 2, where halves fit worse."""
    columns = np.array([[-1, 1, 0, 0], [0, -1, 1, 0], [-1, 0, 0, 1]]).T * np.array(lengths)
    equations, state, column = problem(columns)

    def descend(one: State) -> State:
        size = (one.linear.abs() / 10 ** one.log_k[equations.reaction])[[0, 2, 4]].round().tolist()
        return replace(one, cost=1e-10 if size == list(lengths) or (fits and len(set(size)) == 2) else 1.0)

    found, convention = shortest(equations, state, column, descend)
    sizes = (found.linear.abs() / 10 ** found.log_k[equations.reaction])[[0, 2, 4]]
    assert sizes.numpy() == pytest.approx((2, 1, 1) if fits else lengths)
    assert (convention == fits).all()


@pytest.mark.parametrize("of_half, halved", [(0.45, True), (0.3, False), (0.0, False)])
def test_a_doubled_column_that_is_hardly_likelier_gives_way_to_its_half(of_half, halved):
    equations, state, column = problem(COLUMNS[:, [1, 3]])  # 2 B -> 2 C, and 2 A -> C + D, which is no double
    columns, chances = torch.zeros(5, len(column)).double(), torch.zeros(5, 2).double()
    columns[0], columns[1, :2] = column, column[:2] / 2
    chances[0], chances[1, 0] = torch.tensor([1 - of_half, 1.0]), of_half
    nothing = torch.zeros(0)
    evidence = Evidence(nothing, nothing, nothing, columns, chances, nothing, nothing, nothing, nothing)
    found = halved_where_faint(equations, state, column, evidence)
    sizes = found.linear / 10 ** found.log_k[equations.reaction]
    assert sizes.numpy() == pytest.approx(np.where(np.arange(len(column)) < 2, 1 - halved / 2, 1) * column.numpy())
    assert found.cost == state.cost
