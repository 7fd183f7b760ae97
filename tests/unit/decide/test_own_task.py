"""What is decided where lower is better, and where runs cannot be told a seed."""

from dataclasses import replace

import pytest

from search.core.task import Metric, Passing, Score, Task
from search.core.types import SearchError, Status
from search.decide.decision import ALWAYS_THE_SAME, next_decision
from search.decide.plan import Limit, Pause, SlotContext, next_work
from search.decide.proof import in_words, recommended
from search.decide.rules import NoiseGuess, PooledNoise, confirm_seeds, guess_of_noise, judge, repeats_tell
from tests.support.states import RACING, Search

LOSS = Task("lm", Metric("val_bpb", higher_is_better=False), seed=Passing())
OF_LOSS = replace(RACING, task=LOSS, majority_score=None, validation_images=0, slots=2)


def search_of(*base):
    """A search whose baseline had these losses."""
    return Search(OF_LOSS, tuple(-one for one in base))


def test_lower_is_kept_and_said_in_the_tasks_own_terms():
    better, worse = Score(-0.98), Score(-1.02)
    assert judge(LOSS, better, Score(-1.0)) == (Status.KEEP, "val_bpb -0.020000")
    assert judge(LOSS, worse, Score(-1.0)) == (Status.DISCARD, "val_bpb +0.020000")
    assert judge(LOSS, Score(-1.0), Score(-1.0)) == (Status.DISCARD, "val_bpb equal")


def test_where_two_runs_of_the_baseline_differ_repeats_stand_for_seeds():
    state = search_of(1.0, 1.01).state
    assert repeats_tell(state) and confirm_seeds(state) == RACING.confirm_seeds


def test_where_they_do_not_no_trial_is_spent_on_a_repeat():
    search = search_of(1.0, 1.0)
    state = search.state
    assert not repeats_tell(state) and confirm_seeds(state) == 0
    search.first(1, -0.99)
    made = next_decision(state, 9.0, search.belief)
    assert made is not None and (made.experiment, made.status) == (1, Status.KEEP)
    search.decide(1, Status.KEEP)
    found = recommended(state)
    assert found is not None and found.experiment == 1
    assert "runs give the same every time" in in_words(found, state.incumbent, LOSS)


def test_the_baselines_decision_says_so():
    search = search_of(1.0, 1.0)
    events = [event for event in search.events if type(event).__name__ != "Decided"]
    fresh = Search.__new__(Search)
    fresh.state, fresh.events = type(search.state)(OF_LOSS), []
    for event in events:
        fresh.apply(event)
    assert next_decision(fresh.state, 9.0, fresh.belief).note == ALWAYS_THE_SAME


def test_nothing_is_measured_again_and_nothing_can_be_verified():
    search = search_of(1.0, 1.0)
    slots, belief = SlotContext(0, {0, 1}, {}), search.belief
    nothing_left = next_work(search.state, Limit(99), belief.sources, lambda number: None, slots, belief)
    assert nothing_left is Pause.FINISHED
    with pytest.raises(SearchError, match="nothing to verify"):
        next_work(search.state, Limit(verify=4), belief.sources, lambda number: None, slots, belief)


def test_two_runs_of_the_baseline_are_wanted_even_on_one_slot():
    one_slot = replace(OF_LOSS, slots=1)
    assert len(Search(one_slot, (-1.0, -1.0)).state.baseline_seeds) == 2
    seeded = replace(one_slot, task=replace(LOSS, seed=Passing(flag="--seed")))
    assert len(Search(seeded, (-1.0,)).state.baseline_seeds) == 1


def test_a_rough_guess_of_the_noise_gives_way_to_a_few_repeats():
    state = search_of(100.0, 100.0).state
    guess = guess_of_noise(state)
    assert guess == NoiseGuess(0.5, is_rough=True)
    alone = PooledNoise().deviation(guess)
    assert alone == pytest.approx(0.5)
    for scores, low, high in (((100.0, 100.01), 0.005, 0.06), ((60.0, 140.0), 10.0, 60.0)):
        pooled = PooledNoise()
        for _ in range(3):
            pooled.add(scores)
        assert low < pooled.deviation(guess) < high
