"""How fast a slot was during a trial: what a budget in seconds was worth. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from search.core.types import Outcome

UNEQUAL = 0.85  # of the fastest slot's speed; slots below it are named
SLOW = 0.7  # of a slot's calibration; a trial below it is marked


def from_footer(footer: dict[str, str]) -> dict[str, float]:
    """steps, photos and photos_per_second by the trial's own word, if it gives them."""
    found: dict[str, float] = {}
    for name in ("steps", "photos_seen", "photos_per_second"):
        try:
            found[name] = float(footer[name])
        except (KeyError, ValueError):
            continue
    return found


def calibration(probes: list[float]) -> float | None:
    """A slot's usual speed, from its earlier trials' probes; None with fewer than two."""
    return median(probes) if len(probes) > 1 else None


def is_gpu(machine: str) -> bool:
    """Whether Outcome.machine is a GPU."""
    return machine not in ("", "cpu")


def unequal_note(probes: Mapping[int, float], share: float = UNEQUAL) -> str:
    """One line if some slots are slower than the fastest; else empty. probes: by slot."""
    fastest = max(probes.values(), default=0.0)
    slower = [f"gpu{slot} {probe / fastest:.0%}" for slot, probe in sorted(probes.items()) if probe < share * fastest]
    return f"slots of unequal speed, beside the fastest: {', '.join(slower)}" if slower else ""


def slow_note(probe: float | None, usual: float | None, share: float = SLOW) -> str:
    """One line if a slot was slower during a trial than it is; else empty."""
    if probe is None or usual is None or probe >= share * usual:
        return ""
    return f"its slot ran at {probe / usual:.0%} of its usual speed"


def note_on_speed(outcome: Outcome, probes: Iterable[float]) -> str:
    """slow_note of a trial on a GPU, beside the probes of its slot's earlier trials; logical slots share the cores, and
    are always now slower, now faster."""
    return slow_note(outcome.speed.get("probe"), calibration(list(probes))) if is_gpu(outcome.machine) else ""
