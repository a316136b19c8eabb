"""The column space against exhaustive search: any signs, bounds, known entries and conserved quantities."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stoirec.network.columns import ColumnSpace, TooManyColumns
from stoirec.network.graph import from_pairs


def space_of(n, substrates, **changes) -> ColumnSpace:
    """One reaction with the first `substrates` of `n` metabolites as substrates."""
    return replace(ColumnSpace.of_roles(from_pairs(n, 1, range(n), [0] * n, np.arange(n) < substrates)), **changes)


@st.composite
def spaces(draw) -> ColumnSpace:
    n = draw(st.integers(1, 5))
    quantities = draw(st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), max_size=2))
    known = [draw(st.sampled_from([np.nan, np.nan, np.nan, 0.0, -1.0, 1.5])) for _ in range(n)]
    return space_of(
        n,
        draw(st.integers(0, n)),
        sign=np.array([draw(st.sampled_from([-1, 0, 1])) for _ in range(n)], np.int8),
        bound=np.array([draw(st.integers(1, 3)) for _ in range(n)]),
        known=np.array(known),
        conserved=np.array(quantities, float).reshape(-1, n),
        is_open=np.array([draw(st.booleans())]),
        allows_zero=draw(st.booleans()),
        real=draw(st.sampled_from([None, np.array([draw(st.booleans()) for _ in range(n)])])),
    )


def every_column(space: ColumnSpace) -> list[tuple[float, ...]]:
    """By the definition, one candidate at a time."""
    values = []
    real = np.zeros(len(space.sign), bool) if space.real is None else space.real
    for sign, bound, known, is_real in zip(space.sign, space.bound, space.known, real):
        sizes = range(0 if space.allows_zero and not is_real else 1, bound + 1)
        either = {s * size for size in sizes for s in ((sign,) if sign else (-1, 1))}
        values.append([known] if not np.isnan(known) else sorted(either))
    found = []
    for column in itertools.product(*values):
        balanced = space.is_open[0] or np.allclose(space.conserved @ np.array(column, float), 0)
        if balanced and any(column):
            found.append(tuple(float(value) for value in column))
    return found


@given(spaces())
@settings(deadline=None)
def test_columns_are_all_there_are(space):
    assert sorted(map(tuple, space.columns(0).tolist())) == sorted(every_column(space))


@given(spaces(), st.integers(0, 1000), st.integers(1, 6))
@settings(deadline=None)
def test_the_best_are_those_of_an_exhaustive_search(space, seed, n_best):
    rng = np.random.default_rng(seed)
    coefficient, weight = rng.normal(0, 1.5, space.graph.n_edges), rng.uniform(0.1, 5, space.graph.n_edges)
    every = np.array(every_column(space)).reshape(-1, space.graph.n_edges)
    expected = np.sort((weight * (coefficient - every) ** 2).sum(axis=1))[:n_best]
    found, cost = space.best(coefficient, weight, n_best)
    listed = np.isfinite(cost[:, 0])
    assert listed.sum() == len(expected) and cost[listed, 0] == pytest.approx(expected)
    assert {tuple(row) for row in found[listed].astype(float)} <= set(map(tuple, every))
    assert len({tuple(row) for row in found[listed]}) == listed.sum() and not found[~listed].any()


@given(spaces())
@settings(deadline=None)
def test_sides_are_the_same_columns_in_two_halves(space):
    sides, drives = space.sides(0), space.graph.edge_is_substrate
    assume(sides.conserved.size)  # else there are too many
    found = set()
    for one, other in zip(*np.nonzero(sides.conserved)):
        column = np.zeros(space.graph.n_edges)
        column[drives], column[~drives] = sides.driving[one], sides.others[other]
        found.add(tuple(column))
    assert {column for column in found if any(column)} == set(every_column(space))


def test_the_default_is_signs_of_the_roles_one_or_two_and_zero_sums():
    space = space_of(4, 2)
    assert {tuple(column) for column in space.columns(0)} == {
        (-1, -1, 1, 1), (-1, -2, 1, 2), (-1, -2, 2, 1), (-2, -1, 1, 2), (-2, -1, 2, 1), (-2, -2, 2, 2),
    }  # fmt: skip
    assert space.largest == 2 and space.conserved.tolist() == [[1, 1, 1, 1]]


def test_elements_leave_what_they_leave():
    """C6H12O6 + 6 O2 -> 6 CO2 + 6 H2O, by C, H and O; by mass alone there are more."""
    elements = np.array([[6.0, 0, 1, 0], [12, 0, 0, 2], [6, 2, 2, 1]])
    space = space_of(4, 2, conserved=elements, bound=np.full(4, 6))
    assert space.columns(0).tolist() == [[-1, -6, 6, 6]]
    assert space.best(np.array([-1.2, -5.0, 5.5, 6.6]), np.ones(4), 1)[0][0].tolist() == [-1, -6, 6, 6]
    mass = np.array([[180.156, 31.998, 44.009, 18.015]])
    assert [-1, -6, 6, 6] in space_of(4, 2, conserved=mass, bound=np.full(4, 6)).columns(0).tolist()


def test_a_bound_on_sides_holds_for_listing_and_for_search():
    space = space_of(10, 5).with_decoys()
    sides = space.sides(0)
    assert (sides.driving < 0).sum(1).max() == (sides.others > 0).sum(1).max() == 3
    learned = np.array([-1.0] * 5 + [1.0] * 5)
    best = space.best(learned, np.ones(10), 1)[0][0]
    assert (best < 0).sum() == (best > 0).sum() == 3


def test_a_reaction_of_many_elements_and_candidates_is_searched():
    """Nearly all partial sums differ: 5^10 columns, 5^5 sums from either end."""
    rng = np.random.default_rng(1)
    column = np.array([-1, 2, 0, 0, 1, -2, 0, 0, 1, -1], float)
    amounts = rng.integers(0, 9, (6, 10)).astype(float)
    amounts[:, 0] += amounts @ column  # so that it balances
    space = space_of(10, 5, conserved=amounts).of_any_sign()
    found, _ = space.best(column + rng.normal(0, 0.1, 10), np.ones(10), 1)
    assert found[0].tolist() == column.tolist()


def test_too_many_columns_are_said_to_be():
    wide = space_of(40, 20, conserved=np.random.default_rng(0).uniform(1, 9, (3, 40)).round(3))
    with pytest.raises(TooManyColumns, match="reaction R0 with 40 candidate edges: .* combinations"):
        wide.columns(0)
    with pytest.raises(TooManyColumns, match="reaction R0 with 40 candidate edges: more than .* partial sums"):
        wide.best(np.ones(40), np.ones(40), 1)
    assert len(wide.sides(0).driving) == 0  # the refinement leaves such a reaction as it is


def test_a_reaction_without_edges_takes_nobody_elses():
    space = ColumnSpace.of_roles(from_pairs(3, 4, [0, 1, 2, 0], [1, 1, 2, 2], [True, False, False, True]))
    assert space.graph.sum_by_reaction(np.array([1.0, 2.0, 4.0, 8.0])).tolist() == [0, 3, 12, 0]
    found, cost = space.best(np.array([-1.0, 1.0, -2.0, 2.0]), np.ones(4), 2)
    assert found[0].tolist() == [-1, 1, -2, 2] and np.isinf(cost[:, [0, 3]]).all()
    assert len(space.columns(3)) == 0


def test_a_part_keeps_what_is_said_of_its_edges():
    space = space_of(4, 2, bound=np.array([1, 2, 3, 4]), known=np.array([np.nan, -2, np.nan, np.nan]))
    part = space.part(np.array([1, 3]))
    assert part.bound.tolist() == [2, 4] and part.known[0] == -2 and part.graph.edge_metabolite.tolist() == [1, 3]


def test_what_is_real_is_not_zero_and_may_be_more_than_a_side_holds_else():
    real = np.array([True, True, True, True, False, False])
    space = space_of(6, 5, conserved=np.zeros((0, 6)), real=real).with_decoys()
    columns = space.columns(0)
    assert (columns[:, :4] != 0).all() and (columns[:, 4] == 0).all() and not (columns[:, 5] != 0).all()
    assert {tuple(row) for row in columns} == {
        tuple(row) for row in space.best(np.ones(6), np.ones(6), 99)[0][: len(columns)]
    }
    assert space.nearest(np.zeros(6)).tolist() == [-1, -1, -1, -1, 0, 0]
    assert (space.sides(0).driving[:, :4] != 0).all() and len(space.sides(0).driving)
    assert not replace(space, real=None).columns(0)[:, :4].all(1).any()
