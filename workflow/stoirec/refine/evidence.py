"""What each possible column of a reaction explains, once everything beside it is fitted anew.

All columns of a reaction are tried: whatever gradient descent made of its edges, none is out of reach. A column is
judged by what it explains when all B are refitted beside it (the residuals are linear in B); without that, other
reactions have taken over what a missing one should explain. B of a reaction tied to its column moves along it, as one
unknown: the more are tied, the less the others can take over, and the sharper the evidence.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoirec.refine.equations import Equations
from stoirec.refine.free import FreeColumns, free_estimate
from stoirec.refine.frequencies import SizeCounts
from stoirec.refine.gains import Gains, by_reaction, gains, levels, log_elsewhere
from stoirec.refine.opposite import joined
from stoirec.refine.others import Others
from stoirec.refine.outside import at_prior, log_odds, odds_to_probability, probability_outside
from stoirec.refine.state import State

Weigh = Callable[..., "Evidence"]  # as `weigh`
LISTED = 5  # columns of a reaction that are kept, the likeliest
_NUMBERS = 1 << 23  # at once
_PER_RATE, _PER_COLUMN = 64, 16  # numbers for a rate of a reaction, and for one of its columns


@dataclass(frozen=True)
class Evidence:
    """Over all columns of each reaction, by their probabilities.

    Attributes:
        probability: (E,) that the coefficient is not 0.
        linear: (E,) B of the mean column and the mean log10 rate constant.
        log_k: (R,) mean log10 rate constant.
        columns: (LISTED, E) the likeliest columns, integers, likeliest first. Of a reaction that no column explains
            the first is that likeliest before any data, or B / k where zeros are allowed or none is balanced, and the
            others are 0.
        chances: (LISTED, R) their probabilities, if any column is right.
        column_log_k: (R,) log10 of the likeliest column's rate constant.
        unit: what stands for an |S| of 1 in the functions.
        log_frequency: (largest + 1,) log of how frequent |S| of 0, 1, ... are, over that if all were alike.
        misfit: (R,) probability that no column is right if the functions are.
        outside: (R,) the same with the functions uncertain; None if it was not asked, and is taken for 0.
        convention: (R,) bool, reactions whose length the data leave open; None before it was asked.
    """

    probability: Tensor
    linear: Tensor
    log_k: Tensor
    columns: Tensor
    chances: Tensor
    column_log_k: Tensor
    unit: Tensor
    log_frequency: Tensor
    misfit: Tensor
    outside: Tensor | None = None
    convention: Tensor | None = None

    @property
    def column(self) -> Tensor:
        """(E,) the likeliest column."""
        return self.columns[0]

    @property
    def certainty(self) -> Tensor:
        """(R,) probability of the likeliest column."""
        return self.chances[0] if self.outside is None else self.chances[0] * (1 - self.outside)


def weigh(
    equations: Equations,
    state: State,
    alike: float | None = None,
    excess: float = 1.0,
    contradicted: float | None = None,
) -> Evidence:
    """The evidence for the columns of all reactions, at a `state` with real |S| in the functions.

    First with no reaction tied, which is cautious; then with those tied whose column is clear even so. Wrong columns
    that are tied together speak for each other: a tie counts only while it stands without the others. In the end each
    is weighed against no column at all.

    Where `excess` times what noise leaves is left of what was fitted, the functions do not hold, with odds of
    (excess - 1) to 1. Then columns are judged with the functions uncertain, unless they were surer of them.

    Args:
        alike: residuals that say as much as one; default: that of the judgement.
        contradicted: at the end, how likely not all columns are allowed ones; None before.
    """
    judgement = equations.judgement
    alike = judgement.alike if alike is None else alike
    found = weigh_beside(equations, replace(state, tied=None), alike)
    if state.tied is not None:
        size = state.linear.abs() / 10 ** (state.log_k[equations.reaction]) / found.unit
        stands = by_reaction(equations, (found.column.abs() - size).abs(), "max") < judgement.unchanged
        stands &= state.tied & (found.certainty > judgement.clear)
        found = weigh_beside(equations, replace(state, tied=stands), alike)
    # as they are, functions speak for real columns: what they do not suspect they would not, were they uncertain
    suspected = excess > 1 or state.contradicted or bool((found.misfit > judgement.suspected).any())
    estimate = free_estimate(equations, state) if suspected else None
    listed = torch.where((found.chances > 0)[:, equations.reaction], found.columns, 0.0)
    # whatever `alike`: errors of functions do not speak for columns
    prior = _prior(equations, state, contradicted)
    outside = probability_outside(equations, estimate, listed, judgement.alike, prior)
    if not suspected:
        misfit = at_prior(found.misfit, judgement.none_right, prior)
        outside = torch.where(outside < 1, torch.minimum(outside, misfit), outside)
    if excess > 1:
        uncertain = _chances_about(estimate, found, alike)
        both = uncertain + (found.chances - uncertain) / excess
        found = replace(found, chances=torch.minimum(found.chances, both))
    misfit = found.misfit if estimate is not None else torch.zeros_like(found.misfit)
    return replace(found, misfit=misfit, outside=outside)


def _prior(equations: Equations, state: State, contradicted: float | None) -> Tensor:
    """(R,) of a reaction to have none of its columns: at least one has none where the columns are contradicted.

    One that is real in the end was taken for one that has none, and stays so if nothing follows from the data there.
    """
    judgement = equations.judgement
    at_least_one = max(contradicted or 0.0, float(state.contradicted)) / len(state.log_k)
    prior = torch.full_like(state.log_k, max(judgement.none_right, at_least_one))
    is_left = state.is_outside & (contradicted is not None)
    return torch.where(is_left, prior.clamp(min=judgement.taken_for_none), prior)


def _chances_about(estimate: list[FreeColumns] | None, found: Evidence, alike: float) -> Tensor:
    """(LISTED, R) probabilities of the columns that `found` lists, by how far they are from free B; alike without."""
    possible = found.chances > 0
    log_chance = torch.where(possible, 0.0, -torch.inf)
    for own in estimate or ():
        columns = found.columns[:, own.edges]
        likely = torch.linalg.inv(alike * own.covariance)
        along = (columns * (likely @ own.linear[..., None])[..., 0]).sum(2)
        size = (columns * (likely @ columns[..., None])[..., 0]).sum(2)
        best = along.clamp(min=0) ** 2 / size.clamp(min=torch.finfo(size.dtype).tiny)
        log_chance[:, own.reactions] += best / 2
    return torch.where(possible, log_chance.softmax(0), 0.0)


def weigh_beside(equations: Equations, state: State, alike: float | None = None) -> Evidence:
    """The evidence for every column p in the space of a reaction, beside the others as they are tied in `state`.

    With y what the other reactions leave of dc/dt at present, x(p) = p_i F(|p|) in the rows i of the reaction's
    metabolites, every row over the root of its mean squared residual, P the projection off all that the other
    reactions' B can do, and f how frequent an |S| is in this network,

        gain(p) = max over k > 0 of |P y|^2 - |P (y - k x(p))|^2,
        log probability(p) = gain / (2 alike) + sum over its entries of log f(|p_i|) + constant.
    """
    alike = equations.judgement.alike if alike is None else alike
    level, others = levels(equations, state), Others(equations, state)
    found = []
    for reactions in _at_once(equations, others):
        elsewhere = log_elsewhere(equations, state, level, reactions)
        penalty = None if elsewhere is None else -2 * alike * elsewhere
        found.append(_Weighed(reactions, gains(equations, state, others, level, reactions, penalty), penalty))
    _join(equations, state, others, level, found)
    idle = [each.that_explain_nothing for each in found]
    found = [own for each in found if len((own := each.that_explain).reactions)]
    counts = SizeCounts(equations.functions)
    log_likelihood = counts.gathered((own.reactions, own.gains.gain / (2 * alike)) for own in found)
    # which edges are real says far more than how large they are
    log_frequency = counts.uninformative if equations.functions.allows_zero else counts.likeliest(log_likelihood)
    evidence, log_prior = _without(equations, state, level, log_frequency), counts.log_prior(log_frequency)
    for own in found:
        _judge(equations, evidence, own, counts.of(own.reactions, log_prior), alike)
    for reactions in () if equations.functions.allows_zero else filter(len, idle):
        sides = equations.functions.sides(int(reactions[0]))
        if sides.conserved.any():  # an exchange has no column that is balanced
            likeliest = counts.of(reactions, log_prior).flatten(1).argmax(1)
            evidence.columns[0, equations.functions.edges_of(reactions)] = sides.columns(likeliest)
    return evidence


@dataclass(frozen=True)
class _Weighed:
    """What columns gain in reactions that have the same ones, at most as many as memory allows.

    Attributes:
        reactions: (n,); penalty: (n, D) of a column at their present rates, or None.
    """

    reactions: Tensor
    gains: Gains
    penalty: Tensor | None

    @property
    def that_explain(self) -> "_Weighed":
        """Reactions with a column that explains something."""
        if self._explains.all():
            return self
        some = torch.nonzero(self._explains)[:, 0]
        penalty = None if self.penalty is None else self.penalty[some]
        return _Weighed(self.reactions[some], self.gains.of(some), penalty)

    @property
    def that_explain_nothing(self) -> Tensor:
        """(n,) the other reactions."""
        return self.reactions[~self._explains]

    @property
    def _explains(self) -> Tensor:
        return self.gains.gain.flatten(1).max(1).values > -torch.inf


def _at_once(equations: Equations, others: Others) -> Iterator[Tensor]:
    """All reactions with columns to weigh, those with the same ones together as far as memory allows."""
    n_rates, n_residuals = equations.windows.concentration[..., 0].numel(), others.left.shape[1]
    for reactions in equations.functions.with_same_columns:
        sides, near = equations.functions.sides(int(reactions[0])), others.n_near(reactions)
        n, n_sizes = len(sides.drives), len(sides.size) + 1
        of_columns = sides.conserved.numel() * _PER_COLUMN + len(sides.driving) * n**2
        order = near.argsort()
        near = near[order]
        numbers = n_sizes * (n_rates * _PER_RATE + 2 * n * near) + of_columns + 4 * near**2 + 3 * n * near * n_residuals
        start = 0
        while start < len(order):  # as many as are not more than memory allows if all had as many near as the last
            number = torch.arange(1, len(order) - start + 1, device=near.device)
            fits = int((number * numbers[start:] <= _NUMBERS).sum())
            yield reactions[order[start : start + max(1, fits)].sort().values]
            start += max(1, fits)


def _join(equations: Equations, state: State, others: Others, level: Tensor, found: list[_Weighed]) -> None:
    """Enter what reversible reactions gain in both directions together."""
    place = {int(reaction): (of, row) for of in found for row, reaction in enumerate(of.reactions)}
    for pair in equations.functions.reversals:
        if not all(reaction in place for reaction in pair):
            continue
        own = [place[reaction] for reaction in pair]
        forward, backward = (of.gains.of(row) for of, row in own)
        on_forward, on_backward = (None if of.penalty is None else of.penalty[row] for of, row in own)
        single, penalty = (forward, backward), (on_forward, on_backward)
        for (of, row), joint in zip(own, joined(equations, state, others, level, pair, single, penalty)):
            of.gains.gain[row], of.gains.k[row] = joint.gain, joint.k


def _without(equations: Equations, state: State, level: Tensor, log_frequency: Tensor) -> Evidence:
    """The evidence of columns as they are, where none explains anything: an exchange has none that is balanced."""
    graph, log_k = equations.graph, state.log_k.clone()
    column_log_k = log_k + level[1].log10()
    columns, chances = log_k.new_zeros(LISTED, graph.n_edges), log_k.new_zeros(LISTED, graph.n_reactions)
    columns[0] = state.linear / 10 ** column_log_k[equations.reaction]
    every, misfit = torch.ones_like(state.linear), torch.zeros_like(log_k)
    linear, unit = state.linear.clone(), level[1]
    return Evidence(every, linear, log_k, columns, chances, column_log_k, unit, log_frequency, misfit)


def _judge(equations: Equations, evidence: Evidence, found: _Weighed, log_prior: Tensor, alike: float) -> None:
    """Enter what the columns of some reactions gain, and their `log_prior` (reactions, D, O), into `evidence`."""
    reactions, k = found.reactions, found.gains.k
    edges, sides = equations.functions.edges_of(reactions), equations.functions.sides(int(reactions[0]))
    log_chance = found.gains.gain / (2 * alike) + log_prior
    chance = _probabilities(log_chance)
    mean_log_k = (chance * torch.where(chance > 0, k, 1.0).log10()).sum((1, 2))
    for of, chance_of, values in (
        (sides.drives, chance.sum(2), sides.driving),
        (~sides.drives, chance.sum(1), sides.others),
    ):
        evidence.probability[edges[:, of]] = chance_of @ (values != 0).double()
        evidence.linear[edges[:, of]] = chance_of @ values * 10 ** mean_log_k[:, None]
    evidence.log_k[reactions] = mean_log_k - evidence.unit.log10()
    # a column that explains nothing is possible as well: then another reaction does it all
    anything = _probabilities(torch.maximum(log_chance, log_prior)).flatten(1)
    likeliest = anything.topk(min(LISTED, anything.shape[1]))
    n = likeliest.values.shape[1]
    evidence.chances[:n, reactions] = likeliest.values.T
    # 0 if it explains nothing: then as the reaction is
    best_k = k.flatten(1).gather(1, likeliest.indices[:, :1])[:, 0]
    evidence.column_log_k[reactions] = torch.where(best_k > 0, best_k.log10(), evidence.column_log_k[reactions])
    own = sides.columns(likeliest.indices)
    evidence.columns[:n, edges] = torch.where(likeliest.values[..., None] > 0, own, 0.0).transpose(0, 1)
    evidence.misfit[reactions] = _misfit(equations, found.gains, own[:, 0], alike)


def _probabilities(log_chance: Tensor) -> Tensor:
    """Of columns (reactions, D, O) with as much log probability, up to a constant for each reaction."""
    return log_chance.flatten(1).softmax(1).reshape(log_chance.shape)


def _misfit(equations: Equations, found: Gains, column: Tensor, alike: float) -> Tensor:
    """(reactions,) probability that not even the likeliest column (reactions, n) is right.

    Beside the free one that explains most.
    """
    free, failed = torch.linalg.solve_ex(found.size, found.explained[..., None])
    # a rate that is 0 explains nothing
    gain = torch.where(failed != 0, -torch.inf, (free[..., 0] * found.explained).sum(2))
    best = gain.max(1)
    some = torch.nonzero(best.values > -torch.inf)[:, 0]
    at = some, best.indices[some]
    limits = equations.functions.space.largest, equations.judgement.function_error
    odds = log_odds(free[at][..., 0], alike * torch.linalg.inv(found.size[at]), column[some], *limits)
    probability = odds_to_probability(odds, odds.new_tensor(equations.judgement.none_right))
    return torch.zeros_like(best.values).index_copy(0, some, probability)
