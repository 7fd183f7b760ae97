"""The search's loop without a machine: what a free slot gets, and what follows from an outcome. Pure but for `record`.

The coordinator drives it with a journal and real trials, bench/simulate.py with made-up ones in virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from itertools import islice

from search.core.events import (
    CrashRechecked,
    Decided,
    Event,
    ExperimentPlanned,
    SlotPutAside,
    TrialEnded,
    TrialStarted,
)
from search.core.sources import Sources
from search.core.state import State
from search.core.types import Decision, Outcome, Work
from search.decide.belief import Belief
from search.decide.decision import next_decision
from search.decide.plan import Limit, Pause, SlotContext, next_work, side_due
from search.decide.points.suggestions import Suggestions
from search.decide.races import kinds_present, races_to_run

CRASHES_IN_A_ROW = 3  # on one slot; then another slot tries the last of them
MOST_SHOWN = 6  # of what waits for a slot


class SearchLoop:
    """record: takes an event, keeps it, and applies it to the state."""

    def __init__(self, state: State, sources: Sources, record: Callable[[Event], None]) -> None:
        self.state, self.sources, self.record = state, sources, record
        self.limit = Limit()
        for experiment in state.experiments.values():
            if experiment.commit:
                sources.edited_from(experiment.commit, experiment.parent)
        for decision in state.decisions:
            sources.edited_from(decision.commit, state.experiments[decision.experiment].parent)
        self.belief = Belief(state, sources)
        self.suggestions = Suggestions(state, sources, self.belief)

    def hand_out(self, slot: int, present: Set[int]) -> Work | Pause:
        """The next trial for a free slot, recorded before it is handed out. present: all the slots that there are."""
        slots = SlotContext(slot, present, kinds_present(self.state))
        work = next_work(self.state, self.limit, self.sources, self.suggestions.suggest, slots, self.belief)
        if isinstance(work, Pause):
            return work
        if work.experiment.number not in self.state.experiments:
            self.record(ExperimentPlanned(work.experiment))
            if work.experiment.commit:
                self.sources.edited_from(work.experiment.commit, work.experiment.parent)
        self.record(
            TrialStarted(work.experiment.number, work.seed, slot, work.attempt, work.commit, work.purpose, work.why)
        )
        return work

    def take(self, outcome: Outcome) -> list[CrashRechecked | SlotPutAside]:
        """Records how a trial ended, and what follows for the slots, which it returns."""
        self.record(TrialEnded(outcome))
        found = slot_faults(self.state)
        for event in found:
            self.record(event)
        return found

    def decide(self, clock: Callable[[], float]) -> Iterator[Decision]:
        """Every decision that can be made now, each once it is recorded. clock: seconds since the epoch."""
        while (decision := next_decision(self.state, clock(), self.belief)) is not None:
            self.record(Decided(decision))
            self.sources.edited_from(decision.commit, self.state.experiments[decision.experiment].parent)
            yield decision

    def coming(self) -> list[dict[str, str]]:
        """What free slots get next, as far as that is known before they ask: what, and why."""
        return [{"what": what, "why": why} for what, why in self._coming()]

    def _coming(self) -> list[tuple[str, str]]:
        state = self.state
        if state.incumbent is None:
            return [("the seeds of the baseline", "everything is compared with it, and they tell how much scores vary")]
        if self.limit.verify is not None:
            return [("fresh seeds of the recommended commit and of the baseline", "search.verify asked for them")]
        found = [(f"e{number:04d} again, with seed {seed}", "its run was lost") for number, seed in state.to_rerun]
        for race in () if self.limit.is_spent(state) else races_to_run(state, self.belief):
            due = side_due(state, race)
            if due is not None:
                found.append((f"a further seed of e{due:04d}", race.why))
        if self.limit.is_for_the_proof(state):
            fresh = "fresh seeds of the incumbent and of the baseline", "the last trials are kept for the proof"
            return [*found[:MOST_SHOWN], fresh]
        if not self.limit.reached(state):
            for proposal in islice(state.waiting.values(), MOST_SHOWN):
                found.append((proposal.idea or "an edit", f"proposal {proposal.number}, by {proposal.author}"))
            around = f"new points around e{state.incumbent.experiment:04d}"
            found = [*found[:MOST_SHOWN], (around, "each is chosen when its slot is free, from all that has ended")]
        return found


def slot_faults(state: State) -> list[CrashRechecked | SlotPutAside]:
    """What follows from crashes in a row on one slot: another one tries the last of them again, and if it does not
    crash there, the slot is put aside."""
    health = state.health
    found: list[CrashRechecked | SlotPutAside] = []
    for slot in sorted(health.at_fault):
        trials = [outcome.trial for outcome, _ in health.streaks.get(slot, ())]
        reason = f"{len(trials) + 1} trials crashed there in a row, and the last of them not on another slot"
        found.append(SlotPutAside(slot, reason, trials))
    suspects = {slot for slot, streak in health.streaks.items() if len(streak) >= CRASHES_IN_A_ROW}
    others = state.present - suspects - set(health.aside)
    for slot in sorted(suspects - health.at_fault):
        if others and not health.is_rechecked(slot) and slot not in health.aside:
            last, _ = health.streaks[slot][-1]
            found.append(CrashRechecked(last.trial, *last.key, slot))
    return found
