"""What runs next."""

import copy
from dataclasses import replace

from search.core.events import ExperimentPlanned, ProposalRecorded, SessionBegun, SlotJoined, TrialEnded
from search.core.seeds import VERIFICATION_SEEDS
from search.core.sources import Sources
from search.core.state import State
from search.core.task import Score
from search.core.types import Change, Kind, Purpose, Slot, Status, Work
from search.decide.belief import Belief
from search.decide.loop import SearchLoop
from search.decide.plan import MOST_CRASHES_IN_A_ROW, Limit, Pause, SlotContext, next_work
from tests.support.states import (
    RACING,
    SETTINGS,
    Search,
    ask,
    begin,
    decide,
    decided_baseline,
    lost,
    outcome,
    proposal,
    started,
    started_baseline,
    train_of,
)


def test_the_baseline_comes_first_on_every_slot_with_a_seed_each():
    _, works = started_baseline()
    assert [(work.experiment.number, work.seed, work.experiment.changes) for work in works] == [(0, 0, ()), (0, 1, ())]


def test_a_fast_slot_leaves_a_slow_ones_baseline_to_it():
    state = State(SETTINGS)
    first = ask(state, slot=1)
    assert (first.experiment.number, first.seed) == (0, 1)
    begin(state, first)
    assert ask(state, slot=1).experiment.number == 1
    assert ask(state, slot=1, limit=1).experiment.number == 1
    assert ask(state, slot=0).seed == 0


def test_the_baselines_of_slots_that_a_resumed_search_lacks_are_run_by_the_others():
    state = State(SETTINGS)
    first = ask(state, slot=0, slots=1)
    begin(state, first)
    second = ask(state, slot=0, slots=1)
    assert [first.key, second.key] == [(0, 0), (0, 1)]


def test_an_experiment_that_was_never_begun_is_begun_by_the_next_slot():
    state = decided_baseline()
    never_begun = ask(state)
    state.apply(ExperimentPlanned(never_begun.experiment))
    assert ask(state, limit=1) == never_begun
    begin(state, never_begun)
    assert ask(state).experiment.number == never_begun.experiment.number + 1


def crash_in_a_row(state, count):
    for number in range(1, count + 1):
        work = ask(state)
        assert work.experiment.number == number
        begin(state, work)
        state.apply(TrialEnded(outcome(work, None)))
        decide(state, number, Status.CRASH, None)


def test_after_many_crashes_the_incumbent_tells_whether_the_machine_is_at_fault():
    state = decided_baseline()
    crash_in_a_row(state, MOST_CRASHES_IN_A_ROW)
    again = ask(state)
    assert again.purpose is Purpose.AGAIN and again.experiment.number == 0
    begin(state, again)
    assert ask(state, slot=1) is Pause.WAIT
    good, bad = copy.deepcopy(state), copy.deepcopy(state)
    good.apply(TrialEnded(outcome(again, 0.9)))
    assert ask(good).experiment.number == MOST_CRASHES_IN_A_ROW + 1
    bad.apply(TrialEnded(outcome(again, None)))
    assert ask(bad) is Pause.BROKEN
    bad.apply(SessionBegun())  # a person mended it and resumed
    assert ask(bad).experiment.number == MOST_CRASHES_IN_A_ROW + 1


def test_work_lost_with_a_driver_comes_before_new_work_as_another_attempt():
    state, _ = started_baseline()
    lost(state, 0, 0)
    again = ask(state)
    assert (again.experiment.number, again.seed, again.attempt, again.trial_id) == (0, 0, 2, "e0000-s0-a2")


def test_the_limit_waits_for_what_is_in_flight_then_ends():
    state, works = started_baseline()
    work = ask(state, limit=1)
    begin(state, work)
    assert ask(state, limit=1) is Pause.WAIT
    for done in (*works, work):
        state.apply(TrialEnded(outcome(done, 0.9)))
    assert ask(state, limit=1) is Pause.WAIT  # nothing is decided yet
    decide(state, 0, Status.KEEP, Score(0.9, 0.5))
    assert ask(state, limit=1) is Pause.WAIT  # nor the experiment
    decide(state, 1, Status.DISCARD, Score(0.9, 0.5))
    assert ask(state, limit=1) is Pause.FINISHED


def test_a_used_up_space_measures_the_best_again_with_new_seeds():
    state = decided_baseline()
    again = ask(state, suggest=lambda n: None)
    assert (again.experiment.number, again.seed, again.commit) == (0, 2, "c0")
    begin(state, again)
    assert ask(state, suggest=lambda n: None).seed == 3


def test_a_winner_that_began_elsewhere_is_tried_on_top_of_what_it_beat():
    search = Search()
    search.first(1, 0.97, changes=(Change("lr", 0.01, 0.1),))
    search.first(2, 0.98, changes=(Change("width", 8, 16),))
    search.decide(1, Status.KEEP)
    search.decide(2, Status.KEEP, incumbent="c1")
    recipes = {"base": (0.01, 8), "c1": (0.1, 8), "c2": (0.01, 16)}

    def ask():
        sources = Sources(RACING, lambda commit: train_of(*recipes[commit]))
        context = SlotContext(0, {0, 1, 2}, {})
        return next_work(search.state, Limit(99), sources, lambda n: None, context, Belief(search.state, sources))

    work = ask()
    assert (work.experiment.kind, work.experiment.parent, work.experiment.origin) == (Kind.REBASE, "c1", 2)
    assert work.experiment.changes == (Change("width", 8, 16),)
    search.run(work, None)
    search.decide(3, Status.CRASH)
    recipes["c3"] = (0.1, 16)
    assert ask().purpose is Purpose.AGAIN  # once only


def test_a_limit_of_trials_counts_every_one_and_keeps_some_for_the_proof():
    search = Search(replace(RACING, proof_share=0.25))
    limit = Limit(None, 8)
    assert limit.progress(search.state) == 0.5 and not limit.reached(search.state)
    for number in range(1, 4):
        search.first(number, 0.5)
        search.decide(number, Status.DISCARD)
    assert limit.reached(search.state) and not limit.is_spent(search.state)
    assert search.ask(limit=limit) is Pause.FINISHED  # there is nothing to prove
    for number in range(4, 6):
        search.first(number, 0.5)
        search.decide(number, Status.DISCARD)
    assert limit.is_spent(search.state)


def test_verification_runs_so_many_fresh_seeds_of_both_sides_and_nothing_else():
    search = Search()
    search.first(1, 0.97)
    search.decide(1, Status.KEEP)
    search.first(2, 0.99)  # is not decided, and is left alone
    asked = []
    while isinstance(work := search.ask(limit=Limit(verify=2)), Work):
        asked.append((work.experiment.number, work.seed, work.purpose))
        search.run(work, 0.9)
    first = VERIFICATION_SEEDS
    assert work is Pause.FINISHED
    assert asked == [(number, seed, Purpose.VERIFY) for number in (1, 0) for seed in (first, first + 1)]


def test_a_verification_that_was_cut_short_goes_on_with_what_it_lacks():
    search = Search()
    search.state.apply(started(search.ask(limit=Limit(verify=1))))
    search.apply(SessionBegun())
    again = search.ask(limit=Limit(verify=1))
    assert (again.experiment.number, again.seed, again.attempt) == (0, VERIFICATION_SEEDS, 2)


# --- what a person is told of it ---


def coming(search, **limit):
    loop = SearchLoop(search.state, search.belief.sources, search.state.apply)
    loop.limit = Limit(**limit)
    return loop.coming()


def whats(search, **limit):
    return [one["what"] for one in coming(search, **limit)]


def test_the_baseline_comes_first():
    search = Search()
    search.state = State(SETTINGS)
    assert whats(search) == ["the seeds of the baseline"]


def test_what_comes_is_what_slots_are_then_given():
    search = Search()
    search.apply(SlotJoined(Slot(0, "a", "a", "0")))
    search.first(1, 0.97)
    first, *rest = coming(search, experiments=99)
    assert first["what"] == "a further seed of e0001" and "e0001 is" in first["why"] and "likely" in first["why"]
    assert [one["what"] for one in rest] == ["new points around e0000"]
    for slot in (0, 1):
        work = search.ask(slot=slot)
        assert work.experiment.number == 1 and work.why == first["why"]
        search.state.apply(started(work))
    assert whats(search, experiments=99) == ["new points around e0000"]  # what the race needs runs
    assert search.ask(slot=2).experiment.number == 2


def test_lost_runs_and_proposals_come_before_new_points():
    search = Search()
    begin(search.state, search.ask())
    lost(search.state, 1, 0)
    for number in range(1, 12):
        search.apply(ProposalRecorded(proposal(number)))
    found = coming(search)
    assert found[0] == {"what": "e0001 again, with seed 0", "why": "its run was lost"}
    assert found[1] == {"what": "idea 1", "why": "proposal 1, by tool"}
    assert len(found) == 7 and found[-1]["what"] == "new points around e0000"  # the rest is left out


def test_a_limit_ends_what_comes_but_for_the_proof():
    search = Search(replace(RACING, proof_share=0.5))
    assert whats(search, experiments=0) == []
    assert whats(search, trials=4) == ["fresh seeds of the incumbent and of the baseline"]
    assert whats(search, verify=2) == ["fresh seeds of the recommended commit and of the baseline"]
