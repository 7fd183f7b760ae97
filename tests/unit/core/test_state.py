"""The state that a journal's events add up to."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.codec import DecodeError
from search.core.events import (
    Decided,
    ExperimentPlanned,
    SearchBegun,
    SessionBegun,
    SlotJoined,
    SlotLeft,
    TrialEnded,
    TrialLost,
    from_line,
    to_line,
)
from search.core.state import State
from search.core.task import Score
from search.core.types import Experiment, Kind, Purpose, Slot, Status, Work
from search.records.journal import rebuild
from tests.support.states import RACING, SETTINGS, Search, outcome, started, started_baseline


def test_the_baseline_is_decided_when_all_its_seeds_are_there():
    state, works = started_baseline()
    state.apply(TrialEnded(outcome(works[0], 0.9)))
    assert state.undecided() == []
    state.apply(TrialEnded(outcome(works[1], None)))
    assert state.undecided() == [0]


def test_replaying_the_events_through_their_lines_gives_the_same_state():
    search = Search()
    search.first(1, 0.97, speed={"probe": 2.5}, machine="card", metrics={"flagged": 0.2, "auroc": [0.5, 0.4, 0.6]})
    search.again(1, 1, None, reason="boom")
    search.decide(1, Status.KEEP)
    search.apply(SlotJoined(Slot(0, "node", "host", "0", "T4", 16_000.0)))
    search.apply(SlotLeft(0, "gone", at=5.0))
    search.apply(SessionBegun(at=6.0))
    lines = [to_line(event) for event in (SearchBegun(RACING), *search.events)]
    assert rebuild(map(from_line, lines)) == search.state


def test_a_line_of_another_shape_names_its_field():
    line = to_line(TrialLost("e0001-s0", 1, 0, "gone")).replace('"experiment": 1', '"experiment": "one"')
    with pytest.raises(DecodeError, match=r"lost\.experiment: .*integer"):
        from_line(line)
    with pytest.raises(DecodeError, match="does not match any of the expected tags"):
        from_line('{"event": "other"}')


def test_a_second_decision_changes_the_row_and_not_its_place():
    search = Search()
    for number in (1, 2):
        search.first(number, 0.95)
        search.decide(number, Status.KEEP)
    search.decide(1, Status.DISCARD)
    state = search.state
    assert list(state.verdicts) == [0, 1, 2] and state.counts == {Status.KEEP: 2, Status.DISCARD: 1}
    assert [one.experiment for one in state.frontier] == [0, 2] and len(state.kept) == 3


ACTIONS = st.lists(
    st.sampled_from(["plan", "end", "crash", "lose", "session", "keep", "discard", "again"]), max_size=40
)


@given(ACTIONS)
def test_every_index_says_what_the_whole_history_says(actions):
    """Each answer, recounted from the events alone."""
    search = Search()
    for action in actions:
        state = search.state
        open_trials = sorted(state.in_flight)
        if action == "plan":
            number = state.next_experiment
            work = Work(Experiment(number, Kind.SWEEP, "base", (), f"idea {number}"), 0)
            search.apply(ExperimentPlanned(work.experiment))
            search.apply(started(work))
        elif action == "again":
            again = Work(state.experiments[0], state.next_seed(0), commit="base", purpose=Purpose.AGAIN)
            search.apply(started(again))
        elif action in ("end", "crash") and open_trials:
            work = state.in_flight[open_trials[0]].work
            search.apply(TrialEnded(outcome(work, 0.9 if action == "end" else None)))
        elif action == "lose" and open_trials:
            search.apply(TrialLost("", *open_trials[0], "gone"))
        elif action == "session":
            search.apply(SessionBegun())
        elif action in ("keep", "discard") and state.undecided():
            status = Status.KEEP if action == "keep" else Status.DISCARD
            search.decide(state.undecided()[0], status)
    check_indices(search)


def check_indices(search):
    state = search.state
    decisions = [event.decision for event in search.events if isinstance(event, Decided)]
    latest = {decision.experiment: decision for decision in decisions}
    assert state.verdicts == latest
    assert state.frontier == [one for one in latest.values() if one.status is Status.KEEP]
    ended = [event.outcome for event in search.events if isinstance(event, TrialEnded)]
    assert state.ended == ended == list(state.outcomes.values())
    with_outcome = dict.fromkeys(outcome.experiment for outcome in ended)
    assert state.undecided() == [number for number in with_outcome if number not in latest]
    begun = {(e.experiment, e.seed) for e in search.events if e.event == "start"}
    assert {*state.in_flight, *state.to_rerun} == begun - {outcome.key for outcome in ended}
    assert not set(state.in_flight) & set(state.to_rerun)
    assert {status: count for status, count in state.counts.items() if count} == {
        status: sum(one.status is status for one in latest.values())
        for status in Status
        if any(one.status is status for one in latest.values())
    }
    again = sum(e.event == "start" and e.purpose is Purpose.AGAIN and e.attempt == 1 for e in search.events)
    assert state.begun == sum(number != 0 for number in state.experiments) + again


def test_a_state_can_be_copied():
    state, works = started_baseline()
    copied = copy.deepcopy(state)
    copied.apply(TrialEnded(outcome(works[0], 0.9)))
    assert state.outcomes == {} and copied.outcomes[(0, 0)].score == Score(0.9, 0.5)
    assert isinstance(state, State) and state.settings == SETTINGS
