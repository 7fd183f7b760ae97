"""What other commands ask of a running search: commits under its own refs, until the driver has taken them.

A request is there or it is not, whatever dies when, and `git clean` does not take it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from enum import StrEnum

from search.core.paths import Names
from search.system.git import Repository


class Operation(StrEnum):
    PROPOSE = "propose"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    STOP_NOW = "stop-now"


@dataclass(frozen=True)
class Request:
    """operation: what is wanted. commit: it holds the edit of a proposal, whose message's first line is the idea."""

    operation: Operation
    ref: str
    commit: str


def send(
    repository: Repository, names: Names, operation: Operation, edit: tuple[str, str, str] | None = None
) -> Request:
    """Leaves a request. edit: of a proposal, the commit that it edits, the train.py, and the idea."""
    record = json.dumps({"operation": str(operation), "time": time.time(), "pid": os.getpid()})
    if edit is not None:
        parent, source, idea = edit
        commit = repository.commit_edit(parent, "train.py", source, f"{idea}\n\n{record}", "inbox")
    else:
        commit = repository.empty_commit(f"request {operation}\n\n{record}")
    ref = f"{names.requests}/{time.time_ns():020d}-{os.getpid()}"
    repository.set_ref(ref, commit)
    return Request(operation, ref, commit)


def pending(repository: Repository, names: Names) -> list[Request]:
    """Requests that nobody has taken, oldest first."""
    found = []
    for ref, commit in sorted(repository.refs(names.requests).items()):
        try:
            record = json.loads(repository.message_of(commit).splitlines()[-1])
            found.append(Request(Operation(record["operation"]), ref, commit))
        except (ValueError, KeyError, IndexError, TypeError):
            repository.delete_ref(ref)  # not one of ours
    return found


def handed_in(repository: Repository, names: Names, base: str) -> list[str]:
    """Commits of the inbox branch alone, oldest first: neither the search nor any other branch has them."""
    tip = repository.commit_of(names.inbox_ref)
    if tip is None:
        return []
    known = [f"--glob={names.refs}/{kind}" for kind in ("trials", "frontier", "proposals")]
    others = [f"--exclude={names.branch}-inbox", "--branches"]
    return repository.run("rev-list", "--reverse", tip, "--not", base, *others, *known).split()
