"""What a page shows of a search, read from its folder in runs/, and from git where there is any."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from search.core.task import Task
from search.core.types import Decision, Outcome, SearchError
from search.records.housekeeping import last_lines
from search.report.search_records import SearchRecords, value_of
from search.report.snapshot import is_running, snapshot
from search.system.files import end_of
from search.system.git import Repository
from search.task.declaration import task_here
from search.trial.footer import losses_of

T = TypeVar("T")
LOG_LINES = 200
CURVE_BYTES, CURVE_POINTS = 2**18, 80  # of a running trial's log
NO_VIEW: dict[str, Any] = {"counts": {}, "frontier": [], "places": {}, "proposals": {}, "latest": [], "notes": []}


class PageSource:
    """The records of one search as they grow; reading works whether it runs or not, also from a copied folder.

    folder: runs/<tag>. repository: None: there is none, and diffs and parents are not known. summary: of
    analysis_summary.json. view: of the driver's last look at its state. For one thread at a time.
    """

    def __init__(self, folder: Path, repository: Repository | None = None) -> None:
        self.folder, self.repository = folder, repository
        self.records = SearchRecords(folder)
        self.paths = self.records.paths
        self.summary: dict[str, Any] = {}
        self.view: dict[str, Any] = NO_VIEW
        self._marks: object = None
        self._summary_mark: object = None
        self._parents: tuple[int, dict[str, str]] = (-1, {})
        self._made: dict[Any, Any] = {}
        self._made_of: object = None

    @property
    def tag(self) -> str:
        return self.folder.name

    @property
    def task(self) -> Task:
        return self.records.settings.task if self.records.settings else task_here()

    @property
    def running(self) -> bool:
        return is_running(self.paths)

    def refresh(self) -> bool:
        """Reads what has come since; whether anything has. Raises SearchError if no search is there."""
        view = json_of(self.paths.view).get("view") or NO_VIEW
        marks = (self._sizes(), self.running, view)
        if marks == self._marks:
            return False
        self.records.refresh()
        if not self.records.decisions and not self.records.outcomes and self.repository is not None:
            self._read_journal()
        summary = mark_of(self.paths.summary)
        if summary != self._summary_mark:
            self.summary, self._summary_mark = json_of(self.paths.summary), summary
        self.view, self._marks = view, marks
        if self._made_of != (self.records.version, summary):
            self._made_of = self.records.version, summary
            self._made.clear()
        return True

    def once(self, make: Callable[[PageSource], T]) -> T:
        """What a function makes of the records and the summary, made once until they change: trials that run tell of
        themselves each second, and decisions are rare."""
        if make not in self._made:
            self._made[make] = make(self)
        found: T = self._made[make]
        return found

    def _read_journal(self) -> None:
        try:
            self.records.read_journal(self.repository)  # type: ignore[arg-type]
        except SearchError:  # of another version, or none: what the folder has is shown
            return

    def _sizes(self) -> tuple[tuple[str, int, int], ...]:
        """Size and time of every file that the page is made of."""
        paths = self.paths
        files = [
            paths.settings,
            paths.trials,
            paths.decisions,
            paths.proposals,
            paths.summary,
            paths.notes,
            paths.audit,
        ]
        for slot in paths.slots():
            for trial in slot.running_trials():
                files += [trial.running, trial.log]
        return tuple(mark for path in files if (mark := mark_of(path)) is not None)

    def status(self) -> dict[str, Any]:
        """What its slots do now, as search.status says it."""
        return snapshot({**NO_VIEW, "tag": self.tag, **self.view}, self.paths, self.running, time.time())

    # --- single things ---

    def curve_of(self, slot: int, trial: str) -> tuple[float, ...]:
        """The training losses that a running trial has printed, evenly over them."""
        return losses_of(end_of(self.paths.slot(slot).trial(trial).log, CURVE_BYTES), CURVE_POINTS)

    def log_of(self, outcome: Outcome) -> str:
        """The end of a trial's log; '' if it is gone."""
        log = self.paths.slot(outcome.slot).trial(outcome.trial).log
        return last_lines(log, LOG_LINES)

    def difference(self, decision: Decision) -> str:
        """What an experiment changed, as a patch; '' if that is not known here."""
        parent = self.parents.get(decision.commit)
        if self.repository is None or not parent or decision.experiment == 0:
            return ""
        try:
            return self.repository.difference(parent, decision.commit, self.task.edited_path)
        except SearchError:
            return ""

    @property
    def parents(self) -> dict[str, str]:
        """The parent of each experiment's commit, as far as this repository knows; looked up by one process."""
        known = len(self.records.decisions)
        if self.repository is None or self._parents[0] == known:
            return self._parents[1]
        commits = {one.commit for one in self.records.decisions}
        try:
            text = self.repository.run(
                "log", "--no-walk=unsorted", "--ignore-missing", "--stdin", "--format=%H %P", stdin="\n".join(commits)
            )
        except SearchError:
            text = ""
        pairs = (line.split() for line in text.splitlines())
        self._parents = known, {words[0]: words[1] for words in pairs if len(words) > 1}
        return self._parents[1]

    def notes(self) -> str:
        """The person's notes for the agent."""
        try:
            return self.paths.notes.read_text(errors="replace")
        except OSError:
            return ""


def mark_of(path: Path) -> tuple[str, int, int] | None:
    """What changes with a file; None if it is not there."""
    try:
        stat = path.stat()
        return str(path), stat.st_size, stat.st_mtime_ns
    except OSError:
        return None


def json_of(path: Path) -> dict[str, Any]:
    """A file's JSON object; empty if it has none."""
    return value_of(path) or {}
