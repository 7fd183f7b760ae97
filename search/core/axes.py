"""Which axes an edited train.py has: those of its space, less what is gone, plus what it declares. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from search.core.recipe import Field
from search.core.space import Axis, Space
from search.core.types import SearchError

NUMBER = r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"
RANGE = re.compile(NUMBER + r"(?:\s*\([^)]*\))?\s*(?:…|\.\.\.?)\s*" + NUMBER)
WIDEST_LINEAR = 100.0  # high over low; from there on distances are ratios
LARGEST_WHOLE = 2.0**53  # that a float holds
MOVES_ACROSS = 4  # single moves from one end of a declared range to the other


class AxisError(SearchError):
    """A recipe field whose declared range means nothing."""


def declared(field: Field) -> Axis | None:
    """The axis that a field declares, or None: a Literal or bool by its type, a number by `low … high` in its comment.

    Raises AxisError if the range is empty or the field's own value lies outside.
    """
    if isinstance(field.value, bool):
        return Axis(field.name, "choice", choices=(False, True))
    if field.choices:
        return Axis(field.name, "choice", choices=field.choices) if len(field.choices) > 1 else None
    ranges = RANGE.findall(field.note)
    if isinstance(field.value, str) or not ranges:
        return None
    low, high = map(float, ranges[-1])
    if not low < high:
        raise AxisError(f"Recipe.{field.name} declares the empty range {low:g} … {high:g}")
    if not low <= field.value <= high:
        raise AxisError(f"Recipe.{field.name} is {field.value}, outside the range {low:g} … {high:g} that it declares")
    log = low > 0 and high / low >= WIDEST_LINEAR
    step = (high / low) ** (1 / MOVES_ACROSS) if log else (high - low) / MOVES_ACROSS
    kind = "int" if isinstance(field.value, int) and not field.is_float else "float"
    if kind == "int" and not all(end.is_integer() and abs(end) < LARGEST_WHOLE for end in (low, high)):
        raise AxisError(f"Recipe.{field.name} is a whole number, but declares the range {low:g} … {high:g}")
    return Axis(field.name, kind, low, high, log, step)


def adapted(space: Space, old: Mapping[str, Field], new: Mapping[str, Field]) -> Space:
    """The space of an edited recipe.

    An axis whose field is gone, or has another type, leaves; one whose value lies outside is widened to hold it; a new
    field that declares a range becomes an axis. Raises AxisError as `declared` does.
    """
    kept = [found for axis in space.axes if axis.name in new and (found := _fitted(axis, new[axis.name]))]
    added = [axis for name, field in new.items() if name not in old and (axis := declared(field))]
    return Space(space.name, (*kept, *added))


def _fitted(axis: Axis, field: Field) -> Axis | None:
    if axis.kind == "choice":
        if type(field.value) is not type(axis.choices[0]):
            return None
        allowed = [choice for choice in axis.choices if not field.choices or choice in field.choices]
        choices = tuple(dict.fromkeys([*allowed, field.value]))
        return replace(axis, choices=choices) if len(choices) > 1 else None
    is_of_kind = type(field.value) is (int if axis.kind == "int" else float)
    if not is_of_kind and not (axis.kind == "float" and field.is_float and type(field.value) is int):
        return None
    low, high = min(axis.low, float(field.value)), max(axis.high, float(field.value))
    if axis.log and low <= 0:
        return None
    return replace(axis, low=low, high=high)
