"""Which seeds trials get, by what they are for: what chooses and what proves never share one. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from search.core.types import Purpose, Settings

PROOF_SEEDS = 1_000_000  # above the search's own seed: of runs that were never used for choosing
VERIFICATION_SEEDS = 2_000_000  # likewise, of those that search.verify asked for
MOST_BASELINE_SEEDS = 8  # that everything is compared with: a run in each slot, up to so many
_FIRST = {Purpose.PROOF: PROOF_SEEDS, Purpose.VERIFY: VERIFICATION_SEEDS}


def purpose_of(seed: int, base: int) -> Purpose | None:
    """PROOF or VERIFY if a trial with this seed is one of those; None if it chooses. base: the search's seed."""
    if seed - base >= VERIFICATION_SEEDS:
        return Purpose.VERIFY
    return Purpose.PROOF if seed - base >= PROOF_SEEDS else None


def baseline_seeds(settings: Settings) -> range:
    """One for each of the first slots that a search was set up with, in their order; two at least where runs cannot be
    told a seed: they tell whether a repeat says anything new."""
    fewest = 1 if settings.task.seed.is_possible else 2
    return range(settings.seed, settings.seed + min(max(settings.slots, fewest), MOST_BASELINE_SEEDS))


def next_seed(begun: Collection[int], base: int, purpose: Purpose) -> int:
    """The seed of an experiment's next trial: all experiments have the same ones, in the same order."""
    return next(seed for seed in itertools.count(base + _FIRST.get(purpose, 0)) if seed not in begun)
