"""Plans: what a wave of a staged study trains, and what of the study that followed from."""

import hashlib
import json
from pathlib import Path
from typing import Any

from stoirec.config.fit import FitConfig
from stoirec.config.reading import parse
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


def planned_fits(plan: dict[str, Any], path: Path, regime_name: str) -> list[Fit]:
    """The fits of the plan in `path`; one fit may stand there under several names. Raises BadInput."""
    fits = []
    for entry in plan["fits"]:
        config = parse(FitConfig, nested(entry["config"]), path)
        seed = entry["network_seed"]
        data = data_name(regime_name, seed)
        fits.append(Fit(data, config_id(config), entry["stage"], entry["variant"], seed, config))
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


def write_plan(path: Path, plan: dict[str, Any]) -> None:
    """A killed run leaves no half of a plan."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plan, indent=1) + "\n")
