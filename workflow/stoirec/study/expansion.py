"""Expansion of a study into waves, and of a wave into fits."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoirec.config.bounds import MOST_FITS
from stoirec.config.fit import FitConfig
from stoirec.config.reading import parse
from stoirec.config.regime import load_regime
from stoirec.config.study import Stage, Study, load_study
from stoirec.errors import BadInput, from_file
from stoirec.study.identity import Fit, config_id, data_name, flatten, nested
from stoirec.study.plans import definition, plan_path, planned_fits, read_plan


@dataclass(frozen=True)
class Wave:
    """Fits that become known together: a stage, one batch of a search's proposals, or the evaluation.

    Attributes:
        name: of the stage; with `-<batch>` for a batch; `evaluation`.
        stage: None for the evaluation.
        batch: of a search, from 0.
        planned: its fits follow from the results of the waves before it, and stand in its plan.
    """

    name: str
    stage: Stage | None
    batch: int | None
    planned: bool


def waves(study: Study) -> list[Wave]:
    """The study's waves in order; none of a study without `select_by` has to wait for another."""
    found: list[Wave] = []
    for stage in study.stages:
        if stage.search:
            found += [Wave(f"{stage.name}-{batch}", stage, batch, True) for batch in range(len(stage.batch_sizes))]
        else:
            found.append(Wave(stage.name, stage, None, study.select_by is not None and bool(found)))
    if study.evaluation_seeds:
        found.append(Wave("evaluation", None, None, True))
    return found


def expand(path: str | Path) -> tuple[Study, list[Fit]]:
    """The study in `path` and the fits of the waves known by now, each once, in the study's order.

    Raises:
        BadInput: the study, its regime or one of its configurations is wrong; the key tells where.
    """
    study = load_study(path)
    fits: dict[str, Fit] = {}
    with from_file(path):
        check(study, path)
        for wave in waves(study):
            known = fits_of(study, wave, path)
            if known is None:
                break
            for fit in known:
                fits.setdefault(fit.fit_id, fit)
    return study, list(fits.values())


def fits_of(study: Study, wave: Wave, path: str | Path) -> list[Fit] | None:
    """A wave's fits, shared ones included; None if its plan is missing, or that of an earlier edition of the study."""
    stage = wave.stage
    if not wave.planned:
        networks, seeds = stage.network_seeds or study.network_seeds, training_seeds(study, stage)
        return fits_around(study, flatten(study.base), grid(stage), seeds, networks, path, stage.regime)
    file = plan_path(study, wave.name)
    if not file.is_file():
        return None
    plan = read_plan(file)
    if plan.get("definition") != definition(study, stage):
        return None
    networks = study.network_seeds if stage else study.evaluation_seeds
    return planned_fits(plan, file, load_regime(study.regime).name, networks)


def data_sets(study: Study) -> dict[str, tuple[str, int]]:
    """Every data set the study may ask for: its regime's file and the network's master seed, by name."""
    asked = [(study.regime, seed) for seed in (*study.network_seeds, *study.evaluation_seeds)]
    for stage in study.stages:
        asked += [(stage.regime or study.regime, seed) for seed in stage.network_seeds or study.network_seeds]
    names = {file: load_regime(file).name for file in dict.fromkeys(file for file, _ in asked)}
    return {data_name(names[file], seed): (file, seed) for file, seed in asked}


# --- what a wave is made of -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A configuration to try: where the study asks for it, and what it sets over the base, with dotted keys."""

    stage: str
    variant: str
    overrides: dict[str, Any]


def grid(stage: Stage) -> list[Candidate]:
    """The product of a stage's grid for each of its variants."""
    return [
        Candidate(stage.name, variant, flatten(overrides) | flatten(dict(zip(stage.grid, values))))
        for variant, overrides in stage.variants.items()
        for values in itertools.product(*stage.grid.values())
    ]


def training_seeds(study: Study, stage: Stage | None) -> list[int] | None:
    """Seeds every configuration is trained with; None: the one it has. The evaluation has the last stage's."""
    return (stage or study.stages[-1]).seeds or study.seeds


def recovery_criterion(study: Study) -> str:
    """The metric the truth is asked by: the study's own criterion if it needs the truth, else entry_exact."""
    return "entry_exact" if study.select_by == "val_loss" else study.select_by


def fits_around(
    study: Study,
    base: dict[str, Any],
    candidates: list[Candidate],
    seeds: list[int] | None,
    network_seeds: list[int],
    path: str | Path,
    regime_file: str | None = None,
) -> list[Fit]:
    """Each candidate over `base` (dotted keys), with each training seed, on each network of the regime; each fit once.

    Raises:
        BadInput: a configuration is wrong; names `path`, stage and variant.
    """
    regime_file = regime_file or study.regime
    regime = load_regime(regime_file)
    fits: dict[str, Fit] = {}
    for candidate in candidates:
        for seed in seeds or [None]:
            chosen = base | candidate.overrides | ({} if seed is None else {"seed": seed})
            where = f"stage {candidate.stage}, variant {candidate.variant}: "
            config = parse(FitConfig, nested(chosen), path, prefix=where)
            if config.n_runs > regime.n_runs:
                allowed = f"1..{regime.n_runs} (n_runs of {regime_file})"
                raise BadInput(path, f"stage {candidate.stage}: n_runs", config.n_runs, allowed)
            identity = config_id(config)
            for network in network_seeds:
                data = data_name(regime.name, network)
                fit = Fit(data, identity, candidate.stage, candidate.variant, network, config)
                fits.setdefault(fit.fit_id, fit)
    return list(fits.values())


def check(study: Study, path: str | Path) -> None:
    """Refuse a study with a wrong key or value anywhere, before its first fit.

    Every stage must be possible around `base`.

    Raises:
        BadInput
    """
    _possible(study, path)
    base = flatten(study.base)
    for index, stage in enumerate(study.stages):
        for key, values in stage.grid.items():
            if not values:
                raise BadInput(path, f"stages.{index}.grid.{key}", "no values", "a list of at least one value")
        if study.select_by is None:
            continue  # its fits are all known, and checked as they are made
        candidates = grid(stage)
        for key, choice in stage.space.items():
            candidates += [Candidate(stage.name, "search", candidates[0].overrides | {key: end}) for end in choice.ends]
        fits_around(study, base, candidates, training_seeds(study, stage), [], path)
    compared = [Candidate("compare_with", name, flatten(overrides)) for name, overrides in study.compare_with.items()]
    fits_around(study, base, compared, None, [], path)


def _possible(study: Study, path: str | Path) -> None:
    """That there is a place for what it writes, that its fits are not too many, and the study beside it is one."""
    folder = Path(study.results_dir)
    for each in (folder, *folder.parents):
        if each.exists() and not each.is_dir():
            raise BadInput(path, "results_dir", folder, f"a folder: {each} is a file")
    if study.compare_study is not None:
        load_study(study.compare_study)
    for stage in study.stages:
        seeds, networks = training_seeds(study, stage) or [None], stage.network_seeds or study.network_seeds
        count = math.prod(map(len, (stage.variants, *stage.grid.values(), seeds, networks)))
        if count > MOST_FITS:
            raise BadInput(path, f"stage {stage.name}", f"{count:,} fits", f"at most {MOST_FITS:,}")
