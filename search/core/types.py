"""The words of the search as frozen dataclasses and enums, and the tree of its errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from search.core.task import Score, Task

Value = bool | int | float | str  # of one recipe field
OUT_OF_MEMORY = "out of memory"  # begins the reason of a crash that was one
AT_FAULT = "the slot is at fault: "  # begins the reason of a trial that says nothing of its experiment
STOOD_STILL = "its machine stood still "  # likewise, but its slot is as good as before
GUARD_KILLED = "its guard was killed "  # likewise, by whoever ended its worker too; unless it happens again and again
SHORT_HASH = 7  # characters of a commit as people see it


def short(commit: str) -> str:
    """A commit's hash as rows and messages show it."""
    return commit[:SHORT_HASH]


class SearchError(Exception):
    """A known failure: its message is one clear line for the user. Exit code 1."""


class UsageError(SearchError):
    """What the user asked for cannot be meant; the message says what to do. Exit code 2."""


class GitError(SearchError):
    """A git command failed."""


TrialKey = tuple[int, int]  # experiment number, seed: measured at most once


class Status(StrEnum):
    KEEP = "keep"
    DISCARD = "discard"
    CRASH = "crash"


class Kind(StrEnum):
    BASELINE = "baseline"
    SWEEP = "sweep"  # a point of Optuna's
    PROPOSAL = "proposal"  # somebody's edit of train.py
    REBASE = "rebase"  # a kept change again, on top of the incumbent that it beat without having begun from it


class Purpose(StrEnum):
    """What a trial is for."""

    FIRST = "first"  # the first seed of an experiment; for the baseline, each slot's
    CONFIRM = "confirm"  # a further seed in a race
    AGAIN = "again"  # the incumbent once more, since there is nothing else to do
    PROOF = "proof"  # a fresh seed of an incumbent or the baseline, which nothing is chosen by
    VERIFY = "verify"  # likewise, as search.verify asked


class EarlyStop(StrEnum):
    """By which rule a trial is ended that is not worth a second seed; decide.early_stop has them."""

    NONE = "none"
    MEDIAN = "median"
    ASHA = "asha"
    LEARNED = "learned"


@dataclass(frozen=True)
class Change:
    """One recipe field that an experiment moves."""

    axis: str
    old: Value
    new: Value

    def __str__(self) -> str:
        return f"{self.axis} {self.old} -> {self.new}"


@dataclass(frozen=True)
class Experiment:
    """One idea: recipe changes on top of a parent commit, or a proposal's commit. number 0 is the baseline."""

    number: int
    kind: Kind
    parent: str
    changes: tuple[Change, ...] = ()
    description: str = "baseline"
    origin: int | None = None  # of a rebase: the experiment whose change it is
    proposal: int | None = None
    commit: str = ""  # of a proposal, which has one before its first trial
    why: str = ""  # why it was chosen, in one line


@dataclass(frozen=True)
class Slot:
    """One GPU of the search; its number is its own for the search's life.

    node: the machine, by the name that it gave itself once. host: that machine's name for people. gpu: the id there.
    model, memory_mb: the card's; '' and None if the slot is logical.
    """

    number: int
    node: str
    host: str
    gpu: str
    model: str = ""
    memory_mb: float | None = None


@dataclass(frozen=True)
class Work:
    """What a slot is handed: one trial of an experiment, with its seed; attempt counts from 1."""

    experiment: Experiment
    seed: int
    attempt: int = 1
    commit: str = ""  # if the experiment has one: it is measured as it is
    purpose: Purpose = Purpose.FIRST
    why: str = ""  # of a further seed, in one line; why an experiment was chosen is its own

    @property
    def key(self) -> TrialKey:
        return self.experiment.number, self.seed

    @property
    def trial_id(self) -> str:
        suffix = f"-a{self.attempt}" if self.attempt > 1 else ""
        return f"e{self.experiment.number:04d}-s{self.seed}{suffix}"


@dataclass(frozen=True)
class InFlight:
    """A trial that a slot runs, since so many seconds after the epoch."""

    work: Work
    slot: int
    since: float


@dataclass(frozen=True)
class StoppedEarly:
    """A trial that was ended, since it was not worth a second seed. seconds: that it had trained. expected, deviation:
    of the primary metric, what it would have scored."""

    seconds: float
    expected: float
    deviation: float


@dataclass(frozen=True)
class Outcome:
    """How one trial ended. Scores are None if it crashed, or was stopped early; reason says why."""

    trial: str
    experiment: int
    seed: int
    slot: int
    commit: str
    score: Score | None
    reason: str = ""
    memory_mb: float | None = None
    began: float = 0.0  # seconds since the epoch
    ended: float = 0.0
    footer: dict[str, str] = field(default_factory=dict)
    traceback: str = ""
    violations: tuple[str, ...] = ()  # what it did that a trial must not do; such an experiment is never kept
    metrics: dict[str, Any] = field(default_factory=dict)  # of a scorer, beside the score
    correct: str = ""  # which validation images the primary metric counts as right: bits, packed, as hex
    # start_up_, training_ and evaluation_seconds; probe, matrix products per second; what the footer and card said
    speed: dict[str, Any] = field(default_factory=dict)
    machine: str = ""  # kind of slot: the GPU's name, or cpu
    code_size: int = 0  # of its train.py, by recipe.code_size; 0 if it did not get so far
    losses: tuple[float, ...] = ()  # of training, from its log: a few, evenly over it
    progress: tuple[float, ...] = ()  # at the shares of its budget at which it may be stopped; higher is better
    stopped: StoppedEarly | None = None

    @property
    def key(self) -> TrialKey:
        return self.experiment, self.seed

    @property
    def crashed(self) -> bool:
        return self.score is None and self.stopped is None

    @property
    def ran_out_of_memory(self) -> bool:
        return self.crashed and self.reason.startswith(OUT_OF_MEMORY)


@dataclass(frozen=True)
class Decision:
    """keep, discard or crash of one experiment, with what both sides had at that time; makes one row."""

    experiment: int
    status: Status
    reason: str
    commit: str
    slot: int
    score: Score | None
    memory_gb: float
    description: str
    incumbent: str  # the commit it was compared with; its own for the baseline
    incumbent_score: Score | None
    changes: tuple[Change, ...]
    seeds: tuple[int, ...]
    time: float
    note: str = ""
    incumbent_seeds: tuple[int, ...] = ()
    probability: float | None = None  # that it is better than the incumbent, by decide.belief
    estimate: float | None = None  # of its true score, corrected for having been chosen, by decide.belief
    gain: tuple[float, float] | None = None  # mean and deviation of what was believed of its gain over the baseline
    simpler: bool = False  # kept for that
    metrics: dict[str, Any] = field(default_factory=dict)  # means over the seeds, of what the summaries show
    proposal: int | None = None  # whose experiment it is


@dataclass(frozen=True)
class Cost:
    """What a proposal took, beside its trials. What the agent does not report is None."""

    seconds: float = 0.0
    attempts: int = 1
    turns: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    dollars: float | None = None


@dataclass(frozen=True)
class Proposal:
    """Somebody's edit of train.py, and what became of it before it was tried; or a turn's end without an edit."""

    number: int
    author: str  # the agent's name; inbox, or merge, for what was handed in
    idea: str
    parent: str  # the commit that it edits
    commit: str = ""  # the edit; '' if there was none
    refused: str = ""  # why it is not tried; '' if it is, or waits to be
    turn: int | None = None
    origin: str = ""  # the commit that was handed in
    identity: str = ""  # of its train.py, by recipe.identity
    edit: str = ""  # its name in the built-in catalogue
    cost: Cost = field(default_factory=Cost)
    time: float = 0.0


@dataclass(frozen=True)
class Turn:
    """The agent is asked for so many proposals, after so many experiments are done."""

    number: int
    agent: str
    asked: int
    done: int
    parent: str
    time: float = 0.0


@dataclass(frozen=True)
class Settings:
    """What a search was started with; never changes over its life. cli.preflight says what a resume may name again."""

    tag: str
    task: Task
    base: str  # commit of the baseline
    dataset: str
    fingerprint: str
    image_size: int
    majority_score: float | None  # primary metric of always giving the majority's answer, where that means something
    space: str  # the space file's text, so that a later edit of the file does not change a search
    space_name: str
    seed: int
    max_train_seconds: float
    slots: int
    created: float
    validation_images: int
    validation_groups: tuple[int, ...]  # of each, the same for those that belong together; none if none do
    confirm_seeds: int
    allow_degenerate: bool
    agent: str
    gpu_dollars_per_hour: float | None  # if the user gave it
    most_slots: int | None  # on a cluster; None: all that come
    gpu_model: str  # part of the name of the cards that it uses
    on_gpus: bool  # whether it began on GPUs of this machine, not on logical ones
    proof_share: float  # of the trials, to prove that the incumbent is better than the baseline
    early_stop: EarlyStop = EarlyStop.NONE
    least_sensitivity: float | None = None  # on validation, at a threshold chosen on training photos that are held back
    seal: str = ""  # folder of the sealed results; '' for the usual one of whoever runs it
