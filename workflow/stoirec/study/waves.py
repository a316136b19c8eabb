"""What comes next in a staged study: the fits of a wave, from the results of the waves before it."""

from pathlib import Path
from typing import Any

import pandas as pd

from stoirec.config.study import Stage, Study
from stoirec.errors import BadInput
from stoirec.study.expansion import (
    Candidate,
    Wave,
    fits_around,
    fits_of,
    grid,
    recovery_criterion,
    training_seeds,
    waves,
)
from stoirec.study.identity import Fit, differing, flatten, recipe
from stoirec.study.plans import definition, listed, plan_path, read_plan
from stoirec.study.search import propose
from stoirec.study.selection import best, outcomes


def wave_of(study: Study, name: str, path: str | Path) -> Wave:
    """Raises BadInput if the study has no such wave, or it is no result of others."""
    found = {wave.name: wave for wave in waves(study) if wave.planned}
    if name not in found:
        raise BadInput(path, "wave", name, f"one that follows from others: {', '.join(found) or 'this study has none'}")
    return found[name]


def fits_before(study: Study, wave: Wave, path: str | Path) -> list[Fit]:
    """The fits a wave's plan follows from: all of the waves before it. Raises BadInput if one has no plan yet."""
    result: dict[str, Fit] = {}
    for earlier in waves(study):
        if earlier == wave:
            break
        for fit in _known(study, earlier, path):
            result.setdefault(fit.fit_id, fit)
    return list(result.values())


def _known(study: Study, wave: Wave, path: str | Path) -> list[Fit]:
    fits = fits_of(study, wave, path)
    if fits is None:
        allowed = f"the plan of the wave before (stoirec choose {path} --wave {wave.name})"
        raise BadInput(plan_path(study, wave.name), "file", "nothing", allowed)
    return fits


def decide(study: Study, wave: Wave, answers: pd.DataFrame, path: str | Path) -> dict[str, Any]:
    """The plan of a wave, ready for JSON.

    Args:
        answers: of all fits of the waves before, indexed by fit_id: status and the criteria of each fit's own answer.

    Returns:
        wave; definition: of plans.definition; base: what differs from the defaults; winners: how they were chosen, on
        what figures; fits: what to train; for a search proposals, the recipe of each.
    """
    if wave.stage is None:
        return _evaluation(study, answers, path)
    stage = wave.stage
    if wave.batch:  # all batches of a search stand around the base of the first
        base, winners = _planned_base(study, _of_stage(study, stage)[0]), []
    else:
        base, winners = _base(study, stage, answers, path)

    def trained(candidates: list[Candidate]) -> list[Fit]:
        return fits_around(study, base, candidates, training_seeds(study, stage), study.network_seeds, path)

    # the winner so far stays in the running, and is trained already
    before = [Candidate(stage.name, f"winner_of_{winner['stage']}", {}) for winner in winners]
    if not stage.search:
        return _plan(study, wave, base, winners, trained(before + grid(stage)))
    proposals = _proposals(study, wave, answers, path)
    plan = _plan(study, wave, base, winners, trained(before + proposals))
    return plan | {"proposals": [recipe(trained([proposal])[0].config) for proposal in proposals]}


def _plan(
    study: Study, wave: Wave, base: dict[str, Any], winners: list[dict[str, Any]], fits: list[Fit]
) -> dict[str, Any]:
    made_for = definition(study, wave.stage)
    return {"wave": wave.name, "definition": made_for, "base": base, "winners": winners, "fits": listed(fits)}


def _proposals(study: Study, wave: Wave, answers: pd.DataFrame, path: str | Path) -> list[Candidate]:
    """What a batch of a search tries, knowing the costs of the batches before."""
    stage, sizes = wave.stage, wave.stage.batch_sizes
    told = [_costs(study, batch, answers, path) for batch in _of_stage(study, stage)[: wave.batch]]
    proposed = propose(stage.space, told, sizes, stage.sampler_seed)
    (common,) = grid(stage)
    return [
        Candidate(stage.name, f"trial_{number:03d}", common.overrides | values)
        for number, values in enumerate(proposed, start=sum(sizes[: wave.batch]))
    ]


def _costs(study: Study, wave: Wave, answers: pd.DataFrame, path: str | Path) -> list[float]:
    """The cost of each proposal of a batch, in their order; equal ones share their fits."""
    score = outcomes(_known(study, wave, path), answers, study.select_by)["score"]
    plan = plan_path(study, wave.name)
    proposals = read_plan(plan)["proposals"]
    for proposal in proposals:
        if proposal not in score:
            raise BadInput(plan, "proposals", proposal, f"recipes of its fits: {', '.join(score.index)}")
    return [-float(score[proposal]) for proposal in proposals]


def _of_stage(study: Study, stage: Stage) -> list[Wave]:
    return [wave for wave in waves(study) if wave.stage == stage]


def _planned_base(study: Study, wave: Wave) -> dict[str, Any]:
    return read_plan(plan_path(study, wave.name))["base"] if wave.planned else flatten(study.base)


def _base(
    study: Study, stage: Stage, answers: pd.DataFrame, path: str | Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a stage stands around: the winner of the stage before it, or that one's base if all of it diverged."""
    index = study.stages.index(stage)
    if index == 0:
        return flatten(study.base), []
    last = study.stages[index - 1]
    before = _of_stage(study, last)
    fits = [fit for wave in before for fit in _known(study, wave, path)]
    winner = _winner(fits, answers, study.select_by, last.name)
    return (_planned_base(study, before[0]), []) if winner is None else (winner["config"], [winner])


def _winner(fits: list[Fit], answers: pd.DataFrame, criterion: str, stage: str) -> dict[str, Any] | None:
    chosen = best(fits, answers, criterion)
    if chosen is None:
        return None
    fit = next(fit for fit in fits if recipe(fit.config) == chosen)
    row = outcomes(fits, answers, criterion).loc[chosen]
    return {
        "stage": stage,
        "selected_by": criterion,
        "variant": fit.variant,
        "recipe": chosen,
        **{key: float(row[key]) for key in ("mean", "lowest", "highest")},
        **{key: int(row[key]) for key in ("n_fits", "n_diverged")},
        "config": differing(fit.config),
    }


def _evaluation(study: Study, answers: pd.DataFrame, path: str | Path) -> dict[str, Any]:
    """On held-out networks: the study's winners by val_loss and by recovery, and what they are compared with."""
    wave, seeds = waves(study)[-1], training_seeds(study, None)
    # stages with other training seeds were judged by other draws
    fits = [fit for fit in fits_before(study, wave, path) if seeds is None or fit.config.seed in seeds]

    def held_out(base: dict[str, Any], variant: str, overrides: dict[str, Any]) -> list[Fit]:
        candidate = Candidate("evaluation", variant, overrides)
        return fits_around(study, base, [candidate], seeds, study.evaluation_seeds, path)

    winners, result = [], []
    for criterion in dict.fromkeys((study.select_by, "val_loss", recovery_criterion(study))):
        winner = _winner(fits, answers, criterion, "all stages")
        if winner is not None:
            winners.append(winner)
            result += held_out(winner["config"], f"selected_by_{criterion}", {})
    for name, overrides in study.compare_with.items():
        result += held_out(flatten(study.base), name, flatten(overrides))
    return _plan(study, wave, {}, winners, result)
