"""Outcomes that say nothing of their experiment, for a fault of the machine's, and so are run again. Pure."""

from __future__ import annotations

from search.core.events import CardTooSmall, SlowTrial, TrialLost
from search.core.state import State
from search.core.types import GUARD_KILLED, STOOD_STILL, Outcome
from search.decide.speed import note_on_speed

MOST_LOSSES = 3  # of one trial whose guard was killed: it may be what kills it


def rerun_of(
    state: State, outcome: Outcome, rerun_slow: bool
) -> tuple[SlowTrial | CardTooSmall | TrialLost, str] | None:
    """The event by which a trial is run again, and a line that says so; None if its outcome counts.

    rerun_slow: whether a trial whose slot was slow is run again, once.
    """
    key, where, again = outcome.key, f"{outcome.trial} on gpu{outcome.slot}", "it is run again"
    note = note_on_speed(outcome, state.probes.get(outcome.slot, ()))
    if note and rerun_slow and state.attempts[key] == 1:
        return SlowTrial(outcome.trial, *key), f"slow    {where}: {note}; {again}"
    here = state.memory_of(outcome.slot)
    if outcome.ran_out_of_memory and here and state.has_larger(here, state.present):
        return CardTooSmall(outcome.trial, *key, here), f"small   {where}: {outcome.reason}; {again} on a larger GPU"
    is_lost = outcome.reason.startswith(STOOD_STILL) or (
        outcome.reason.startswith(GUARD_KILLED) and state.losses[key] < MOST_LOSSES
    )
    if outcome.crashed and is_lost:
        return TrialLost(outcome.trial, *key, outcome.reason), f"lost    {where}: {outcome.reason}; {again}"
    return None
