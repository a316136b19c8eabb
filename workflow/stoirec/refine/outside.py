"""Whether a reaction can have any column of its space: the likeliest ones beside a free, real one.

A model comparison (MacKay 2003, Information Theory, Inference, and Learning Algorithms, chapter 28). Were all B free,
with rate constants and functions fitted anew, those of a reaction would be b, with a covariance; both follow from one
Gauss-Newton step. If the integer column p is right, b / k lies about p, as far off as the covariance and errors of the
functions that no fitting mends allow; if none is right, anywhere within a few bounds. The odds are the ratio of the two
densities at the best k.

Functions have to be uncertain here: where data are few they grow around a free column, and would speak for it.
"""

import math

import torch
from torch import Tensor

from stoirec.refine.equations import Equations
from stoirec.refine.free import FreeEstimate

_RANGE = 1.5  # times the largest |S| of the space: as large are coefficients that no column of it is right for
_LARGE = 500.0  # log odds whose exponential still is a number


def probability_outside(
    equations: Equations, estimate: FreeEstimate | None, columns: Tensor, alike: float, prior: float
) -> Tensor:
    """(R,) probability that no column is a reaction's; 1 where there is none. Nothing follows from poor functions.

    Args:
        equations: whose reactions they are.
        estimate: of all B; None where the functions are poor.
        columns: (candidates, E) the likeliest columns; 0 where there are no more.
        alike: residuals that say as much as one.
        prior: probability before any data.
    """
    limits = equations.functions.space.largest, equations.judgement.function_error
    functions, reactions = equations.functions, range(equations.graph.n_reactions)
    conserved = [functions.sides(reaction).conserved for reaction in reactions]
    found = [1.0 if each.numel() and not each.any() else prior for each in conserved]
    for reaction in reactions if estimate is not None else ():
        own, free, covariance = estimate.of(equations.graph.edges_of(reaction))
        possible = [column[own] for column in columns if column[own].any()]
        odds = [log_odds(free, alike * covariance, column, *limits) for column in possible]
        if odds:
            found[reaction] = odds_to_probability(min(odds), prior)
    return columns.new_tensor(found)


def odds_to_probability(log_odds: float, prior: float) -> float:
    """Probability that no column is right from the log odds that the data give it."""
    return 1 / (1 + math.exp(min(-log_odds, _LARGE)) * (1 - prior) / prior)


def log_odds(free: Tensor, covariance: Tensor, column: Tensor, largest: float, error: float) -> float:
    """Of any real column, within 1.5 times the `largest` |S|, over k times `column` (n,), for `free` B (n,).

    `error` is the relative one of a coefficient from functions that are not quite right.
    """
    widest = _RANGE * largest
    n_open = len(column) - 1  # k is fitted
    least = n_open * math.log(error * math.sqrt(2 * math.pi) / widest)
    inverse = torch.linalg.inv(covariance)
    k = float(column @ inverse @ free / (column @ inverse @ column))
    if k <= 0:  # the best length of this column is none
        return float(free @ inverse @ free) / 2 + least
    spread = covariance / k**2 + torch.diag((error * column.abs().clamp(min=1.0)).square())
    factor, failed = torch.linalg.cholesky_ex(spread)
    if failed:
        return 0.0
    own, other = torch.linalg.solve_triangular(factor, torch.stack([column, free / k], dim=1), upper=False).T
    along = own @ own
    distance = other @ other - (other @ own) ** 2 / along
    volume = factor.diagonal().log().sum() + along.log() / 2 + n_open * math.log(math.sqrt(2 * math.pi))
    # where the data leave more than the range, nothing follows
    return float(distance / 2 + min(0.0, float(volume) - n_open * math.log(widest)))
