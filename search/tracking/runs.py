"""A search as trackers see it: one run for each trial, and one for the search, whose steps are its decisions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.core.task import Score, Task
from search.core.types import Decision, Outcome, Settings, Status, short
from search.report.search_records import SearchRecords

SEARCH = "search"  # the key of the run of the whole search


@dataclass(frozen=True)
class Step:
    """at: seconds since the epoch."""

    at: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class TrackedRun:
    """key: its own within the search. summary: what it ended with. tags: words by which runs are found."""

    key: str
    config: Mapping[str, Any]
    steps: tuple[Step, ...] = ()
    summary: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


def run_of_trial(outcome: Outcome, task: Task, description: str, recipe: Mapping[str, Any]) -> TrackedRun:
    """A trial: its recipe, its curve, and what it scored."""
    span, losses = outcome.ended - outcome.began, outcome.losses
    steps = [
        Step(outcome.began + span * (place + 1) / (len(losses) + 1), {"loss": loss})
        for place, loss in enumerate(losses)
    ]
    ended = "scored" if outcome.score else ("stopped early" if outcome.stopped else "crashed")
    config = {
        **recipe,
        "experiment": outcome.experiment,
        "description": description,
        "commit": outcome.commit,
        "seed": outcome.seed,
        "slot": outcome.slot,
        "machine": outcome.machine,
        "reason": outcome.reason,
    }
    return TrackedRun(outcome.trial, config, tuple(steps), summary_of(outcome, task), {"ended": ended})


def summary_of(outcome: Outcome, task: Task) -> dict[str, float]:
    """The numbers of a trial: its metrics, the rates beside them, memory and seconds."""
    found: dict[str, Any] = task.named(outcome.score) if outcome.score else {}
    for name in task.rates:
        value = outcome.metrics.get(name)
        found[name] = value[0] if isinstance(value, list) else value
    found |= {"memory_mb": outcome.memory_mb, "seconds": outcome.ended - outcome.began}
    found |= {name: outcome.speed.get(name) for name in ("start_up_seconds", "training_seconds", "evaluation_seconds")}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def run_of_search(
    records: SearchRecords, settings: Settings, summary: Mapping[str, Any], files: tuple[Path, ...]
) -> TrackedRun:
    """The search: its settings, each decision as a step, what it recommends. summary: as analysis_summary.json has it.
    files: that go with it."""
    best: Score | None = None
    steps = []
    for decision in records.decisions:
        if decision.status is Status.KEEP:
            best = decision.score
        steps.append(Step(decision.time, step_of(decision, best, settings.task)))
    config = {
        "tag": settings.tag,
        "task": settings.task.name,
        "base": settings.base,
        "fingerprint": settings.fingerprint,
        "image_size": settings.image_size,
        "max_train_seconds": settings.max_train_seconds,
        "seed": settings.seed,
        "slots": settings.slots,
        "confirm_seeds": settings.confirm_seeds,
        "proof_share": settings.proof_share,
        "agent": settings.agent,
        "space": settings.space_name,
    }
    recommended = summary.get("recommended") or {}
    frontier = [f"{short(one.commit)} {one.description}" for one in records.frontier]
    tags = {
        "recommended": str(recommended.get("commit", "")),
        "words": str(recommended.get("words", "")),
        "frontier": "; ".join(frontier),
    }
    last = {"frontier": float(len(frontier)), **(settings.task.named(best) if best else {})}
    return TrackedRun(SEARCH, config, tuple(steps), last, tags, files)


def step_of(decision: Decision, best: Score | None, task: Task) -> dict[str, float]:
    """One decision in numbers, with the best that was kept by then."""
    found: dict[str, float | None] = {
        "experiment": float(decision.experiment),
        **{status: float(decision.status is Status(status)) for status in map(str, Status)},
        "probability": decision.probability,
        "seeds": float(len(decision.seeds)),
    }
    found |= task.named(decision.score) if decision.score else {}
    found |= {f"best_{name}": value for name, value in (task.named(best) if best else {}).items()}
    return {name: value for name, value in found.items() if value is not None}
