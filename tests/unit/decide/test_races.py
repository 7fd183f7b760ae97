"""Races within a search: whose turn it is, who is out, and when simpler is as good."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.types import Purpose, Status
from search.decide.decision import next_decision
from search.decide.races import (
    MOST_SEEDS,
    Next,
    Sides,
    doubt_of_equal,
    next_of,
    open_races,
    overtaken,
    race_of,
    races_to_run,
)
from search.task.screening.words import AT_THRESHOLD
from tests.support.states import RACING, Search, started

LEADS = Sides(1, 4, True, 0.6, 0.0, 0.0, 1.0)


def race(search, number):
    return race_of(search.state, number, search.belief)


@pytest.mark.parametrize(
    ("sides", "need"),
    [
        (replace(LEADS, probability=0.3), Next.DROP),
        (replace(LEADS, probability=0.3, tied=True), Next.CHALLENGER),
        (replace(LEADS, probability=0.3, patient=True), Next.CHALLENGER),
        (LEADS, Next.CHALLENGER),
        (replace(LEADS, probability=0.8), Next.CHALLENGER_ALL),
        (replace(LEADS, seeds=3), Next.DECIDE),
        (replace(LEADS, seeds=3, probability=0.4), Next.DROP),
        (replace(LEADS, seeds=3, probability=0.4, challenger_worth=3.0), Next.CHALLENGER),
        (replace(LEADS, seeds=3, probability=0.4, incumbent_worth=3.0), Next.INCUMBENT),
        (replace(LEADS, seeds=3, leads=False), Next.CHALLENGER),
        (replace(LEADS, seeds=5, leads=False), Next.INCUMBENT),
        (replace(LEADS, seeds=MOST_SEEDS, incumbent_seeds=MOST_SEEDS, leads=False), Next.DECIDE),
    ],
)
def test_what_a_race_needs(sides, need):
    assert next_of(sides, 2) is need


def test_the_bare_rule_decides_at_once():
    assert next_of(replace(LEADS, probability=0.01), 0) is Next.DECIDE


@given(st.lists(st.floats(0.85, 0.99), min_size=1, max_size=30), st.integers(1, 3))
def test_every_race_ends(scores, confirm_seeds):
    search = Search(replace(RACING, confirm_seeds=confirm_seeds))
    search.first(1, scores[0])
    for turn in range(3 * MOST_SEEDS):
        found = race(search, 1)
        assert found.probability is None or 0 <= found.probability <= 1
        if found.need in (Next.DECIDE, Next.DROP):
            return
        number = 0 if found.need is Next.INCUMBENT else 1
        search.again(number, search.state.next_seed(number), scores[turn % len(scores)])
    raise AssertionError("the race did not end")


def test_a_promising_challenger_is_run_again_before_anything_new():
    search = Search()
    search.first(1, 0.97)
    work = search.ask()
    assert (work.experiment.number, work.seed, work.commit, work.purpose) == (1, 1, "c1", Purpose.CONFIRM)
    search.state.apply(started(work))
    other = search.ask(slot=1)
    assert (other.experiment.number, other.seed) == (1, 2)  # likely enough: both at once
    search.state.apply(started(other))
    assert search.ask(slot=2).purpose is Purpose.FIRST


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"violations": ("asked to be scored 2 times",)}, "marked: asked"),
        ({"metrics": {"degenerate": True}}, "degenerate"),
    ],
)
def test_what_cannot_be_kept_is_out_whatever_its_score(more, words):
    search = Search()
    search.first(1, 0.99, **more)
    found = race(search, 1)
    assert found.need is Next.DECIDE and found.out.startswith(words)
    allowed = Search(replace(RACING, allow_degenerate=True))
    allowed.first(1, 0.99, **more)
    assert bool(race(allowed, 1).out) == words.startswith("marked")


def test_evaluating_far_longer_than_the_baseline_did_is_marked():
    search = Search()
    search.baseline_is(speed={"evaluation_seconds": 2.0})
    search.first(1, 0.99, speed={"evaluation_seconds": 20.0})
    search.first(2, 0.99, speed={"evaluation_seconds": 30.0})
    assert race(search, 1).out == ""
    assert race(search, 2).out == "marked: took 30 s to evaluate, 21 s is the most allowed"


def test_a_lead_over_a_model_that_finds_no_infection_is_always_looked_at():
    search = Search(base=(0.92, 0.92, 0.92))
    search.first(1, 0.9201, metrics={"degenerate": False})
    assert race(search, 1).need is Next.DROP
    search.baseline_is(metrics={"degenerate": True})
    assert race(search, 1).need is Next.CHALLENGER


def test_a_crash_in_a_further_seed_puts_a_challenger_out():
    search = Search()
    search.first(1, 0.99)
    search.again(1, 1, None, reason="boom")
    assert race(search, 1).out == "seed 1: boom"


def test_an_incumbent_that_falls_below_its_predecessor_is_overtaken():
    search = Search()
    search.first(1, 0.95)
    search.decide(1, Status.KEEP)
    assert overtaken(search.state, search.belief) is None
    search.again(1, 1, 0.80)
    incumbent, before = overtaken(search.state, search.belief)
    assert (incumbent.experiment, before.experiment) == (1, 0)
    search.decide(1, Status.DISCARD)
    assert search.state.incumbent.experiment == 0 and search.state.counts[Status.DISCARD] == 1
    assert [decision.experiment for decision in search.state.kept] == [0, 1]


def test_sides_are_compared_on_the_same_kind_of_slot():
    search = Search()
    search.baseline_is(machine="fast")
    search.first(1, 0.97, machine="other")
    found = open_races(search.state, search.belief)[0]
    assert found.need is Next.INCUMBENT and found.machine == "other"
    machines = {0: "fast", 1: "fast", 2: "other"}
    assert search.ask(slot=0, machines=machines).purpose is Purpose.FIRST
    work = search.ask(slot=2, machines=machines)
    assert (work.experiment.number, work.purpose) == (0, Purpose.CONFIRM)


def test_a_second_kind_of_slot_that_the_parent_never_ran_on_is_raced_on():
    """The journal of such a search once could not be gone on with."""
    search = Search()
    search.baseline_is(machine="old")
    search.first(1, 0.95, machine="old")
    search.decide(1, Status.KEEP)
    search.first(2, 0.99, parent="c1", machine="new")
    search.first(3, 0.98, parent="base", machine="new")
    assert race(search, 2).need is Next.INCUMBENT
    search.again(1, 5, 0.93, machine="new")
    assert race(search, 2).probability > 0.5
    assert {one.challenger for one in open_races(search.state, search.belief)} == {2, 3}


def simpler(search, number, scores):
    search.first(number, scores[0], code_size=90)
    for seed, score in enumerate(scores[1:], start=1):
        search.again(number, seed, score, code_size=90)


def test_simpler_is_as_good_only_where_its_seeds_say_so():
    search = Search(base=(0.90, 0.91, 0.92, 0.90, 0.91, 0.92))
    search.baseline_is(code_size=100)
    simpler(search, 1, [0.88])  # one unlucky seed of an equal one says nothing either way
    assert not race(search, 1).is_equal
    simpler(search, 2, [0.915, 0.912, 0.916, 0.914, 0.913, 0.915])
    found = race(search, 2)
    assert found.is_equal and found.need is Next.DECIDE
    simpler(search, 3, [0.87, 0.86, 0.87])
    assert race(search, 3).need is Next.DROP and not race(search, 3).is_equal


def test_ten_simplifications_give_away_no_more_than_one():
    """Each is a little worse than the one before, and the margin counts from the best that there ever was."""
    search = Search(base=(0.90, 0.91, 0.92, 0.90, 0.91, 0.92))
    search.baseline_is(code_size=100)
    parent, level, kept = "base", 0.91, 0
    for number in range(1, 11):
        level -= 0.004
        search.first(number, level, parent, code_size=100 - number)
        for seed in range(1, 8):
            search.again(number, seed, level + (0.004 if seed % 2 else -0.004), code_size=100 - number)
        found = next_decision(search.state, 1e9, search.belief)
        status = found.status if found is not None else Status.DISCARD
        search.decide(number, status, search.state.incumbent_commit)
        if status is Status.KEEP:
            parent, kept = f"c{number}", kept + 1
            assert found.simpler
    assert kept < 4
    best = search.belief
    assert doubt_of_equal(search.state, search.state.incumbent.experiment, best) < 0.5


def test_without_confirmation_equal_is_equal_to_the_last_digit():
    search = Search(replace(RACING, confirm_seeds=0, slots=1), base=(0.90,))
    search.baseline_is(code_size=100)
    simpler(search, 1, [0.90])
    assert race(search, 1).is_equal
    simpler(search, 2, [0.899999])
    assert not race(search, 2).is_equal


def test_a_race_whose_kind_of_slot_is_gone_ends():
    search = Search()
    search.baseline_is(machine="old")
    search.first(1, 0.97, machine="old")
    assert race(search, 1).out == ""
    search.first(2, 0.97, machine="new")  # by slot 0, which ran all of the above
    assert race(search, 1).out == "no old slot is left to confirm it on"


def test_a_clock_that_was_put_back_does_not_hold_a_race_open():
    search = Search()
    search.baseline_is(machine="old")
    search.first(1, 0.97, machine="old")
    search.state.left_at[0] = search.state.now + 10**7
    search.state.present.discard(0)
    assert race(search, 1).out == "no old slot is left to confirm it on"


def test_of_several_that_may_win_the_one_that_is_believed_in_most_runs_first():
    search = Search(RACING, base=(0.90, 0.91, 0.92))
    search.first(1, 0.94)
    assert [one.challenger for one in races_to_run(search.state, search.belief)] == [1]
    search.first(2, 0.99)
    need = {one.challenger: one.need for one in open_races(search.state, search.belief)}
    assert need[1] not in (Next.DROP, Next.DECIDE)
    assert [one.challenger for one in races_to_run(search.state, search.belief)] == [2]
    search.again(2, 1, 0.9)
    search.again(2, 2, 0.9)
    search.decide(2, Status.DISCARD)
    assert [one.challenger for one in races_to_run(search.state, search.belief)] == [1]


LEAST = replace(RACING, least_sensitivity=0.9, task=replace(RACING.task, rates=(*RACING.task.rates, AT_THRESHOLD)))


def sensitivity(value):
    return {AT_THRESHOLD: [value, value - 0.1, value + 0.05]}


def test_what_falls_below_the_least_sensitivity_is_not_kept_however_well_it_scores():
    search = Search(LEAST)
    search.first(1, 0.99, metrics=sensitivity(0.85))
    words = "sensitivity 0.850 at its threshold, 0.9 is the least allowed"
    assert race(search, 1).out == words
    made = next_decision(search.state, 1.0, search.belief)
    assert (made.status, made.reason) == (Status.DISCARD, words)
    search.first(2, 0.99, metrics=sensitivity(0.92))
    assert race(search, 2).out == ""
    without = Search()
    without.first(1, 0.99, metrics=sensitivity(0.85))
    assert race(without, 1).out == ""


def test_an_incumbent_that_falls_below_it_gives_its_place_back():
    search = Search(LEAST)
    search.first(1, 0.99, metrics=sensitivity(0.91))
    search.decide(1, Status.KEEP)
    assert overtaken(search.state, search.belief) is None
    search.again(1, 1, 0.99, metrics=sensitivity(0.80))
    incumbent, before = overtaken(search.state, search.belief)
    assert (incumbent.experiment, before.experiment) == (1, 0)
    made = next_decision(search.state, 1.0, search.belief)
    assert (made.experiment, made.status) == (1, Status.DISCARD) and "0.9 is the least allowed" in made.reason
