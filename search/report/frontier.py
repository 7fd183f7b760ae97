"""What a history of rows tells: the frontier, near misses, losing regions, hints. Pure.

All of it follows from numbers and from what each experiment changed; descriptions are shown, never searched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from search.core.types import Change, Status
from search.decide.rules import better_than, memory_note
from search.records.results_tsv import Key, Row

SCHEMA_VERSION = 4
NEAR_MISS_GAP = 0.02  # of bin_acc below the best
MOST_NEAR_MISSES = 8
LOSING_TRIES = 2  # tries of one axis in one direction, none kept and none even, that make a losing region


@dataclass(frozen=True)
class Step:
    """One row beside the incumbent's row at its time; before is None for the first."""

    row: Row
    before: Row | None
    is_incumbent: bool

    @property
    def gap(self) -> float | None:
        """bin_acc above the incumbent's; None where one of them has none."""
        if self.before is None or self.row.status is Status.CRASH:
            return None
        return round(self.row.bin_acc - self.before.bin_acc, 6)


def steps(rows: Sequence[Row]) -> list[Step]:
    """Each row beside the incumbent of its time. A kept row is an incumbent where it is not below the last
    one, which matters where the histories of several machines are merged."""
    found: list[Step] = []
    best: Row | None = None
    for row in rows:
        kept = row.status is Status.KEEP and (best is None or not better_than(best.score, row.score))
        found.append(Step(row, best, kept))
        if kept:
            best = row
    return found


def direction_of(change: Change) -> str:
    """up or down for a number, the new value for anything else."""
    numbers = (int, float)
    if isinstance(change.old, bool) or not isinstance(change.old, numbers) or not isinstance(change.new, numbers):
        return f"= {change.new}"
    return "up" if change.new > change.old else "down"


def analyse(
    rows: Sequence[Row],
    changes: Mapping[Key, Sequence[Change]],
    noise: float | None = None,
    majority: float | None = None,
) -> dict[str, Any]:
    """The content of analysis_summary.json; docs/summary.md documents it.

    changes: what each row's experiment changed in the recipe, by the row's key; rows of which that is not known are
    left out.
    noise: standard deviation of bin_acc over the baseline's seeds. majority: bin_acc of always answering the same.
    """
    history = steps(rows)
    frontier = [step for step in history if step.is_incumbent]
    best = frontier[-1].row if frontier else None
    measured = [row for row in rows if row.status is not Status.CRASH]
    side = max(measured, key=lambda row: (row.mc_acc, row.bin_acc), default=None)
    counts = {str(status): sum(row.status is status for row in rows) for status in Status}
    effects = effects_of(history, changes)
    misses = near_misses(history, best)
    return {
        "schema_version": SCHEMA_VERSION,
        "counts": {"experiments": len(rows), **counts},
        "current_best": shown(best) if best else None,
        "baseline": shown(frontier[0].row) if frontier else None,
        "best_mc_acc_side_run": shown(side) if side else None,
        "majority_bin_acc": majority,
        "noise_bin_acc": noise,
        "frontier": [
            {
                **shown(step.row),
                "gain_bin_acc": step.gap,
                "gain_mc_acc": round(step.row.mc_acc - step.before.mc_acc, 6) if step.before else None,
            }
            for step in frontier
        ],
        "near_misses": misses,
        "discarded_though_better": [
            shown(step.row)
            for step in history
            if step.row.status is Status.DISCARD and step.before and better_than(step.row.score, step.before.score)
        ],
        "memory_notes": memory_notes(history),
        "effects": effects,
        "losing_regions": [
            effect
            for effect in effects
            if effect["tries"] >= LOSING_TRIES and not effect["kept"] and _loses(effect["best_gap"])
        ],
        "next_hints": hints(effects, misses, best, noise, majority, len(rows), len(changes)),
    }


def _loses(best_gap: float | None) -> bool:
    return best_gap is None or best_gap < 0  # None: all of them crashed


def shown(row: Row) -> dict[str, Any]:
    """A row as JSON."""
    return {
        "commit": row.commit,
        "bin_acc": row.bin_acc,
        "mc_acc": row.mc_acc,
        "memory_gb": row.memory_gb,
        "status": str(row.status),
        "description": row.description,
    }


def near_misses(history: Sequence[Step], best: Row | None) -> list[dict[str, Any]]:
    """Discarded rows little below the best, nearest first, with their gaps to it."""
    if best is None:
        return []
    found = [
        step.row
        for step in history
        if not step.is_incumbent
        and step.row.status is not Status.CRASH
        and best.bin_acc - step.row.bin_acc <= NEAR_MISS_GAP
    ]
    found.sort(key=lambda row: (-row.bin_acc, -row.mc_acc))
    return [
        {
            **shown(row),
            "gap_bin_acc": round(best.bin_acc - row.bin_acc, 6),
            "gap_mc_acc": round(best.mc_acc - row.mc_acc, 6),
        }
        for row in found[:MOST_NEAR_MISSES]
    ]


def memory_notes(history: Sequence[Step]) -> list[dict[str, Any]]:
    """Rows whose peak memory is far above their incumbent's, the largest first."""
    ordered = sorted(history, key=lambda step: -step.row.memory_gb)
    return [
        {"commit": step.row.commit, "description": step.row.description, "note": note}
        for step in ordered
        if step.before and (note := memory_note(step.row.memory_gb, step.before.memory_gb))
    ]


def effects_of(history: Sequence[Step], changes: Mapping[Key, Sequence[Change]]) -> list[dict[str, Any]]:
    """For each axis and direction: tries, kept, crashes, and the gaps of bin_acc to the incumbent of their time."""
    grouped: dict[tuple[str, str], list[tuple[Step, Change]]] = defaultdict(list)
    for step in history:
        for change in changes.get(step.row.key, ()):
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
                "values": [change.new for _, change in tries],
                "best_gap": round(max(gaps), 6) if gaps else None,
                "mean_gap": round(fmean(gaps), 6) if gaps else None,
            }
        )
    return effects


def hints(
    effects: Sequence[dict[str, Any]],
    misses: Sequence[dict[str, Any]],
    best: Row | None,
    noise: float | None,
    majority: float | None,
    rows: int,
    known: int,
) -> list[str]:
    """What to try next, most useful first."""
    found = []
    if best is None:
        return ["run the baseline first"]
    if majority is not None and best.bin_acc <= majority + 1e-9:
        found.append(
            f"the best has bin_acc {best.bin_acc:.4f}, no more than always giving the majority's answer "
            f"({majority:.4f}): weigh infected photos more before anything else"
        )
    for effect in sorted(effects, key=lambda effect: -(effect["best_gap"] or 0.0)):
        if effect["kept"] and effect["best_gap"]:
            found.append(
                f"{effect['axis']} {effect['direction']} was kept {effect['kept']} of {effect['tries']} times "
                f"(best {effect['best_gap']:+.4f}): go further that way"
            )
    for miss in misses[:3]:
        if miss["gap_mc_acc"] < 0:
            found.append(
                f"{miss['commit']} has {-miss['gap_mc_acc']:.4f} more mc_acc at {miss['gap_bin_acc']:.4f} less "
                "bin_acc: combine it with the best"
            )
    if noise is not None and any(miss["gap_bin_acc"] < noise for miss in misses):
        found.append(
            f"gaps below {noise:.4f} are within the baseline's noise over seeds: measure again before trusting"
        )
    if rows > 1 and not known:
        found.append(
            "what the commits changed is not known here (they are not in this repository), so there are no "
            "effects of axes"
        )
    return found[:8]


def noise_of(scores: Sequence[float]) -> float | None:
    """The standard deviation over seeds; None with fewer than two."""
    return round(stdev(scores), 6) if len(scores) > 1 else None


def verdict(analysis: Mapping[str, Any], bin_accs: Sequence[float] = ()) -> str:
    """One line: whether the frontier beats the baseline, and always giving the majority's answer.

    bin_accs: of the incumbent, one for each seed that measured it.
    """
    best, base, majority = analysis["current_best"], analysis["baseline"], analysis["majority_bin_acc"]
    if best is None:
        return "verdict: no baseline yet"
    beats_base = (best["bin_acc"], best["mc_acc"]) > (base["bin_acc"], base["mc_acc"])
    told = (
        f"verdict: the frontier {'beats' if beats_base else 'does NOT beat'} the baseline "
        f"(bin_acc {best['bin_acc']:.4f} against {base['bin_acc']:.4f}, mc_acc {best['mc_acc']:.4f} against "
        f"{base['mc_acc']:.4f})"
    )
    if majority is not None:
        verb = "beats" if best["bin_acc"] > round(majority, 6) else "does NOT beat"
        told += f" and {verb} always giving the majority's answer ({majority:.4f})"
    if beats_base and len(bin_accs) > 1:
        told += f"; over {len(bin_accs)} seeds its bin_acc is {fmean(bin_accs):.4f}"
    return told
