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
from stoirec.refine.functions import Functions
from stoirec.refine.integers import decode
from stoirec.refine.others import Others
from stoirec.refine.outside import DESCRIBED, log_odds, odds_to_probability, probability_outside
from stoirec.refine.state import State

LISTED = 5  # columns of a reaction that are kept, the likeliest
# probability from which a reaction is tied to its likeliest column: of those at 0.9 some are wrong, and a few spoil all
CLEAR = 0.99
UNCHANGED = 0.25  # largest change of an |S| in a column that stays what it was
ALIKE = 32.0  # residuals that say as much as one: neighbouring frames share their errors
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


def weigh(equations: Equations, state: State, alike: float = ALIKE) -> Evidence:
    """The evidence for the columns of all reactions, at a `state` with real |S| in the functions.

    First with no reaction tied, which is cautious; then with those tied whose column is clear even so. Wrong columns
    that are tied together speak for each other: a tie counts only while it stands without the others. In the end each
    is weighed against no column at all.
    """
    found = weigh_beside(equations, replace(state, tied=None), alike)
    if state.tied is not None:
        size = state.linear.abs() / 10 ** (state.log_k[equations.reaction]) / found.unit
        stands = by_reaction(equations, (found.column.abs() - size).abs(), "max") < UNCHANGED
        stands &= state.tied & (found.certainty > CLEAR)
        found = weigh_beside(equations, replace(state, tied=stands), alike)
    listed = torch.where((found.chances > 0)[:, equations.reaction], found.columns, 0.0)
    residual = equations.cost(state)[1]
    # whatever `alike`: errors of functions do not speak for columns
    outside = probability_outside(equations, state, listed, ALIKE, residual)
    misfit = found.misfit if residual < DESCRIBED else torch.zeros_like(found.misfit)
    return replace(found, misfit=misfit, outside=outside)


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
        edges = graph.edges_of(reaction)
        sign = functions.sign[edges]
        consumed = sign < 0
        consumed_sizes, produced_sizes, conserved = functions.sides(reaction)
        if not conserved.numel():
            continue
        explained, size = beside(equations, state, others, level, reaction)
        k, gain = gains_of(functions, reaction, explained, size)
        if gain.max() == -torch.inf:
            continue
        chance = (gain / (2 * alike)).flatten().softmax(0).reshape(gain.shape)
        nonzero, mean = torch.empty_like(sign), torch.empty_like(sign)
        of_consumed, of_produced = chance.sum(1), chance.sum(0)
        nonzero[consumed], mean[consumed] = of_consumed @ (consumed_sizes > 0).double(), of_consumed @ consumed_sizes
        nonzero[~consumed], mean[~consumed] = of_produced @ (produced_sizes > 0).double(), of_produced @ produced_sizes
        mean_log_k = (chance * torch.where(chance > 0, k, 1.0).log10()).sum()
        probability[edges], linear[edges] = nonzero, sign * mean * 10**mean_log_k
        log_k[reaction] = mean_log_k - level[1].log10()
        likeliest = chance.flatten().topk(min(LISTED, chance.numel()))
        n = len(likeliest.values)
        chances[:n, reaction] = likeliest.values
        column_log_k[reaction] = k.flatten()[likeliest.indices[0]].log10()
        own = functions.columns(reaction, likeliest.indices)
        columns[:n, edges] = torch.where(chances[:n, reaction, None] > 0, own, 0.0)
        misfit[reaction] = _misfit(explained, size, own[0].abs(), functions.space.largest, alike)
    return Evidence(probability, linear, log_k, columns, chances, column_log_k, level[1], misfit)


def _misfit(explained: Tensor, size: Tensor, column: Tensor, largest: int, alike: float) -> float:
    """Probability that not even the likeliest column (n,) is right, beside the free one that explains most."""
    free = torch.linalg.solve(size, explained[..., None])[..., 0]
    best = (free * explained).sum(1).argmax()
    odds = log_odds(free[best], alike * torch.linalg.inv(size[best]), column, largest)
    return odds_to_probability(odds)


def beside(equations: Equations, state: State, others: Others, level: Tensor, reaction: int) -> tuple[Tensor, Tensor]:
    """What a reaction can explain beside `others`, by its consumed sides s, as Functions.sides: (s, n), (s, n, n).

    Sizes b of its edges explain 2 explained @ b - b @ size @ b. `level` stands for the |S| of 0, 1, ... in the
    functions.
    """
    functions, windows = equations.functions, equations.windows
    consumed = functions.sign[equations.graph.edges_of(reaction)] < 0
    consumed_sizes = functions.sides(reaction)[0]
    sizes = level.new_zeros(len(consumed_sizes), len(consumed))
    sizes[:, consumed] = at_level(level, consumed_sizes)
    rate = others.share[reaction] * functions.rates_of(reaction, state, sizes, windows)
    return others.beside(reaction, rate @ windows.weight)


def gains(equations: Equations, state: State, others: Others, level: Tensor, reaction: int) -> tuple[Tensor, Tensor]:
    """Best k and gain of a reaction's columns beside `others`: (consumed sides, produced sides), as Functions.sides."""
    conserved = equations.functions.sides(reaction)[2]
    if not conserved.numel():
        return level.new_zeros(conserved.shape), level.new_zeros(conserved.shape)
    return gains_of(equations.functions, reaction, *beside(equations, state, others, level, reaction))


def gains_of(functions: Functions, reaction: int, explained: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Best k and gain of a reaction's columns, from what it can explain, as `beside`.

    The gain is -inf where a column does not conserve or explains nothing.
    """
    consumed = functions.sign[functions.graph.edges_of(reaction)] < 0
    consumed_sizes, produced_sizes, conserved = functions.sides(reaction)
    slope = (consumed_sizes * explained[:, consumed]).sum(1)[:, None] + explained[:, ~consumed] @ produced_sizes.T
    of_consumed, of_produced = size[:, consumed][:, :, consumed], size[:, ~consumed][:, :, ~consumed]
    between = torch.einsum("si,sij->sj", consumed_sizes, size[:, consumed][:, :, ~consumed])
    curvature = torch.einsum("si,sij,sj->s", consumed_sizes, of_consumed, consumed_sizes)[:, None]
    curvature = curvature + 2 * between @ produced_sizes.T
    curvature = curvature + torch.einsum("pi,sij,pj->sp", produced_sizes, of_produced, produced_sizes)
    k = slope.clamp(min=0) / curvature.clamp(min=torch.finfo(slope.dtype).tiny)
    return k, torch.where(conserved & (k * slope > _NOTHING), k * slope, -torch.inf)


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
    level = torch.arange(functions.space.largest + 1, dtype=torch.float64, device=learned.device)
    for number in range(1, len(level)):
        known = (columns == -number) & (size >= size.median())[functions.reaction]
        level[number] = learned[known].median() if known.any() else number * level[1]
    return level
