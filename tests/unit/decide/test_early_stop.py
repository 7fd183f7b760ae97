"""Which trials are not worth their rest, and what follows from one that was stopped."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.types import EarlyStop, Experiment, Kind, Purpose, Status, StoppedEarly, Work
from search.decide.decision import next_decision
from search.decide.early_stop import LEAST_ENDED, Progress, Yardstick, forecast, hopeless, yardstick_of
from search.decide.races import Next, race_of
from search.records.results_tsv import read_rows, render, row_of
from tests.support.states import RACING, TASK, Search

RULES = [rule for rule in EarlyStop if rule is not EarlyStop.NONE]


def ended(count, noise=0.0, seed=0):
    rng = random.Random(seed)
    levels = [n / count for n in range(count)]
    found = [Progress((0.5 * level, 0.8 * level), level + rng.gauss(0, noise)) for level in rng.sample(levels, count)]
    return tuple(found)


@pytest.mark.parametrize("rule", RULES)
def test_the_worst_is_stopped_and_the_best_is_not(rule):
    yardstick = Yardstick(rule, 0.9, ended(40, 0.01))
    found = hopeless(yardstick, (0.02,))
    assert found is not None and found.mean == pytest.approx(0.04, abs=0.03)
    assert hopeless(yardstick, (0.49,)) is None
    assert hopeless(yardstick, (0.49, 0.79)) is None


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_stopped_before_enough_have_ended_or_before_the_first_rung(rule):
    few = ended(LEAST_ENDED - 1)
    stopped = tuple(Progress((0.4,)) for _ in range(50))
    assert hopeless(Yardstick(rule, 2.0, few), (0.0,)) is None
    assert hopeless(Yardstick(rule, 2.0, (*few, *stopped)), (0.0,)) is None
    assert hopeless(Yardstick(rule, 2.0, ended(40)), ()) is None
    assert hopeless(Yardstick(rule, None, ended(40)), (0.0,)) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=LEAST_ENDED, max_size=30), st.floats(0, 1))
def test_what_is_expected_to_win_is_never_stopped(pairs, value):
    others = tuple(Progress((early,), final) for early, final in pairs)
    expected = forecast((value,), others)
    assert hopeless(Yardstick(EarlyStop.LEARNED, expected.mean - 1e-6, others), (value,)) is None


def test_the_chance_is_what_happens():
    """Of trials whose final scores are drawn as those before, as many beat the bar as it says."""
    rng, said, done = random.Random(1), [], []
    for _ in range(400):

        def drawn():
            early = rng.random()
            return Progress((early, early + 0.1), early + rng.gauss(0, 0.2))

        others, new = [drawn() for _ in range(20)], drawn()
        said.append(forecast(new.values, others).chance_above(0.7))
        done.append(new.final > 0.7)
    assert sum(said) / 400 == pytest.approx(sum(done) / 400, abs=0.06)
    high = [ok for ok, chance in zip(done, said, strict=True) if chance > 0.8]
    low = [ok for ok, chance in zip(done, said, strict=True) if chance < 0.1]
    assert sum(high) / len(high) > 0.75 and sum(low) / len(low) < 0.15


def test_what_rises_fast_is_given_its_chance():
    """Slow starters that end high: where they are says less than how fast they rise."""
    fast = [Progress((0.1, 0.3 + 0.01 * n), 0.9 + 0.01 * n) for n in range(10)]
    flat = [Progress((0.5, 0.5 + 0.001 * n), 0.52 + 0.001 * n) for n in range(10)]
    assert forecast((0.1, 0.35), [*fast, *flat]).chance_above(0.8) > 0.9
    assert forecast((0.5, 0.505), [*fast, *flat]).chance_above(0.8) < 0.01


def stopping_search():
    search = Search(replace(RACING, early_stop=EarlyStop.LEARNED))
    for number in range(1, 4):
        search.first(number, 0.85, progress=(0.1 * number,))
        search.decide(number, Status.DISCARD)
    return search


def test_only_the_first_trial_of_an_experiment_is_measured_by_a_bar():
    search = stopping_search()
    new = Work(Experiment(4, Kind.SWEEP, "base"), 0)
    found = yardstick_of(search.state, new, 0)
    assert found.bar == pytest.approx(0.91) and [one.values[0] for one in found.others] == pytest.approx(
        [0.1, 0.2, 0.3]
    )
    for purpose in set(Purpose) - {Purpose.FIRST}:
        assert yardstick_of(search.state, replace(new, purpose=purpose), 0).bar is None
    assert yardstick_of(search.state, replace(new, experiment=Experiment(0, Kind.BASELINE, "base")), 0).bar is None
    search.state.settings = replace(search.state.settings, early_stop=EarlyStop.NONE)
    assert yardstick_of(search.state, new, 0).bar is None


def test_trials_on_another_kind_of_slot_say_nothing():
    search = stopping_search()
    search.first(4, 0.85, progress=(0.4,), machine="card")
    found = yardstick_of(search.state, Work(Experiment(5, Kind.SWEEP, "base"), 0), 0)
    assert found.machine == "card" and found.bar is None  # the incumbent has no run on it


STOPPED = StoppedEarly(90.0, 0.7, 0.05)


def test_what_was_stopped_is_discarded_without_a_score_and_its_row_says_so(tmp_path):
    search = stopping_search()
    search.first(4, None, stopped=STOPPED, reason="stopped at 90 s of 300", progress=(0.1,))
    outcome = search.state.ended[-1]
    assert not outcome.crashed and search.state.crashes_in_a_row == 0
    assert race_of(search.state, 4, search.belief).need is Next.DECIDE
    made = next_decision(search.state, 1e9, search.belief)
    assert (made.experiment, made.status, made.score) == (4, Status.DISCARD, None)
    assert made.description == "idea 4 (stopped at 90 s of 300)"
    (tmp_path / "results.tsv").write_text(render([row_of(made)], TASK))
    row = read_rows(tmp_path / "results.tsv", TASK)[0].row
    assert row == row_of(made) and not row.is_measured and row.status is Status.DISCARD


def test_what_was_stopped_teaches_the_posterior_what_it_was_expected_to_score():
    found = []
    for expected, deviation in ((0.8, 0.02), (0.8, 0.2), (0.95, 0.2), (0.95, 0.02)):
        search = stopping_search()
        before = len(search.belief.surrogate().y)
        stopped = StoppedEarly(90.0, expected, deviation)
        search.first(4, None, stopped=stopped, reason="stopped at 90 s of 300")
        assert len(search.belief.surrogate().y) == before + 1
        found.append(search.belief.estimate(4))
    assert found == sorted(found) and found[0] < 0.86 and found[-1] > 0.9
