"""How a fit is known: its data set and its resolved configuration, nothing else.

Studies that ask for the same fit share it, and a study that grows trains only what is new.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stoirec.config.fit import FitConfig
from stoirec.errors import Unsuitable


@dataclass(frozen=True)
class Fit:
    """One training job of a study, and its answer.

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
        """Name of the answer: the recovered matrix."""
        return f"{self.data}/{self.config_id}"

    @cached_property
    def training_id(self) -> str:
        """Name of the training it is an answer of: fits that differ in the decoder alone share one."""
        trained = self.config.trained
        return self.fit_id if trained is self.config else f"{self.data}/{config_id(trained)}"


def data_name(regime_name: str, network_seed: int) -> str:
    return f"{regime_name}-seed{network_seed}"


# --- configurations ---------------------------------------------------------------------------------------------------


def flat(config: FitConfig) -> dict[str, Any]:
    """The configuration with dotted keys: graph_model.hidden_dim ..."""
    return flatten(config.model_dump())


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones: {a: {b: 1}} -> {a.b: 1}.

    Raises:
        Unsuitable: a key that stands there in both ways.
    """
    result: dict[str, Any] = {}
    for key, value in content.items():
        found = flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        expected = len(result) + len(found)
        result |= found
        if len(result) < expected:
            raise Unsuitable(prefix + key, "two values, one dotted and one nested", "one")
    return result


def nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested ones: what FitConfig reads.

    Raises:
        Unsuitable: a key that has a value of its own and others below it.
    """
    result: dict[str, Any] = {}
    for key, value in flatten(dotted).items():
        *parents, last = key.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise Unsuitable(parent, f"{place!r} beside {key}", "one of the two")
        place[last] = value
    return result


_DEFAULTS = flat(FitConfig())


def differing(config: FitConfig) -> dict[str, Any]:
    """What differs from the defaults, with dotted keys."""
    return {key: value for key, value in flat(config).items() if value != _DEFAULTS[key]}


def config_id(config: FitConfig) -> str:
    """What differs from the defaults, readable, and a hash of it: `batch_size~8+role_prior~True-1f2e3d4c5b`.

    A new key with a default renames nothing. A change in what keys mean must: config.fit says which number to raise.
    """
    own = differing(config)
    digest = hashlib.sha256(repr((config.meaning, sorted(own.items()))).encode()).hexdigest()[:10]
    readable = "+".join(f"{key.removeprefix('graph_model.')}~{value}" for key, value in own.items())
    return f"{re.sub(r'[^A-Za-z0-9_.~+-]', '', readable)[:120] or 'defaults'}-{digest}"


def recipe(config: FitConfig) -> str:
    """config_id of the configuration whatever its training seed."""
    return config_id(config.model_copy(update={"seed": _DEFAULTS["seed"]}))
