"""What scores mean: whether a footer gives the one that counts, and what always answering the same would get."""

from __future__ import annotations

import prepare
from search.core.task import Score, Task

AGREEMENT = 1.5e-6  # a footer shows six decimals


def agrees(task: Task, score: Score, footer: dict[str, str]) -> bool:
    """Whether a footer gives the score."""
    try:
        claimed = task.score_of(footer)
    except (KeyError, ValueError):
        return False
    return abs(claimed.primary - score.primary) <= AGREEMENT and abs(claimed.secondary - score.secondary) <= AGREEMENT


def majority_share(data: prepare.Data) -> float:
    """The primary metric of always answering the majority, on the validation photos."""
    positive = float(data.classes.is_positive(data.labels[data.indices("validation")]).mean())
    return max(positive, 1 - positive)
