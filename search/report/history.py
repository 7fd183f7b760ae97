"""What is known of rows beyond their six columns: what a search recorded beside them, and what their commits say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from search.core.recipe import values_of
from search.core.task import Task
from search.core.types import Change, SearchError
from search.records.results_tsv import Row, merge
from search.report.costs import Records
from search.report.frontier import Entry, Facts, noise_of
from search.report.search_records import SearchRecords, records_of
from search.system.git import Repository
from search.task.declaration import task_here

HASH = re.compile(r"[0-9a-fA-F]{4,64}")


class History:
    """Looks rows up. What commits say is remembered, since it never changes.

    repository: where commits are looked up; None: nowhere. usual_task: of rows that no search of these files wrote;
    None: the one that is meant in the folder of this process.
    """

    def __init__(self, repository: Repository | None, usual_task: Task | None = None) -> None:
        self.repository, self.usual_task = repository, usual_task or task_here()
        self._searches: dict[Path, SearchRecords | None] = {}  # by results.tsv
        self._commits: dict[str, str | None] = {}  # as a row names it -> its full hash here
        self._times: dict[str, float | None] = {}
        self._changes: dict[str, tuple[Change, ...]] = {}

    def load(self, paths: Iterable[Path]) -> None:
        """Reads what the searches of these results.tsv files have recorded by now."""
        by_folder = {search.folder: search for search in self.searches}
        for search in by_folder.values():
            if search.paths.decisions.exists():
                search.refresh()
        known, self._searches = self._searches, {}
        for path in paths:
            found = known.get(path) or next((by_folder[f] for f in path.parents[:2] if f in by_folder), None)
            found = self._searches[path] = found or records_of(path, self.repository)
            if found is not None:
                by_folder[found.folder] = found

    def entries(self, paths: Sequence[Path]) -> list[Entry]:
        """The rows of these files as one history, with what is known of each. Raises LedgerError if they cannot be
        merged."""
        self.load(paths)
        placed = merge(paths, self.task, self._time_of, self._look_up)
        return [self._entry(one.row, self._searches.get(one.path), one.path) for one in placed]

    def _entry(self, row: Row, search: SearchRecords | None, path: Path) -> Entry:
        for one in (search, *self.searches):  # a copy of its file may have come first
            number = one.experiment_of(row.key) if one else None
            if one is not None and number is not None:
                history, fallen = str(one.folder), one.fallen_of(number)
                return Entry(row, one.changes_of(number), one.evidence_of(number), history, fallen)
        return Entry(row, self._changes_in_git(row.commit), history=str(path))

    def _time_of(self, row: Row, path: Path) -> float | None:
        """When a row was decided, if a search recorded it; else its commit's time; else None."""
        search = self._searches.get(path)
        number = search.experiment_of(row.key) if search else None
        if search is not None and number is not None:
            return search.time_of(number)
        if row.commit not in self._times:
            self._times[row.commit] = self._commit_time(row.commit)
        return self._times[row.commit]

    @property
    def task(self) -> Task:
        """Of the searches that wrote the files; of rows that no search wrote, the one that is meant here."""
        return next((one.settings.task for one in self.searches if one.settings), None) or self.usual_task

    @property
    def searches(self) -> list[SearchRecords]:
        """Those that wrote the files."""
        return list({search.folder: search for search in self._searches.values() if search}.values())

    @property
    def facts(self) -> Facts:
        """Of the first search that knows each."""
        searches = self.searches
        scores = next((found for one in searches if (found := one.scores_of(0))), [])
        settings = next((one.settings for one in searches if one.settings), None)
        return Facts(
            noise_of(scores),
            settings.majority_score if settings else None,
            (settings.validation_images or None) if settings else None,
            settings.validation_groups if settings else (),
            next((one.audit for one in searches if one.audit), None),
            searches[0].recommended if len(searches) == 1 else None,
        )

    @property
    def records(self) -> Records | None:
        """For costs: of the one search that wrote the files."""
        searches = [one for one in self.searches if one.settings is not None]
        return searches[0].costs if len(searches) == 1 else None

    # --- commits ---

    def _look_up(self, rows: Iterable[Row]) -> None:
        """Finds the commits of rows that no search recorded in this repository, all by one process."""
        names = {row.commit for row in rows if HASH.fullmatch(row.commit)} - set(self._commits)
        if self.repository is None or not names:
            return
        asked = sorted(names)
        try:
            self._commits |= zip(asked, self.repository.commits_named(asked), strict=True)
        except SearchError:
            self._commits |= dict.fromkeys(asked)

    def _commit_time(self, name: str) -> float | None:
        commit = self._commits.get(name)
        return None if commit is None or self.repository is None else self.repository.time_of(commit)

    def _changes_in_git(self, name: str) -> tuple[Change, ...]:
        if name not in self._changes:
            self._changes[name] = self._difference(self._commits.get(name))
        return self._changes[name]

    def _difference(self, commit: str | None) -> tuple[Change, ...]:
        if commit is None or self.repository is None:
            return ()
        try:
            parents = self.repository.parents_of(commit)
            if not parents:
                return ()
            new, old = (values_of(self.repository.file_at(one, self.task.edited_path)) for one in (commit, parents[0]))
        except SearchError:
            return ()
        return tuple(
            Change(axis, old[axis], value) for axis, value in new.items() if axis in old and old[axis] != value
        )
