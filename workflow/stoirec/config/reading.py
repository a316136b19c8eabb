"""The one door to YAML, and the one place that says what a wrong key or value is."""

import difflib
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stoirec.config.bounds import UNPRINTABLE
from stoirec.errors import BadInput, Unsuitable, from_file

# A study of 100,000 variants is within these; what is not is no configuration, or one of aliases of aliases.
_LONGEST = 20_000_000  # characters
_MOST = 5_000_000  # values
_DEEPEST = 50  # levels


class Strict(BaseModel):
    """A mapping of known keys to values of the stated types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    belongs_elsewhere: ClassVar[dict[str, tuple[str, str]]] = {}  # key -> what was found, what is allowed


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML 1.2 mapping of names. Raises BadInput if the file is missing, unreadable or something else."""
    try:
        with open(path, encoding="utf-8") as handle:
            text = handle.read(_LONGEST + 1)
    except FileNotFoundError:
        raise BadInput(path, "file", "nothing", "an existing YAML file") from None
    except (OSError, ValueError) as error:  # not UTF-8; a name that no file can have
        raise BadInput(path, "file", str(error), "a readable YAML file") from None
    if len(text) > _LONGEST:
        raise BadInput(path, "file", f"more than {_LONGEST:,} characters", "a readable YAML file")
    try:
        content = YAML(typ="safe", pure=True).load(io.StringIO(text))
        with from_file(path):
            _extent(content, "", {})
    except RecursionError:
        raise BadInput(path, "syntax", "hundreds of levels", f"YAML of at most {_DEEPEST} levels") from None
    except YAMLError as error:
        raise BadInput(path, "syntax", str(error).replace('in "<file>", ', "in "), "YAML 1.2") from None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # of single values: 2020-99-99, !!int x
        raise BadInput(path, "syntax", f"a value that cannot be read ({error})", "YAML 1.2") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadInput(path, "content", type(content).__name__, "a mapping of keys to values")
    return content


def _extent(value: Any, key: str, known: dict[int, tuple[float, int]]) -> tuple[float, int]:
    """How many values there are in `value`, its own aliases counted each time, and on how many levels.

    Args:
        known: what was found of the mappings and lists before, by id; an open one has no end yet.

    Raises:
        Unsuitable: more than _MOST, more than _DEEPEST; a key that is no name; a text or number no file can hold.
    """
    if isinstance(value, int) and abs(value) >= 2**63:
        raise Unsuitable(key, f"an integer of {value.bit_length()} bits", "at most 64 bits, with its sign")
    if isinstance(value, float) and not math.isfinite(value):
        raise Unsuitable(key, value, "a finite number")
    if isinstance(value, str) and UNPRINTABLE.search(value.replace("\n", " ").replace("\t", " ")):
        raise Unsuitable(key, repr(value[:50]), "text without control characters")
    if not isinstance(value, dict | list):
        return 1, 0
    if id(value) not in known:
        known[id(value)] = math.inf, 0
        inner = [_extent(each, f"{key}.{name}".strip("."), known) for name, each in _items(value, key)]
        size, depth = sum(size for size, _ in inner) + 1, max((depth for _, depth in inner), default=0) + 1
        if size > _MOST or depth > _DEEPEST:
            found = "itself within itself" if size == math.inf else f"{size:,} values on {depth} levels"
            raise Unsuitable(key or "content", found, f"at most {_MOST:,} on {_DEEPEST} levels, aliases counted")
        known[id(value)] = size, depth
    return known[id(value)]


def _items(value: dict | list, key: str) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, list):
        return enumerate(value)
    for name in value:
        if not isinstance(name, str) or UNPRINTABLE.search(name):
            raise Unsuitable(key or "content", f"the key {name!r}", "keys that are names; numbers in quotes")
    return value.items()


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
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if first["type"] == "value_error":  # a rule across keys: the message names them
            raise BadInput(where, key or "keys together", "a contradiction", allowed) from None
        raise BadInput(where, key, repr(found), allowed) from None


def _unknown_key(model: type[BaseModel], where: str | Path, key: str, location: tuple) -> BadInput:
    name = str(location[-1])
    elsewhere = getattr(model, "belongs_elsewhere", {})
    if name in elsewhere:
        return BadInput(where, key, *elsewhere[name])
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
