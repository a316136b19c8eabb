"""Plans: what a wave of a staged study trains, and what of the study that followed from."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from stoirec.config.bounds import Seed
from stoirec.config.fit import FitConfig
from stoirec.config.reading import Strict, parse
from stoirec.config.study import Stage, Study
from stoirec.errors import BadInput
from stoirec.files.atomic import replacing
from stoirec.study.identity import Fit, config_id, data_name, differing, nested
from stoirec.study.store import StudyFolder


def plan_path(study: Study, wave: str) -> Path:
    return StudyFolder(study.results_dir).plan(wave)


def definition(study: Study, stage: Stage | None) -> str:
    """A hash of all a plan follows from but results: the study up to the stage, or all of it for the evaluation (None).

    New keys with defaults change nothing.
    """
    last = len(study.stages) if stage is None else study.stages.index(stage) + 1
    keys = {"regime", "network_seeds", "seeds", "base", "select_by"}
    if stage is None:
        keys |= {"evaluation_seeds", "compare_with"}
    content = study.model_dump(include=keys, exclude_defaults=True)
    content["stages"] = [stage.model_dump(exclude_defaults=True) for stage in study.stages[:last]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def listed(fits: list[Fit]) -> list[dict[str, Any]]:
    """Fits as a plan holds them."""
    return [
        {"stage": fit.stage, "variant": fit.variant, "network_seed": fit.network_seed, "config": differing(fit.config)}
        for fit in fits
    ]


def planned_fits(plan: dict[str, Any], path: Path, regime_name: str, networks: list[int]) -> list[Fit]:
    """The fits of the plan in `path`, on `networks`; one may stand there under several names. Raises BadInput."""
    fits = []
    for entry in plan["fits"]:
        config = parse(FitConfig, nested(entry["config"]), path)
        seed = entry["network_seed"]
        if seed not in networks:
            raise BadInput(path, "network_seed", seed, ", ".join(map(str, networks)))
        data = data_name(regime_name, seed)
        fits.append(Fit(data, config_id(config), entry["stage"], entry["variant"], seed, config))
    return fits


class _PlannedFit(Strict):
    stage: str
    variant: str
    network_seed: Seed
    config: dict[str, Any]


class _Winner(Strict):
    model_config = ConfigDict(allow_inf_nan=True)

    stage: str
    selected_by: str
    variant: str
    recipe: str
    mean: float
    lowest: float
    highest: float
    n_fits: int
    n_diverged: int
    config: dict[str, Any]


class _Plan(Strict):
    wave: str
    definition: str = ""
    base: dict[str, Any] = {}
    winners: list[_Winner] = []
    fits: list[_PlannedFit]
    proposals: list[str] = []


def read_plan(path: Path) -> dict[str, Any]:
    """A plan as waves.decide made it. Raises BadInput."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(path, "file", str(error), "a plan written by stoirec choose") from None
    if not isinstance(content, dict):
        raise BadInput(path, "content", type(content).__name__, "a plan written by stoirec choose")
    return parse(_Plan, content, path).model_dump()


def write_plan(path: Path, plan: dict[str, Any]) -> None:
    """A killed run leaves no half of a plan."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plan, indent=1) + "\n")
