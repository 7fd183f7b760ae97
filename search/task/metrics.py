"""The two metrics that experiments are compared by, and the rates beside them: the only home of their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.core.types import SCORE_DIGITS, Score


@dataclass(frozen=True)
class Metric:
    """One metric of a trial, from 0 to 1. digits: decimals in rows; shown_digits: in what people read."""

    name: str
    meaning: str
    higher_is_better: bool = True
    digits: int = SCORE_DIGITS
    shown_digits: int = 4

    def gain(self, new: float, old: float) -> float:
        """By how much new is better than old."""
        return new - old if self.higher_is_better else old - new

    def shown(self, value: float) -> str:
        return f"{self.name} {value:.{self.shown_digits}f}"


PRIMARY = Metric("bin_acc", "infected or not")
SECONDARY = Metric("mc_acc", "five classes")
METRICS = (PRIMARY, SECONDARY)
SHOWN_RATES = {"sensitivity": "sens", "specificity": "spec"}  # beside the primary metric, with their short names
RATES = ("sensitivity", "specificity", "balanced_accuracy", "auroc", "average_precision", "calibration_error")
WANTED_RATES = "weigh infected photos more before anything else"  # if the best is no better than the majority's answer
POSITIVE, NEGATIVE = "infected", "not_infected"  # what the primary metric tells apart, as in users' files
ITEMS = "photos"  # what is scored, for people
_IN_FILES = {"majority_score": f"majority_{PRIMARY.name}", "validation_images": f"validation_{ITEMS}"}


def named(score: Score) -> dict[str, float]:
    """A score by its metrics' names, as users' files have it."""
    return {PRIMARY.name: score.primary, SECONDARY.name: score.secondary}


def score_of(values: Mapping[str, Any]) -> Score:
    """The score in a footer or file. Raises KeyError or ValueError."""
    return Score(float(values[PRIMARY.name]), float(values[SECONDARY.name]))


def shown(score: Score) -> str:
    """A score for people."""
    return f"{PRIMARY.shown(score.primary)} {SECONDARY.shown(score.secondary)}"


def rates_text(rates: Mapping[str, Any], digits: int = 2) -> str:
    """The rates that stand beside the primary metric, which says little if few are positive; '' if none is known."""
    known = [f"{word} {rates[name]:.{digits}f}" for name, word in SHOWN_RATES.items() if rates.get(name) is not None]
    return " ".join(known)


def with_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record by codec.encode as users' files have it: scores and settings by the task's own names."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        is_score = isinstance(value, dict) and set(value) == {"primary", "secondary"}
        found[_IN_FILES.get(key, key)] = named(Score(**value)) if is_score else value
    return found


def without_names(record: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of with_names."""
    back = {name: key for key, name in _IN_FILES.items()}
    found: dict[str, Any] = {}
    for key, value in record.items():
        is_score = isinstance(value, dict) and set(value) == {PRIMARY.name, SECONDARY.name}
        renamed = {"primary": value[PRIMARY.name], "secondary": value[SECONDARY.name]} if is_score else value
        found[back.get(key, key)] = renamed
    return found
