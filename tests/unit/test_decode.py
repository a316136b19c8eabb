"""Decoders against brute force over all integer columns."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoirec.answer.decode import METHODS, decode, scaled_column
from stoirec.network.columns import ColumnSpace
from stoirec.network.graph import from_pairs

reals = st.floats(-3, 3, allow_nan=False).map(lambda x: round(x, 6))
columns = st.integers(2, 5).flatmap(lambda n: st.lists(reals, min_size=n, max_size=n))


def one_reaction(n_edges, bound=2):
    graph = from_pairs(n_edges, 1, np.arange(n_edges), np.zeros(n_edges), np.arange(n_edges) == 0)
    return ColumnSpace.of_roles(graph, bound)


def all_columns(n_edges):
    return np.array(list(itertools.product(range(-2, 3), repeat=n_edges)))


@given(columns, st.integers(0, 1000), st.integers(1, 6))
@settings(deadline=None)
def test_best_columns_are_those_of_an_exhaustive_search(column, seed, n_best):
    column = np.array(column)
    weight = np.random.default_rng(seed).uniform(0.1, 5, len(column))
    candidates = all_columns(len(column))
    candidates = candidates[(candidates.sum(axis=1) == 0) & (candidates != 0).any(axis=1)]
    expected = np.sort((weight * (column - candidates) ** 2).sum(axis=1))[:n_best]
    found, cost = one_reaction(len(column)).of_any_sign().best(column, weight, n_best)
    listed = np.isfinite(cost[:, 0])
    assert listed.sum() == len(expected)
    assert cost[listed, 0] == pytest.approx(expected)
    assert (weight * (column - found[listed]) ** 2).sum(axis=1) == pytest.approx(expected)
    assert (found.sum(axis=1) == 0).all() and len({tuple(row) for row in found[listed]}) == listed.sum()


@given(columns.filter(lambda c: max(map(abs, c)) > 1e-3))
@settings(deadline=None)
def test_scaled_column_has_the_smallest_angle_of_all(column):
    column = np.array(column)
    integers, scale = scaled_column(column, np.full(len(column), 2))
    assert scale == pytest.approx(integers @ column / (integers @ integers))
    candidates = all_columns(len(column))
    candidates = candidates[candidates @ column > 0]
    scales = candidates @ column / (candidates**2).sum(axis=1)
    sine = 1 - (candidates @ column) ** 2 / (candidates**2).sum(axis=1) / (column @ column)
    closest = np.flatnonzero(sine <= sine.min() + 1e-9)
    # the prior may prefer another column at a scale nearer 1, never one worse in both
    best = min(sine[i] + 1e-3 * np.log(scales[i]) ** 2 for i in closest)
    own = 1 - (integers @ column) ** 2 / (integers @ integers) / (column @ column)
    assert own + 1e-3 * np.log(scale) ** 2 <= best + 1e-9


@pytest.mark.parametrize("scale", [0.6, 0.9, 1.0, 1.3])
@pytest.mark.parametrize("column", [(-1, -1, 2), (-2, -1, 1, 2), (-1, -2, 1, 1, 1), (-1, 1)])
def test_scaled_methods_undo_a_scale(column, scale):
    space = one_reaction(len(column))
    learned = scale * np.array(column) + 0.01 * np.cos(np.arange(len(column)))
    for method in ("scaled", "scaled_mass_balanced"):
        found = decode(space, learned, np.ones(len(column)), method)
        assert found.coefficient.tolist() == list(column), method
        assert found.scale[0] == pytest.approx(scale, rel=0.03)


def test_of_a_column_and_its_double_the_one_at_scale_nearest_one_wins():
    space = one_reaction(2)
    for learned, expected in ((1.2, 1), (1.7, 2), (0.8, 1), (2.4, 2)):
        for method in ("scaled", "scaled_mass_balanced"):
            assert decode(space, np.array([-learned, learned]), np.ones(2), method).coefficient.tolist() == [
                -expected,
                expected,
            ]


def test_weights_decide_which_entry_gives_way():
    space = one_reaction(3)
    column = np.array([-1.0, -1.0, 1.4])  # nearest does not sum to zero
    assert decode(space, column, np.ones(3), "nearest").coefficient.tolist() == [-1, -1, 1]
    assert decode(space, column, np.array([1, 1, 0.1]), "mass_balanced").coefficient.tolist() == [-1, -1, 2]
    assert decode(space, column, np.array([1, 0.1, 9]), "mass_balanced").coefficient.tolist() == [-1, 0, 1]


def test_many_edges_per_reaction_as_with_decoys(rng):
    n_edges = 14
    column = np.zeros(n_edges)
    column[[0, 3, 7, 9]] = -1, -2, 1, 2
    noisy = column + rng.normal(0, 0.1, n_edges)
    for method in METHODS:
        assert decode(one_reaction(n_edges), noisy, np.ones(n_edges), method).coefficient.tolist() == column.tolist(), (
            method
        )


def test_nearest_is_clipped():
    assert one_reaction(4).of_any_sign().nearest(np.array([-7.0, -0.4, 1.6, 9.0])).tolist() == [-2, 0, 2, 2]


def test_reactions_are_decoded_independently(rng):
    space = ColumnSpace.of_roles(from_pairs(6, 3, [0, 1, 2, 3, 1, 4, 5], [0, 0, 1, 1, 1, 2, 2], [1, 0, 1, 1, 0, 1, 0]))
    learned, weight = rng.normal(0, 1.5, 7), rng.uniform(0.5, 2, 7)
    for method in METHODS:
        whole = decode(space, learned, weight, method)
        for reaction in range(3):
            edges = space.graph.edges_of(reaction)
            alone = decode(one_reaction(edges.stop - edges.start), learned[edges], weight[edges], method)
            assert whole.coefficient[edges].tolist() == alone.coefficient.tolist()
            assert whole.scale[reaction] == pytest.approx(alone.scale[0])


def test_unknown_method():
    with pytest.raises(ValueError, match="mass_balanced"):
        decode(one_reaction(2), np.ones(2), np.ones(2), "best")


@pytest.mark.parametrize("method", ["mass_balanced", "scaled_mass_balanced"])
def test_no_product_is_dropped_to_keep_a_sum(method):
    """Learned exactly, and nothing balanced within a hundred standard errors: conservation does not hold there."""
    learned = np.array([-1.0, -1.0, 1.0, 1.0, 1.0])
    exactly, roughly = (decode(one_reaction(5), learned, np.full(5, 1 / error**2), method) for error in (1e-3, 0.3))
    assert exactly.coefficient.tolist() == learned.tolist() and exactly.scale[0] == 1
    assert roughly.coefficient.sum() == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_reaction_without_a_balanced_column_keeps_what_was_learned(method):
    """An exchange, and a last reaction without edges."""
    space = ColumnSpace.of_roles(from_pairs(3, 3, [0, 1, 2], [0, 0, 1], [True, False, False]))
    found = decode(space, np.array([-1.1, 0.9, 1.05]), np.ones(3), method)
    assert found.coefficient.tolist() == [-1, 1, 1] and found.scale.shape == (3,)


@pytest.mark.parametrize("method", METHODS)
def test_larger_bounds_and_known_coefficients(method):
    space = one_reaction(3, bound=5)
    assert decode(space, np.array([-3.02, -1.01, 4.0]), np.ones(3), method).coefficient.tolist() == [-3, -1, 4]
    known = replace(space, known=np.array([np.nan, -1.5, np.nan]), is_open=np.array([True]))
    found = decode(known, np.array([-3.02, -1.49, 4.0]), np.ones(3), method).coefficient
    assert found[1] == -1.5  # by direction alone the others may be longer
    assert method == "scaled" or found.tolist() == [-3, -1.5, 4]
