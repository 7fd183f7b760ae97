"""The data set that a search begins with, or goes on with; of tasks that have one. It loads the data set's own code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import prepare
from search.core.types import SearchError, Settings
from search.task.screening import words
from search.task.screening.scoring import majority_share


def settings_with_data(settings: Settings, dataset: Path) -> tuple[Settings, int]:
    """A fresh search's settings with what is to be known of its data set, and how many photos that has. Raises
    SearchError if it cannot be used."""
    data = load_data(dataset)
    validation = data.indices("validation")
    together = data.groups[validation]
    if not settings.allow_degenerate and not data.classes.is_positive(data.labels[validation]).any():
        items, positive = settings.task.items, words.POSITIVE
        raise SearchError(
            f"{dataset}: none of the {len(validation)} validation {items} is {positive}, so no score there says "
            f"whether a model finds what it shall: add {positive} {items}, or begin all the same with "
            "--allow-degenerate"
        )
    found = replace(
        settings,
        dataset=str(dataset),
        fingerprint=data.fingerprint,
        image_size=data.image_size,
        majority_score=majority_share(data),
        validation_images=len(validation),
        validation_groups=tuple(together.tolist()) if len(set(together)) < len(together) else (),
    )
    return found, len(data.labels)


def data_of_search(settings: Settings, dataset: Path, was_named: bool) -> tuple[prepare.Data, tuple[str, ...]]:
    """The data set that a search began with, and what is to be said of it: its photos may have changed since, and then
    it goes on with what it decoded. was_named: somebody says that this folder has it. Raises SearchError."""
    try:
        data = load_data(dataset)
        problem = "" if data.fingerprint == settings.fingerprint else "its photos are others now"
    except SearchError as error:
        if was_named:
            raise
        problem = str(error).splitlines()[0]
    if not problem:
        return data, ()
    kept = None if was_named else prepare.cached(settings.fingerprint)
    if kept is None:
        raise SearchError(
            f"the data set {dataset} is not the one that search {settings.tag} began with; bring that one back, name "
            "the folder that has it with --dataset, or start a fresh search"
        )
    return kept, (f"the data set {dataset} has changed ({problem}); {settings.tag} goes on with what it began with",)


def load_data(dataset: Path) -> prepare.Data:
    """The decoded data set. Raises SearchError if it cannot be used for a search."""
    try:
        data = prepare.load(dataset)
    except prepare.DataError as error:
        raise SearchError(str(error)) from error
    for part in prepare.PARTS:
        if not len(data.indices(part)):
            raise SearchError(f"{dataset}: too few {words.ITEM}s: the {part} part is empty")
    return data
