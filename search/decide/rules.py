"""keep, discard or crash: the rules by which an experiment replaces the incumbent. Pure."""

from __future__ import annotations

from search.core.types import Score, Status
from search.task.metrics import PRIMARY, SECONDARY

MEMORY_FACTOR = 2.0  # peak memory beyond so many times the incumbent's is noted
MEMORY_FLOOR_GB = 0.5  # and only if the difference is at least this


def judge(challenger: Score, incumbent: Score, equal_and_simpler: str = "") -> tuple[Status, str]:
    """The decision and its reason in words.

    equal_and_simpler: why a challenger that is not better is kept all the same, since it is as good and makes train.py
    simpler; '' if it is not so.
    """
    difference = challenger.primary - incumbent.primary
    gain = PRIMARY.gain(challenger.primary, incumbent.primary)
    if gain:
        kept, reason = gain > 0, f"{PRIMARY.name} {difference:+.{PRIMARY.digits}f}"
    else:
        side_difference = challenger.secondary - incumbent.secondary
        kept = SECONDARY.gain(challenger.secondary, incumbent.secondary) > 0
        reason = f"{PRIMARY.name} equal, {SECONDARY.name} {side_difference:+.{SECONDARY.digits}f}"
        reason = reason if side_difference else "equal on both metrics"
    if not kept and equal_and_simpler:
        return Status.KEEP, equal_and_simpler
    return (Status.KEEP if kept else Status.DISCARD), reason


def better_than(one: Score, other: Score) -> bool:
    """Whether one score beats another: the primary metric first, the secondary one to break a tie."""
    gain = PRIMARY.gain(one.primary, other.primary)
    return gain > 0 or (gain == 0 and SECONDARY.gain(one.secondary, other.secondary) > 0)


def memory_note(memory_gb: float, incumbent_gb: float) -> str:
    """One line if a result's peak memory, in GB, is far above the incumbent's; else empty."""
    if memory_gb > incumbent_gb * MEMORY_FACTOR and memory_gb - incumbent_gb >= MEMORY_FLOOR_GB:
        return f"peak memory {memory_gb:.1f} GB, the incumbent's is {incumbent_gb:.1f} GB"
    return ""
