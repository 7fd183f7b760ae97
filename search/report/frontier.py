"""What follows from a history of rows: the frontier, near misses, losing regions, hints. Pure.

All of it follows from numbers and from what each experiment changed; descriptions are shown, never searched.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from search.core.task import Metric, Task
from search.core.types import Change, Status
from search.decide.rules import better_than, memory_note
from search.records.results_tsv import Row
from search.report import evidence
from search.report.evidence import METHOD, Evidence, probability_better
from search.report.hints import hints

SCHEMA_VERSION = 6
NEAR_MISS_GAP = 0.02  # below the best: of the metric's span; of one without bounds, of the best's own score
MOST_NEAR_MISSES = 8
LOSING_TRIES = 2  # tries of one axis in one direction, none kept and none even, that make a losing region
NOTHING_KNOWN = Evidence()


@dataclass(frozen=True)
class Entry:
    """A row and what is known of it. changes: what its experiment changed in the recipe; none if that is not known.
    history: what it is from: a search, or a file. fallen: what became of it, if it was an incumbent and is none any
    more."""

    row: Row
    changes: tuple[Change, ...] = ()
    evidence: Evidence = NOTHING_KNOWN
    history: str = ""
    fallen: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known beside the rows.

    noise: standard deviation of the primary metric over the baseline's seeds. majority: that metric of always giving
    the majority's answer. images: how many were scored, and groups:
    which of them belong together, if any do. opened: what search.audit recorded, if the test set was opened.
    recommended: the commit to take home, of the one search that the rows are from.
    """

    noise: float | None = None
    majority: float | None = None
    images: int | None = None
    groups: tuple[int, ...] = ()
    opened: Mapping[str, Any] | None = None
    recommended: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Step:
    """One entry beside the incumbent at its time; before is None for the first."""

    entry: Entry
    before: Entry | None
    is_incumbent: bool

    @property
    def row(self) -> Row:
        return self.entry.row

    @property
    def gap(self) -> float | None:
        """The primary metric above the incumbent's; None if one of them has none."""
        if self.before is None or not self.row.is_measured:
            return None
        return self.row.primary - self.before.row.primary


def steps(entries: Sequence[Entry]) -> list[Step]:
    """Each entry beside the incumbent of its time. A kept row is an incumbent: of its own history always, whose rules
    kept it; of several, merged, if it is not below the last one of another."""
    found: list[Step] = []
    best: Entry | None = None
    for entry in entries:
        row = entry.row
        is_first = best is None or best.history == entry.history
        kept = row.status is Status.KEEP and (is_first or best is None or not better_than(best.row.score, row.score))
        found.append(Step(entry, best, kept))
        if kept:
            best = entry
    return found


def beats(step: Step) -> bool:
    """Whether a row is better than the incumbent of its time."""
    return step.before is not None and step.row.is_measured and better_than(step.row.score, step.before.row.score)


def direction_of(change: Change) -> str:
    """up or down for a number, the new value for anything else."""
    numbers = (int, float)
    if isinstance(change.old, bool) or not isinstance(change.old, numbers) or not isinstance(change.new, numbers):
        return f"= {change.new}"
    return "up" if change.new > change.old else "down"


def analyse(entries: Sequence[Entry], task: Task, facts: Facts | None = None) -> dict[str, Any]:
    """The content of analysis_summary.json but for costs and proposals; docs/summary.md documents it.

    Scores are in the task's own terms; of differences, those above zero are for the better.
    """
    facts = facts or Facts()
    first, second = task.metric, task.tie_breaker
    history = steps(entries)
    frontier = [step for step in history if step.is_incumbent]
    best = frontier[-1].entry if frontier else None
    measured = [entry for entry in entries if entry.row.is_measured]
    side = max(measured, key=lambda entry: (entry.row.secondary, entry.row.primary), default=None)
    tally = Counter(entry.row.status for entry in entries)
    counts = {str(status): tally[status] for status in Status}
    effects = effects_of(history, first)
    misses = near_misses(history, best, task)
    known = len(entries) < 2 or any(entry.changes for entry in entries)
    photo = 1 / facts.images if facts.images else None
    return {
        "schema_version": SCHEMA_VERSION,
        "counts": {"experiments": len(entries), **counts},
        "stopped_early": sum(is_stopped(entry.row) for entry in entries),
        "recommended": dict(facts.recommended) if facts.recommended else None,
        "metric": {
            "name": first.name,
            "higher_is_better": first.higher_is_better,
            "tie_breaker": second.name if second else None,
            "trust": str(task.trust),
        },
        "current_best": shown(best, task) if best else None,
        "baseline": shown(frontier[0].entry, task) if frontier else None,
        **({f"best_{second.name}_side_run": shown(side, task) if side else None} if second else {}),
        f"majority_{first.name}": facts.majority,
        f"noise_{first.name}": rounded(first, facts.noise),
        "frontier": [frontier_step(step, task, facts) for step in frontier],
        "fallen": [{**shown_row(entry.row, task), "reason": entry.fallen} for entry in entries if entry.fallen],
        "near_misses": misses,
        "discarded_though_better": [
            shown_row(step.row, task)
            for step in history
            if step.row.status is Status.DISCARD and (step.gap or 0.0) >= 0 and beats(step)
        ],
        "memory_notes": memory_notes(history),
        "effects": effects,
        "losing_regions": [
            effect
            for effect in effects
            if effect["tries"] >= LOSING_TRIES and not effect["kept"] and _loses(effect["best_gap"])
        ],
        "next_hints": hints(task, effects, misses, best.row if best else None, facts.noise, facts.majority, known),
        "probability_method": METHOD,
        f"validation_{task.items}": facts.images,
        f"one_{task.item or 'item'}_{first.name}": None if photo is None else round(photo, 6),
        "test_opened": dict(facts.opened) if facts.opened else None,
    }


def _loses(best_gap: float | None) -> bool:
    return best_gap is None or best_gap < 0  # None: all of them crashed, or were stopped early


def rounded(metric: Metric, value: float | None) -> float | None:
    """As rows are."""
    return None if value is None else round(value, metric.digits)


def shown_row(row: Row, task: Task) -> dict[str, Any]:
    """A row as JSON, with its score if it has one."""
    return {
        "commit": row.commit,
        **(task.named(row.score) if row.is_measured else dict.fromkeys(task.metric_columns)),
        "memory_gb": row.memory_gb,
        "status": str(row.status),
        "description": row.description,
    }


def shown(entry: Entry, task: Task) -> dict[str, Any]:
    """A row as JSON, with its evidence."""
    return {**shown_row(entry.row, task), **evidence.shown(entry.evidence, task)}


def frontier_step(step: Step, task: Task, facts: Facts) -> dict[str, Any]:
    """A step of the frontier as JSON, with how far its gain can be believed."""
    first, second = task.metric, task.tie_breaker
    side_gain = step.row.secondary - step.before.row.secondary if step.before else None
    before, gain = step.before, step.gap
    photo = 1 / facts.images if facts.images else None
    chance = None
    if before is not None:
        chance = probability_better(
            step.entry.evidence.correct, before.evidence.correct, facts.images or 0, facts.groups
        )
    return {
        **shown(step.entry, task),
        f"gain_{first.name}": rounded(first, gain),
        **({f"gain_{second.name}": rounded(second, side_gain)} if second else {}),
        "probability_better": chance,
        "gain_below_noise": None if facts.noise is None or gain is None else abs(gain) < facts.noise,
        f"gain_below_one_{task.item or 'item'}": None if photo is None or gain is None else abs(gain) < photo,
    }


def near_misses(history: Sequence[Step], best: Entry | None, task: Task) -> list[dict[str, Any]]:
    """Discarded rows little below the best, nearest first, with their gaps to it."""
    if best is None:
        return []
    first, second = task.metric, task.tie_breaker
    near = NEAR_MISS_GAP * (abs(best.row.primary) if first.span is None else first.span)
    found = [
        step.entry
        for step in history
        if not step.is_incumbent
        and step.row.is_measured
        and round(best.row.primary - step.row.primary, first.digits) <= near
    ]
    found = heapq.nsmallest(MOST_NEAR_MISSES, found, key=lambda entry: (-entry.row.primary, -entry.row.secondary))
    return [
        {
            **shown(entry, task),
            f"gap_{first.name}": rounded(first, best.row.primary - entry.row.primary),
            **({f"gap_{second.name}": rounded(second, best.row.secondary - entry.row.secondary)} if second else {}),
        }
        for entry in found
    ]


def memory_notes(history: Sequence[Step]) -> list[dict[str, Any]]:
    """Rows whose peak memory is far above their incumbent's, the largest first."""
    found = [
        (step.row, note)
        for step in history
        if step.before and (note := memory_note(step.row.memory_gb, step.before.row.memory_gb))
    ]
    found.sort(key=lambda pair: -pair[0].memory_gb)
    return [{"commit": row.commit, "description": row.description, "note": note} for row, note in found]


def effects_of(history: Sequence[Step], metric: Metric) -> list[dict[str, Any]]:
    """For each axis and direction: tries, kept, crashes, and the gaps of the primary metric to the incumbents."""
    grouped: dict[tuple[str, str], list[tuple[Step, Change]]] = defaultdict(list)
    for step in history:
        for change in step.entry.changes:
            grouped[(change.axis, direction_of(change))].append((step, change))
    effects = []
    for (axis, direction), tries in sorted(grouped.items()):
        gaps = [step.gap for step, _ in tries if step.gap is not None]
        effects.append(
            {
                "axis": axis,
                "direction": direction,
                "tries": len(tries),
                "kept": sum(step.is_incumbent for step, _ in tries),
                "crashes": sum(step.row.status is Status.CRASH for step, _ in tries),
                "stopped_early": sum(is_stopped(step.row) for step, _ in tries),
                "values": [change.new for _, change in tries],
                "best_gap": rounded(metric, max(gaps)) if gaps else None,
                "mean_gap": rounded(metric, fmean(gaps)) if gaps else None,
            }
        )
    return effects


def is_stopped(row: Row) -> bool:
    """Whether its trial was stopped early."""
    return row.status is not Status.CRASH and not row.is_measured


def noise_of(scores: Sequence[float]) -> float | None:
    """The standard deviation over seeds; None with fewer than two."""
    return stdev(scores) if len(scores) > 1 else None


def verdict(analysis: Mapping[str, Any], task: Task, scores: Sequence[float] = ()) -> str:
    """One line: whether the frontier beats the baseline, and always giving the majority's answer.

    scores: the incumbent's, one for each seed that measured it.
    """
    best, base, majority = analysis["current_best"], analysis["baseline"], analysis[f"majority_{task.metric.name}"]
    if best is None:
        return "verdict: no baseline yet"
    ours, theirs = task.score_of(best), task.score_of(base)
    values = zip(task.metrics, (ours.primary, ours.secondary), (theirs.primary, theirs.secondary), strict=False)
    sides = ", ".join(f"{metric.shown(one)} against {metric.text(other)}" for metric, one, other in values)
    beats_base = better_than(ours, theirs)
    line = (
        f"verdict: the frontier {'beats' if beats_base else 'does NOT beat'} the baseline ({sides}{task.by_own_word})"
    )
    if majority is not None:
        verb = "beats" if ours.primary > task.metric.turned(round(majority, task.metric.digits)) else "does NOT beat"
        line += f" and {verb} always giving the majority's answer ({majority:.4f})"
    if beats_base and len(scores) > 1:
        line += f"; over {len(scores)} seeds its {task.metric.name} is {task.metric.text(fmean(scores))}"
    return line
