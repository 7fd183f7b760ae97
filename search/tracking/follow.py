"""Copies what a search has recorded to a tracker, as far as it is not there yet. The records stay the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.core.recipe import values_of
from search.core.types import SearchError
from search.report.search_records import SearchRecords, value_of
from search.system.files import append_text
from search.system.git import Repository
from search.tracking.runs import run_of_search, run_of_trial
from search.tracking.trackers import Tracker

PICTURE, SUMMARY = "progress.png", "analysis_summary.json"


class Follower:
    """written: a file of the search's that lists the trials that a tracker has; what is not in it is written anew.

    Raises SearchError if the search has no settings yet.
    """

    def __init__(self, folder: Path, repository: Repository | None, tracker: Tracker, written: Path) -> None:
        self.folder, self.repository, self.tracker, self.written = folder, repository, tracker, written
        self.records = SearchRecords(folder)
        self._known = set(written.read_text().split()) if written.exists() else set()
        self._steps = 0

    def copy(self, model: Path | None = None, is_last: bool = False) -> int:
        """Copies what is new; how many trials that were. model: a folder of search.export's. is_last: pictures go along
        too."""
        self.records.refresh()
        settings = self.records.settings
        if settings is None:
            raise SearchError(f"{self.folder}: no settings.json in it; name a search that has begun")
        found = 0
        for outcome in self.records.outcomes:
            if outcome.trial in self._known:
                continue
            run = run_of_trial(outcome, settings.task, self._subject(outcome.commit), self._recipe(outcome.commit))
            self.tracker.write(run)
            append_text(self.written, f"{outcome.trial}\n")
            self._known.add(outcome.trial)
            found += 1
        pictures = [self.folder / PICTURE] if is_last and (self.folder / PICTURE).exists() else []
        files = tuple(path for path in (*pictures, model) if path is not None)
        summary = value_of(self.folder / SUMMARY) or {}
        if len(self.records.decisions) > self._steps or files:
            self.tracker.extend(run_of_search(self.records, settings, summary, files), self._steps)
            self._steps = len(self.records.decisions)
        return found

    def _subject(self, commit: str) -> str:
        """What it is about, by its commit; '' without the repository."""
        try:
            return self.repository.run("log", "-1", "--format=%s", commit) if self.repository else ""
        except SearchError:
            return ""

    def _recipe(self, commit: str) -> dict[str, Any]:
        """What it was trained with; nothing without the repository."""
        settings = self.records.settings
        if self.repository is None or settings is None:
            return {}
        try:
            return dict(values_of(self.repository.file_at(commit, settings.task.edited_path)))
        except SearchError:
            return {}


def follow(follower: Follower, wait: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Copies again and again, until `wait` says that the search is over, and then once more. A tracker that fails is
    said once, and tried again."""
    failed = ""
    while True:
        over = wait()
        try:
            follower.copy(is_last=over)
            failed = ""
        except Exception as error:  # of somebody else's package, or of a disk or service that is away
            words = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            if words != failed:
                say(f"not tracked for now: {words}")
            failed = words
        if over:
            return
