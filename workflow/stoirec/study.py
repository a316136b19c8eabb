"""Expansion of a study into fits, and where their files lie.

A fit's identity is its data set and its resolved configuration, nothing else: studies that ask for the same fit
share it, and a study that grows trains only what is new.
"""

import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoirec.config import FitConfig, Study, load_regime, load_study, parse
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
    return _flatten(config.model_dump())


def _flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    result = {}
    for key, value in nested.items():
        result |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result


def _nested(dotted: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in _flatten(dotted).items():
        *parents, last = key.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return result


_DEFAULTS = flat(FitConfig())
_MEANING = 1


def config_id(config: FitConfig) -> str:
    """What differs from the defaults, readable, and a hash of it: `batch_size~8+role_prior~True-1f2e3d4c5b`.

    A new key with a default renames nothing. A changed default changes what every name means: then raise _MEANING.
    """
    differing = {key: value for key, value in flat(config).items() if value != _DEFAULTS[key]}
    digest = hashlib.sha256(repr((_MEANING, sorted(differing.items()))).encode()).hexdigest()[:10]
    readable = "+".join(f"{key.removeprefix('graph_model.')}~{value}" for key, value in differing.items())
    return f"{re.sub(r'[^A-Za-z0-9_.~+-]', '', readable)[:120] or 'defaults'}-{digest}"


def data_name(regime_name: str, network_seed: int) -> str:
    return f"{regime_name}-seed{network_seed}"


def expand(path: str | Path) -> tuple[Study, list[Fit]]:
    """The study in `path` and its fits, each once, in the study's order.

    Raises:
        BadInput: the study, its regime or one of its configurations is wrong; the key tells where.
    """
    study = load_study(path)
    regime_path = Path(study.regime)
    regime = load_regime(regime_path)
    fits: dict[tuple[str, str], Fit] = {}
    for index, stage in enumerate(study.stages):
        for key, values in stage.grid.items():
            if not values:
                raise BadInput(path, f"stages.{index}.grid.{key}", "no values", "a list of at least one value")
        for variant, overrides in stage.variants.items():
            for values in itertools.product(*stage.grid.values()):
                chosen = _flatten(study.base) | _flatten(overrides) | dict(zip(stage.grid, values))
                config = parse(FitConfig, _nested(chosen), path, prefix=f"stage {stage.name}, variant {variant}: ")
                if config.n_runs > regime.n_runs:
                    raise BadInput(path, f"stage {stage.name}: n_runs", config.n_runs, f"1..{regime.n_runs} (n_runs of {regime_path})")
                identity = config_id(config)
                for seed in study.network_seeds:
                    data = data_name(regime.name, seed)
                    fits.setdefault((data, identity), Fit(data, identity, stage.name, variant, seed, config))
    return study, list(fits.values())


def summary(study: Study, fits: list[Fit]) -> str:
    """One line: what the study asks for."""
    n_frames = load_regime(study.regime).n_frames
    steps = sum(fit.config.n_steps(n_frames) for fit in fits)
    return f"study {study.name}: {len(fits)} fits on {len(study.network_seeds)} network(s), {steps:,} steps"
