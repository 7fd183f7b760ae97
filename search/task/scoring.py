"""What scores mean: whether a footer tells the one that counts, and what always answering the same would get."""

from __future__ import annotations

import prepare
from search.core.types import Score, SearchError

AGREEMENT = 1.5e-6  # a footer shows six decimals


class ScoringError(SearchError):
    """Probabilities that cannot be scored."""


def agrees(score: Score, footer: dict[str, str]) -> bool:
    """Whether a footer tells the score."""
    try:
        told = Score(float(footer["bin_acc"]), float(footer["mc_acc"]))
    except (KeyError, ValueError):
        return False
    return abs(told.bin_acc - score.bin_acc) <= AGREEMENT and abs(told.mc_acc - score.mc_acc) <= AGREEMENT


def majority_share(data: prepare.Data) -> float:
    """The bin_acc of always answering the majority, on the validation photos."""
    infected = float(prepare.is_infected(data.labels[data.indices("validation")]).mean())
    return max(infected, 1 - infected)
