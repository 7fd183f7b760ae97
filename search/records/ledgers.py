"""The ledgers in runs/<tag>: written row by row as a search goes, and anew from its state where one is torn or gone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.core.paths import SearchPaths
from search.core.state import State, record_of
from search.core.types import Decision, Outcome, Proposal, Status, to_json
from search.decide.races import mean_of, scored
from search.records.results_tsv import HEADER, Row, render, row_of, write_in_place


class RunFiles:
    """Writes what follows from the journal; the coordinator is its only user, and the only writer of these files."""

    def __init__(self, paths: SearchPaths) -> None:
        self.paths = paths

    def add_outcome(self, outcome: Outcome) -> None:
        _append(self.paths.trials, json_lines([record_of("outcome", outcome)]))

    def add_proposal(self, proposal: Proposal) -> None:
        _append(self.paths.proposals, json_lines([record_of("proposal", proposal)]))

    def add_decision(self, decision: Decision) -> None:
        """One more row, in its slot's file and in the merged one."""
        _append(self.paths.decisions, json_lines([record_of("decision", decision)]))
        for path in (self.paths.slot(decision.slot).results, self.paths.results):
            if not path.exists():  # of a slot that joined later
                _append(path, f"{HEADER}\n")
            _append(path, f"{row_of(decision).line}\n")

    def rewrite(self, state: State) -> None:
        """After a second decision on an experiment, or a further seed of an incumbent: its row changes."""
        for path, text in texts_of(state, self.paths).items():
            write_in_place(path, text)

    def write_all(self, state: State) -> None:
        """Writes every ledger anew; one that holds what would be lost is kept beside, under another name."""
        for path, text in texts_of(state, self.paths).items():
            if path.exists() and not is_torn_copy(path.read_text(errors="replace"), text):
                os.replace(path, path.with_name(f"{path.name}.before-resume-{int(time.time())}"))
            write_in_place(path, text)


def texts_of(state: State, paths: SearchPaths) -> dict[Path, str]:
    """What each ledger of a search must hold."""
    texts = {
        paths.settings: json.dumps(to_json(state.settings), indent=2) + "\n",
        paths.trials: json_lines(record_of("outcome", outcome) for outcome in state.outcomes.values()),
        paths.decisions: json_lines(record_of("decision", decision) for decision in state.decisions),
        paths.results: render(row for _, row in rows_of(state)),
    }
    if state.proposals:
        texts[paths.proposals] = json_lines(record_of("proposal", proposal) for proposal in state.proposals)
    if state.audit is not None:
        texts[paths.audit] = json.dumps(state.audit, indent=2) + "\n"
    for number in {*range(state.settings.slots), *(decision.slot for decision in state.verdicts.values())}:
        texts[paths.slot(number).results] = render(row for slot, row in rows_of(state) if slot == number)
    return texts


def rows_of(state: State) -> list[tuple[int, Row]]:
    """Each experiment's row, with its slot. What is on the frontier shows the mean of all its seeds so far: so a kept
    row is never below the kept row before it, whatever further seeds have shown since."""
    found = []
    for decision in state.verdicts.values():
        mean = mean_of(scored(state, decision.experiment)) if decision.status is Status.KEEP else None
        found.append((decision.slot, row_of(replace(decision, score=mean or decision.score))))
    return found


def json_lines(records: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def is_torn_copy(found: str, wanted: str) -> bool:
    """Whether a ledger file holds nothing that would be lost by writing the wanted text."""
    whole_lines = found[: found.rfind("\n") + 1]
    return wanted.startswith(whole_lines) or found.strip() in ("", HEADER)


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        stream.write(text)
