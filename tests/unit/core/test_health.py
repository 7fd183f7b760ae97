"""Crashes in a row on one slot: whose fault they are, and what is taken back."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from search.core.events import SearchBegun, SlotJoined, TrialEnded
from search.core.health import ASIDE_SECONDS
from search.core.types import Kind, Slot, Status
from search.decide.decision import baseline_has_failed
from search.decide.loop import CRASHES_IN_A_ROW, slot_faults
from search.decide.plan import Pause
from search.records.journal import rebuild
from tests.support.states import SETTINGS, Search, ask, begin, outcome, started_baseline


class TwoSlots(Search):
    """A search whose slots are 0 and 1, and where an idea crashes if the slot is bad, or the idea."""

    def __init__(self, bad_slots=(), bad_ideas=()):
        super().__init__(replace(SETTINGS, slots=2), base=(0.9, 0.9))
        self.bad_slots, self.bad_ideas = set(bad_slots), set(bad_ideas)
        for number in (0, 1):
            self.apply(SlotJoined(Slot(number, "node", "node", str(number))))

    def turn(self, slot):
        """What the slot gets, and runs to its end; what it waits for."""
        work = ask(self.state, slot=slot)
        if isinstance(work, Pause):
            return work
        begin(self, work)
        crashed = slot in self.bad_slots or work.experiment.number in self.bad_ideas
        done = replace(outcome(work, None if crashed else 0.5), slot=slot)
        self.apply(TrialEnded(done))
        for event in slot_faults(self.state):
            self.apply(event)
        for number in self.state.undecided():
            status = Status.CRASH if not any(one.score for one in self.state.outcomes_of(number)) else Status.DISCARD
            self.decide(number, status)
        return work

    @property
    def experiments(self):
        return self.state.experiments


def test_a_bad_slot_is_put_aside_and_what_crashed_there_runs_again():
    search = TwoSlots(bad_slots={1})
    crashed = [search.turn(1).experiment.number for _ in range(CRASHES_IN_A_ROW)]
    assert search.turn(1) is Pause.WAIT  # until another slot has tried the last of them
    assert list(search.state.verdicts) == [0, *crashed[:-1]]
    assert search.turn(0).experiment.number == crashed[-1]
    health = search.state.health
    assert set(health.aside) == {1} and f"{CRASHES_IN_A_ROW} trials crashed" in health.aside[1][1]
    assert search.turn(1) is Pause.WAIT
    assert [search.turn(0).experiment.number for _ in crashed[:-1]] == crashed[:-1]
    assert {one.status for one in list(search.state.verdicts.values())[1:]} == {Status.DISCARD}
    assert search.state.counts[Status.CRASH] == 0 and len(search.state.ended) == 2 + 2 * CRASHES_IN_A_ROW
    now = search.state.now
    search.state.now = health.aside[1][0] - 10**7  # a clock that was put back must not keep it aside for months
    assert not health.is_aside(1, search.state.now) and health.is_aside(1, now)
    search.state.now = now + ASIDE_SECONDS + 1
    search.bad_slots.clear()
    assert search.turn(1).experiment.kind is Kind.SWEEP  # it is tried again, and is as good as the other
    assert health.aside == {}


def test_bad_ideas_put_no_slot_aside():
    search = TwoSlots(bad_ideas=range(1, 40))
    for _ in range(12):
        search.turn(1)
        search.turn(0)
    assert search.state.health.aside == {} and search.state.counts[Status.CRASH] >= 8


def test_a_slot_alone_goes_on_though_all_crashes_there():
    search = TwoSlots(bad_slots={1})
    search.state.present.discard(0)
    for _ in range(5):
        assert ask(search.state, slot=1, slots=2) is not Pause.WAIT
        search.turn(1)
    assert search.state.health.rechecked == {}


def test_where_every_slot_is_aside_the_search_is_broken():
    search = TwoSlots()
    for slot in (0, 1):
        search.state.health.put_aside(slot, search.state.now, "no CUDA")
    assert search.turn(0) is Pause.BROKEN


@given(
    st.lists(st.sampled_from([0, 1]), min_size=4, max_size=60),
    st.sets(st.sampled_from([0, 1])),
    st.sets(st.integers(1, 12)),
)
def test_whatever_crashes_where_no_trial_is_lost_and_replaying_gives_the_same(turns, bad_slots, bad_ideas):
    search = TwoSlots(bad_slots, bad_ideas)
    for slot in turns:
        search.turn(slot)
    state = search.state
    begun = {(event.experiment, event.seed) for event in search.events if event.event == "start"}
    assert set(state.outcomes) | set(state.to_rerun) | set(state.in_flight) == begun
    assert not set(state.outcomes) & set(state.to_rerun)
    assert sum(state.counts.values()) == len(state.verdicts)
    assert rebuild([SearchBegun(state.settings), *search.events]) == state


def test_the_baseline_has_failed_when_two_slots_say_so():
    state, works = started_baseline()
    state.apply(TrialEnded(outcome(works[0], None)))
    assert not baseline_has_failed(state, {0, 1}) and baseline_has_failed(state, {0})
    state.apply(TrialEnded(replace(outcome(works[1], None), slot=1)))
    assert baseline_has_failed(state, {0, 1})
