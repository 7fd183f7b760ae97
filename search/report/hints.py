"""What to try next, in words, from the figures of a history. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.records.results_tsv import Row
from search.task.metrics import PRIMARY, SECONDARY, WANTED_RATES

MOST_HINTS = 8
MOST_COMBINED = 3  # near misses that are offered to be combined with the best


def hints(
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
    if majority is not None and PRIMARY.gain(best.primary, majority) <= 1e-9:
        found.append(
            f"the best has {PRIMARY.shown(best.primary)}, no more than always giving the majority's answer "
            f"({majority:.4f}): {WANTED_RATES}"
        )
    for effect in sorted(effects, key=lambda effect: -(effect["best_gap"] or 0.0)):
        if effect["kept"] and effect["best_gap"]:
            found.append(
                f"{effect['axis']} {effect['direction']} was kept {effect['kept']} of {effect['tries']} times "
                f"(best {effect['best_gap']:+.4f}): go further that way"
            )
    found += [combination(miss) for miss in misses[:MOST_COMBINED] if miss[f"gap_{SECONDARY.name}"] < 0]
    if noise is not None and any(abs(miss[f"gap_{PRIMARY.name}"]) < noise for miss in misses):
        found.append(
            f"gaps below {noise:.4f} are within the baseline's noise over seeds: measure again before trusting"
        )
    if not known:
        found.append(
            "what the commits changed is not known here (they are not in this repository), so there are no "
            "effects of axes"
        )
    return found[:MOST_HINTS]


def combination(miss: Mapping[str, Any]) -> str:
    """A near miss that is better in the secondary metric, by what it tried: several rows may share its commit."""
    gap, side_gain = miss[f"gap_{PRIMARY.name}"], -miss[f"gap_{SECONDARY.name}"]
    beside = f"{gap:.4f} less {PRIMARY.name}" if gap > 0 else f"{-gap:.4f} more {PRIMARY.name}"
    beside = f"the same {PRIMARY.name}" if gap == 0 else beside
    return (
        f"{miss['description'] or miss['commit']} ({miss['commit']}) has {side_gain:.4f} more {SECONDARY.name} at "
        f"{beside}: combine it with the best"
    )
