"""The task of a search: which program is run and how, what its runs are compared by, and how far that is to be trusted.

Words and arithmetic; task/declaration.py reads them from a task.toml.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SIGNIFICANT = 12  # digits of a score: two means of the same scores are equal


@dataclass(frozen=True)
class Score:
    """What experiments are compared by, held so that higher is better in both: the primary metric first, then what
    breaks its ties, 0 in a task without. Task.named has them as the task itself says them."""

    primary: float
    secondary: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "primary", float(f"{self.primary:.{SIGNIFICANT}g}"))
        object.__setattr__(self, "secondary", float(f"{self.secondary:.{SIGNIFICANT}g}"))


class Trust(StrEnum):
    """Who says what a run scored."""

    SCORED = "scored"  # a scorer outside of the run, by predictions and labels that the run was not given
    REPORTED = "reported"  # the run itself


class Hyperparameters(StrEnum):
    """Where they stand in the edited file."""

    RECIPE = "recipe"  # the fields of a class Recipe
    CONSTANTS = "constants"  # constants in capitals at its top level


@dataclass(frozen=True)
class Metric:
    """One figure of a run.

    digits: decimals in rows; shown_digits: in what people read. low, high: bounds of what it can be, None: none.
    pattern: a regular expression whose first group is its value in the log, the last one found; '': the footer has it,
    in a line `name: value`.
    """

    name: str
    meaning: str = ""
    higher_is_better: bool = True
    digits: int = 6
    shown_digits: int = 4
    low: float | None = None
    high: float | None = None
    pattern: str = ""

    def turned(self, value: float) -> float:
        """The task's own figure as the search holds it, higher is better; and back."""
        return value if self.higher_is_better else 0.0 - value

    def told(self, value: float) -> float:
        """A value of the search's as the task's own figure, rounded as rows are."""
        return round(self.turned(value), self.digits)

    def allows(self, value: float) -> bool:
        """Whether the metric can have this value, in the task's own terms; no NaN, nothing infinite."""
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        return math.isfinite(value) and low <= value <= high

    @property
    def span(self) -> float | None:
        """high - low; None without bounds."""
        return None if self.low is None or self.high is None else self.high - self.low

    def text(self, value: float) -> str:
        """A value of the search's for people."""
        return f"{self.turned(value):.{self.shown_digits}f}"

    def shown(self, value: float) -> str:
        """Likewise, with the metric's name."""
        return f"{self.name} {self.text(value)}"

    def gain(self, gain: float, digits: int | None = None) -> str:
        """A difference of the search's, which is above zero for the better, in the task's own terms, for people."""
        return f"{self.turned(gain):+.{self.shown_digits if digits is None else digits}f}"


@dataclass(frozen=True)
class Passing:
    """How a run is told a number: by at most one of these. None of them: it is not.

    flag: of its command line. variable: of its environment. constant: at the top level of a file, which is rewritten.
    """

    flag: str = ""
    variable: str = ""
    constant: str = ""
    file: str = ""  # that has the constant

    @property
    def is_possible(self) -> bool:
        return bool(self.flag or self.variable or self.constant)


@dataclass(frozen=True)
class OutsideScorer:
    """A function of a fixed file that scores predictions, outside of the run that made them: from (predictions, labels)
    to the metrics by their names. labels: a file that no run can read; predictions: the file that a run leaves."""

    file: str
    function: str
    labels: str
    predictions: str


@dataclass(frozen=True)
class Task:
    """folder: of its task.toml, in the repository, '' for the top; paths are relative to it. tie_breaker: decides
    between runs that are equal in the metric. columns: the metrics' in results.tsv, in order. command: '{python}'
    stands for the interpreter. edited: the only file that experiments change. fixed: files that must be there besides.
    reads: what else a run may read on this machine. seed, seconds: how a run is told them. usual_seconds: of a run's
    training, unless the user says otherwise. most_seconds: from a run's start; it is ended then; None: by its budget.
    memory: the footer's key for the peak, and of how many MB one unit is. trains: whether it prints lines `step …` or
    `epoch …` as it trains. smoke_seconds: of a run on the CPU, before an edit may take a slot; None: there is none.
    scorer: who scores, if it is no room and not the run itself. room: the package of search.task that has the data and
    the scorer; '': none. item: what is scored, for people. rates: figures of a scorer's beside the metrics.
    shown_rates: those that stand beside the metric everywhere, and their short names. majority_hint: what to try if the
    best is no better than always giving the same answer.
    """

    name: str
    metric: Metric
    tie_breaker: Metric | None = None
    columns: tuple[str, ...] = ()
    folder: str = ""
    command: tuple[str, ...] = ("{python}", "train.py")
    edited: str = "train.py"
    fixed: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    hyperparameters: Hyperparameters = Hyperparameters.RECIPE
    trust: Trust = Trust.REPORTED
    seed: Passing = Passing()
    seconds: Passing = Passing()
    usual_seconds: float = 300.0
    most_seconds: float | None = None
    start_up_seconds: float = 300.0
    memory: str = "peak_vram_mb"
    memory_unit_mb: float = 1.0
    trains: bool = True
    smoke_seconds: float | None = None
    space: str = "space.toml"
    program: str = "program.md"
    scorer: OutsideScorer | None = None
    room: str = ""
    item: str = ""
    rates: tuple[str, ...] = ()
    shown_rates: Mapping[str, str] = field(default_factory=dict)
    majority_hint: str = ""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (self.metric,) if self.tie_breaker is None else (self.metric, self.tie_breaker)

    @property
    def metric_columns(self) -> tuple[str, ...]:
        return self.columns or tuple(metric.name for metric in self.metrics)

    @property
    def items(self) -> str:
        return f"{self.item}s" if self.item else "items"

    def path(self, name: str) -> str:
        """A file of the task's by its path in the repository."""
        return f"{self.folder}/{name}" if self.folder else name

    @property
    def edited_path(self) -> str:
        return self.path(self.edited)

    def score_of(self, values: Mapping[str, Any]) -> Score:
        """The score in a footer or file, by the metrics' names. Raises KeyError or ValueError."""
        found = [metric.turned(float(values[metric.name])) for metric in self.metrics]
        return Score(*found)

    def named(self, score: Score) -> dict[str, float]:
        """A score by its metrics' names, in the task's own terms."""
        return {metric.name: metric.told(value) for metric, value in self._values(score)}

    def named_exactly(self, score: Score) -> dict[str, float]:
        """Likewise, not rounded."""
        return {metric.name: metric.turned(value) for metric, value in self._values(score)}

    def _values(self, score: Score) -> list[tuple[Metric, float]]:
        """Each metric with its part of a score."""
        return list(zip(self.metrics, (score.primary, score.secondary), strict=False))

    def shown(self, score: Score) -> str:
        """A score for people."""
        return " ".join(self.shown_each(score))

    def shown_each(self, score: Score) -> list[str]:
        return [metric.shown(value) for metric, value in self._values(score)]

    def text_each(self, score: Score) -> list[str]:
        """Likewise, without the metrics' names."""
        return [metric.text(value) for metric, value in self._values(score)]

    def rates_text(self, rates: Mapping[str, Any], digits: int = 2) -> str:
        """The rates that stand beside the metric; '' if none is known."""
        known = [(word, rates[name]) for name, word in self.shown_rates.items() if rates.get(name) is not None]
        return " ".join(f"{word} {value:.{digits}f}" for word, value in known)

    @property
    def by_own_word(self) -> str:
        """What must stand beside every number that a run itself has reported; '' if a scorer outside says it."""
        return " (reported by the run itself)" if self.trust is Trust.REPORTED else ""
