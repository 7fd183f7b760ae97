"""State, plan and study: what runs next."""

import copy

from search.core.sources import Commits
from search.core.space import parse_space
from search.core.state import State, apply, rebuild, record_of, start_record
from search.core.types import Decision, Outcome, Purpose, Score, Settings, Status
from search.decide.plan import MOST_CRASHES_IN_A_ROW, Limit, Pause, SlotContext, next_work
from search.decide.study import Study
from tests.conftest import FAST_SPACE

SPACE = parse_space(FAST_SPACE, "fast.toml")
RECIPE = {"lr": 0.01, "width": 8, "mode": "good"}
SETTINGS = Settings("t", "base", "/d", "f", 64, 0.9, FAST_SPACE, "fast.toml", 0, 5.0, 2, 0.0)


def train_of(lr=0.01, width=8, more=""):
    return f"class Recipe:\n    lr: float = {lr}\n    width: int = {width}\n    mode: str = 'good'\n{more}"


def outcome(work, bin_acc):
    score = None if bin_acc is None else Score(bin_acc, 0.5)
    return Outcome(work.trial_id, work.experiment.number, work.seed, 0, f"c{work.experiment.number}", score)


def begin(state, work):
    if work.experiment.number not in state.experiments:
        apply(state, record_of("experiment", work.experiment))
    apply(state, start_record(work))


def decide(state, number, status, score):
    apply(
        state,
        record_of("decision", Decision(number, status, "", f"c{number}", 0, score, 0.0, "", "", None, (), (0,), 0.0)),
    )


def ask(state, in_flight=(), limit=None, suggest=lambda n, r: {"lr": 0.02 + n, "width": 8}, slot=0, slots=2):
    commits = Commits(SETTINGS, lambda commit: train_of())
    return next_work(state, set(in_flight), Limit(limit), commits, suggest, SlotContext(slot, set(range(slots)), {}))


def run_of(work):
    return (work.experiment.number, work.seed)


def started_baseline():
    state = State(SETTINGS)
    works = []
    for slot in range(2):
        works.append(ask(state, map(run_of, works), slot=slot))
        begin(state, works[-1])
    return state, works


def decided_baseline():
    state, works = started_baseline()
    for done in works:
        apply(state, record_of("outcome", outcome(done, 0.9)))
    decide(state, 0, Status.KEEP, Score(0.9, 0.5))
    return state


def test_the_baseline_comes_first_on_every_slot_with_a_seed_each():
    _, works = started_baseline()
    assert [(work.experiment.number, work.seed, work.experiment.changes) for work in works] == [(0, 0, ()), (0, 1, ())]


def test_a_fast_slot_leaves_a_slow_ones_baseline_to_it():
    state = State(SETTINGS)
    first = ask(state, slot=1)
    assert (first.experiment.number, first.seed) == (0, 1)
    begin(state, first)
    assert ask(state, [(0, 1)], slot=1).experiment.number == 1
    assert ask(state, [(0, 1)], slot=1, limit=1).experiment.number == 1
    assert ask(state, [(0, 1)], slot=0).seed == 0


def test_the_baselines_of_slots_that_a_resumed_search_lacks_are_run_by_the_others():
    state = State(SETTINGS)
    first = ask(state, slot=0, slots=1)
    begin(state, first)
    second = ask(state, [run_of(first)], slot=0, slots=1)
    assert [run_of(first), run_of(second)] == [(0, 0), (0, 1)]


def test_an_experiment_that_was_never_begun_is_begun_by_the_next_slot():
    state = decided_baseline()
    lost = ask(state)
    apply(state, record_of("experiment", lost.experiment))
    assert ask(state, limit=1) == lost
    begin(state, lost)
    assert ask(state, [run_of(lost)]).experiment.number == lost.experiment.number + 1


def crash_in_a_row(state, count):
    for number in range(1, count + 1):
        work = ask(state)
        assert work.experiment.number == number
        begin(state, work)
        apply(state, record_of("outcome", outcome(work, None)))
        decide(state, number, Status.CRASH, None)


def test_after_many_crashes_the_incumbent_tells_whether_the_machine_is_at_fault():
    state = decided_baseline()
    crash_in_a_row(state, MOST_CRASHES_IN_A_ROW)
    again = ask(state)
    assert again.purpose is Purpose.AGAIN and again.experiment.number == 0
    begin(state, again)
    assert ask(state, [run_of(again)], slot=1) is Pause.WAIT
    good, bad = copy.deepcopy(state), copy.deepcopy(state)
    apply(good, record_of("outcome", outcome(again, 0.9)))
    assert ask(good).experiment.number == MOST_CRASHES_IN_A_ROW + 1
    apply(bad, record_of("outcome", outcome(again, None)))
    assert ask(bad) is Pause.BROKEN
    apply(bad, {"event": "session"})  # a person mended it and resumed
    assert ask(bad).experiment.number == MOST_CRASHES_IN_A_ROW + 1


def test_work_lost_with_a_driver_comes_before_new_work_as_another_attempt():
    state, _ = started_baseline()
    again = ask(state, in_flight=[(0, 1)])
    assert (again.experiment.number, again.seed, again.attempt, again.trial_id) == (0, 0, 2, "e0000-s0-a2")


def test_the_baseline_is_decided_when_all_its_seeds_are_there():
    state, works = started_baseline()
    apply(state, record_of("outcome", outcome(works[0], 0.9)))
    assert state.undecided() == []
    apply(state, record_of("outcome", outcome(works[1], None)))
    assert state.undecided() == [0]


def test_the_limit_waits_for_what_is_in_flight_then_ends():
    state, works = started_baseline()
    flying = [(0, 0), (0, 1)]
    work = ask(state, flying, limit=1)
    begin(state, work)
    assert ask(state, [*flying, (1, 0)], limit=1) is Pause.WAIT
    for done in (*works, work):
        apply(state, record_of("outcome", outcome(done, 0.9)))
    assert ask(state, [], limit=1) is Pause.WAIT  # nothing is decided yet
    decide(state, 0, Status.KEEP, Score(0.9, 0.5))
    assert ask(state, [], limit=1) is Pause.WAIT  # nor the experiment
    decide(state, 1, Status.DISCARD, Score(0.9, 0.5))
    assert ask(state, [], limit=1) is Pause.FINISHED


def test_a_used_up_space_measures_the_best_again_with_new_seeds():
    state = decided_baseline()
    again = ask(state, suggest=lambda n, r: None)
    assert (again.experiment.number, again.seed, again.commit) == (0, 2, "c0")
    begin(state, again)
    assert ask(state, [(0, 2)], suggest=lambda n, r: None).seed == 3


def test_replaying_the_records_gives_the_same_state():
    state, works = started_baseline()
    records = [record_of("search", SETTINGS)]
    for work in works:
        if work.seed == 0:
            records.append(record_of("experiment", work.experiment))
        records += [start_record(work)]
    records.append(record_of("outcome", outcome(works[0], 0.9)))
    apply(state, records[-1])
    assert rebuild(records) == state


def suggestions(count, seed=0, rebuild_at=None):
    study = Study(SPACE, seed, "code")
    study.exclude(RECIPE)
    found = []
    for number in range(1, count + 1):
        if number == rebuild_at:
            study = Study(SPACE, seed, "code")
            study.exclude(RECIPE)
            for past, point in enumerate(found, start=1):
                study.begin(past, point)
                study.tell(past, point, 0, Score(0.9 - point["lr"] / 10, 0.5))
        point = study.suggest(number, RECIPE)
        found.append(point)
        study.tell(number, point, 0, Score(0.9 - point["lr"] / 10, 0.5))
    return found


def test_same_seed_and_results_give_the_same_suggestions_even_when_rebuilt_in_between():
    assert suggestions(12) == suggestions(12, rebuild_at=8)
    assert suggestions(12) != suggestions(12, seed=1)


def test_no_point_is_suggested_twice_and_most_move_one_axis():
    found = suggestions(40)
    keys = [SPACE.key(point) for point in found]
    assert len(set(keys)) == len(keys)
    moved = [len(SPACE.changes(RECIPE, point)) for point in found]
    assert moved.count(1) > len(moved) / 2
    assert set(moved) <= {1, 2}


def test_a_small_space_is_widened_then_used_up():
    space = parse_space('[a]\nkind="choice"\nchoices=[1,2]\n[b]\nkind="choice"\nchoices=[1,2,3]\n', "tiny")
    study = Study(space, 0, "code")
    study.exclude({"a": 1, "b": 1})
    points = [study.suggest(number, {"a": 1, "b": 1}) for number in range(1, 8)]
    assert sorted((p["a"], p["b"]) for p in points if p) == [(1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert points[5:] == [None, None]
