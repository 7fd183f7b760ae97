"""How probabilities become an answer: the temperature and the threshold, and what is known of them on some photos.
Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import prepare
from search.model.threshold import risk_of, temperature_of, threshold_for
from search.task.screening.rates import calibration_error, rates_of, screen


@dataclass(frozen=True)
class Photos:
    """Photos that a model was asked about. probabilities: (n, classes). labels, groups: (n,), as prepare.Data has
    them."""

    probabilities: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    classes: prepare.Classes

    @property
    def infected(self) -> np.ndarray:
        return self.classes.is_positive(self.labels)

    def risk(self, temperature: float) -> np.ndarray:
        return risk_of(self.probabilities, self.classes.positive, temperature)


@dataclass(frozen=True)
class Operating:
    """flagged is what has a risk of the threshold or more, at the temperature."""

    temperature: float
    threshold: float


def operating_point(photos: Photos, sensitivity: float) -> Operating:
    """Chosen by these photos alone: the temperature, and the threshold of the risk that reaches a sensitivity there.
    One of them at least is infected."""
    temperature = temperature_of(photos.probabilities, photos.labels)
    return Operating(temperature, threshold_for(photos.risk(temperature), photos.infected, sensitivity))


def figures_at(photos: Photos, at: Operating) -> dict[str, Any]:
    """How a model screens photos, with 95 % intervals that respect the groups: at the threshold, and as the search has
    scored it, by the most probable class."""
    infected, risk = photos.infected, photos.risk(at.temperature)
    flagged = risk >= at.threshold
    usual = screen(photos.probabilities, photos.labels, photos.groups, photos.classes)
    return {
        "photos": len(photos.labels),
        "infected": int(infected.sum()),
        "at_threshold": {
            **rates_of(flagged, infected, photos.groups),
            "flagged": round(float(flagged.mean()), 6),
            "missed": int((~flagged & infected).sum()),
            "false_alarms": int((flagged & ~infected).sum()),
            "calibration_error": round(calibration_error(risk, infected), 6),
            "calibration_error_before": round(calibration_error(photos.risk(1.0), infected), 6),
        },
        "as_scored": {**prepare.accuracies(photos.probabilities, photos.labels, photos.classes), **usual},
    }
