"""What one search has recorded, read from its ledgers as they grow, or from its journal if they are gone."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from search.core.codec import DecodeError, decode
from search.core.events import AuditRecorded, Decided, ProposalRecorded, SearchBegun, TrialEnded
from search.core.paths import Names, SearchPaths
from search.core.seeds import purpose_of
from search.core.task import Task
from search.core.types import Change, Decision, Outcome, Proposal, SearchError, Settings, Status
from search.decide.proof import recommended
from search.records import journal
from search.records.ledgers import without_names
from search.records.results_tsv import Key, key_of
from search.report.costs import Records
from search.report.evidence import Evidence, recommendation_shown
from search.system.files import GrowingFile
from search.system.git import Repository
from search.task.declaration import task_here

T = TypeVar("T")


class SearchRecords:
    """The records of the search in a folder; `refresh` reads what has come since.

    outcomes, decisions, proposals: in order. settings, audit: None if they are not there. version: moves on with each
    record that comes, and when all are read anew. People edit files: lines of another shape are left out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.paths, self.version = folder, SearchPaths(folder), 0
        self._forget()

    def _forget(self) -> None:
        self.version += 1
        self.outcomes: list[Outcome] = []
        self.decisions: list[Decision] = []
        self.proposals: list[Proposal] = []
        self.settings: Settings | None = None
        self.audit: dict[str, Any] | None = None
        self._latest: dict[int, Decision] = {}
        self._kept: list[Decision] = []
        self._were_kept: set[int] = set()
        self._number_of: dict[Key, int] = {}
        self._times: dict[int, float] = {}  # of the first decision on an experiment: its row keeps its place
        self._trials: dict[int, dict[int, Outcome]] = defaultdict(dict)
        self._fresh: dict[int, dict[int, Outcome]] = defaultdict(dict)
        self._files = [GrowingFile(path) for path in (self.paths.trials, self.paths.decisions, self.paths.proposals)]
        self._inodes = self._inodes_now()

    def _inodes_now(self) -> list[int]:
        return [file.path.stat().st_ino if file.path.exists() else 0 for file in self._files]

    def refresh(self) -> None:
        """Reads what the ledgers have gained; all anew if one was rewritten."""
        grown = all(
            before in (0, now) and (not now or file.path.stat().st_size >= file.offset)
            for before, now, file in zip(self._inodes, self._inodes_now(), self._files, strict=True)
        )
        if not grown:
            self._forget()
        self._inodes = self._inodes_now()
        trials, decisions, proposals = self._files
        if self.settings is None:
            record = value_of(self.paths.settings)
            self.settings = _decode(Settings, record, None) if record else None
        task = self.settings.task if self.settings else task_here()
        for outcome in _decoded(Outcome, trials, task):
            self._add_outcome(outcome)
        for decision in _decoded(Decision, decisions, task):
            self._add_decision(decision)
        proposed = _decoded(Proposal, proposals, task)
        self.proposals += proposed
        self.version += len(proposed)
        self.audit = value_of(self.paths.audit)

    def read_journal(self, repository: Repository) -> None:
        """Reads the records from git instead."""
        self._forget()
        for event in journal.read(repository, Names(self.folder.name)):
            match event:
                case SearchBegun(settings):
                    self.settings = settings
                case TrialEnded(outcome):
                    self._add_outcome(outcome)
                case Decided(decision):
                    self._add_decision(decision)
                case ProposalRecorded(proposal):
                    self.proposals.append(proposal)
                case AuditRecorded(found):
                    self.audit = found

    def _add_outcome(self, outcome: Outcome) -> None:
        self.version += 1
        self.outcomes.append(outcome)
        is_fresh = purpose_of(outcome.seed, self.settings.seed if self.settings else 0) is not None
        (self._fresh if is_fresh else self._trials)[outcome.experiment][outcome.seed] = outcome

    def _add_decision(self, decision: Decision) -> None:
        self.version += 1
        self.decisions.append(decision)
        self._latest[decision.experiment] = decision
        if decision.status is Status.KEEP:
            self._kept.append(decision)
            self._were_kept.add(decision.experiment)
        self._times.setdefault(decision.experiment, decision.time)
        self._number_of[key_of(decision.commit, decision.description)] = decision.experiment

    # --- what is known of a row; a row has no number, so that it is found by what it shows ---

    def experiment_of(self, key: Key) -> int | None:
        return self._number_of.get(key)

    def time_of(self, experiment: int) -> float:
        """Of its first decision, in seconds since the epoch."""
        return self._times[experiment]

    def changes_of(self, experiment: int) -> tuple[Change, ...]:
        return self._latest[experiment].changes

    def fallen_of(self, experiment: int) -> str:
        """Why an experiment that was an incumbent is none any more; '' for all others."""
        latest = self._latest[experiment]
        return latest.reason if experiment in self._were_kept and latest.status is not Status.KEEP else ""

    def evidence_of(self, experiment: int) -> Evidence:
        decision, runs = self._latest[experiment], self._trials.get(experiment, {})
        scores = {seed: one.score.primary for seed, one in runs.items() if one.score}
        correct = {seed: one.correct for seed, one in runs.items() if one.score and one.correct}
        return Evidence(scores, correct, decision.estimate, decision.metrics)

    def scores_of(self, experiment: int) -> list[float]:
        """The primary metric, one for each seed that ran."""
        return [one.score.primary for one in self._trials.get(experiment, {}).values() if one.score]

    @property
    def recommended(self) -> dict[str, Any] | None:
        """The commit to take home, as JSON; None if there is none yet, or the settings have gone."""
        if self.settings is None:
            return None
        frontier = self.frontier
        tested = _Tested(self.settings, self._trials, self._fresh, self._kept, frontier)
        return recommendation_shown(recommended(tested), frontier[-1] if frontier else None, self.settings.task)

    @property
    def frontier(self) -> list[Decision]:
        """The incumbents that stand, in order of their decisions."""
        latest = dict.fromkeys(one.experiment for one in self.decisions)  # a row keeps its place
        return [self._latest[number] for number in latest if self._latest[number].status is Status.KEEP]

    @property
    def costs(self) -> Records:
        price = self.settings.gpu_dollars_per_hour if self.settings else None
        seed = self.settings.seed if self.settings else 0
        return Records(self.outcomes, self.decisions, self.proposals, price, seed)


@dataclass
class _Tested:
    """What proof.Tested asks for."""

    settings: Settings
    trials: dict[int, dict[int, Outcome]]
    fresh: dict[int, dict[int, Outcome]]
    kept: list[Decision]
    frontier: list[Decision]


def records_of(results: Path, repository: Repository | None) -> SearchRecords | None:
    """The records of the search that wrote a results.tsv; None if no search did."""
    for folder in (results.parent, results.parent.parent):
        if (folder / "decisions.jsonl").exists():
            found = SearchRecords(folder)
            found.refresh()
            return found
        if repository is not None and folder.parent.name == "runs":
            found = SearchRecords(folder)
            try:
                found.read_journal(repository)
            except SearchError:
                continue  # of another version, or no search's name
            if found.settings is not None:
                return found
    return None


def _decode(kind: type[T], record: Any, task: Task | None) -> T | None:
    try:
        return decode(kind, without_names(record, task) if task else record)
    except (DecodeError, TypeError, AttributeError, KeyError, ValueError):
        return None


def _decoded(kind: type[T], file: GrowingFile, task: Task) -> list[T]:
    found = [item for line in file.lines() if (item := _item_of(kind, line, task)) is not None]
    last = _item_of(kind, file.rest(), task)  # an editor may have trimmed the file's last line end
    if last is not None:
        file.take_rest()
        found.append(last)
    return found


def _item_of(kind: type[T], line: str, task: Task) -> T | None:
    try:
        return _decode(kind, json.loads(line), task)
    except ValueError:
        return None


def value_of(path: Path) -> dict[str, Any] | None:
    """A file's JSON object; None if it has none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
