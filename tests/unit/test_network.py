import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoirec.config.regime import load_regime
from stoirec.simulate.network import balanced_columns, candidate_graph, random_stoichiometry


@given(st.integers(0, 2**40))
@settings(max_examples=10, deadline=None)
def test_invariants_of_the_default_regime(seed):
    matrix = random_stoichiometry(load_regime("config/regimes/pde_m1.yaml").with_master_seed(seed))
    assert matrix.shape == (100, 256)
    assert (matrix.sum(axis=0) == 0).all()
    assert set(np.unique(matrix)) == {-2, -1, 0, 1, 2}
    n_substrates, n_products = (matrix < 0).sum(axis=0), (matrix > 0).sum(axis=0)
    assert n_substrates.min() == n_products.min() == 1
    assert n_substrates.max() == n_products.max() == 3
    assert 570 <= n_substrates.sum() <= 630 and 475 <= n_products.sum() <= 525
    assert (matrix != 0).any(axis=1).all()
    assert len({tuple(np.sign(column)) for column in matrix.T}) == 256  # no two (substrate set, product set) alike


def test_same_seed_same_network(tiny_regime):
    assert np.array_equal(random_stoichiometry(tiny_regime), random_stoichiometry(tiny_regime))
    assert not np.array_equal(random_stoichiometry(tiny_regime), random_stoichiometry(tiny_regime.with_master_seed(9)))


def test_balanced_columns_by_hand():
    assert balanced_columns(1, 2, 2).tolist() == [[-2, 1, 1]]
    assert set(map(tuple, balanced_columns(2, 2, 2).tolist())) == {
        (-1, -1, 1, 1), (-1, -2, 1, 2), (-1, -2, 2, 1), (-2, -1, 1, 2), (-2, -1, 2, 1), (-2, -2, 2, 2),
    }  # fmt: skip
    assert len(balanced_columns(3, 1, 2)) == 0


def test_impossible_networks_are_refused(tiny_regime):
    with pytest.raises(ValueError, match="3-1 has no zero-sum column"):
        random_stoichiometry(tiny_regime.model_copy(update={"reaction_shapes": {"3-1": 1.0}}))
    with pytest.raises(ValueError, match="no network"):
        random_stoichiometry(
            tiny_regime.model_copy(update={"n_metabolites": 2, "n_reactions": 9, "reaction_shapes": {"1-1": 1.0}})
        )


@given(st.floats(0, 2), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_decoys_have_the_role_mix_of_the_true_edges(ratio, seed):
    matrix = np.zeros((20, 10), int)
    matrix[:3, :5], matrix[3, :5], matrix[5, 5:], matrix[9, 5:] = -1, 2, -1, 1
    graph, is_true = candidate_graph(matrix, ratio, seed)
    n_true = (matrix != 0).sum()
    assert is_true.sum() == n_true and len(is_true) == n_true + round(ratio * n_true)
    assert np.array_equal(graph.on_edges(matrix) != 0, is_true)
    assert np.array_equal(graph.edge_is_substrate[is_true], graph.on_edges(matrix)[is_true] < 0)
    share = (matrix < 0).sum() / n_true
    assert graph.edge_is_substrate[~is_true].sum() == round((~is_true).sum() * share)


def test_more_decoys_than_free_pairs_are_refused(tiny_regime):
    with pytest.raises(ValueError, match="pairs are free"):
        candidate_graph(random_stoichiometry(tiny_regime), 10.0, 0)
