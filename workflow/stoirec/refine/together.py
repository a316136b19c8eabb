"""Columns of all reactions, chosen together.

Evidence weighs the columns of one reaction beside others that may still be anything. Once all reactions are tied, that
is too cautious: two reactions that each may be what the other is not can both take the wrong column. Here every
reaction moves along the column it has, at fixed functions, and columns change

    one at a time   to that which leaves the least beside the others, until none does: coordinate descent on integers
    in groups       where nothing changes any more and something is left: reactions that share a metabolite lose their
                    columns, and get new ones in the order of what these explain. Reactions in a cycle that hold each
                    other's columns, or mend each other's faults, are not undone one by one. Nor is one that holds the
                    column of another, which is left with nothing: fluxes know reactions by their substrates alone, so
                    both have to change
"""

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from stoirec.refine.equations import Equations
from stoirec.refine.evidence import Evidence
from stoirec.refine.frequencies import SizeCounts, sizes_of
from stoirec.refine.gains import at_level, by_reaction, gains, levels
from stoirec.refine.opposite import joined
from stoirec.refine.others import Others
from stoirec.refine.state import State
from stoirec.refine.subsets import best_subsets

_SURE = 1 - 1e-6  # chance from which a reaction's column is not looked at again by itself
_SWEEPS = 10  # over the reactions that are not sure, at most
_WORST = 5  # metabolites of which each two make a group
_FACTOR = 10.0  # on a rate constant, refitted, at most
_SAME = 1e-9  # of what is left: a change that gains less is rounding


def chosen_together(equations: Equations, state: State, evidence: Evidence) -> tuple[Tensor, Tensor]:
    """(E,) integer columns and (R,) log10 rate constants that leave least together, as far as single changes lead.

    They start from the likeliest columns and, where all reactions are tied in `state`, from those as well. Of reactions
    that are outside their space B is fitted.
    """
    starts = [_Columns(equations, state, evidence, *_likeliest(equations, state, evidence))]
    held = None
    if state.committed:
        held = _Columns(equations, state, evidence, *_held(equations, state, evidence))
        starts.append(copy(held))
    unsure = torch.nonzero((evidence.chances[0] < _SURE) & ~state.is_outside)[:, 0]
    order = unsure[evidence.chances[0, unsure].argsort(stable=True)].tolist()
    found = min((start.settled(order) for start in starts), key=lambda end: end.objective)
    if held is not None and not found.leaves_less_than(held):
        found = held
    # an exchange, of which no column is weighed, stays as it was
    return found.column, torch.where(evidence.chances[0] > 0, found.log_k, evidence.column_log_k)


def regrouped(equations: Equations, state: State, evidence: Evidence) -> tuple[Tensor, Tensor, Tensor]:
    """The same from the columns that all reactions are tied to in `state`, by changes in groups that leave less.

    Five kinds of changes are tried, the next where none of one kind leaves less: a reaction outside its space, and
    those that have lost their columns, get new ones (a real column may be that of two reactions as one); a column goes
    to a reaction that has lost its own and can hold it; coefficients of one of the metabolites that are explained worst
    change in a few reactions at once; reactions of one metabolite that are not sure get new columns; so do all
    reactions of two of the metabolites that are explained worst, and those that have lost their columns.

    Returns:
        (E,) columns and (R,) log10 rate constants, as before, and (R,) bool, which reactions are still outside.
    """
    inside = ~state.is_outside
    unsure, lost = (
        set(torch.nonzero((evidence.chances[0] < bound) & inside)[:, 0].tolist())
        for bound in (_SURE, equations.judgement.lost)
    )
    found = _Columns(equations, state, evidence, *_held(equations, state, evidence))
    of_one = {tuple(sorted(found.reactions_of([i]) & unsure)) for i in range(equations.graph.n_metabolites)}
    worst = found.worst_explained(_WORST)
    of_two = (found.reactions_of(pair) | lost for pair in itertools.combinations(worst, 2))
    kinds = (
        [partial(_regiven, group=[one, *sorted(lost)]) for one in torch.nonzero(~inside)[:, 0].tolist() if lost],
        [
            partial(_given, holder=holder, owner=owner, column=column)
            for owner in sorted(lost)
            for holder, column in found.that_fit(owner)
        ],
        (partial(_changed, changes=changes) for metabolite in worst for changes in found.few_changes(metabolite)),
        [partial(_regiven, group=group) for group in sorted(of_one) if len(group) > 1],
        [partial(_regiven, group=sorted(group)) for group in of_two],
    )
    for changes in kinds:
        before = found
        for change in changes:
            trial = change(copy(found))
            if trial.leaves_less_than(found):
                found = trial
        if found is not before:
            break
    return found.column, found.log_k, ~found.state.tied


def _changed(columns: "_Columns", changes: Sequence[tuple[int, Tensor]]) -> "_Columns":
    """Other columns for a few reactions, at the same rate constants."""
    for reaction, column in changes:
        for own in columns.in_both_directions(reaction, column):
            columns.give(*own)
    return columns.settled([reaction for reaction, _ in changes])


def _given(columns: "_Columns", holder: int, owner: int, column: Tensor) -> "_Columns":
    """The column of one reaction in another, on whose edges it is `column` (n,); the first one gets a new one."""
    columns.give(owner, column, columns.log_k[holder])
    return columns.refilled([holder]).settled([holder, owner])


def _regiven(columns: "_Columns", group: Sequence[int]) -> "_Columns":
    """New columns for a group."""
    return columns.refilled(group).settled(group)


def _likeliest(equations: Equations, state: State, evidence: Evidence) -> tuple[Tensor, Tensor]:
    """The likeliest columns and their log10 rate constants; of reactions outside their space what they are."""
    outside, log_k = state.is_outside, state.log_k + evidence.unit.log10()
    real = state.linear / 10 ** log_k[equations.reaction]
    return (
        torch.where(outside[equations.reaction], real, evidence.column),
        torch.where(outside, log_k, evidence.column_log_k),
    )


def _held(equations: Equations, state: State, evidence: Evidence) -> tuple[Tensor, Tensor]:
    """The columns and log10 rate constants of a `state` whose reactions are all tied; else the likeliest.

    What stands for 1 in the functions changes a little from round to round, and what is held with it.
    """
    column, likeliest_log_k = _likeliest(equations, state, evidence)
    log_k = state.log_k + evidence.unit.log10()
    real = state.linear / 10 ** log_k[equations.reaction]
    whole = (
        by_reaction(equations, (real - real.round()).abs(), "max") < equations.judgement.unchanged
    ) & ~state.is_outside
    return (
        torch.where(whole[equations.reaction], real.round(), column),
        torch.where(whole, log_k, likeliest_log_k),
    )


class _Columns:
    """A column for every reaction, B along it, and what they leave of dc/dt.

    Attributes:
        column: (E,) integers, real in reactions outside their space; log_k: (R,) log10 rate constants.
        stands: (R,) bool, reactions that would run backward.
        unexplained: weighted sum of squared residuals, all rate constants refitted.
    """

    def __init__(self, equations: Equations, state: State, evidence: Evidence, column: Tensor, log_k: Tensor) -> None:
        self.equations, self.column, self.log_k = equations, column, log_k
        self.alike = equations.judgement.alike
        self.counts, self.log_frequency = SizeCounts(equations.functions), evidence.log_frequency
        self.log_prior, self.log_average = (
            of(self.log_frequency) for of in (self.counts.log_prior, self.counts.log_average)
        )
        as_it_is = Others(equations, state)
        self.level, self.weight, self.share = levels(equations, state), as_it_is.weight, as_it_is.share
        self.state = replace(state, tied=~state.is_outside)
        sizes = replace(self.state, integers=torch.sign(column) * at_level(self.level, column.abs()))
        self.rates = equations.functions.rates(sizes, equations.windows)
        self._others: Others | None = None
        self._like: Others | None = None
        self.unexplained = self._refit()

    def settled(self, order: Sequence[int]) -> "_Columns":
        """These, after every reaction of `order` has, in turn, the column that leaves the least beside the others.

        One that runs backward has its column with the other sign.
        """
        for _ in range(_SWEEPS):
            before = self.objective
            for directions in self._directions(order):
                # a reaction is taken out of the problem of all, two at once are not
                others = self._beside(directions) if len(directions) > 1 else self._all()
                best = self._best(directions, others)
                for own in () if best is None else best[1]:
                    self.give(*own)
            self.unexplained = self._refit()
            if before - self.objective < _SAME * self.unexplained:
                break
        return self

    @property
    def objective(self) -> float:
        """What is unexplained, and as much as the columns were unlikely before any data."""
        entries = by_reaction(self.equations, self._log_frequencies(self.column), "sum") - self.log_average
        chosen = self.state.tied & (by_reaction(self.equations, self.column.abs(), "max") > 0)
        return self.unexplained - 2 * self.alike * float(entries[chosen].sum())

    def leaves_less_than(self, other: "_Columns") -> bool:
        """By more than as many residuals as say as much as one: a smaller difference would come and go with noise.

        A reaction that these have inside its space may leave more: none of its columns was unlikely before any data.
        """
        none_right = self.equations.judgement.none_right
        n_inside = int((self.state.tied & ~other.state.tied).sum())
        return self.objective < other.objective - self.alike * (1 + 2 * math.log(none_right) * n_inside)

    def refilled(self, group: Sequence[int]) -> "_Columns":
        """These with new columns for a group of reactions: that which explains most comes first, and so on.

        All of them are then inside their space. A gain is looked at again only when it would be the largest: others
        that came before it made it smaller.
        """
        units = self._directions(group)
        group = [reaction for directions in units for reaction in directions]
        self.state = replace(self.state, tied=self.state.tied.index_fill(0, self.column.new_tensor(group).long(), True))
        others = self._beside(group)
        found = ((self._best(directions, others), directions) for directions in units)
        waiting = [(-best[0], directions) for best, directions in found if best is not None]
        of_group = torch.isin(self.equations.reaction, torch.tensor(group, device=self.column.device))
        self.column, self._others = torch.where(of_group, 0.0, self.column), None
        heapq.heapify(waiting)
        while waiting:
            _, directions = heapq.heappop(waiting)
            best = self._best(directions, others)
            if best is None:
                continue
            if waiting and -best[0] > waiting[0][0]:
                heapq.heappush(waiting, (-best[0], directions))
                continue
            for own in best[1]:
                self.give(*own)
            others = self._beside([])
        self.unexplained = self._refit()
        return self

    def that_fit(self, owner: int) -> Iterator[tuple[int, Tensor]]:
        """Other reactions whose column another one has the candidate edges for, and that column on its edges (n,)."""
        graph, space = self.equations.graph, self.equations.functions.space
        edges = graph.edges_of(owner)
        place = {
            (int(metabolite), sign): i
            for i, (metabolite, own) in enumerate(zip(graph.edge_metabolite[edges], space.sign[edges]))
            for sign in ((-1, 1) if own == 0 else (int(own),))
        }
        partner = self.equations.functions.partner
        for holder in range(graph.n_reactions) if owner not in partner else ():
            of = graph.edges_of(holder)
            real = of.start + torch.nonzero(self.column[of])[:, 0]
            signs = torch.sign(self.column[real]).int().tolist()
            keys = list(zip(graph.edge_metabolite[real.cpu().numpy()].tolist(), signs))
            may = holder != owner and holder not in partner
            if self.state.tied[holder] and may and keys and place.keys() >= set(keys):
                at = torch.tensor([place[key] for key in keys], device=real.device)
                yield holder, self.column.new_zeros(edges.stop - edges.start).index_copy(0, at, self.column[real])

    def few_changes(self, metabolite: int) -> list[list[tuple[int, Tensor]]]:
        """By number of reactions, from 2: those whose changes leave least, and their new columns (n,).

        Coefficients of one metabolite change, and of others as few as have to; rate constants are refitted beside them.
        """
        forward = {directions[0] for directions in self._directions(sorted(self.reactions_of([metabolite])))}
        changes = [(one, column) for one in sorted(forward) for column in self._near(one, metabolite)]
        if not changes:
            return []
        others = self._beside([])
        effect = torch.stack([self._effect(others, *change) for change in changes])
        on_unknowns = others.on_unknowns(effect)
        refitted = on_unknowns @ others.inverse
        slope = effect.flatten(1) @ others.left.flatten() - refitted @ others.right
        gram = effect.flatten(1) @ effect.flatten(1).T - refitted @ on_unknowns.T
        prior = torch.stack(
            [(self._log_frequencies(column) - self._log_frequencies(self._own(one))).sum() for one, column in changes]
        )
        group = torch.tensor([one for one, _ in changes], device=slope.device)
        return [[changes[i] for i in subset] for subset in best_subsets(slope + self.alike * prior, gram, group)]

    def _near(self, reaction: int, metabolite: int) -> Tensor:
        """(columns, n) other columns of a reaction, with another coefficient of a metabolite, that differ least."""
        sides = self.equations.functions.sides(reaction)
        columns = sides.columns(torch.nonzero(sides.conserved.flatten())[:, 0])
        differs = columns != self._own(reaction)
        at = self.equations.metabolite[self.equations.graph.edges_of(reaction)] == metabolite
        number = torch.where(differs[:, at].any(1), differs.sum(1), differs.shape[1] + 1)
        return columns[(number == number.min()) & (number <= differs.shape[1])] if len(columns) else columns

    def _effect(self, others: Others, reaction: int, column: Tensor) -> Tensor:
        """(M, windows) what another column (n,) of a reaction at its rate constants adds to the weighted residuals."""
        trial, windows, found = copy(self), self.equations.windows, torch.zeros_like(others.left)
        for own, its, log_k in self.in_both_directions(reaction, column):
            trial.give(own, its, log_k)
            after, before = (windows.over_nodes(self.share[own] * one.rates[own]) for one in (trial, self))
            change = 10**log_k * (its[:, None] * after - self._own(own)[:, None] * before)
            metabolites = self.equations.metabolite[self.equations.graph.edges_of(own)]
            found = found.index_add(0, metabolites, others.scale[metabolites, None] * change)
        return found

    def _own(self, reaction: int) -> Tensor:
        return self.column[self.equations.graph.edges_of(reaction)]

    def _log_frequencies(self, column: Tensor) -> Tensor:
        return self.log_frequency[sizes_of(column, len(self.log_frequency))]

    def worst_explained(self, number: int) -> list[int]:
        """Metabolites of which most is left, worst first."""
        return self._beside([]).unexplained().argsort(descending=True)[:number].tolist()

    def reactions_of(self, metabolites: Sequence[int]) -> set[int]:
        """Reactions with one of these in their columns."""
        equations = self.equations
        own = torch.isin(equations.metabolite, torch.tensor(metabolites, device=self.column.device))
        own &= self.state.tied[equations.reaction]
        return set(equations.reaction[own & (self.column != 0)].tolist())

    def _all(self) -> Others:
        """The problem of all that run, as long as no column changes: rate constants do not matter to it."""
        if self._others is None:
            self._others = self._beside([])
        return self._others

    def _beside(self, without: Sequence[int]) -> Others:
        """The problem of the columns of all reactions that run, but some."""
        reaction = self.equations.reaction
        emptied = torch.isin(reaction, torch.tensor(without, dtype=torch.int64, device=reaction.device))
        emptied |= self.stands[reaction]
        linear = torch.where(emptied, 0.0, self.column * 10 ** self.log_k[reaction])
        state = replace(self.state, linear=linear)
        self._like = Others(self.equations, state, self.rates, self.share, self.weight, self._like)
        return self._like

    def _directions(self, reactions: Sequence[int]) -> list[tuple[int, ...]]:
        """`reactions`, each with the one that runs the other way."""
        partner = self.equations.functions.partner
        pairs = ((one, partner[one]) if one in partner else (one,) for one in reactions)
        return list(dict.fromkeys(tuple(sorted(pair)) for pair in pairs))

    def in_both_directions(self, reaction: int, column: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """A reaction with another column (n,), and the one that runs the other way; with their rate constants."""
        found = [(reaction, column, self.log_k[reaction])]
        partner = self.equations.functions.partner.get(reaction)
        return found if partner is None else [*found, (partner, -column, self.log_k[partner])]

    def _best(
        self, directions: tuple[int, ...], others: Others
    ) -> tuple[float, list[tuple[int, Tensor, Tensor]]] | None:
        """What the best column of a reaction gains; its directions, with columns (n,) and log10 rate constants.

        None if none gains.
        """
        functions = self.equations.functions
        if not all(functions.sides(reaction).conserved.numel() for reaction in directions):
            return None
        each = torch.tensor(directions, device=self.column.device)[:, None]
        found = [gains(self.equations, self.state, others, self.level, reactions).of(0) for reactions in each]
        if len(directions) == 2:
            pair = directions if directions in functions.reversals else directions[::-1]
            forward, backward = (found[directions.index(reaction)] for reaction in pair)
            both = joined(self.equations, self.state, others, self.level, pair, (forward, backward))
            directions, found = pair, list(both)
        if found[0].gain.max() == -torch.inf:
            return None
        first = torch.tensor(directions[:1], device=self.column.device)
        gain = found[0].gain + 2 * self.alike * self.counts.of(first, self.log_prior)[0]
        best = gain.argmax()
        places = [best] if len(directions) == 1 else [best, functions.mirrored(*directions)[best]]
        return float(gain.max()), [
            (reaction, functions.sides(reaction).columns(at), own.k.flatten()[at].log10())
            for reaction, own, at in zip(directions, found, places)
        ]

    def give(self, reaction: int, column: Tensor, log_k: Tensor) -> None:
        """Change the column of a reaction; what was shared with a copy is copied."""
        functions, edges = self.equations.functions, self.equations.graph.edges_of(reaction)
        if self.stands[reaction] or not torch.equal(column, self.column[edges]):
            self._others = None
        at = torch.arange(edges.start, edges.stop, device=column.device)
        self.column = self.column.index_copy(0, at, column)
        which = torch.tensor(reaction, device=column.device)
        self.log_k, self.stands = self.log_k.index_fill(0, which, float(log_k)), self.stands.index_fill(0, which, False)
        drives = functions.sides(reaction).drives
        sizes = at_level(self.level, functions.sizes(column, edges)[drives])[None]
        self.rates, own = self.rates.clone(), torch.tensor([reaction], device=column.device)
        self.rates[reaction] = functions.rates_of(own, self.state, sizes, self.equations.windows)[0, 0]

    def _refit(self) -> float:
        """All rate constants refitted, none below 0, and columns outside their space; what is left then.

        A reaction that would run backward does not run: what it explains like that speaks for no column. Which do not
        is found by exchanging all that should and should not at once (block principal pivoting; Portugal, Judice and
        Vicente 1994, Math. Comput. 63, 625).
        """
        reaction = self.equations.reaction
        self.stands = torch.zeros_like(self.state.tied)
        for _ in range(_SWEEPS):
            others = self._others = self._beside([])
            factor = self._factors(others)
            wrong = torch.where(self.stands, self._pull(others) > 0, factor < 0)
            if not wrong.any():
                break
            self.stands, self._others = self.stands ^ wrong, None
        real = others.refitted() / 10 ** self.log_k[reaction]
        self.column = torch.where(self.state.tied[reaction], self.column, real)
        factor = torch.where(self.stands, 0.0, factor)
        self.log_k = self.log_k + factor.clamp(1 / _FACTOR, _FACTOR).log10()
        return float(others.unexplained().sum())

    def _factors(self, others: Others) -> Tensor:
        """(R,) on the rate constants of reactions inside their space that run, refitted; 1 of others."""
        nothing, before = torch.zeros_like(self.log_k), others.linear
        along = nothing.index_add(0, self.equations.reaction, others.refitted() * before)
        size = nothing.index_add(0, self.equations.reaction, before.square())
        runs = (size > 0) & self.state.tied
        return torch.where(runs, along / size.clamp(min=torch.finfo(size.dtype).tiny), 1.0)

    def _pull(self, others: Others) -> Tensor:
        """(R,) above 0 where more is explained if a reaction that stands runs a little."""
        metabolite = self.equations.metabolite
        of_edge = (others.residual()[metabolite] * others.rate[self.equations.reaction]).sum(1)
        of_edge = of_edge * others.scale[metabolite] * self.column
        return torch.zeros_like(self.log_k).index_add(0, self.equations.reaction, of_edge)
