"""keep, discard or crash: the rules by which an experiment replaces the incumbent. Pure."""

from __future__ import annotations

from search.core.types import Score, Status

MEMORY_FACTOR = 2.0  # peak memory beyond so many times the incumbent's is told
MEMORY_FLOOR_GB = 0.5  # and only where the difference is at least this


def judge(challenger: Score | None, incumbent: Score, simpler: bool = False) -> tuple[Status, str]:
    """The decision and its reason in words. challenger None: it crashed. simpler: it made train.py simpler."""
    if challenger is None:
        return Status.CRASH, "crashed"
    gap = challenger.bin_acc - incumbent.bin_acc
    if gap > 0:
        return Status.KEEP, f"bin_acc {gap:+.6f}"
    if gap < 0:
        return Status.DISCARD, f"bin_acc {gap:+.6f}"
    side_gap = challenger.mc_acc - incumbent.mc_acc
    if side_gap > 0:
        return Status.KEEP, f"bin_acc equal, mc_acc {side_gap:+.6f}"
    if side_gap < 0:
        return Status.DISCARD, f"bin_acc equal, mc_acc {side_gap:+.6f}"
    return (Status.KEEP, "equal and simpler") if simpler else (Status.DISCARD, "equal on both metrics")


def better_than(one: Score, other: Score) -> bool:
    """Whether one score beats another: bin_acc first, mc_acc to break a tie."""
    return (one.bin_acc, one.mc_acc) > (other.bin_acc, other.mc_acc)


def memory_note(memory_gb: float, incumbent_gb: float) -> str:
    """One line where a result's peak memory, in GB, is far above the incumbent's; else empty."""
    if memory_gb > incumbent_gb * MEMORY_FACTOR and memory_gb - incumbent_gb >= MEMORY_FLOOR_GB:
        return f"peak memory {memory_gb:.1f} GB, the incumbent's is {incumbent_gb:.1f} GB"
    return ""
