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
from stoirec.refine.integers import decode
from stoirec.refine.state import State

LISTED = 5  # columns of a reaction that are kept, the likeliest
# probability from which a reaction is tied to its likeliest column: of those at 0.9 some are wrong, and a few spoil all
CLEAR = 0.99
UNCHANGED = 0.25  # largest change of an |S| in a column that stays what it was
ALIKE = 32.0  # residuals that say as much as one: neighbouring frames share their errors
# of the square of a rate: what is left beside the other rates of its row is not less, or its k would be anything
_BESIDE = 1e-6
_NOTHING = 1e-8  # a gain: less is rounding errors, about 1e-11
_NOISE = 1e-9  # mean squared residual of a row, at least
_RIDGE = 1e-9  # of the squares of an unknown's effects: rates of one row may be the same


@dataclass(frozen=True)
class Evidence:
    """Over all columns of each reaction, by their probabilities.

    Attributes:
        probability: (E,) that the coefficient is not 0.
        linear: (E,) B of the mean column and the mean log10 rate constant.
        log_k: (R,) mean log10 rate constant.
        columns: (LISTED, E) the likeliest columns, integers, likeliest first. Of a reaction that no column explains
            the first is B / k, and the others are 0.
        chances: (LISTED, R) their probabilities.
        column_log_k: (R,) log10 of the likeliest column's rate constant.
        unit: what stands for an |S| of 1 in the functions.
    """

    probability: Tensor
    linear: Tensor
    log_k: Tensor
    columns: Tensor
    chances: Tensor
    column_log_k: Tensor
    unit: Tensor

    @property
    def column(self) -> Tensor:
        """(E,) the likeliest column."""
        return self.columns[0]

    @property
    def certainty(self) -> Tensor:
        """(R,) probability of the likeliest column."""
        return self.chances[0]


def weigh(equations: Equations, state: State, alike: float = ALIKE) -> Evidence:
    """The evidence for the columns of all reactions, at a `state` with real |S| in the functions.

    First with no reaction tied, which is cautious; then with those tied whose column is clear even so. Wrong columns
    that are tied together speak for each other: a tie counts only while it stands without the others.
    """
    alone = weigh_beside(equations, replace(state, tied=None), alike)
    if state.tied is None:
        return alone
    size = state.linear.abs() / 10 ** (state.log_k[equations.reaction]) / alone.unit
    stands = by_reaction(equations, (alone.column.abs() - size).abs(), "max") < UNCHANGED
    return weigh_beside(equations, replace(state, tied=state.tied & stands & (alone.certainty > CLEAR)), alike)


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
    for reaction in range(graph.n_reactions):
        edges = graph.edges_of(reaction)
        sign = functions.sign[edges]
        consumed = sign < 0
        consumed_sizes, produced_sizes, _ = functions.sides(reaction)
        k, gain = gains(equations, state, others, level, reaction)
        if not gain.numel() or gain.max() == -torch.inf:
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
        left, right = likeliest.indices // len(produced_sizes), likeliest.indices % len(produced_sizes)
        chances[: len(left), reaction] = likeliest.values
        column_log_k[reaction] = k.flatten()[likeliest.indices[0]].log10()
        own = sign.new_zeros(LISTED, len(sign))
        own[: len(left), consumed], own[: len(left), ~consumed] = consumed_sizes[left], produced_sizes[right]
        columns[:, edges] = torch.where(chances[:, reaction, None] > 0, sign * own, 0.0)
    return Evidence(probability, linear, log_k, columns, chances, column_log_k, level[1])


def gains(equations: Equations, state: State, others: "Others", level: Tensor, reaction: int) -> tuple[Tensor, Tensor]:
    """Best k and gain of a reaction's columns beside `others`: (consumed sides, produced sides), as Functions.sides.

    The gain is -inf where a column does not conserve or explains nothing. `level` stands for the |S| of 0, 1, ... in
    the functions.
    """
    functions, windows = equations.functions, equations.windows
    edges = equations.graph.edges_of(reaction)
    consumed = functions.sign[edges] < 0
    consumed_sizes, produced_sizes, conserved = functions.sides(reaction)
    if not len(consumed_sizes) or not len(produced_sizes):
        nothing = level.new_zeros(len(consumed_sizes), len(produced_sizes))
        return nothing, nothing
    sizes = level.new_zeros(len(consumed_sizes), len(consumed))
    sizes[:, consumed] = _at(level, consumed_sizes)
    rate = others.share[reaction] * functions.rates_of(reaction, state, sizes, windows)
    explained, size = others.beside(reaction, rate @ windows.weight)
    slope = (consumed_sizes * explained[:, consumed]).sum(1)[:, None] + explained[:, ~consumed] @ produced_sizes.T
    of_consumed, of_produced = size[:, consumed][:, :, consumed], size[:, ~consumed][:, :, ~consumed]
    between = torch.einsum("si,sij->sj", consumed_sizes, size[:, consumed][:, :, ~consumed])
    curvature = torch.einsum("si,sij,sj->s", consumed_sizes, of_consumed, consumed_sizes)[:, None]
    curvature = curvature + 2 * between @ produced_sizes.T
    curvature = curvature + torch.einsum("pi,sij,pj->sp", produced_sizes, of_produced, produced_sizes)
    k = slope.clamp(min=0) / curvature.clamp(min=torch.finfo(slope.dtype).tiny)
    return k, torch.where(conserved & (k * slope > _NOTHING), k * slope, -torch.inf)


def _at(level: Tensor, sizes: Tensor) -> Tensor:
    """What stands for `sizes` in the functions; between whole numbers, for known fractional ones, on the line."""
    below = sizes.floor()
    return torch.lerp(level[below.long()], level[sizes.ceil().long()], sizes - below)


class Others:
    """The linear least-squares problem of all B at `state`, from which one reaction at a time is taken out.

    Its unknowns are the B of every edge that is not 0, and one factor for every tied reaction.
    """

    def __init__(self, equations: Equations, state: State) -> None:
        functions, windows = equations.functions, equations.windows
        rates = functions.rates(state, windows)
        residual = equations.predicted(rates, state.linear, windows) - windows.dcdt.T
        weight = (residual.square().mean(1) + _NOISE).rsqrt()
        self.functions, self.linear = functions, state.linear
        self.edges_of = equations.graph.edges_of
        kept = equations.kept(rates, state.linear, windows)
        self.share = kept / rates  # (R, windows, nodes) what a limiter leaves of each reaction
        self.rate = kept @ windows.weight
        self.left = -weight[:, None] * residual  # (M, windows)
        self.scale = weight / windows.scale  # (M,) a row's residuals per unit of dc/dt

        # (E,) the unknown that an edge moves with: its own, or its tied reaction's; -1 at 0
        tied = (
            torch.zeros_like(functions.sign, dtype=torch.bool) if state.tied is None else state.tied[functions.reaction]
        )
        own = torch.arange(len(tied), device=tied.device)
        moved_by = torch.where(tied, len(tied) + functions.reaction, own)
        moves = state.linear != 0
        unknowns, position = moved_by[moves].unique(return_inverse=True)
        self.unknown = torch.full_like(own, -1).index_put((own[moves],), position)
        amount = torch.where(tied, state.linear, 1.0)

        self.rows = []  # by metabolite: unknowns, and their effects (n, windows) on its residuals
        square = self.linear.new_zeros(len(unknowns))
        for metabolite, edges in enumerate(functions.edges_of_metabolite):
            edges = edges[moves[edges]]
            effect = self.scale[metabolite] * amount[edges, None] * self.rate[functions.reaction[edges]]
            self.rows.append((self.unknown[edges], effect))
            square.index_add_(0, self.unknown[edges], effect.square().sum(1))
        size = square.clamp(min=torch.finfo(square.dtype).tiny).sqrt()
        self.rows = [(unknown, effect / size[unknown, None]) for unknown, effect in self.rows]
        normal = torch.diag(torch.full_like(size, _RIDGE))
        self.right = torch.zeros_like(size)
        for (unknown, effect), left in zip(self.rows, self.left):
            normal[unknown[:, None], unknown] += effect @ effect.T
            self.right.index_add_(0, unknown, effect @ left)
        self.inverse = torch.linalg.inv(normal)

    def beside(self, reaction: int, rate: Tensor) -> tuple[Tensor, Tensor]:
        """What `rate` (columns, windows) of a reaction says of its B, the B of all others refitted without it.

        Returns:
            explained: (columns, n) P x_e times P y for each of its n edges e, per unit of B, signs taken off.
            size: (columns, n, n) P x_d times P x_e.
        """
        edges = self.edges_of(reaction)
        metabolites = self.functions.metabolite[edges]
        scale = self.functions.sign[edges] * self.scale[metabolites]
        target = self.left[metabolites] + self.scale[metabolites, None] * self.linear[edges, None] * self.rate[reaction]
        rows = [self.rows[metabolite] for metabolite in metabolites.tolist()]

        own = self.unknown[edges]
        own = own[own >= 0].unique()
        near = torch.cat([unknown for unknown, _ in rows]).unique()
        near = near[~torch.isin(near, own)]  # the unknowns beside it in its rows; those elsewhere are refitted too
        effect = rate.new_zeros(len(rows), len(near), rate.shape[1])
        right = self.right.clone()
        for place, (unknown, by) in enumerate(rows):
            right.index_add_(0, unknown, by @ (target[place] - self.left[metabolites[place]]))
            kept = torch.isin(unknown, near)
            effect[place, torch.searchsorted(near, unknown[kept])] = by[kept]
        right[own] = 0.0
        through = self.inverse[near][:, own] @ torch.linalg.inv(self.inverse[own][:, own])
        inverse = self.inverse[near][:, near] - through @ self.inverse[own][:, near]
        refitted = self.inverse[near] @ right - through @ (self.inverse[own] @ right)

        absorbed = scale[:, None] * torch.einsum("cw,nuw->cnu", rate, effect)
        explained = scale * (rate @ target.T) - absorbed @ refitted
        square = torch.diag_embed(rate.square().sum(1)[:, None] * scale**2)
        size = square * (1 + _BESIDE) - absorbed @ inverse @ absorbed.transpose(1, 2)
        return explained, size


def by_reaction(equations: Equations, values: Tensor, reduce: str) -> Tensor:
    """(R,) from (E,)."""
    return torch.segment_reduce(
        values, reduce, offsets=torch.as_tensor(equations.graph.reaction_ptr, device=values.device)
    )


def levels(equations: Equations, state: State) -> Tensor:
    """(largest + 1,) what stands for 0, 1, ... in the functions: median learned |S| in the faster half of reactions."""
    functions = equations.functions
    size = torch.zeros_like(state.log_k).index_add_(0, functions.reaction, state.linear.abs())
    learned, columns = functions.relaxed_size(state)[0], decode(equations, state)
    level = torch.arange(functions.space.largest + 1, dtype=torch.float64, device=learned.device)
    for number in range(1, len(level)):
        known = (columns == -number) & (size >= size.median())[functions.reaction]
        if known.any():
            level[number] = learned[known].median()
    return level
