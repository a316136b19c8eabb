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
from stoirec.refine.free import FreeColumns

_RANGE = 1.5  # times the largest |S| of the space: as large are coefficients that no column of it is right for
_LARGE = 500.0  # log odds whose exponential still is a number


def probability_outside(
    equations: Equations, estimate: list[FreeColumns] | None, columns: Tensor, alike: float, prior: Tensor
) -> Tensor:
    """(R,) probability that no column is a reaction's; 1 where there is none. Nothing follows from poor functions.

    Args:
        equations: whose reactions they are.
        estimate: of all B; None where the functions are poor.
        columns: (candidates, E) the likeliest columns; 0 where there are no more.
        alike: residuals that say as much as one.
        prior: (R,) probability before any data.
    """
    limits = equations.functions.space.largest, equations.judgement.function_error
    functions, reactions = equations.functions, range(equations.graph.n_reactions)
    conserved = [functions.sides(reaction).conserved for reaction in reactions]
    has_none = [bool(each.numel()) and not bool(each.any()) for each in conserved]
    found = prior.masked_fill(torch.tensor(has_none, dtype=torch.bool, device=prior.device), 1.0)
    for own in estimate or ():
        candidates = columns[:, own.edges]
        possible = candidates.any(2)
        odds = log_odds(own.linear, alike * own.covariance, candidates, *limits)
        least = torch.where(possible, odds, torch.inf).min(0).values
        probability = odds_to_probability(least, prior[own.reactions])
        found[own.reactions] = torch.where(possible.any(0), probability, found[own.reactions])
    return found


def odds_to_probability(log_odds: Tensor, prior: Tensor) -> Tensor:
    """Probability that no column is right from the log odds that the data give it."""
    return 1 / (1 + (-log_odds).clamp(max=_LARGE).exp() * (1 - prior) / prior)


def at_prior(probability: Tensor, before: float, prior: Tensor) -> Tensor:
    """What was found with the probability `before` any data, had that been `prior`."""
    has_none, has_one = probability * prior * (1 - before), (1 - probability) * (1 - prior) * before
    return has_none / (has_none + has_one)


def log_odds(free: Tensor, covariance: Tensor, column: Tensor, largest: float, error: float) -> Tensor:
    """(...) of any real column, within 1.5 times the `largest` |S|, over k times `column` (..., n), for `free` B
    (..., n) with a `covariance` (..., n, n).

    `error` is the relative one of a coefficient from functions that are not quite right.
    """
    widest = _RANGE * largest
    n_open = column.shape[-1] - 1  # k is fitted
    least = n_open * math.log(error * math.sqrt(2 * math.pi) / widest)
    likely = torch.linalg.inv(covariance)
    by_free, by_column = ((likely @ one[..., None])[..., 0] for one in (free, column))
    k = (column * by_free).sum(-1) / (column * by_column).sum(-1)
    # the best length of a column may be none
    no_length = (free * by_free).sum(-1) / 2 + least
    size = k[..., None]
    errors = torch.diag_embed((error * column.abs().clamp(min=1.0)).square())
    factor, failed = torch.linalg.cholesky_ex(covariance / size[..., None] ** 2 + errors)
    both = torch.linalg.solve_triangular(factor, torch.stack([column, free / size], dim=-1), upper=False)
    own, other = both.unbind(-1)
    along = own.square().sum(-1)
    distance = other.square().sum(-1) - (other * own).sum(-1) ** 2 / along
    volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) + along.log() / 2
    volume = volume + n_open * (math.log(math.sqrt(2 * math.pi)) - math.log(widest))
    # where the data leave more than the range, nothing follows
    odds = torch.where(failed != 0, 0.0, distance / 2 + volume.clamp(max=0))
    return torch.where(k <= 0, no_length, odds)
