"""How much of S was recovered. Every figure compares with the truth; nothing here is seen by a learner."""

import numpy as np

from stoirec.network.graph import Graph

NAMES = (
    "r2",
    "entry_exact",
    "entry_exact_true_edges",
    "reaction_exact",
    "sign_accuracy",
    "support_precision",
    "support_recall",
    "support_f1",
    "log_k_r2",
)


@np.errstate(over="ignore")  # coefficients of a fit that describes nothing may be of any size
def r2(learned: np.ndarray, true: np.ndarray) -> float:
    """1 - SSE/SST: the coefficient of determination of `learned` itself, no line refitted; can be negative."""
    spread = ((true - true.mean()) ** 2).sum()
    return float(1 - ((learned - true) ** 2).sum() / spread) if spread > 0 else float("nan")


def recovery_metrics(
    graph: Graph,
    coefficient: np.ndarray,
    integers: np.ndarray,
    log_k: np.ndarray,
    true_stoichiometry: np.ndarray,
    true_log_k: np.ndarray,
    sought: np.ndarray | None = None,
) -> dict[str, float]:
    """All metrics of one decoded matrix.

    Args:
        graph: candidate edges.
        coefficient: (E,) learned reals.
        integers: (E,) decoded integers.
        log_k: (R,) log10 rate constants that belong to the decoded columns.
        true_stoichiometry: (M, R); true_log_k: (R,).
        sought: (E,) bool, entries that were not known; None: all. entry_exact is of these.
    """
    sought = np.ones(graph.n_edges, bool) if sought is None else sought
    true = graph.on_edges(true_stoichiometry)
    right = integers == true
    is_true, found = true != 0, integers != 0
    both = (is_true & found).sum()
    precision = both / found.sum() if found.any() else 0.0
    recall = both / is_true.sum()
    wrong_columns = np.bincount(graph.edge_reaction[~right], minlength=graph.n_reactions) > 0
    return {
        "r2": r2(coefficient, true),
        "entry_exact": float(right[sought].mean()) if sought.any() else float("nan"),
        "entry_exact_true_edges": float(right[is_true].mean()),
        "reaction_exact": float(1 - wrong_columns.mean()),
        "sign_accuracy": float((np.sign(integers) == np.sign(true))[is_true].mean()),
        "support_precision": float(precision),
        "support_recall": float(recall),
        "support_f1": float(2 * precision * recall / (precision + recall)) if both else 0.0,
        "log_k_r2": r2(log_k - log_k.mean() + true_log_k.mean(), true_log_k),
    }


def confusion(recovered: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(2 n + 1,) squared counts: rows true, columns recovered, both from -n, the largest size of either (at least 2).

    Entries with a fraction, which are known and not recovered, are left out.
    """
    whole = (recovered == np.round(recovered)) & (true == np.round(true))
    recovered, true = recovered[whole].astype(int), true[whole].astype(int)
    largest = max(2, np.abs(recovered).max(initial=0), np.abs(true).max(initial=0))
    table = np.zeros((2 * largest + 1,) * 2, int)
    np.add.at(table, (true + largest, recovered + largest), 1)
    return table
