"""What the columns of a reaction gain: how much more of dc/dt they explain, B of all others refitted beside them."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stoirec.refine.equations import Equations
from stoirec.refine.functions import ReactionColumns
from stoirec.refine.integers import decode
from stoirec.refine.others import Others
from stoirec.refine.state import State

_ANYTHING = 1e6  # times its variance: of a B that is taken for unknown
NOTHING = 1e-8  # a gain: less is rounding errors, about 1e-11


@dataclass(frozen=True)
class Gains:
    """Of all columns of reactions that have the same ones.

    Attributes:
        k: (reactions, D, O) best rate constants; gain: (reactions, D, O) what the columns gain there, both as
            ReactionColumns; -inf of a column that does not conserve or explains nothing.
        explained: (reactions, s, n), size: (reactions, s, n, n): by the sizes s of what drives it, B of its edges, b,
            explains 2 explained @ b - b @ size @ b.
    """

    k: Tensor
    gain: Tensor
    explained: Tensor
    size: Tensor

    def of(self, which: int | Tensor) -> "Gains":
        """Those of some of the reactions."""
        return Gains(self.k[which], self.gain[which], self.explained[which], self.size[which])


def gains(
    equations: Equations, state: State, others: Others, level: Tensor, reactions: Tensor, penalty: Tensor | None = None
) -> Gains:
    """What columns of reactions gain beside `others`, where `level` stands for |S| in the functions.

    With a `penalty` (reactions, D), at the present rate of each reaction, and less by that, where it is more.

    Args:
        reactions: that have the same columns.
    """
    sides = equations.functions.sides(int(reactions[0]))
    rate = rates_at(equations, state, others, level, reactions)
    explained, size = _unshared(*others.beside(reactions, rate))
    k, gain = _gains_of(sides, explained[:, :-1], size[:, :-1])
    if penalty is not None:
        one_rate = replace(sides, size_of=torch.zeros_like(sides.size_of))
        present_k, at_present = _gains_of(one_rate, explained[:, -1:], size[:, -1:])
        at_present = at_present - penalty[..., None]
        k, gain = torch.where(at_present > gain, present_k, k), torch.maximum(gain, at_present)
    return Gains(k, gain, explained[:, :-1], size[:, :-1])


def rates_at(equations: Equations, state: State, others: Others, level: Tensor, reactions: Tensor) -> Tensor:
    """(reactions, U + 1, windows) rates by the sizes, in ReactionColumns, of what drives them; then their own."""
    sides, windows = equations.functions.sides(int(reactions[0])), equations.windows
    rate = equations.functions.rates_of(reactions, state, at_level(level, sides.size), windows)
    rate = windows.over_nodes(others.share[reactions][:, None] * rate)
    return torch.cat([rate, others.rate[reactions][:, None]], dim=1)


def log_elsewhere(equations: Equations, state: State, level: Tensor, reactions: Tensor) -> Tensor | None:
    """(reactions, D) log probability that the functions do not hold for columns, but a reaction's present rate does.

    Where few columns say what the functions are at 2, they are not there yet what the reaction has come to; its sizes
    are likely near those of the column all the same. None where columns may have zeros: the present rate may be driven
    by what a column leaves out.
    """
    functions, sides = equations.functions, equations.functions.sides(int(reactions[0]))
    if functions.allows_zero or (sides.size == 0).any():
        return None
    present = functions.size(state)[functions.edges_of(reactions)][:, None, sides.drives]
    judgement = equations.judgement
    far = (present / at_level(level, sides.size[sides.size_of])).log() / judgement.near
    return math.log(judgement.elsewhere) - far.square().log1p().sum(2)


def _unshared(explained: Tensor, size: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
    """What is said of B, as of Others.beside, at several rates of which the last is the present one.

    Two reactions that the same metabolites drive have rates that differ by what the functions are wrong in, and where
    both have an edge only the sum shows: at a rate that is shared an edge may have any B. Where the present one is,
    the others have explained the edge's row, and what is left of it speaks for no other rate either.
    """
    which = torch.nonzero(shared.any(2).any(1))[:, 0]
    if not len(which):
        return explained, size
    own, its_size, is_shared = explained[which], size[which], shared[which]
    own = torch.where(is_shared[:, -1:] & ~is_shared, 0.0, own)
    variance = torch.where(is_shared, _ANYTHING / its_size.diagonal(dim1=2, dim2=3), 0.0)
    inner = torch.eye(size.shape[2], dtype=size.dtype, device=size.device) + its_size * variance[:, :, None]
    found = torch.linalg.solve(inner, torch.cat([own[..., None], its_size], dim=3))
    return explained.index_copy(0, which, found[..., 0]), size.index_copy(0, which, found[..., 1:])


def _gains_of(sides: ReactionColumns, explained: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """(reactions, D, O) best k and gain of columns, from what reactions can explain, as of Gains."""
    drives, driving, others, own = sides.drives, sides.driving, sides.others, sides.size_of
    slope = (driving * explained[..., drives][:, own]).sum(2, keepdim=True)
    slope = slope + (explained[..., ~drives] @ others.T)[:, own]
    of_driving, of_others = size[:, :, drives][..., drives], size[:, :, ~drives][..., ~drives]
    between = torch.einsum("si,gsij->gsj", driving, size[:, :, drives][..., ~drives][:, own])
    curvature = torch.einsum("si,gsij,sj->gs", driving, of_driving[:, own], driving)[..., None]
    curvature = curvature + 2 * between @ others.T
    curvature = curvature + torch.einsum("pi,gsij,pj->gsp", others, of_others, others)[:, own]
    # where the others can do all that a column does, rounding errors are left of it
    k = torch.where(curvature > 0, slope.clamp(min=0) / curvature.clamp(min=torch.finfo(slope.dtype).tiny), 0.0)
    return k, torch.where(sides.conserved & (k * slope > NOTHING), k * slope, -torch.inf)


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

    Of a number that no column has, that number times what stands for 1; the numbers where the law fixes sizes.
    """
    functions = equations.functions
    if not functions.learns_sizes:
        return torch.arange(functions.space.largest + 1, dtype=torch.float64, device=state.log_k.device)
    size = torch.zeros_like(state.log_k).index_add_(0, functions.reaction, state.linear.abs())
    learned, columns = functions.relaxed_size(state)[0], decode(equations, state)
    drives = torch.zeros_like(functions.sign, dtype=torch.bool).index_fill(0, functions.substrates, True)
    level = torch.arange(functions.space.largest + 1, dtype=torch.float64, device=learned.device)
    for number in range(1, len(level)):
        known = drives & (columns.abs() == number) & (size >= size.median())[functions.reaction]
        level[number] = learned[known].median() if known.any() else number * level[1]
        # on networks of the default kind 2 is 1.7 to 2.6 times as large: if far less, the columns are mistaken
        if level[number] < equations.judgement.apart * level[number - 1]:
            level[number] = number * level[1]
    return level
