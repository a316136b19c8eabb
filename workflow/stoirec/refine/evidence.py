"""What each possible column of a reaction explains, once everything beside it is fitted anew.

All columns of a reaction are tried: whatever gradient descent made of its edges, none is out of reach. A column is
judged by what it explains when all B are refitted beside it (the residuals are linear in B); without that, other
reactions have taken over what a missing one should explain. B of a reaction tied to its column moves along it, as one
unknown: the more are tied, the less the others can take over, and the sharper the evidence.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoirec.refine.equations import Equations
from stoirec.refine.free import FreeEstimate, free_estimate
from stoirec.refine.functions import ReactionColumns
from stoirec.refine.integers import decode
from stoirec.refine.others import Others
from stoirec.refine.outside import PRIOR, log_odds, odds_to_probability, probability_outside
from stoirec.refine.state import State

LISTED = 5  # columns of a reaction that are kept, the likeliest
# probability from which a reaction is tied to its likeliest column: of those at 0.9 some are wrong, and a few spoil all
CLEAR = 0.99
UNCHANGED = 0.25  # largest change of an |S| in a column that stays what it was
ALIKE = 32.0  # residuals that say as much as one: neighbouring frames share their errors
_SUSPECTED = 0.05  # probability of no column that asks for a second look: at most 0.01 on networks of the default kind
_NOTHING = 1e-8  # a gain: less is rounding errors, about 1e-11


@dataclass(frozen=True)
class Evidence:
    """Over all columns of each reaction, by their probabilities.

    Attributes:
        probability: (E,) that the coefficient is not 0.
        linear: (E,) B of the mean column and the mean log10 rate constant.
        log_k: (R,) mean log10 rate constant.
        columns: (LISTED, E) the likeliest columns, integers, likeliest first. Of a reaction that no column explains
            the first is B / k, and the others are 0.
        chances: (LISTED, R) their probabilities, if any column is right.
        column_log_k: (R,) log10 of the likeliest column's rate constant.
        unit: what stands for an |S| of 1 in the functions.
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


def weigh(equations: Equations, state: State, alike: float = ALIKE, excess: float = 1.0) -> Evidence:
    """The evidence for the columns of all reactions, at a `state` with real |S| in the functions.

    First with no reaction tied, which is cautious; then with those tied whose column is clear even so. Wrong columns
    that are tied together speak for each other: a tie counts only while it stands without the others. In the end each
    is weighed against no column at all.

    Where `excess` times what noise leaves is left of what was fitted, the functions do not hold, with odds of
    (excess - 1) to 1. Then columns are judged with the functions uncertain, unless they were surer of them.
    """
    found = weigh_beside(equations, replace(state, tied=None), alike)
    if state.tied is not None:
        size = state.linear.abs() / 10 ** (state.log_k[equations.reaction]) / found.unit
        stands = by_reaction(equations, (found.column.abs() - size).abs(), "max") < UNCHANGED
        stands &= state.tied & (found.certainty > CLEAR)
        found = weigh_beside(equations, replace(state, tied=stands), alike)
    # as they are, functions speak for real columns: what they do not suspect they would not, were they uncertain
    suspected = excess > 1 or state.contradicted or bool((found.misfit > _SUSPECTED).any())
    estimate = free_estimate(equations, state) if suspected else None
    listed = torch.where((found.chances > 0)[:, equations.reaction], found.columns, 0.0)
    # whatever `alike`: errors of functions do not speak for columns
    outside = probability_outside(equations, estimate, listed, ALIKE, _prior(state))
    if not suspected:
        outside = torch.where(outside < 1, torch.minimum(outside, found.misfit), outside)
    if excess > 1:
        uncertain = _chances_about(equations, estimate, found, alike)
        both = uncertain + (found.chances - uncertain) / excess
        found = replace(found, chances=torch.minimum(found.chances, both))
    misfit = found.misfit if estimate is not None else torch.zeros_like(found.misfit)
    return replace(found, misfit=misfit, outside=outside)


def _prior(state: State) -> float:
    """Of a reaction to have none of its columns; at least one reaction has none where the columns are contradicted."""
    return max(PRIOR, 1 / len(state.log_k)) if state.contradicted else PRIOR


def _chances_about(equations: Equations, estimate: FreeEstimate | None, found: Evidence, alike: float) -> Tensor:
    """(LISTED, R) probabilities of the columns that `found` lists, by how far they are from free B; alike without."""
    possible = found.chances > 0
    log_chance = torch.where(possible, 0.0, -torch.inf)
    for reaction in range(equations.graph.n_reactions) if estimate is not None else ():
        own, free, covariance = estimate.of(equations.graph.edges_of(reaction))
        if not len(own):
            continue
        columns = found.columns[:, own]
        likely = torch.linalg.solve(alike * covariance, torch.cat([free[:, None], columns.T], dim=1))
        along, size = columns @ likely[:, 0], (columns * likely[:, 1:].T).sum(1)
        best = along.clamp(min=0) ** 2 / size.clamp(min=torch.finfo(size.dtype).tiny)
        log_chance[:, reaction] += best / 2
    return torch.where(possible, log_chance.softmax(0), 0.0)


def weigh_beside(equations: Equations, state: State, alike: float = ALIKE) -> Evidence:
    """The evidence for every column p in the space of a reaction, beside the others as they are tied in `state`.

    With y what the other reactions leave of dc/dt at present, x(p) = p_i F(|p|) in the rows i of the reaction's
    metabolites, every row over the root of its mean squared residual, and P the projection off all that the other
    reactions' B can do,

        gain(p) = max over k > 0 of |P y|^2 - |P (y - k x(p))|^2,   log probability(p) = gain / (2 alike) + constant.
    """
    graph, functions = equations.graph, equations.functions
    level = levels(equations, state)
    others = Others(equations, state)

    # as they are, where no column explains anything: an exchange has none that is balanced
    probability, linear, log_k = torch.ones_like(state.linear), state.linear.clone(), state.log_k.clone()
    column_log_k = state.log_k + level[1].log10()
    columns, chances = log_k.new_zeros(LISTED, graph.n_edges), log_k.new_zeros(LISTED, graph.n_reactions)
    columns[0] = state.linear / 10 ** column_log_k[functions.reaction]
    misfit = torch.zeros_like(log_k)
    for reaction in range(graph.n_reactions):
        edges, sides = graph.edges_of(reaction), functions.sides(reaction)
        if not sides.conserved.numel():
            continue
        explained, size = beside(equations, state, others, level, reaction)
        k, gain = gains_of(sides, explained, size)
        if gain.max() == -torch.inf:
            continue
        chance = _softmax(gain, alike)
        mean_log_k = (chance * torch.where(chance > 0, k, 1.0).log10()).sum()
        for of, chance_of, values in (
            (sides.drives, chance.sum(1), sides.driving),
            (~sides.drives, chance.sum(0), sides.others),
        ):
            own = edges.start + torch.nonzero(of)[:, 0]
            probability[own], linear[own] = chance_of @ (values != 0).double(), chance_of @ values * 10**mean_log_k
        log_k[reaction] = mean_log_k - level[1].log10()
        # a column that explains nothing is possible as well: then another reaction does it all
        anything = _softmax(torch.where(sides.conserved, gain.clamp(min=0), gain), alike)
        likeliest = anything.flatten().topk(min(LISTED, chance.numel()))
        n = len(likeliest.values)
        chances[:n, reaction] = likeliest.values
        column_log_k[reaction] = k.flatten()[likeliest.indices[0]].log10()
        own = sides.columns(likeliest.indices)
        columns[:n, edges] = torch.where(chances[:n, reaction, None] > 0, own, 0.0)
        misfit[reaction] = _misfit(explained, size, own[0], functions.space.largest, alike)
    return Evidence(probability, linear, log_k, columns, chances, column_log_k, level[1], misfit)


def _softmax(gain: Tensor, alike: float) -> Tensor:
    """Probabilities of columns (D, O) that gain as much."""
    return (gain / (2 * alike)).flatten().softmax(0).reshape(gain.shape)


def _misfit(explained: Tensor, size: Tensor, column: Tensor, largest: int, alike: float) -> float:
    """Probability that not even the likeliest column (n,) is right, beside the free one that explains most."""
    free = torch.linalg.solve(size, explained[..., None])[..., 0]
    best = (free * explained).sum(1).argmax()
    odds = log_odds(free[best], alike * torch.linalg.inv(size[best]), column, largest)
    return odds_to_probability(odds)


def beside(equations: Equations, state: State, others: Others, level: Tensor, reaction: int) -> tuple[Tensor, Tensor]:
    """What a reaction can explain beside `others`, by the sizes s of what drives it: (s, n), (s, n, n).

    B of its edges, b, explains 2 explained @ b - b @ size @ b. Sizes are those of ReactionColumns, and `level` stands
    for 0, 1, ... in the functions.
    """
    functions, windows, sides = equations.functions, equations.windows, equations.functions.sides(reaction)
    sizes = level.new_zeros(len(sides.size), len(sides.drives))
    sizes[:, sides.drives] = at_level(level, sides.size)
    rate = others.share[reaction] * functions.rates_of(reaction, state, sizes, windows)
    return others.beside(reaction, rate @ windows.weight)


def gains(equations: Equations, state: State, others: Others, level: Tensor, reaction: int) -> tuple[Tensor, Tensor]:
    """(D, O) best k and gain of a reaction's columns beside `others`, as ReactionColumns."""
    sides = equations.functions.sides(reaction)
    if not sides.conserved.numel():
        return level.new_zeros(sides.conserved.shape), level.new_zeros(sides.conserved.shape)
    return gains_of(sides, *beside(equations, state, others, level, reaction))


def gains_of(sides: ReactionColumns, explained: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Best k and gain of a reaction's columns, from what it can explain, as `beside`.

    The gain is -inf where a column does not conserve or explains nothing.
    """
    drives, driving, others, own = sides.drives, sides.driving, sides.others, sides.size_of
    slope = (driving * explained[:, drives][own]).sum(1)[:, None] + (explained[:, ~drives] @ others.T)[own]
    of_driving, of_others = size[:, drives][:, :, drives], size[:, ~drives][:, :, ~drives]
    between = torch.einsum("si,sij->sj", driving, size[:, drives][:, :, ~drives][own])
    curvature = torch.einsum("si,sij,sj->s", driving, of_driving[own], driving)[:, None]
    curvature = curvature + 2 * between @ others.T
    curvature = curvature + torch.einsum("pi,sij,pj->sp", others, of_others, others)[own]
    k = slope.clamp(min=0) / curvature.clamp(min=torch.finfo(slope.dtype).tiny)
    return k, torch.where(sides.conserved & (k * slope > _NOTHING), k * slope, -torch.inf)


def at_level(level: Tensor, sizes: Tensor) -> Tensor:
    """What stands for `sizes` in the functions; for those that are not whole, or larger than any, on the line."""
    below = sizes.floor().clamp(max=len(level) - 2)
    return torch.lerp(level[below.long()], level[below.long() + 1], sizes - below)


def by_reaction(equations: Equations, values: Tensor, reduce: str) -> Tensor:
    """(R,) from (E,)."""
    return torch.segment_reduce(
        values, reduce, offsets=torch.as_tensor(equations.graph.reaction_ptr, device=values.device)
    )


def levels(equations: Equations, state: State) -> Tensor:
    """(largest + 1,) what stands for 0, 1, ... in the functions: median learned |S| in the faster half of reactions.

    Of a number that no column has, that number times what stands for 1.
    """
    functions = equations.functions
    size = torch.zeros_like(state.log_k).index_add_(0, functions.reaction, state.linear.abs())
    learned, columns = functions.relaxed_size(state)[0], decode(equations, state)
    drives = torch.zeros_like(functions.sign, dtype=torch.bool).index_fill(0, functions.substrates, True)
    level = torch.arange(functions.space.largest + 1, dtype=torch.float64, device=learned.device)
    for number in range(1, len(level)):
        known = drives & (columns.abs() == number) & (size >= size.median())[functions.reaction]
        level[number] = learned[known].median() if known.any() else number * level[1]
    return level
