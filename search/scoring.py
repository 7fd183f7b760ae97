"""The score that counts: computed from a trial's saved probabilities by code that the trial cannot change."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import prepare
from search.types import Score, SearchError

AGREEMENT = 1.5e-6  # a footer shows six decimals


class ScoringError(SearchError):
    """Predictions that cannot be scored, or a footer that tells another score than they do."""


def score_predictions(predictions: Path, data: prepare.Data) -> Score:
    """The score of the (n, 5) probabilities that evaluate() saved, against the data set's validation labels.

    Raises ScoringError where there are none, they are not numbers, or they are not of the validation photos.
    """
    try:
        with np.load(predictions, allow_pickle=False) as saved:
            probabilities, shas = saved["probabilities"], saved["shas"].tolist()
    except (OSError, KeyError, ValueError) as error:
        raise ScoringError("evaluate() saved no predictions") from error
    validation = data.indices("validation")
    if shas != [data.shas[i] for i in validation] or probabilities.shape != (len(shas), len(prepare.CLASSES)):
        raise ScoringError("the predictions are not of this data set's validation photos")
    if not np.isfinite(probabilities).all():
        raise ScoringError("the predictions are not numbers")
    scores = prepare.accuracies(probabilities, data.labels[validation])
    return Score(scores["bin_acc"], scores["mc_acc"])


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
