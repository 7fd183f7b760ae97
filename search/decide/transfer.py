"""What trials of one code say about an edit of it: moves of axes that mean the same in both. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from search.core.space import Point, Space
from search.core.types import Value


@dataclass(frozen=True)
class Observation:
    """One trial's point and the value that Optuna saw, with the code it ran."""

    point: Point
    value: float
    code: str


def transferred(
    observations: Iterable[Observation],
    old: Mapping[str, Value],
    new: Mapping[str, Value],
    old_usages: Mapping[str, str],
    new_usages: Mapping[str, str],
    space: Space,
) -> list[Observation]:
    """The trials of a code before an edit, as points of the code after it.

    old, new: the recipes right before and right after the edit. A trial is a set of moves from `old`; the same moves
    are made from `new`. It is left out if it moved an axis that is gone, or that a changed statement reads, by
    recipe.usages.
    """
    axes = {axis.name: axis for axis in space.axes}
    found = []
    for one in observations:
        moved = [name for name, value in one.point.items() if name in old and value != old[name]]
        if any(old_usages.get(name) != new_usages.get(name) for name in moved):
            continue
        if any(name not in axes or not axes[name].allows(one.point[name]) for name in moved):
            continue
        found.append(Observation({**new, **{name: one.point[name] for name in moved}}, one.value, one.code))
    return found
