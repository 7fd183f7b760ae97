"""Which slots can be trusted: crashes are counted slot by slot, and tried again elsewhere. No input or output."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from search.core.types import Outcome, Purpose, Status, TrialKey, Work

ASIDE_SECONDS = 900.0


@dataclass
class SlotHealth:
    """What crashed where. Only State changes it.

    streaks: of a slot, its latest trials, if they crashed one after the other. rechecked: trials that crashed and run
    again on another slot, and the slot on which they crashed. at_fault: slots whose crash did not happen again
    elsewhere. aside: slots that get no work: since when, in seconds since the epoch, and why.
    """

    streaks: dict[int, list[tuple[Outcome, Work]]] = field(default_factory=dict)
    rechecked: dict[TrialKey, int] = field(default_factory=dict)
    at_fault: set[int] = field(default_factory=set)
    aside: dict[int, tuple[float, str]] = field(default_factory=dict)

    def take(self, outcome: Outcome, work: Work | None) -> None:
        """How a trial ended. work: what it was; None if nobody had begun it."""
        suspect = self.rechecked.pop(outcome.key, None)
        was_elsewhere = suspect is not None and outcome.slot != suspect
        if suspect is not None and was_elsewhere:
            if outcome.crashed:
                self.streaks.pop(suspect, None)  # it was the idea, so nor is the other slot at fault
            else:
                self.at_fault.add(suspect)
        if not outcome.crashed:
            self.streaks.pop(outcome.slot, None)
            self.aside.pop(outcome.slot, None)
        elif work is not None and not was_elsewhere:
            self.streaks.setdefault(outcome.slot, []).append((outcome, work))

    def withdraw(self, trial: str) -> tuple[Outcome, Work] | None:
        """Takes a crash out of its slot's row of crashes; None if it is in none."""
        for streak in self.streaks.values():
            for entry in streak:
                if entry[0].trial == trial:
                    streak.remove(entry)
                    return entry
        return None

    def put_aside(self, slot: int, at: float, reason: str) -> None:
        self.aside[slot] = at, reason
        self.at_fault.discard(slot)
        self.streaks.pop(slot, None)

    def is_rechecked(self, slot: int) -> bool:
        """Whether a crash of this slot is being tried again elsewhere."""
        return slot in self.rechecked.values()

    def is_aside(self, slot: int, now: float) -> bool:
        """Whether a slot gets no work now; after ASIDE_SECONDS it is tried again."""
        if slot not in self.aside:
            return False
        return 0 <= now - self.aside[slot][0] < ASIDE_SECONDS  # a clock that was put back ends it too


def withdraw(state: Any, trial: str) -> None:
    """As if a trial that crashed, or that still runs, had not ended: its work is to be run again.

    state: the State whose handler this is. Its `ended` and `decisions` still tell of the trial.
    """
    state.set_aside.add(trial)
    found = state.health.withdraw(trial)
    if found is None:
        for key in [key for key, running in state.in_flight.items() if running.work.trial_id == trial]:
            state.run_again(key)
        return
    outcome, work = found
    number, seed = outcome.key
    of_same = state.trials if seed in state.trials.get(number, {}) else state.fresh
    del state.outcomes[outcome.key], of_same[number][seed]
    if not of_same[number]:
        del of_same[number]
    decision = state.verdicts.get(number)
    if decision and decision.status is Status.CRASH and number not in state.trials:
        del state.verdicts[number]
        state.counts[Status.CRASH] -= 1
        state.noted.pop(number, None)
    if number not in state.trials:
        state.undecided_with_outcome.pop(number, None)
    elif number not in state.verdicts:
        state.undecided_with_outcome.setdefault(number)
    state.crashes_in_a_row = max(state.crashes_in_a_row - 1, 0)
    state.ended_again -= work.purpose is Purpose.AGAIN
    state.to_rerun[outcome.key] = work
