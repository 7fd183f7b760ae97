"""Races within a search: whose turn it is, and who is out."""

from dataclasses import replace

import pytest

from search.core.types import Purpose, Status
from search.decide.posterior import Next
from search.decide.races import equal_within_error, open_races, overtaken, race_of
from tests.support.states import RACING, Search, started


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


def test_both_sides_have_the_same_seeds():
    search = Search(replace(RACING, slots=1), base=(0.90,))
    search.first(1, 0.97)
    search.again(1, 1, 0.97)
    work = search.ask()
    assert (work.experiment.number, work.seed, work.commit) == (0, 1, "base")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"violations": ("asked to be scored 2 times",)}, "marked: asked"),
        ({"metrics": {"flagged": 0.0}}, "degenerate"),
        ({"metrics": {"flagged": 1.0}}, "degenerate"),
    ],
)
def test_what_cannot_be_kept_is_out_whatever_its_score(more, words):
    search = Search()
    search.first(1, 0.99, **more)
    race = race_of(search.state, 1)
    assert race.need is Next.DECIDE and race.out.startswith(words)
    allowed = Search(replace(RACING, allow_degenerate=True))
    allowed.first(1, 0.99, **more)
    assert bool(race_of(allowed.state, 1).out) == words.startswith("marked")


def test_evaluating_far_longer_than_the_baseline_did_is_marked():
    search = Search()
    search.baseline_is(speed={"evaluation_seconds": 2.0})
    search.first(1, 0.99, speed={"evaluation_seconds": 20.0})
    search.first(2, 0.99, speed={"evaluation_seconds": 30.0})
    assert race_of(search.state, 1).out == ""
    assert race_of(search.state, 2).out == "marked: took 30 s to evaluate, 21 s is the most allowed"


def test_a_lead_over_a_model_that_finds_no_infection_is_always_looked_at():
    search = Search(base=(0.92, 0.92, 0.92))
    search.first(1, 0.9201, metrics={"flagged": 0.1})
    assert race_of(search.state, 1).need is Next.DROP
    search.baseline_is(metrics={"flagged": 0.0})
    assert race_of(search.state, 1).need is Next.CHALLENGER


def test_a_crash_in_a_further_seed_puts_a_challenger_out():
    search = Search()
    search.first(1, 0.99)
    search.again(1, 1, None, reason="boom")
    assert race_of(search.state, 1).out == "seed 1: boom"


def test_an_incumbent_that_falls_below_its_predecessor_is_overtaken():
    search = Search()
    search.first(1, 0.95)
    search.decide(1, Status.KEEP)
    assert overtaken(search.state) is None
    search.again(1, 1, 0.80)
    incumbent, before = overtaken(search.state)
    assert (incumbent.experiment, before.experiment) == (1, 0)
    search.decide(1, Status.DISCARD)
    assert search.state.incumbent.experiment == 0 and search.state.counts[Status.DISCARD] == 1
    assert [decision.experiment for decision in search.state.kept] == [0, 1]


def test_sides_are_compared_on_the_same_kind_of_slot():
    search = Search()
    search.baseline_is(machine="fast")
    search.first(1, 0.97, machine="other")
    race = open_races(search.state)[0]
    assert race.need is Next.INCUMBENT and race.machine == "other"
    machines = {0: "fast", 1: "fast", 2: "other"}
    assert search.ask(slot=0, machines=machines).purpose is Purpose.FIRST
    work = search.ask(slot=2, machines=machines)
    assert (work.experiment.number, work.purpose) == (0, Purpose.CONFIRM)


def test_a_simpler_train_py_that_is_as_good_is_measured_with_all_its_seeds():
    search = Search()
    search.baseline_is(code_size=100)
    search.first(1, 0.909, code_size=90)
    assert race_of(search.state, 1).need is Next.CHALLENGER
    search.again(1, 1, 0.909, code_size=90)
    search.again(1, 2, 0.909, code_size=90)
    assert race_of(search.state, 1).need is Next.DECIDE
    search.first(2, 0.909, code_size=110)
    assert race_of(search.state, 2).need is Next.DROP


def test_a_race_whose_kind_of_slot_is_gone_ends():
    search = Search()
    search.baseline_is(machine="old")
    search.first(1, 0.97, machine="old")
    assert race_of(search.state, 1).out == ""
    search.first(2, 0.97, machine="new")  # by slot 0, which ran all of the above
    assert race_of(search.state, 1).out == "no old slot is left to confirm it on"


def test_equal_is_within_the_standard_error_once_there_are_seeds():
    search = Search()
    search.first(1, 0.912)
    assert equal_within_error(search.state, 1)
    search.first(2, 0.99)
    assert not equal_within_error(search.state, 2)
    single = Search(replace(RACING, slots=1), base=(0.90,))
    single.first(1, 0.901)
    assert not equal_within_error(single.state, 1)
