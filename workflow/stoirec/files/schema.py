"""Declared contents of files, and pure checks of what is found: dimensions, types, ranges, NaN."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from stoirec.errors import Unsuitable

NUMBER, INTEGER, TEXT, ANY, OBJECT = "numbers", "integers", "text", "names, or indices", "a JSON object"
_NUMERIC, _TEXTUAL = "iufb", "OUS"  # kinds of numpy's types
FLAG = (0, 1)
LARGEST = 1e100  # of any number: squares of what is larger, and their sums, are none

Rule = Callable[[xr.Dataset], None]  # raises Unsuitable
Where = bool | Callable[[xr.Dataset], bool | np.ndarray]  # by the file; an array is by entry, or broadcast to that


@dataclass(frozen=True)
class Content:
    """What stands under a name: a variable or an attribute.

    Attributes:
        name: one that ends with * stands for all that begin so; there need not be any.
        kind: NUMBER, INTEGER (of any numeric type), TEXT, of variables ANY, of attributes OBJECT.
        low, high: of numbers; index_of: a dimension that they are indices of.
        one_of: all that is allowed.
        nan, infinite: whether, or where, these are allowed.
        optional: whether, or in which files, it may be missing.
        meaning: what is allowed, in words; default: from the rest.
    """

    name: str
    kind: str = NUMBER
    low: float = -LARGEST
    high: float = LARGEST
    index_of: str = ""
    one_of: tuple[Any, ...] = ()
    nan: Where = False
    infinite: Where = False
    optional: Where = False
    meaning: str = ""

    def allowed(self, high: float) -> str:
        """In words; `high`: the largest that is allowed."""
        if self.meaning:
            return self.meaning
        if self.one_of:
            return " or ".join(filter(None, (", ".join(map(str, self.one_of[:-1])), str(self.one_of[-1]))))
        if self.kind not in (NUMBER, INTEGER):
            return self.kind
        if self.index_of:
            return f"{self.low:g}..{high:g}, {self.index_of}s of the graph"
        finite = "" if self.kind == INTEGER or self.infinite is True else "finite "
        bounds = [f"{sign} {bound:.6g}" for sign, bound in ((">=", self.low), ("<=", high)) if abs(bound) < LARGEST]
        return f"{finite}{self.kind} {' and '.join(bounds)}".strip()


@dataclass(frozen=True)
class Attribute(Content):
    """An attribute of a file or a group; numbers may be written as text."""


@dataclass(frozen=True)
class Variable(Content):
    """A variable.

    Attributes:
        dims: its dimensions, as "run time"; alternatives as "time | run time"; "": a scalar; "*": any.
        empty: whether it may have no entries.
        dates: whether numbers may be times since a date.
    """

    dims: str = ""
    empty: bool = False
    dates: bool = False


Schema = Iterable[Content | Rule]


def check(dataset: xr.Dataset, schema: Schema) -> None:
    """Compare what a file holds with its schema: attributes, then the forms of variables, their values, and the rules.

    What every such file has comes first: a file of another kind is told by that.

    Raises:
        Unsuitable: names the first entry at fault, by the names of its coordinates where these are text.
    """
    always = (each for each in schema if isinstance(each, Variable) and each.optional is False)
    _require(dataset.variables, [each.name for each in always if not each.name.endswith("*")], "a variable")
    for each in schema:
        if isinstance(each, Attribute):
            for name in _names(dataset, each):
                _check_attribute(each, name, dataset)
    variables = [(each, name) for each in schema if isinstance(each, Variable) for name in _names(dataset, each)]
    for each, name in variables:
        _check_form(each, name, dataset[name])
    for each, name in variables:
        if each.kind in (NUMBER, INTEGER):
            _check_values(each, dataset[name], dataset)
    for rule in schema:
        if not isinstance(rule, Content):
            rule(dataset)


def required(schema: Schema, *names: str) -> Schema:
    """A schema that is as `schema`, and has all of `names`."""
    return (*schema, lambda dataset: _require(dataset.variables, names, "a variable"))


def _require(found: Mapping[Any, Any], names: Iterable[str], what: str) -> None:
    for name in names:
        if name not in found:
            raise Unsuitable(name, "nothing", f"{what} {name}")


def _names(dataset: xr.Dataset, content: Content) -> list[str]:
    """The names in a file that a declaration is of. Raises Unsuitable: there is none, and there should be."""
    found = dataset.attrs if isinstance(content, Attribute) else dataset.variables
    if content.name.endswith("*"):
        return [str(name) for name in found if str(name).startswith(content.name[:-1])]
    if content.name in found:
        return [content.name]
    if not _where(content.optional, dataset):
        _require(found, [content.name], "an attribute" if isinstance(content, Attribute) else "a variable")
    return []


def _where(rule: Where, dataset: xr.Dataset) -> bool | np.ndarray:
    return rule(dataset) if callable(rule) else rule


def _check_attribute(content: Attribute, name: str, dataset: xr.Dataset) -> None:
    found, high = dataset.attrs[name], content.high
    if content.kind in (NUMBER, INTEGER):
        try:
            value = float(found)
        except (TypeError, ValueError):
            value = math.nan
        whole = content.kind == NUMBER or value == round(value) if math.isfinite(value) else False
        right = whole and content.low <= value <= high and (not content.one_of or value in content.one_of)
    elif content.kind == OBJECT:
        right = isinstance(found, str) and _is_object(found)
    else:
        right = isinstance(found, str) and (not content.one_of or found in content.one_of)
    if not right:
        raise Unsuitable(name, repr(found) if isinstance(found, str) else str(found), content.allowed(high))


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _check_form(content: Variable, name: str, found: xr.DataArray) -> None:
    forms = [tuple(form.split()) for form in content.dims.split("|")]
    if content.dims != "*" and found.dims not in forms:
        allowed = " or ".join(f"({', '.join(form)})" for form in forms)
        raise Unsuitable(name, f"dimensions ({', '.join(map(str, found.dims))})", allowed)
    if content.kind != ANY and found.dtype.kind not in (_TEXTUAL if content.kind == TEXT else _NUMERIC):
        raise Unsuitable(name, f"{found.dtype} values", content.kind)
    units = str(found.attrs.get("units", ""))
    if content.kind in (NUMBER, INTEGER) and " since " in units and not content.dates:
        raise Unsuitable(name, f"dates ({units})", content.kind)
    if found.size == 0 and not content.empty:
        raise Unsuitable(name, f"shape {found.shape}", "at least one entry in each dimension")


def _check_values(content: Variable, found: xr.DataArray, dataset: xr.Dataset) -> None:
    values, high = found.values, content.high
    if values.size == 0:
        return
    if content.index_of and content.index_of in dataset.sizes:
        high = dataset.sizes[content.index_of] - 1
    least, most = float(values.min()), float(values.max())  # NaN if there is one
    apart = content.kind == INTEGER or content.one_of
    if content.low <= least and most <= high and np.isfinite(least) and np.isfinite(most) and not apart:
        return
    values = values.astype(float)
    bad = np.isfinite(values) & ((values < content.low) | (values > high))
    for special, where in ((np.isnan(values), content.nan), (np.isinf(values), content.infinite)):
        bad |= special & ~np.asarray(_where(where, dataset)) if special.any() else special
    if content.kind == INTEGER:
        bad |= np.isfinite(values) & (values != np.round(values))
    if content.one_of:
        bad |= np.isfinite(values) & ~np.isin(values, content.one_of)
    beyond = np.isfinite(values) & (np.abs(values) > LARGEST)
    refuse(found, bad, content.allowed(high) + (f", below {LARGEST:g} in size" if beyond.any() else ""))


def refuse(found: xr.DataArray, bad: np.ndarray, allowed: str) -> None:
    """Raises Unsuitable if anything is `bad` in a variable: names the first such entry, and their number."""
    if not bad.any():
        return
    first = tuple(int(index) for index in np.unravel_index(np.argmax(bad), bad.shape))
    more = f" ({bad.sum()} such values)" if bad.sum() > 1 else ""
    raise Unsuitable(entry(found, first), f"{found.values[first]:.4g}{more}", allowed)


def entry(found: xr.DataArray, place: Iterable[int]) -> str:
    """An entry of a variable as a message names it: concentration[run 2, time 17, metabolite ATP]."""

    def label(dim: str, index: int) -> str:
        names = found.coords[dim].values if dim in found.coords else np.arange(0)
        return f"{dim} {_text(names[index]) if names.dtype.kind in _TEXTUAL else index}"

    inside = ", ".join(label(str(dim), int(index)) for dim, index in zip(found.dims, place))
    return f"{found.name}[{inside}]" if inside else str(found.name)


def names_of(dataset: xr.Dataset, name: str) -> tuple[str, ...]:
    """The names in the coordinate of a dimension, or in its labels; none where it holds indices, or is missing."""
    if name not in dataset.variables or dataset[name].dtype.kind not in _TEXTUAL:
        return ()
    return tuple(map(_text, dataset[name].values))


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
