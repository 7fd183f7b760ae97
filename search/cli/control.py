"""What outside agents and people ask of a search: each operation as a function that gives plain JSON values.

Raises UsageError for what cannot be meant and SearchError for what cannot be done; the commands and the MCP server say
the same with them.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from search.agent.validate import LARGEST_FILE
from search.core.codec import encode
from search.core.paths import Names, SearchPaths
from search.core.recipe import check_like
from search.core.state import State
from search.core.task import Task
from search.core.types import Decision, Experiment, Outcome, Proposal, SearchError, UsageError, short
from search.records.housekeeping import last_lines, present
from search.records.journal import load_state, searches
from search.records.requests import Operation, Request, send
from search.report.proposals import fate_of
from search.report.snapshot import is_running, snapshot, view_of
from search.system.git import Repository, find_repository
from search.task.declaration import FILE, file_here

POLL_SECONDS = 0.3
TAKEN_SECONDS = 20.0  # a driver looks every second
LOG_LINES = 60
FRESH_SECONDS = 5.0
LONG_JOURNAL = 2000  # records; fewer are read in no time


def repository_here() -> Repository:
    """Of the task that is meant here. Raises UsageError if there is none."""
    file = file_here()
    if not file.is_file():
        raise UsageError(f"no {FILE} in this folder or above it; go where one is, or write one with search.adopt")
    return find_repository(file.parent)


def tag_of(repository: Repository, tag: str | None) -> str:
    """The search that is meant: the one named, else the newest. Raises UsageError if there is none."""
    found = tag or next(iter(searches(repository)), "")
    if not found:
        raise UsageError("no search in this repository yet; begin one: python -m search.launch --gpus 4")
    return found


def status(tag: str | None = None) -> dict[str, Any]:
    """What a search is doing: by what its driver wrote last, if that is all, else by its journal."""
    repository = repository_here()
    tag = tag_of(repository, tag)
    paths = SearchPaths.of(repository.root, tag)
    running, now = is_running(paths), time.time()
    view = last_view(paths, repository.commit_of(Names(tag).journal), running, now)
    return snapshot(view or view_of(load_state(repository, tag)), paths, running, now)


def last_view(paths: SearchPaths, tip: str | None, running: bool, now: float) -> dict[str, Any] | None:
    """What a search's driver wrote of its state last; None if more has been recorded since.

    A driver that runs writes it every second, which is good enough if the journal is long. tip: its latest commit.
    """
    try:
        found = json.loads(paths.view.read_text())
        view = dict(found["view"])
        is_fresh = running and view["records"] > LONG_JOURNAL and now - found["time"] < FRESH_SECONDS
        return view if tip and (is_fresh or view["tip"] == tip) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def summary(tag: str | None = None) -> dict[str, Any]:
    """analysis_summary.json of a search, as docs/summary.md describes it."""
    repository = repository_here()
    tag = tag_of(repository, tag)
    load_state(repository, tag)
    try:
        return dict(json.loads(SearchPaths.of(repository.root, tag).summary.read_text()))
    except (OSError, ValueError) as error:
        raise SearchError(f"{tag} has no summary yet: its first experiment is not decided") from error


def incumbent(tag: str | None = None) -> dict[str, Any]:
    """The commit that edits start from, with its edited file."""
    repository = repository_here()
    tag = tag_of(repository, tag)
    state = load_state(repository, tag)
    best, task = state.incumbent, state.settings.task
    return {
        "tag": tag,
        "commit": state.incumbent_commit,
        "description": best.description if best else "baseline, not decided yet",
        "score": task.named(best.score) if best and best.score else None,
        "edited": task.edited_path,
        "source": repository.file_at(state.incumbent_commit, task.edited_path),
    }


# --- requests -----------------------------------------------------------------------------------------------------


def running_search(repository: Repository, tag: str | None) -> str:
    """The tag of a search that runs. Raises SearchError if it does not."""
    tag = tag_of(repository, tag)
    load_state(repository, tag)
    if not is_running(SearchPaths.of(repository.root, tag)):
        raise SearchError(f"{tag} does not run; go on with it: python -m search.launch --resume {tag}")
    return tag


def ask(operation: Operation, tag: str | None = None) -> dict[str, Any]:
    """Pauses, resumes or stops a running search, and returns when its driver has taken that in."""
    repository = repository_here()
    tag = running_search(repository, tag)
    request = send(repository, Names(tag), operation)
    if not _taken(repository, tag, request):
        repository.delete_ref(request.ref)
        raise SearchError(f"{tag} did not take it in within {TAKEN_SECONDS:.0f} s; python -m search.status {tag}")
    return {"tag": tag, "asked": str(operation), "taken": True}


def _taken(repository: Repository, tag: str, request: Request) -> bool:
    deadline = time.monotonic() + TAKEN_SECONDS
    while time.monotonic() < deadline:
        if repository.commit_of(request.ref) is None:
            return True
        if not is_running(SearchPaths.of(repository.root, tag)):
            return request.operation in (Operation.STOP, Operation.STOP_NOW)
        time.sleep(POLL_SECONDS)
    return False


def propose(
    source: str, idea: str, tag: str | None = None, base: str | None = None, wait_seconds: float = 0.0
) -> dict[str, Any]:
    """Hands in an edited file. base: the commit that it was edited from (default: the incumbent).

    If the search does not run, it waits in git until it goes on. wait_seconds: how long to wait for the checks.
    """
    repository = repository_here()
    tag = tag_of(repository, tag)
    state = load_state(repository, tag)
    parent = repository.commit_of(base) if base else state.incumbent_commit
    edited = state.settings.task.edited_path
    if parent is None:
        raise UsageError(f"--base {base}: no such commit here")
    if not idea.strip():
        raise UsageError("--idea is empty: say in a few words what the edit tries")
    if len(source) > LARGEST_FILE:
        raise UsageError(f"the {edited} has {len(source)} characters; {LARGEST_FILE} at most")
    before = repository.file_at(parent, edited)
    try:
        check_like(source, before)
    except SearchError as error:
        raise UsageError(f"the {edited} cannot be tried: {error}") from error
    if source == before:
        raise UsageError(f"the {edited} is that of {short(parent)}: nothing to try; edit it, or name another --base")
    running = is_running(SearchPaths.of(repository.root, tag))
    request = send(repository, Names(tag), Operation.PROPOSE, (parent, source, " ".join(idea.split())))
    shown = {"tag": tag, "request": request.commit, "running": running, "status": "checking" if running else "queued"}
    deadline = time.monotonic() + wait_seconds
    while running and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        if repository.commit_of(request.ref) is None:
            return shown | fate_of_request(load_state(repository, tag), request.commit)
    return shown


def fate_of_request(state: State, origin: str) -> dict[str, Any]:
    """What became of an edit that was handed in, by its commit."""
    proposal = state.by_origin.get(origin)
    return proposal_shown(state, proposal) if proposal else {"status": "checking"}


def proposal_shown(state: State, proposal: Proposal) -> dict[str, Any]:
    experiment = state.experiment_of(proposal.number)
    decision = state.verdicts.get(experiment.number) if experiment else None
    fate = fate_of(proposal, decision, experiment is not None)
    return {
        "proposal": proposal.number,
        "idea": proposal.idea,
        "author": proposal.author,
        "status": fate.status,
        "reason": fate.reason,
        "commit": proposal.commit or None,
        "experiment": experiment.number if experiment else None,
        "cost": encode(proposal.cost),
    }


# --- show ---------------------------------------------------------------------------------------------------------


def show(what: str, tag: str | None = None) -> dict[str, Any]:
    """An experiment (by number or commit) or a proposal (p3): its diff, its trials with their metrics, its log."""
    repository = repository_here()
    tag = tag_of(repository, tag)
    state = load_state(repository, tag)
    proposal, experiment = found(state, what)
    task = state.settings.task
    shown: dict[str, Any] = {"tag": tag, "decimals": {metric.name: metric.digits for metric in task.metrics}}
    if proposal is not None:
        shown |= proposal_shown(state, proposal)
        if proposal.commit:
            shown["diff"] = repository.difference(proposal.parent, proposal.commit, task.edited_path)
    if experiment is None:
        return shown
    decision = state.verdicts.get(experiment.number)
    outcomes = sorted(state.outcomes_of(experiment.number), key=lambda outcome: outcome.seed)
    commit = decision.commit if decision else experiment.commit or (outcomes[0].commit if outcomes else "")
    shown |= experiment_shown(task, experiment, decision, commit)
    if commit and commit != experiment.parent:
        shown["diff"] = repository.difference(experiment.parent, commit, task.edited_path)
    paths = SearchPaths.of(repository.root, tag)
    fresh = sorted(state.fresh.get(experiment.number, {}).values(), key=lambda outcome: outcome.seed)
    reasons = state.reasons
    shown["trials"] = [trial_shown(task, one, paths, reasons.get(one.key, "")) for one in (*outcomes, *fresh)]
    shown["log_tail"] = tail_of(log_of(outcomes[0], paths)) if outcomes else ""
    return shown


def found(state: State, what: str) -> tuple[Proposal | None, Experiment | None]:
    """What the word means. Raises UsageError if it means nothing."""
    proposals = {one.number: one for one in state.proposals}
    if what[:1] in ("p", "P") and what[1:].isdecimal() and int(what[1:]) in proposals:
        proposal = proposals[int(what[1:])]
        return proposal, state.experiment_of(proposal.number)
    number = what[1:] if what[:1] in ("e", "E") and what[1:].isdecimal() else what
    experiment = state.experiments.get(int(number)) if number.isdecimal() and len(number) < 7 else None
    if experiment is None and len(what) >= 4:
        commits = {outcome.commit: outcome.experiment for outcome in reversed(state.outcomes.values())}
        commits |= {one.commit: one.number for one in state.experiments.values() if one.commit}
        hits = {commits[commit] for commit in commits if commit.startswith(what.lower())}
        if len(hits) == 1:
            experiment = state.experiments[hits.pop()]
        edits = [one for one in state.proposals if one.commit.startswith(what.lower())]
        if experiment is None and len(edits) == 1:
            return edits[0], state.experiment_of(edits[0].number)
    if experiment is None:
        last = max(state.experiments, default=0)
        many = f", or a proposal, p1 to p{len(proposals)}" if proposals else ""
        raise UsageError(f"{what}: no such experiment; name its number, 0 to {last}, or its commit{many}")
    return proposals.get(experiment.proposal or 0), experiment


def experiment_shown(task: Task, experiment: Experiment, decision: Decision | None, commit: str) -> dict[str, Any]:
    return {
        "experiment": experiment.number,
        "kind": str(experiment.kind),
        "description": experiment.description,
        "why": experiment.why,
        "parent": experiment.parent,
        "commit": commit or None,
        "status": str(decision.status) if decision else "running",
        "reason": decision.reason if decision else "",
        "score": task.named(decision.score) if decision and decision.score else None,
        "incumbent": decision.incumbent if decision else None,
        "incumbent_score": task.named(decision.incumbent_score) if decision and decision.incumbent_score else None,
        "probability_better": decision.probability if decision else None,
        "metrics": decision.metrics if decision else {},
    }


def trial_shown(task: Task, outcome: Outcome, paths: SearchPaths, why: str) -> dict[str, Any]:
    return {
        "trial": outcome.trial,
        "seed": outcome.seed,
        "slot": outcome.slot,
        "why": why,
        "score": task.named(outcome.score) if outcome.score else None,
        "crash": outcome.reason,
        "traceback": outcome.traceback,
        "violations": list(outcome.violations),
        "metrics": outcome.metrics,
        "footer": outcome.footer,
        "speed": outcome.speed,
        "log": str(present(log_of(outcome, paths))),
    }


def log_of(outcome: Outcome, paths: SearchPaths) -> Path:
    """Where a trial's log is while it runs."""
    return paths.slot(outcome.slot).trial(outcome.trial).log


def tail_of(log: Path) -> str:
    """The last lines of a log; '' if it is gone."""
    return last_lines(log, LOG_LINES)
