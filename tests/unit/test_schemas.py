"""The schemas that editors read are those of the models, and every file of the configuration names and fits its own."""

import json
from pathlib import Path

import jsonschema
import pytest

from stoirec.config.reading import read_yaml
from stoirec.config.schemas import KINDS, json_schema

CONFIG = Path(__file__).parents[2] / "config"
FILES = {"regime": sorted(CONFIG.glob("regimes/*.yaml")), "study": sorted(CONFIG.glob("studies/*.yaml"))}


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_on_disk_is_that_of_the_model(kind):
    """If not: stoirec schema KIND > config/schemas/KIND.json"""
    assert json.loads((CONFIG / f"schemas/{kind}.json").read_text()) == json_schema(kind)


@pytest.mark.parametrize("kind", FILES)
def test_every_file_names_its_schema_and_fits_it(kind):
    validator = jsonschema.Draft202012Validator(json_schema(kind))
    assert FILES[kind]
    for path in FILES[kind]:
        named = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / named).resolve() == CONFIG / f"schemas/{kind}.json", path.name
        assert [error.message for error in validator.iter_errors(read_yaml(path))] == [], path.name


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("regime", {"like": "pde_m1.yaml", "n_frame": 3}),
        ("regime", {"name": "incomplete"}),
        ("fit", {"batch_size": 0}),
        ("study", {"name": "s", "regime": "r.yaml", "network_seeds": [], "stages": [{"name": "a"}]}),
    ],
)
def test_what_a_model_refuses_its_schema_refuses(kind, content):
    assert not jsonschema.Draft202012Validator(json_schema(kind)).is_valid(content)
