"""The axes of a search: read from a file, checked against a recipe, adapted to an edited one; points around a point.

Pure but for reading the file.
"""

from __future__ import annotations

import math
import random
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from search.core.recipe import Field
from search.core.types import Change, SearchError, UsageError, Value

Point = dict[str, Value]
KINDS = ("float", "int", "choice")
SIGNIFICANT_DIGITS = 3  # of a float that a search writes into a recipe
NUMBER = r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"
RANGE = re.compile(NUMBER + r"(?:\s*\([^)]*\))?\s*(?:…|\.\.\.?)\s*" + NUMBER)
WIDEST_LINEAR = 100.0  # high over low; from there on distances are ratios
LARGEST_WHOLE = 2.0**53  # that a float holds
MOVES_ACROSS = 4  # single moves from one end of a declared range to the other


@dataclass(frozen=True)
class Axis:
    """One recipe field that may vary.

    kind: float, int or choice. low, high: the range, ends included. log: distances are ratios. step: how far one
    move may go: a factor if log (4 means a quarter to four times), else a difference. choices: of a choice.
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float = 0.0
    choices: tuple[Value, ...] = ()

    def allows(self, value: Value) -> bool:
        if self.kind == "choice":
            return value in self.choices
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high

    def unit(self, value: Value) -> float:
        """The value's place in the range, 0…1; for a choice its index over the number of choices less one."""
        if self.kind == "choice":
            return self.choices.index(value) / max(len(self.choices) - 1, 1)
        number = float(value)
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def value_at(self, unit: float) -> Value:
        """The value at a place 0…1 of a numeric range, rounded as a recipe shows it."""
        unit = min(max(unit, 0.0), 1.0)
        number = self.low * (self.high / self.low) ** unit if self.log else self.low + unit * (self.high - self.low)
        if self.kind == "int":
            return int(min(max(round(number), self.low), self.high))
        rounded = float(f"{number:.{SIGNIFICANT_DIGITS}g}")
        return min(max(rounded, self.low), self.high)

    @property
    def unit_step(self) -> float:
        """How far one move may go, as a share of the range."""
        return math.log(self.step) / math.log(self.high / self.low) if self.log else self.step / (self.high - self.low)

    def nearby(self, value: Value, widen: float, rng: random.Random) -> Value:
        """A random value at most `widen` steps from this one."""
        if self.kind == "choice":
            return rng.choice([choice for choice in self.choices if choice != value] or [value])
        reach = self.unit_step * widen
        here = self.unit(value)
        return self.value_at(rng.uniform(max(here - reach, 0.0), min(here + reach, 1.0)))


@dataclass(frozen=True)
class Space:
    """The axes of a search, in the file's order."""

    name: str
    axes: tuple[Axis, ...]

    def key(self, point: Mapping[str, Value]) -> tuple[Value, ...]:
        """What makes two points the same: their values on the axes."""
        return tuple(point[axis.name] for axis in self.axes)

    def changes(self, old: Mapping[str, Value], new: Mapping[str, Value]) -> tuple[Change, ...]:
        return tuple(
            Change(axis.name, old[axis.name], new[axis.name]) for axis in self.axes if old[axis.name] != new[axis.name]
        )


def load_space(path: Path) -> Space:
    """The space in a TOML file. Raises UsageError naming file, axis and value."""
    try:
        return parse_space(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{path}: cannot read the space: {reason}; see spaces/ for those there are") from error


def parse_space(text: str, name: str) -> Space:
    """The space in a TOML text. Raises UsageError naming the file, the axis and the value."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not TOML: {error}") from error
    if not tables:
        raise UsageError(f"{name}: no axes; give at least one table, as in [lr]")
    return Space(name, tuple(_axis(name, axis, table) for axis, table in tables.items()))


def _axis(file: str, name: str, table: object) -> Axis:
    where = f"{file}: axis {name}"
    if not isinstance(table, dict):
        raise UsageError(f"{where}: is {table!r}; a table is needed, as in [{name}]")
    kind = table.get("kind")
    if kind not in KINDS:
        raise UsageError(f"{where}: kind is {kind!r}; one of {', '.join(KINDS)}")
    allowed = {"kind", "choices"} if kind == "choice" else {"kind", "low", "high", "scale", "step"}
    for key in table:
        if key not in allowed:
            raise UsageError(f"{where}: unknown key {key}; a {kind} axis has {', '.join(sorted(allowed))}")
    if kind == "choice":
        choices = table.get("choices")
        if not isinstance(choices, list) or len(choices) < 2 or len(set(map(repr, choices))) != len(choices):
            raise UsageError(f"{where}: choices is {choices!r}; a list of at least two different values")
        return Axis(name, kind, choices=tuple(choices))
    scale = table.get("scale", "linear")
    if scale not in ("linear", "log"):
        raise UsageError(f"{where}: scale is {scale!r}; linear or log")
    numbers = {}
    for key in ("low", "high", "step"):
        number = table.get(key)
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise UsageError(f"{where}: {key} is {number!r}; a number")
        if kind == "int" and key != "step" and number != int(number):
            raise UsageError(f"{where}: {key} is {number!r}; a whole number")
        numbers[key] = float(number)
    low, high, step = numbers["low"], numbers["high"], numbers["step"]
    if low >= high:
        raise UsageError(f"{where}: empty range {table['low']} … {table['high']}; low must be below high")
    if scale == "log" and low <= 0:
        raise UsageError(f"{where}: low is {table['low']}; a log axis needs a low above 0")
    if step <= (1 if scale == "log" else 0):
        raise UsageError(f"{where}: step is {table['step']}; above {'1, a factor' if scale == 'log' else '0'}")
    return Axis(name, kind, low, high, scale == "log", step)


def check_space(space: Space, recipe: Mapping[str, Field]) -> None:
    """Raises UsageError if the recipe lacks an axis or its value lies outside it, naming file, axis and value."""
    for axis in space.axes:
        where = f"{space.name}: axis {axis.name}"
        field = recipe.get(axis.name)
        if field is None:
            raise UsageError(f"{where}: train.py's Recipe has no such field; it has {', '.join(recipe)}")
        of_kind = {"float": float, "int": int}.get(axis.kind)
        if of_kind and type(field.value) is not of_kind:
            raise UsageError(f"{where}: kind is {axis.kind}, but the recipe's value is {field.value!r}")
        if not axis.allows(field.value):
            held = list(axis.choices) if axis.kind == "choice" else f"{axis.low:g} … {axis.high:g}"
            raise UsageError(f"{where}: the recipe's value {field.value!r} is not in {held}; widen the axis")
        for choice in axis.choices:
            if field.choices and choice not in field.choices:
                raise UsageError(f"{where}: choice {choice!r} is not one that train.py takes: {list(field.choices)}")
            if type(choice) is not type(field.value):
                raise UsageError(f"{where}: choice {choice!r} is of another type than the recipe's {field.value!r}")


def random_move(space: Space, origin: Mapping[str, Value], moved: int, widen: float, rng: random.Random) -> Point:
    """The origin with `moved` random axes at random values within `widen` steps; may equal the origin."""
    point = {axis.name: origin[axis.name] for axis in space.axes}
    for axis in rng.sample(space.axes, min(moved, len(space.axes))):
        point[axis.name] = axis.nearby(origin[axis.name], widen, rng)
    return point


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
