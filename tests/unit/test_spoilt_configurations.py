"""Every key of every schema with values that it should not have: one line, or within what the schema declares."""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from stoirec.config import reading
from stoirec.config.fit import FitConfig, load_fit_config
from stoirec.config.regime import Regime, load_regime
from stoirec.config.study import Study
from stoirec.errors import BadInput
from stoirec.study.expansion import expand

SPOILT = [
    *(None, True, "text", "", "1", "{x}", "$x", "<b>", "-x", "a/../b", "a\0b", "\ud800", "a" * 300),
    *([], [1], [None], [[1]], {}, {"a": 1}, {"a.b": {}}, json.loads("[" * 60 + "]" * 60)),
    *(-1, 0, 0.5, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400, 1e308, -1e308, 5e-324, math.nan, math.inf),
]
OWN_NETWORK = {
    "reactions": {"R": "A + 2 B -> C", "S": "C <-> A"},
    "known": ["R"],
    "both_ways": False,
    "conserved": "elements",
    "species": {name: {"formula": "C", "charge": 0} for name in "ABC"},
}
SEARCHED = {"batch_size": {"int": [1, 8], "log": True}, "coeff_S_L1": {"float": [0.0, 1.0]}}


def drawn(tiny_regime: Regime) -> dict[str, Any]:
    content = tiny_regime.model_dump(mode="json", exclude={"reactions", "known", "both_ways", "species"})
    return content | {"measured": {"frames": 5, "spacing": "even", "noise": 0.1, "missing": 0.1, "unmeasured": 1}}


def known(regime: str) -> dict[str, Any]:
    """A study whose fits are all known."""
    stage = {"name": "a", "regime": regime, "network_seeds": [3], "seeds": [1], "variants": {"v": {"n_runs": 1}}}
    stages = [stage | {"grid": {"batch_size": [8], "graph_model.hidden_dim": [4]}}]
    base = {"n_runs": 1, "graph_model": {"n_layers": 3}}
    return {"name": "s", "regime": regime, "network_seeds": [1], "results_dir": "r", "base": base, "stages": stages}


def staged(regime: str) -> dict[str, Any]:
    space = SEARCHED | {"optimiser": {"categorical": ["adam", "nadam"]}}
    search = {"name": "b", "search": "optuna", "space": space, "n_trials": 4, "batch_size": 2, "sampler_seed": 1}
    study = known(regime) | {"seeds": [1], "stages": [{"name": "a", "grid": {"n_epochs": [1]}}, search]}
    return study | {"select_by": "val_loss", "evaluation_seeds": [9], "compare_with": {"plain": {"n_epochs": 2}}}


def places(content: Any, path: tuple = ()) -> Iterator[tuple]:
    """The way to every value, those that hold others included; of a list to each mapping, or to the first value."""
    steps = list(content) if isinstance(content, dict) else []
    if isinstance(content, list) and content:
        steps = [*range(len(content))] if isinstance(content[0], dict) else [0]
    for key in steps:
        yield (*path, key)
        yield from places(content[key], (*path, key))


def spoilt(content: dict[str, Any], path: tuple, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(content)
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


def keys(schema: Any) -> set[str]:
    """All that a schema declares, nested ones included."""
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", {})).union(*map(keys, [*schema.get("$defs", {}).values()]))


@pytest.fixture
def cases(tmp_path, tiny_regime, monkeypatch):
    """(schema, loader, good contents) by kind. JSON is YAML, and its own reader is quicker."""
    quick = SimpleNamespace(load=lambda handle: json.loads(handle.read()))
    monkeypatch.setattr(reading, "YAML", lambda **_: quick)
    monkeypatch.chdir(tmp_path)
    Path("regime.yaml").write_text(tiny_regime.model_dump_json())
    Path("other.yaml").write_text(json.dumps(known("regime.yaml")))
    fit = FitConfig(first_coeff_L1=0.1, epoch_steps=3).model_dump()
    network = tiny_regime.model_dump(
        mode="json", exclude={"n_metabolites", "n_reactions", "reaction_shapes", "odd_reactions", "measured"}
    )
    studies = [known("regime.yaml") | {"compare_study": "other.yaml", "pack": 2}, staged("regime.yaml")]
    return {
        "fit": (FitConfig, load_fit_config, [fit]),
        "regime": (Regime, load_regime, [drawn(tiny_regime) | {"initial_variation": 0.1}, network | OWN_NETWORK]),
        "study": (Study, lambda path: expand(path)[0], studies),
    }


@pytest.mark.parametrize(("kind", "least"), [("fit", 1800), ("regime", 2000), ("study", 2300)])
def test_what_a_schema_does_not_allow_ends_in_one_line(cases, kind, least):
    model, load, contents = cases[kind]
    allowed = jsonschema.Draft202012Validator(model.model_json_schema())
    tried, wrong, path = 0, [], Path("spoilt.yaml")
    for content in contents:
        path.write_text(json.dumps(content))
        load(path)  # what is spoilt below was good
        for place in places(content):
            for value in SPOILT:
                tried += 1
                candidate = spoilt(content, place, value)
                path.write_text(json.dumps(candidate))
                try:
                    load(path)
                except BadInput as refusal:
                    if len(str(refusal).splitlines()) != 1 or not str(refusal).isprintable():
                        wrong.append((place, value, str(refusal)))
                except Exception as error:
                    wrong.append((place, value, repr(error)))
                else:
                    if not allowed.is_valid(candidate) or (isinstance(value, float) and not math.isfinite(value)):
                        wrong.append((place, value, "accepted"))
    assert tried >= least and not wrong, (tried, len(wrong), wrong[:20])
    visited = {key for content in contents for place in places(content) for key in place}
    assert keys(model.model_json_schema()) - visited == set()


@pytest.mark.parametrize("model", [FitConfig, Regime, Study])
def test_every_integer_has_bounds(model):
    def unbounded(schema: Any, where: str = "") -> list[str]:
        if isinstance(schema, list):
            return [each for index, inner in enumerate(schema) for each in unbounded(inner, f"{where}.{index}")]
        if not isinstance(schema, dict):
            return []
        own = schema.get("type") == "integer" and not {"minimum", "maximum"} <= schema.keys()
        return [where] * own + [each for key, inner in schema.items() for each in unbounded(inner, f"{where}.{key}")]

    assert unbounded(model.model_json_schema()) == []
