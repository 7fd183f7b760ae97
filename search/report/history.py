"""What is known of rows beyond their six columns: what a search recorded beside them, and what their commits tell."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from search.core.paths import Names
from search.core.recipe import values_of
from search.core.types import Change, SearchError
from search.records.results_tsv import Key, Row, key_of
from search.report.costs import Records
from search.report.evidence import Evidence
from search.system.git import Repository

HASH = re.compile(r"[0-9a-fA-F]{4,64}")


@dataclass
class Recorded:
    """What a search recorded beside its rows; empty for rows that no search wrote."""

    times: dict[Key, float] = field(default_factory=dict)  # of decision, seconds since the epoch
    changes: dict[Key, tuple[Change, ...]] = field(default_factory=dict)
    baseline_bin_accs: list[float] = field(default_factory=list)  # one for each of the baseline's seeds
    majority_bin_acc: float | None = None
    evidence: dict[Key, Evidence] = field(default_factory=dict)
    photos: int | None = None  # of validation
    audit: dict[str, Any] | None = None  # what search.audit recorded, where the test photos were opened
    records: Records | None = None
    folder: Path = Path()  # of the search


class History:
    """Looks rows up. What commits tell is remembered, since it never changes; records are read anew by `load`.

    repository: where commits are looked up; None: nowhere.
    """

    def __init__(self, repository: Repository | None) -> None:
        self.repository = repository
        self._recorded: dict[Path, Recorded] = {}
        self._commit_times: dict[str, float | None] = {}
        self._commit_changes: dict[str, tuple[Change, ...]] = {}

    def load(self, paths: Iterable[Path]) -> None:
        """Reads what the searches of these results.tsv files have recorded by now."""
        self._recorded = {path: self._read(path) for path in paths}

    def _read(self, path: Path) -> Recorded:
        for folder in (path.parent, path.parent.parent):
            if (folder / "decisions.jsonl").exists():
                settings = read_lines(folder / "settings.json", whole=True)
                audits = read_lines(folder / "audit.json", whole=True)
                decisions, outcomes = read_lines(folder / "decisions.jsonl"), read_lines(folder / "trials.jsonl")
                proposals = read_lines(folder / "proposals.jsonl")
                return replace(recorded(decisions, outcomes, settings[:1], audits, proposals), folder=folder)
            journal = Names(folder.name).journal
            if self.repository is not None and folder.parent.name == "runs":
                records = self.repository.read_records(journal)
                if records:
                    kinds = ("decision", "outcome", "search", "audit", "proposal")
                    by_kind = ([r for r in records if r.get("event") == kind] for kind in kinds)
                    return replace(recorded(*by_kind), folder=folder)
        return Recorded()

    def time_of(self, row: Row, path: Path) -> float | None:
        """When a row was decided, where a search recorded it; else its commit's time; else None."""
        known = self._recorded.get(path, Recorded()).times.get(row.key)
        if known is not None:
            return known
        if row.commit not in self._commit_times:
            self._commit_times[row.commit] = self._commit_time(row.commit)
        return self._commit_times[row.commit]

    def changes_of(self, rows: Sequence[Row]) -> dict[Key, tuple[Change, ...]]:
        """What each row's experiment changed in the recipe, where a search recorded it or its commit is here."""
        found: dict[Key, tuple[Change, ...]] = {}
        for one in self._recorded.values():
            found |= one.changes
        for row in rows:
            key = row.key
            if key not in found:
                if row.commit not in self._commit_changes:
                    self._commit_changes[row.commit] = self._changes_in_git(row.commit)
                found[key] = self._commit_changes[row.commit]
        return {key: changes for key, changes in found.items() if changes}

    @property
    def baseline_bin_accs(self) -> list[float]:
        """bin_acc of the first search's baseline, one for each seed; empty where it is not known."""
        return next((one.baseline_bin_accs for one in self._recorded.values() if one.baseline_bin_accs), [])

    @property
    def majority_bin_acc(self) -> float | None:
        known = (one.majority_bin_acc for one in self._recorded.values() if one.majority_bin_acc is not None)
        return next(known, None)

    @property
    def evidence(self) -> dict[Key, Evidence]:
        found: dict[Key, Evidence] = {}
        for one in self._recorded.values():
            found |= one.evidence
        return found

    @property
    def photos(self) -> int | None:
        return next((one.photos for one in self._recorded.values() if one.photos), None)

    @property
    def records(self) -> list[Records]:
        """Of each search."""
        return list({one.folder: one.records for one in self._recorded.values() if one.records}.values())

    @property
    def audit(self) -> dict[str, Any] | None:
        return next((one.audit for one in self._recorded.values() if one.audit), None)

    def _commit_time(self, commit: str) -> float | None:
        if self.repository is None or not HASH.fullmatch(commit):
            return None
        try:
            return float(self.repository.run("show", "--no-patch", "--format=%ct", f"{commit}^{{commit}}"))
        except (SearchError, ValueError):
            return None

    def _changes_in_git(self, commit: str) -> tuple[Change, ...]:
        if self.repository is None or not HASH.fullmatch(commit):
            return ()
        try:
            new = values_of(self.repository.file_at(commit, "train.py"))
            old = values_of(self.repository.file_at(f"{commit}^", "train.py"))
        except SearchError:
            return ()
        return tuple(
            Change(axis, old[axis], value) for axis, value in new.items() if axis in old and old[axis] != value
        )


def recorded(
    decisions: Sequence[Any],
    outcomes: Sequence[Any],
    settings: Sequence[Any],
    audits: Sequence[Any] = (),
    proposals: Sequence[Any] = (),
) -> Recorded:
    """What records of a search tell; those of another shape are left out, since people edit files."""
    found = Recorded()
    scores: dict[int, dict[int, float]] = defaultdict(dict)
    correct: dict[int, dict[int, str]] = defaultdict(dict)
    for record in outcomes:
        try:
            if record["score"]:
                bin_acc = float(record["score"]["bin_acc"])
                scores[record["experiment"]][record["seed"]] = bin_acc
                if record.get("correct"):
                    correct[record["experiment"]][record["seed"]] = str(record["correct"])
                if record["experiment"] == 0:
                    found.baseline_bin_accs.append(bin_acc)
        except (KeyError, TypeError, ValueError):
            continue
    for record in decisions:
        try:
            key, number = key_of(record["commit"], record["description"]), record.get("experiment")
            # A second decision on an experiment changes its row, not its place.
            found.times.setdefault(key, float(record["time"]))
            found.changes[key] = tuple(Change(**change) for change in record["changes"])
            rates = {name: float(value) for name, value in (record.get("metrics") or {}).items()}
            found.evidence[key] = Evidence(
                scores.get(number, {}), correct.get(number, {}), record.get("estimate"), rates
            )
        except (KeyError, TypeError, ValueError):
            continue
    for record in settings:
        if isinstance(record, dict) and isinstance(record.get("majority_bin_acc"), float):
            found.majority_bin_acc = record["majority_bin_acc"]
            found.photos = record.get("validation_photos") or None
            found.records = whole_records(outcomes, decisions, proposals, record.get("gpu_dollars_per_hour"))
    found.audit = next((record for record in audits if isinstance(record, dict)), None)
    return found


def whole_records(outcomes: Sequence[Any], decisions: Sequence[Any], proposals: Sequence[Any], price: Any) -> Records:
    """Those of the shape that a search writes."""

    def having(records: Sequence[Any], *names: str) -> list[Any]:
        return [one for one in records if isinstance(one, dict) and all(name in one for name in names)]

    return Records(
        having(outcomes, "experiment", "commit", "began", "ended"),
        having(decisions, "experiment", "commit", "status", "reason"),
        having(proposals, "number", "author", "idea", "commit"),
        price if isinstance(price, float) else None,
    )


def read_lines(path: Path, whole: bool = False) -> list[Any]:
    """The records of a file with one JSON value per line (whole: of a file that is one value).

    A torn last line, and a file that is not there, are left out.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    records = []
    for line in [text] if whole else text.splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records
