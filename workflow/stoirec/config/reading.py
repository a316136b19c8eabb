"""The one door to YAML, and the one place that says what a wrong key or value is."""

import difflib
import io
import math
from pathlib import Path
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stoirec.errors import BadInput


class Strict(BaseModel):
    """A mapping of known keys to values of the stated types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    belongs_elsewhere: ClassVar[dict[str, tuple[str, str]]] = {}  # key -> what was found, what is allowed


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML 1.2 mapping. Raises BadInput if the file is missing, unreadable or not a mapping."""
    try:
        with open(path) as handle:
            content = YAML(typ="safe", pure=True).load(handle)
    except FileNotFoundError:
        raise BadInput(path, "file", "nothing", "an existing YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, "file", str(error), "a readable YAML file") from None
    except YAMLError as error:
        raise BadInput(path, "syntax", str(error), "YAML 1.2") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadInput(path, "content", type(content).__name__, "a mapping of keys to values")
    return content


def to_yaml(content: dict[str, Any]) -> str:
    """`content` as YAML, innermost lists and mappings on one line."""
    writer, text = YAML(), io.StringIO()
    writer.default_flow_style = None
    writer.dump(content, text)
    return text.getvalue()


def parse(model: type[BaseModel], content: dict[str, Any], where: str | Path, prefix: str = "") -> Any:
    """`content` as a `model`; BadInput names the first wrong key if it does not fit."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        location = first["loc"]
        key = prefix + ".".join(str(part) for part in location)
        found = first["input"]
        if first["type"] == "extra_forbidden":
            raise _unknown_key(model, where, key, location) from None
        if first["type"] == "missing":
            raise BadInput(where, key, "nothing", "a value: this key is required") from None
        if isinstance(found, float) and not math.isfinite(found):
            raise BadInput(where, key, found, "a finite number") from None
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if first["type"] == "value_error":  # a rule across keys: the message names them
            raise BadInput(where, key or "keys together", "a contradiction", allowed) from None
        raise BadInput(where, key, repr(found), allowed) from None


def _unknown_key(model: type[BaseModel], where: str | Path, key: str, location: tuple) -> BadInput:
    name = str(location[-1])
    if name in getattr(model, "belongs_elsewhere", {}):
        return BadInput(where, key, *model.belongs_elsewhere[name])
    keys = _keys_at(model, location)
    close = difflib.get_close_matches(name, keys, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return BadInput(where, key, "an unknown key", ", ".join(keys) + hint)


def _keys_at(model: type[BaseModel], location: tuple) -> list[str]:
    """The keys allowed beside the last element of `location`."""
    for part in location[:-1]:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return [field.alias or name for name, field in model.model_fields.items()]
