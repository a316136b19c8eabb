import numpy as np
import pytest

from stoirec.network.graph import from_pairs
from stoirec.score.metrics import confusion, r2, recovery_metrics

# reactions 0: -1, +1 (true) and 1: -2, +2, 0 (the last a decoy)
GRAPH = from_pairs(5, 2, [0, 1, 2, 3, 4], [0, 0, 1, 1, 1], [1, 0, 1, 0, 0])
TRUE = GRAPH.matrix(np.array([-1, 1, -2, 2, 0]))
LOG_K = np.array([-1.0, -3.0])


def measured(integers, coefficient=None, log_k=LOG_K):
    integers = np.array(integers)
    return recovery_metrics(
        GRAPH, integers.astype(float) if coefficient is None else np.array(coefficient), integers, log_k, TRUE, LOG_K
    )


def test_perfect_recovery_is_one_everywhere():
    assert set(measured([-1, 1, -2, 2, 0]).values()) == {1.0}


def test_by_hand():
    found = measured([-1, 1, -1, 0, 1])
    assert found["entry_exact"] == pytest.approx(2 / 5)
    assert found["entry_exact_true_edges"] == pytest.approx(2 / 4)
    assert found["reaction_exact"] == pytest.approx(1 / 2)
    assert found["sign_accuracy"] == pytest.approx(3 / 4)  # the zero counts as wrong
    assert found["support_precision"] == pytest.approx(3 / 4)
    assert found["support_recall"] == pytest.approx(3 / 4)
    assert found["r2"] == pytest.approx(1 - (1 + 4 + 1) / 10)


def test_r2_sees_the_sign():
    """A squared correlation would call the negated matrix perfect."""
    true = np.array([-1.0, 1.0, 2.0, -2.0])
    assert np.corrcoef(-true, true)[0, 1] ** 2 == pytest.approx(1)
    assert r2(-true, true) == pytest.approx(-3)
    assert r2(np.full(4, true.mean()), true) == pytest.approx(0)


def test_log_k_r2_forgives_one_global_factor_only():
    assert measured([-1, 1, -2, 2, 0], log_k=LOG_K + 0.7)["log_k_r2"] == pytest.approx(1)
    assert measured([-1, 1, -2, 2, 0], log_k=LOG_K + [0.7, 0.0])["log_k_r2"] < 0.99


def test_nothing_found_is_zero_not_nan():
    found = measured([0, 0, 0, 0, 0])
    assert found["support_precision"] == found["support_f1"] == found["sign_accuracy"] == 0


def test_confusion_counts_true_by_row():
    table = confusion(np.array([-1, 1, -1, 0, 1]), GRAPH.on_edges(TRUE))
    assert table.shape == (5, 5)
    assert table.sum() == 5 and table[0, 1] == 1 and table[4, 2] == 1 and table[2, 3] == 1


def test_confusion_takes_any_integers_and_leaves_fractions_out():
    table = confusion(np.array([3, -1, 1.5, 0]), np.array([2.0, -4.0, 1.5, 0.0]))
    assert table.shape == (9, 9) and table.sum() == 3
    assert table[4 + 2, 4 + 3] == table[4 - 4, 4 - 1] == table[4, 4] == 1
