"""A trial's part in a task with a scorer: the data set that it began with, and what its predictions say.

It loads the data set's own code; tasks whose runs report their scores themselves have none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import prepare
from search.core.task import Task
from search.core.types import SearchError
from search.task.screening.rates import best_threshold, rightly_told, risk_of, screen, screen_at_threshold
from search.task.screening.scoring import agrees
from search.trial import sealed
from search.trial.scorer import Labels, ScoredData, Submission


def load_scored(fingerprint: str, dataset: str) -> prepare.Data:
    """The data set that the search began with: as it was decoded then, whatever has become of the photos since. Raises
    SearchError if that is gone, and the photos have changed."""
    data = prepare.cached(fingerprint)
    if data is None and dataset:
        data = prepare.load(dataset)
    if data is None:
        raise SearchError(f"the decoded data set {prepare.cache_root() / fingerprint} has gone")
    if data.fingerprint != fingerprint:
        raise SearchError(f"the data set {dataset} has changed since the search began")
    return data


def scored_data(fingerprint: str, dataset: str, calibrates: bool = False) -> ScoredData:
    """What a trial is trained on and scored by. calibrates: some training photos are held back, to choose a threshold
    by. Raises as load_scored does."""
    data = load_scored(fingerprint, dataset)
    return ScoredData(prepare.view_of(data), Labels.of(data, calibrates), prepare.images_of(data))


def contradiction(task: Task, submission: Submission, footer: dict[str, str]) -> str:
    """What a footer says that its predictions do not; '' if they agree."""
    if agrees(task, submission.score, footer):
        return ""
    claimed = ", ".join(f"{metric.name} {footer.get(metric.name)}" for metric in task.metrics)
    computed = ", ".join(f"{name} {value:f}" for name, value in task.named(submission.score).items())
    return f"the footer says {claimed}; its predictions give {computed}"


def kept_of(submission: Submission, data: ScoredData, seal: str, trial: str) -> dict[str, Any]:
    """Seals what a trial predicted; of its outcome, what follows from that."""
    sealed.store(Path(seal), trial, submission.validation, submission.test)
    labels, classes, at_threshold = data.labels, data.labels.classes, {}
    if len(labels.calibration):
        positive = classes.is_positive(labels.training[labels.calibration])
        threshold = best_threshold(risk_of(submission.calibration, classes), positive)
        at_threshold = screen_at_threshold(
            threshold, submission.validation, labels.validation, labels.validation_groups, classes
        )
    right = rightly_told(submission.validation, labels.validation, classes)
    return {
        "score": submission.score,
        "metrics": {
            **screen(submission.validation, labels.validation, labels.validation_groups, classes),
            **at_threshold,
        },
        "correct": np.packbits(right).tobytes().hex(),
    }
