"""What a built-in edit is, and the list of them. Pure.

An edit raises DoesNotApply if the incumbent has not the part it changes, does not use it, or has the edit already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import libcst as cst

from search.agent.builtin.surgery import DoesNotApply
from search.core.types import Value

Recipe = Mapping[str, Value]
HEAD = "nn.Sequential(nn.Dropout(recipe.dropout), nn.Linear(features, classes))"
FROM_SCRATCH = ("lite", "baseline", "deep")


class Family(StrEnum):
    ARCHITECTURE = "architecture"
    REGULARISATION = "regularisation"
    AUGMENTATION = "augmentation"
    LOSS = "loss"
    REMOVAL = "removal"


@dataclass(frozen=True)
class Edit:
    """One idea as a change of code; apply: from the module and its recipe's values."""

    name: str
    family: Family
    idea: str
    apply: Callable[[cst.Module, Recipe], cst.Module]


EDITS: list[Edit] = []
Apply = Callable[[cst.Module, Recipe], cst.Module]


def edit(family: Family, idea: str) -> Callable[[Apply], Apply]:
    """Enters a function into the catalogue, by its name."""

    def enter(apply: Apply) -> Apply:
        EDITS.append(Edit(apply.__name__.strip("_"), family, idea, apply))
        return apply

    return enter


def only_for(recipe: Recipe, *archs: str) -> None:
    if recipe.get("arch") not in archs:
        raise DoesNotApply


def apply_edit(one: Edit, source: str, recipe: Recipe) -> str:
    """The edited source. Raises DoesNotApply."""
    edited = one.apply(cst.parse_module(source), recipe).code
    if edited == source:
        raise DoesNotApply
    return edited
