"""Expansion of a study into fits.

A fit's identity is its data set and its resolved configuration, nothing else: studies that ask for the same fit
share it, and a study that grows trains only what is new.
"""

import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoirec.config.fit import MEANING, FitConfig
from stoirec.config.reading import parse
from stoirec.config.regime import load_regime
from stoirec.config.study import Stage, Study, load_study
from stoirec.errors import BadInput


@dataclass(frozen=True)
class Fit:
    """One training job of a study.

    Attributes:
        data: name of the data set, `<regime>-seed<network seed>`.
        config_id: readable and unique name of the configuration.
        stage, variant: where the study asks for it first.
        network_seed: master seed of the data set.
        config: resolved configuration.
    """

    data: str
    config_id: str
    stage: str
    variant: str
    network_seed: int
    config: FitConfig

    @property
    def fit_id(self) -> str:
        return f"{self.data}/{self.config_id}"


def flat(config: FitConfig) -> dict[str, Any]:
    """The configuration with dotted keys: graph_model.hidden_dim ..."""
    return flatten(config.model_dump())


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones: {a: {b: 1}} -> {a.b: 1}."""
    result = {}
    for key, value in content.items():
        result |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested ones: what FitConfig reads."""
    result: dict[str, Any] = {}
    for key, value in flatten(dotted).items():
        *parents, last = key.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return result


_DEFAULTS = flat(FitConfig())


def differing(config: FitConfig) -> dict[str, Any]:
    """What differs from the defaults, with dotted keys."""
    return {key: value for key, value in flat(config).items() if value != _DEFAULTS[key]}


def config_id(config: FitConfig) -> str:
    """What differs from the defaults, readable, and a hash of it: `batch_size~8+role_prior~True-1f2e3d4c5b`.

    A new key with a default renames nothing. A changed default, or a change in what a key does,
    changes what names mean: then raise config.MEANING.
    """
    own = differing(config)
    digest = hashlib.sha256(repr((MEANING, sorted(own.items()))).encode()).hexdigest()[:10]
    readable = "+".join(f"{key.removeprefix('graph_model.')}~{value}" for key, value in own.items())
    return f"{re.sub(r'[^A-Za-z0-9_.~+-]', '', readable)[:120] or 'defaults'}-{digest}"


def data_name(regime_name: str, network_seed: int) -> str:
    return f"{regime_name}-seed{network_seed}"


def data_sets(study: Study) -> dict[str, tuple[str, int]]:
    """Every data set the study may ask for: its regime's file and the network's master seed, by name."""
    asked = [(study.regime, seed) for seed in (*study.network_seeds, *study.evaluation_seeds)]
    asked += [
        (stage.regime or study.regime, seed)
        for stage in study.stages
        for seed in stage.network_seeds or study.network_seeds
    ]
    names = {file: load_regime(file).name for file in dict.fromkeys(file for file, _ in asked)}
    return {data_name(names[file], seed): (file, seed) for file, seed in asked}


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
            found += [
                Wave(f"{stage.name}-{batch}", stage, batch, True)
                for batch in range(-(-stage.n_trials // stage.batch_size))
            ]
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
    check(study, path)
    fits: dict[str, Fit] = {}
    for wave in waves(study):
        known = fits_of(study, wave, path)
        if known is None:
            break
        for fit in known:
            fits.setdefault(fit.fit_id, fit)
    return study, list(fits.values())


def fits_of(study: Study, wave: Wave, path: str | Path) -> list[Fit] | None:
    """A wave's fits, shared ones included; None if its plan is not there yet, or is that of an earlier edition of the study."""
    if not wave.planned:
        seeds = training_seeds(study, wave.stage)
        return fits_around(
            study,
            flatten(study.base),
            grid(wave.stage),
            seeds,
            wave.stage.network_seeds or study.network_seeds,
            path,
            wave.stage.regime,
        )
    file = plan_path(study, wave.name)
    if not file.is_file() or read_plan(file).get("definition") != definition(study, wave):
        return None
    return planned_fits(file, load_regime(study.regime).name)


# --- configurations -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A configuration to try: where the study asks for it, and what it sets over the base, with dotted keys."""

    stage: str
    variant: str
    overrides: dict[str, Any]


def grid(stage: Stage) -> list[Candidate]:
    """The product of a stage's grid for each of its variants."""
    return [
        Candidate(stage.name, variant, flatten(overrides) | dict(zip(stage.grid, values)))
        for variant, overrides in stage.variants.items()
        for values in itertools.product(*stage.grid.values())
    ]


def training_seeds(study: Study, stage: Stage | None) -> list[int] | None:
    """Seeds every configuration is trained with; None: the one its configuration has. The evaluation has the last stage's."""
    return (stage or study.stages[-1]).seeds or study.seeds


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
    regime = load_regime(regime_file or study.regime)
    fits: dict[str, Fit] = {}
    for candidate in candidates:
        for seed in seeds or [None]:
            chosen = base | candidate.overrides | ({} if seed is None else {"seed": seed})
            where = f"stage {candidate.stage}, variant {candidate.variant}: "
            config = parse(FitConfig, nested(chosen), path, prefix=where)
            if config.n_runs > regime.n_runs:
                raise BadInput(
                    path,
                    f"stage {candidate.stage}: n_runs",
                    config.n_runs,
                    f"1..{regime.n_runs} (n_runs of {regime_file or study.regime})",
                )
            identity = config_id(config)
            for network in network_seeds:
                fit = Fit(
                    data_name(regime.name, network), identity, candidate.stage, candidate.variant, network, config
                )
                fits.setdefault(fit.fit_id, fit)
    return list(fits.values())


def recovery_criterion(study: Study) -> str:
    """The metric the truth is asked by: the study's own criterion if it needs the truth, else entry_exact."""
    return "entry_exact" if study.select_by == "val_loss" else study.select_by


def check(study: Study, path: str | Path) -> None:
    """Refuse a study with a wrong key or value anywhere, before its first fit: every stage must be possible around `base`.

    Raises:
        BadInput
    """
    base = flatten(study.base)
    for index, stage in enumerate(study.stages):
        for key, values in stage.grid.items():
            if not values:
                raise BadInput(path, f"stages.{index}.grid.{key}", "no values", "a list of at least one value")
        if study.select_by is None:
            continue  # its fits are all known, and checked as they are made
        candidates = grid(stage)
        for key, choice in stage.space.items():
            ends = choice.categorical or choice.float_ or choice.int_
            candidates += [Candidate(stage.name, "search", candidates[0].overrides | {key: end}) for end in ends]
        fits_around(study, base, candidates, training_seeds(study, stage), [], path)
    compared = [Candidate("compare_with", name, flatten(overrides)) for name, overrides in study.compare_with.items()]
    fits_around(study, base, compared, None, [], path)


def recipe(config: FitConfig) -> str:
    """config_id of the configuration whatever its training seed."""
    return config_id(config.model_copy(update={"seed": _DEFAULTS["seed"]}))


# --- plans ------------------------------------------------------------------------------------------------------------


def plan_path(study: Study, wave: str) -> Path:
    return Path(study.results_dir) / "waves" / f"{wave}.json"


def definition(study: Study, wave: Wave) -> str:
    """A hash of all a wave's plan follows from, but for the results: the study up to its stage. New keys with defaults change nothing."""
    last = len(study.stages) if wave.stage is None else study.stages.index(wave.stage) + 1
    keys = {"regime", "network_seeds", "seeds", "base", "select_by"} | (
        {"evaluation_seeds", "compare_with"} if wave.stage is None else set()
    )
    content = study.model_dump(include=keys, exclude_defaults=True)
    content["stages"] = [stage.model_dump(exclude_defaults=True) for stage in study.stages[:last]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def planned_fits(path: Path, regime_name: str) -> list[Fit]:
    """The fits of a plan; one fit may stand there under several names. Raises BadInput."""
    fits = []
    for entry in read_plan(path)["fits"]:
        config = parse(FitConfig, nested(entry["config"]), path)
        seed = entry["network_seed"]
        fits.append(
            Fit(data_name(regime_name, seed), config_id(config), entry["stage"], entry["variant"], seed, config)
        )
    return fits


def read_plan(path: Path) -> dict[str, Any]:
    """A plan as waves.decide made it. Raises BadInput."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(path, "file", str(error), "a plan written by stoirec choose") from None
    if not isinstance(content, dict) or "fits" not in content:
        raise BadInput(path, "fits", "nothing", "a plan written by stoirec choose")
    return content
