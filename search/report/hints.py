"""What to try next, in words, from the figures of a history. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.core.task import Task
from search.records.results_tsv import Row

MOST_HINTS = 8
MOST_COMBINED = 3  # near misses that are offered to be combined with the best


def hints(
    task: Task,
    effects: Sequence[Mapping[str, Any]],
    misses: Sequence[Mapping[str, Any]],
    best: Row | None,
    noise: float | None,
    majority: float | None,
    known: bool,
) -> list[str]:
    """What to try next, most useful first. known: whether it is known what any row changed."""
    if best is None:
        return ["run the baseline first"]
    found = []
    metric, side = task.metric, task.tie_breaker
    if majority is not None and best.primary - metric.turned(majority) <= 1e-9:
        found.append(
            f"the best has {metric.shown(best.primary)}, no better than always giving the majority's answer "
            f"({majority:.4f})" + (f": {task.majority_hint}" if task.majority_hint else "")
        )
    for effect in sorted(effects, key=lambda effect: -(effect["best_gap"] or 0.0)):
        if effect["kept"] and effect["best_gap"]:
            found.append(
                f"{effect['axis']} {effect['direction']} was kept {effect['kept']} of {effect['tries']} times "
                f"(best {metric.gain(effect['best_gap'])}): go further that way"
            )
    if side is not None:
        found += [combination(task, miss) for miss in misses[:MOST_COMBINED] if miss[f"gap_{side.name}"] < 0]
    if noise is not None and any(abs(miss[f"gap_{metric.name}"]) < noise for miss in misses):
        found.append(
            f"gaps below {noise:.{metric.shown_digits}f} are within the baseline's noise over seeds: measure again "
            "before trusting"
        )
    if not known:
        found.append(
            "what the commits changed is not known here (they are not in this repository), so there are no "
            "effects of axes"
        )
    return found[:MOST_HINTS]


def combination(task: Task, miss: Mapping[str, Any]) -> str:
    """A near miss that is better in what breaks ties, by what it tried: several rows may share its commit."""
    metric, side = task.metric, task.tie_breaker
    assert side is not None
    gap, side_gain = miss[f"gap_{metric.name}"], -miss[f"gap_{side.name}"]
    beside = f"{metric.name} {metric.gain(-gap)}" if gap else f"the same {metric.name}"
    return (
        f"{miss['description'] or miss['commit']} ({miss['commit']}) has {side.name} {side.gain(side_gain)} at "
        f"{beside}: combine it with the best"
    )
