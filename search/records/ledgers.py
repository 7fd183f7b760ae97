"""The ledgers in runs/<tag>: written row by row as a search goes, and anew from its state if one is torn or gone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.core.codec import encode
from search.core.paths import SearchPaths
from search.core.state import State
from search.core.task import Score, Task
from search.core.types import Decision, Outcome, Proposal, Status
from search.decide.rules import mean_of, scored
from search.records.results_tsv import header_of, row_of
from search.system.files import append_text, write_text


class Ledgers:
    """Writes what follows from the journal; the coordinator is its only user, and the only writer of these files."""

    def __init__(self, paths: SearchPaths) -> None:
        self.paths = paths
        self._rows: dict[int, tuple[int, str]] = {}  # experiment -> its slot and its line, in order of decision

    def add_outcome(self, state: State, outcome: Outcome) -> None:
        """One more trial; if its experiment is decided, the mean in its row may change."""
        append_text(self.paths.trials, json_line(state.settings.task, "outcome", outcome))
        if outcome.experiment in state.verdicts:
            self._change_row(state, outcome.experiment)

    def add_proposal(self, proposal: Proposal) -> None:
        append_text(self.paths.proposals, json_line(None, "proposal", proposal))

    def add_decision(self, state: State, decision: Decision) -> None:
        """One more row, in its slot's file and in the merged one; or its change, if it is decided anew."""
        append_text(self.paths.decisions, json_line(state.settings.task, "decision", decision))
        if decision.experiment in self._rows:
            self._change_row(state, decision.experiment)
            return
        slot, line = self._rows[decision.experiment] = row_line(state, decision.experiment)
        for path in (self.paths.slot(slot).results, self.paths.results):
            if not path.exists():  # of a slot that joined later
                append_text(path, f"{header_of(state.settings.task)}\n")
            append_text(path, line)

    def _change_row(self, state: State, experiment: int) -> None:
        now = row_line(state, experiment)
        if self._rows.get(experiment) == now:
            return
        self._rows[experiment] = now
        slot = now[0]
        task = state.settings.task
        write_text(self.paths.results, self._table(task))
        write_text(self.paths.slot(slot).results, self._table(task, slot))

    def _table(self, task: Task, slot: int | None = None) -> str:
        lines = (line for of_slot, line in self._rows.values() if slot in (None, of_slot))
        return f"{header_of(task)}\n{''.join(lines)}"

    def write_audit(self, found: dict[str, Any]) -> None:
        write_text(self.paths.audit, json.dumps(found, indent=2) + "\n")

    def write_all(self, state: State, replaced: bool = False) -> None:
        """Writes every ledger anew; one that holds what would be lost is kept beside, under another name, unless it is
        to be replaced."""
        self._rows = {number: row_line(state, number) for number in state.verdicts}
        for path, text in self._texts(state).items():
            header = header_of(state.settings.task)
            if not replaced and path.exists() and not is_torn_copy(path.read_text(errors="replace"), text, header):
                os.replace(path, path.with_name(f"{path.name}.before-resume-{int(time.time())}"))
            write_text(path, text)

    def _texts(self, state: State) -> dict[Path, str]:
        """What each ledger of a search must hold."""
        task = state.settings.task
        texts = {
            self.paths.settings: json.dumps(encode(state.settings), indent=2) + "\n",
            self.paths.trials: json_lines(task, "outcome", state.ended),
            self.paths.decisions: json_lines(task, "decision", state.decisions),
            self.paths.results: self._table(task),
        }
        if state.proposals:
            texts[self.paths.proposals] = json_lines(None, "proposal", state.proposals)
        if state.audit is not None:
            texts[self.paths.audit] = json.dumps(state.audit, indent=2) + "\n"
        there = (slot.number for slot in self.paths.slots() if slot.results.exists())
        of_slot: dict[int, list[str]] = {number: [] for number in (*range(state.settings.slots), *there)}
        for slot, line in self._rows.values():
            of_slot.setdefault(slot, []).append(line)
        for slot, lines in of_slot.items():
            texts[self.paths.slot(slot).results] = f"{header_of(task)}\n{''.join(lines)}"
        return texts


def row_line(state: State, experiment: int) -> tuple[int, str]:
    """(slot, line) of an experiment's row.

    What is on the frontier shows the mean of all the seeds that it is judged by, so far.
    """
    decision = state.verdicts[experiment]
    mean = mean_of(scored(state, experiment)) if decision.status is Status.KEEP else None
    return decision.slot, f"{row_of(replace(decision, score=mean or decision.score)).line(state.settings.task)}\n"


def json_line(task: Task | None, event: str, item: Any) -> str:
    """One line of a ledger. task: of what has scores."""
    record = encode(item)
    return json.dumps({"event": event, **(with_names(record, task) if task else record)}) + "\n"


def json_lines(task: Task | None, event: str, items: Iterable[Any]) -> str:
    return "".join(json_line(task, event, item) for item in items)


def with_names(record: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """A record by codec.encode as users' files have it: scores by the task's own names, in its own terms."""
    return {key: task.named(Score(**value)) if is_score(value) else value for key, value in record.items()}


def without_names(record: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The reverse of with_names. Raises KeyError, ValueError or TypeError."""
    names = {metric.name for metric in task.metrics}
    found = dict(record)
    for key, value in record.items():
        if isinstance(value, dict) and set(value) == names:
            score = task.score_of(value)
            found[key] = {"primary": score.primary, "secondary": score.secondary}
    return found


def is_score(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"primary", "secondary"}


def is_torn_copy(found: str, wanted: str, header: str) -> bool:
    """Whether a ledger file holds nothing that would be lost by writing the wanted text."""
    whole_lines = found[: found.rfind("\n") + 1]
    return wanted.startswith(whole_lines) or found.strip() in ("", header)
