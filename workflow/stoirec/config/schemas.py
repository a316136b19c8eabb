"""What each kind of configuration file may hold, as JSON Schema: editors complete and check by it."""

from typing import Any, Literal

from stoirec.config.fit import FitConfig
from stoirec.config.reading import Strict
from stoirec.config.regime import Regime
from stoirec.config.study import Study

Kind = Literal["regime", "fit", "study"]
KINDS: dict[Kind, type[Strict]] = {"regime": Regime, "fit": FitConfig, "study": Study}


def json_schema(kind: Kind) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a kind of file. Rules across keys are not in it."""
    schema = KINDS[kind].model_json_schema()
    if kind == "regime":  # one that is like another has that one's keys
        like = {"type": "string", "title": "Like", "description": "a regime beside this one, whose keys it takes over"}
        schema["properties"] = {"like": like} | schema["properties"]
        schema["anyOf"] = [{"required": ["like"]}, {"required": schema.pop("required")}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
