"""The posterior: what it says of experiments, codes and kinds of slot, and that a resumed search believes the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from search.core.types import Change, Status, StoppedEarly
from search.decide.belief import checkpoint, clipped
from search.decide.decision import next_decision
from search.decide.races import open_races, overtaken
from search.decide.surrogate import Guess, Nodes, Surrogate, expected_gain, fitted, worth_of_a_run
from tests.support.states import Search

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["first", "again", "incumbent", "crash", "stopped", "keep", "discard"]),
        st.floats(0.85, 0.97),
        st.sampled_from(["", "card", "other"]),
    ),
    max_size=25,
)


KEPT_THOUGH_A_SEED_CRASHED = "incumbent first first again crash first discard incumbent crash again keep"


@given(ACTIONS)
@example([(action, 0.9, "") for action in KEPT_THOUGH_A_SEED_CRASHED.split()])
@settings(max_examples=40, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_a_belief_that_follows_a_search_is_that_of_one_made_anew(actions):
    search = Search()
    followed = search.belief
    for action, score, machine in actions:
        state = search.state
        undecided = state.undecided()
        if action == "first":
            search.first(state.next_experiment, score, state.incumbent_commit, machine=machine)
        elif action == "crash":
            search.first(state.next_experiment, None, state.incumbent_commit, reason="boom")
        elif action == "stopped":
            stopped = StoppedEarly(1.0, score, 0.03)
            search.first(state.next_experiment, None, state.incumbent_commit, stopped=stopped, reason="stopped")
        elif action == "incumbent":
            number = state.incumbent.experiment
            search.again(number, state.next_seed(number), score, machine=machine)
        elif action == "again" and undecided:
            search.again(undecided[-1], state.next_seed(undecided[-1]), score, machine=machine)
        elif action in ("keep", "discard") and undecided:  # the latest first: not in the order of outcomes
            runs = state.outcomes_of(undecided[-1])
            status = Status(action) if any(one.score for one in runs) else Status.DISCARD
            search.decide(undecided[-1], Status.CRASH if runs[0].crashed else status, state.incumbent_commit)
        anew = search.belief
        assert open_races(state, followed) == open_races(state, anew)
        assert overtaken(state, followed) == overtaken(state, anew)
        assert next_decision(state, 1e9, followed) == next_decision(state, 1e9, anew)


@given(st.integers(0, 100_000))
def test_checkpoints_lie_at_most_a_tenth_back(outcomes):
    at = checkpoint(outcomes)
    assert at <= outcomes and (outcomes < 6) == (at == 0)
    assert not at or outcomes - at <= max(at // 10, 4)


def test_a_challenger_is_likelier_the_higher_its_seeds_are_and_the_more_of_them():
    chances = []
    for scores in ((0.90,), (0.92,), (0.94,), (0.97,), (0.97, 0.97, 0.97)):
        search = Search()
        search.first(1, scores[0])
        for seed, score in enumerate(scores[1:], start=1):
            search.again(1, seed, score)
        chances.append(search.belief.lead(1, 0).probability)
    assert chances == sorted(chances) and chances[0] < 0.4 and chances[-1] > 0.9


def test_a_kept_experiment_is_estimated_below_the_mean_that_made_it_kept():
    search = Search()
    search.first(1, 0.95)
    search.again(1, 1, 0.95)
    assert 0.91 < search.belief.estimate(1) < 0.95


def test_an_incumbent_that_was_lucky_is_known_by_the_experiments_around_it():
    search = Search(base=(0.93, 0.94, 0.95))
    alone = search.belief.estimate(0)
    for number in range(1, 30):
        search.first(number, 0.90 + 0.001 * (number % 7))
        search.decide(number, Status.DISCARD)
    assert search.belief.estimate(0) < alone - 0.005


def test_experiments_along_a_line_share_what_their_ancestors_gained():
    search = Search()
    search.first(1, 0.95)
    search.decide(1, Status.KEEP)
    before = search.belief.estimate(1)
    search.first(2, 0.97, parent="c1", changes=(Change("width", 8, 32),))
    with_child = search.belief.estimate(1)
    assert with_child > before
    beside = Search()
    beside.first(1, 0.95)
    beside.decide(1, Status.KEEP)
    beside.first(2, 0.97, changes=(Change("width", 8, 32),))  # of the baseline: it says less of experiment 1
    assert beside.belief.estimate(1) < with_child


def test_one_collapse_says_no_more_than_a_bad_score():
    y = np.array([0.90, 0.91, 0.905, 0.902, 0.05])
    assert clipped(y, 0.01).min() > 0.85 and list(clipped(y, 0.01)[:4]) == list(y[:4])


def test_each_kind_of_slot_has_a_level_of_its_own():
    search = Search()
    search.baseline_is(machine="fast")
    for number in range(1, 9):
        lr = (Change("lr", 0.01, 0.01 + number / 100),)
        search.first(number, 0.91 if number % 2 else 0.85, changes=lr, machine="fast" if number % 2 else "slow")
        search.decide(number, Status.DISCARD)
    search.again(0, 9, 0.85, machine="slow")
    belief = search.belief
    assert abs(belief.lead(2, 1).mean) < 0.02  # not the 0.06 that their scores differ by


def smooth_problem(count, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((count, 3))
    nodes = Nodes(
        x,
        np.zeros(count, int),
        np.full(count, -1),
        np.zeros((count, 0)),
        np.arange(count),
        np.ones(count),
    )
    truth = 0.3 * np.sin(6 * x[:, 0])
    return nodes, truth, truth + rng.normal(0, 0.02, count)


def test_the_fit_finds_which_axis_matters_and_predicts_by_it():
    nodes, _, y = smooth_problem(80)
    runs, apart = np.ones(80), np.zeros((1, 1))
    hyper = fitted(nodes, y, runs, apart, Guess(0.02, float(y.std()), 10.0))
    assert hyper.lengths[0] < 0.5 * min(hyper.lengths[1:]) and 0.01 < hyper.noise < 0.04
    others, truth, _ = smooth_problem(60, seed=1)
    predicted = Surrogate(nodes, y, runs, hyper, apart).mean(replace(others, own=np.arange(1000, 1060)))
    assert np.abs(predicted - truth).mean() < 0.04


def test_a_code_is_known_by_the_one_that_it_is_an_edit_of_the_nearer_the_better():
    nodes, truth, y = smooth_problem(60)
    guess = Guess(0.02, float(y.std()), 10.0).hyper(3)
    edited = replace(nodes.at(slice(0, 20)), code=np.ones(20, int), own=np.arange(1000, 1020))
    known = []
    for edits in (1.0, 3.0, 1000.0):
        apart = np.array([[0.0, edits], [edits, 0.0]])
        predicted = Surrogate(nodes, y, np.ones(60), guess, apart).mean(edited)
        known.append(np.abs(predicted - truth[:20]).mean())
    assert known[0] < known[1] < known[2]


def test_the_gradient_of_the_fit_is_right():
    """By what the fit reaches: no neighbouring hyperparameters are likelier."""
    nodes, _, y = smooth_problem(30)
    runs, apart, guess = np.ones(30), np.zeros((1, 1)), Guess(0.02, float(y.std()), 10.0)
    best = fitted(nodes, y, runs, apart, guess)

    def likelihood(hyper):
        from search.decide.surrogate import covariance

        whole = covariance(nodes, nodes, hyper, apart) + np.eye(30) * hyper.noise**2
        away = y - y.mean()
        return -0.5 * away @ np.linalg.solve(whole, away) - 0.5 * np.linalg.slogdet(whole)[1]

    for name in ("rough", "smooth"):
        for factor in (0.5, 2.0):
            other = replace(best, **{name: getattr(best, name) * factor})
            assert likelihood(other) < likelihood(best) + 3  # within what the priors weigh


@given(st.floats(-3, 3), st.floats(0.01, 3))
def test_an_expected_gain_is_that_of_draws(mean, deviation):
    draws = np.random.default_rng(0).normal(mean, deviation, 200_000)
    wanted = np.maximum(draws, 0).mean()
    assert expected_gain(np.array([mean]), np.array([deviation]))[0] == pytest.approx(wanted, abs=0.03)


@given(st.floats(-2, 2), st.floats(0.01, 2), st.floats(0.01, 2))
def test_a_run_is_worth_something_and_less_the_noisier_it_is(mean, variance, noise):
    parts = np.array([mean]), np.array([variance]), np.array([variance])
    quiet, loud = (float(worth_of_a_run(*parts, level)[0]) for level in (noise, 2 * noise))
    assert -1e-12 <= loud <= quiet + 1e-12
