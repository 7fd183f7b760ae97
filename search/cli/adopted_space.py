"""A space for hyperparameters that nobody has declared one for. Pure."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping

from search.core.recipe import Field, parsed, usages
from search.core.space import SIGNIFICANT_DIGITS, Axis, AxisError, declared

SHARES = re.compile(r"(RATIO|FRAC|PROB|DROPOUT|SHARE|MOMENTUM|BETA|SMOOTHING|MIXUP)", re.IGNORECASE)
SMALLEST_POWER = 16  # from which on a power of two is meant to be one
NO_AXIS = re.compile(
    r"(SEED|PATH|DIR|FILE|NAME|URL|FLOPS|EVERY|INTERVAL|LOG_|PORT|VERSION|DEVICE$|WORKERS|BUDGET|_SECONDS|TIME_)", re.I
)


def space_of(fields: Mapping[str, Field], source: str, taken: set[str]) -> tuple[str, int, list[str]]:
    """(the text of a space, how many axes it has, hyperparameters that are none): the range that a comment declares,
    else a factor of four around each number. taken: names that are no axes."""
    used = {name for name, found in usages(source).items() if name in names_read(source)}
    axes, left = [], []
    for name, one in fields.items():
        axis = None if name in taken or NO_AXIS.search(name) or name not in used else axis_of(one)
        if axis is None:
            left.append(name)
        else:
            axes.append(axis_text(axis))
    return "\n".join(["# Written by search.adopt; docs/own-task.md explains it.", *axes]) + "\n", len(axes), left


def names_read(source: str) -> set[str]:
    """The names that are read anywhere."""
    tree = parsed(source)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def axis_of(one: Field) -> Axis | None:
    """An axis for a hyperparameter; None if nothing tells a range."""
    try:
        found = declared(one)
    except AxisError:
        found = None
    if found is not None or isinstance(one.value, (bool, str)):
        return found
    value = float(one.value)
    if SHARES.search(one.name) and 0 <= value <= 1 and not isinstance(one.value, int):
        return Axis(one.name, "float", 0.0, 1.0, step=0.25)
    if value <= 0:
        return None
    if isinstance(one.value, int) and one.value >= SMALLEST_POWER and one.value.bit_count() == 1:
        return Axis(one.name, "choice", choices=tuple(one.value * 2**n // 4 for n in range(5)))  # as memory likes it
    if isinstance(one.value, int) and not one.is_float:
        ends = float(max(one.value // 4, 1)), float(max(one.value * 4, 4))
        return Axis(one.name, "int", *ends, log=True, step=2.0)
    low, high = (float(f"{value * factor:.{SIGNIFICANT_DIGITS}g}") for factor in (0.25, 4))
    return Axis(one.name, "float", low, high, log=True, step=2.0)


def axis_text(axis: Axis) -> str:
    """An axis as a table of a space."""
    if axis.kind == "choice":
        return f'\n[{axis.name}]\nkind = "choice"\nchoices = {json.dumps(list(axis.choices))}'
    low, high = (int(end) if axis.kind == "int" else end for end in (axis.low, axis.high))
    scale = '\nscale = "log"' if axis.log else ""
    return f'\n[{axis.name}]\nkind = "{axis.kind}"\nlow = {low}\nhigh = {high}{scale}\nstep = {axis.step:g}'
