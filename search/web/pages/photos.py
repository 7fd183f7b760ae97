"""Which validation photos the recommended model gets wrong, and is least sure of. Off unless the user asks for it.

Photos come from the decoded cache, by their position in the data set's own index, and never by a path. Photos of the
test part are never shown.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import prepare
from search.core.types import Outcome, SearchError
from search.trial import sealed
from search.web.pages.source import PageSource

MOST = 60  # of each kind


class NoPhotosError(SearchError):
    """They cannot be shown; the message says why."""


@dataclass(frozen=True)
class Judged:
    """A validation photo as a model sees it. position: in the data set. truth, said: names of classes. risk: the
    probability of the positive classes, mean over the model's seeds."""

    position: int
    truth: str
    said: str
    risk: float
    probabilities: tuple[float, ...]
    is_wrong: bool
    is_new: bool  # wrong, where the baseline is right

    @property
    def doubt(self) -> float:
        """0…1, 1 where it could as well have said the other."""
        return 1 - 2 * abs(self.risk - 0.5)


class PhotosPage:
    """The photos of one search's validation part. Raises NoPhotosError where they are not to be had."""

    def __init__(self, source: PageSource) -> None:
        settings = source.records.settings
        if settings is None or not settings.task.room:
            raise NoPhotosError("this task has no photos")
        if not Path(settings.dataset).is_dir():
            raise NoPhotosError(f"the data set is not on this machine: {settings.dataset}")
        try:
            self.data = prepare.load(settings.dataset)
        except (prepare.DataError, OSError) as error:
            raise NoPhotosError(f"the data set cannot be read: {error}") from error
        if self.data.fingerprint != settings.fingerprint:
            raise NoPhotosError("the data set is another one than the search began with")
        self.source, self.seal = source, sealed.folder_of(settings)
        self.validation = self.data.indices("validation")

    def shown(self, commit_number: int) -> dict[str, Any]:
        """For its template: what the model of an experiment gets wrong, beside the baseline."""
        ours, base = self._mean_of(commit_number), self._mean_of(0)
        if ours is None:
            raise NoPhotosError("the probabilities that its trials gave are not on this machine")
        judged = self._judged(ours, base)
        wrong = sorted((one for one in judged if one.is_wrong), key=lambda one: -abs(one.risk - 0.5))
        unsure = sorted((one for one in judged if not one.is_wrong), key=lambda one: -one.doubt)
        return {
            "number": commit_number,
            "wrong": wrong[:MOST],
            "count": len(wrong),
            "new": [one for one in wrong if one.is_new][:MOST],
            "unsure": unsure[:MOST],
            "all": len(judged),
            "names": self.data.classes.names,
            "has_base": base is not None and commit_number != 0,
        }

    def _mean_of(self, number: int) -> np.ndarray | None:
        """The mean probabilities, (validation photos, classes), of an experiment's seeds; None if there are none."""
        outcomes: list[Outcome] = [
            one for one in self.source.records.outcomes if one.experiment == number and one.score
        ]
        found = [read[0] for one in outcomes if (read := sealed.read(self.seal, one.trial)) is not None]
        fitting = [one for one in found if one.shape == (len(self.validation), len(self.data.classes.names))]
        return np.mean(fitting, axis=0) if fitting else None

    def _judged(self, ours: np.ndarray, base: np.ndarray | None) -> list[Judged]:
        classes = self.data.classes
        labels = self.data.labels[self.validation]
        truth, said = classes.is_positive(labels), classes.is_positive(ours.argmax(1))
        before = None if base is None else classes.is_positive(base.argmax(1))
        risk = ours[:, list(classes.positive)].sum(1)
        return [
            Judged(
                int(position),
                classes.names[labels[place]],
                classes.names[int(ours[place].argmax())],
                float(risk[place]),
                tuple(round(float(value), 3) for value in ours[place]),
                bool(said[place] != truth[place]),
                bool(said[place] != truth[place] and before is not None and before[place] == truth[place]),
            )
            for place, position in enumerate(self.validation)
        ]

    def image(self, position: int) -> bytes:
        """A validation photo as JPEG. Raises NoPhotosError if the position is none of a validation photo."""
        if position not in self.validation:
            raise NoPhotosError(f"{position} is no validation photo")
        stream = io.BytesIO()
        Image.fromarray(np.asarray(self.data.images[position])).save(stream, "JPEG", quality=88)
        return stream.getvalue()
