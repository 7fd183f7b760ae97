"""How many seeds a challenger gets, by what its seeds and all others tell."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.decide.posterior import MOST_SEEDS, Contender, Next, fit, next_of, noise_of_runs

BASE = Contender(0, None, (0.90, 0.92, 0.91, 0.93))


def model(*others):
    return fit([BASE, *others], [0], 0.02)


def test_a_challenger_is_likelier_the_higher_its_seeds_are_and_the_more_of_them():
    one = model()
    chances = [one.probability(Contender(1, 0, (score,)), 0) for score in (0.90, 0.92, 0.94, 0.97)]
    assert chances == sorted(chances) and chances[0] < 0.4 and chances[-1] > 0.7
    assert one.probability(Contender(1, 0, (0.95, 0.95, 0.95)), 0) > one.probability(Contender(1, 0, (0.95,)), 0)


def test_a_kept_model_is_estimated_below_the_mean_that_made_it_kept():
    kept = Contender(1, 0, (0.95, 0.95, 0.95))
    level = fit([BASE, kept], [0, 1], 0.02).level(1)
    assert BASE.mean < level.mean < kept.mean


def test_an_incumbent_that_was_lucky_is_known_by_the_experiments_around_it():
    around = [Contender(number, 0, (0.90 + 0.001 * (number % 7),)) for number in range(1, 40)]
    low = [replace(contender, scores=(contender.scores[0] - 0.03,)) for contender in around]
    assert fit([BASE, *low], [0], 0.02).level(0).mean < fit([BASE, *around], [0], 0.02).level(0).mean < 0.93


def test_one_collapse_says_nothing_of_the_incumbent():
    around = [Contender(number, 0, (0.905 + 0.001 * (number % 7),)) for number in range(1, 20)]
    with_collapse = fit([BASE, *around, Contender(20, 0, (0.05,))], [0], 0.02)
    assert abs(with_collapse.level(0).mean - fit([BASE, *around], [0], 0.02).level(0).mean) < 0.005


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_every_race_ends_and_its_chances_are_chances(ours, theirs):
    base, challenger = Contender(0, None, tuple(theirs)), Contender(1, 0, tuple(ours))
    rng = random.Random(1)
    for _ in range(2 * MOST_SEEDS + 3):
        fitted = fit([base], [0], 0.02)
        assert 0 <= fitted.probability(challenger, 0) <= 1
        need = next_of(challenger, base, fitted, 2)
        if need in (Next.DECIDE, Next.DROP):
            return
        if need is Next.INCUMBENT:
            base = replace(base, scores=(*base.scores, rng.random()))
        else:
            challenger = replace(challenger, scores=(*challenger.scores, rng.random()))
    raise AssertionError("the race did not end")


def test_what_is_hopeless_is_dropped_and_what_leads_is_run_again():
    assert next_of(Contender(1, 0, (0.85,)), BASE, model(), 2) is Next.DROP
    assert next_of(Contender(1, 0, (0.85,)), BASE, model(), 2, is_tie=True) is Next.CHALLENGER
    assert next_of(Contender(1, 0, (0.85,)), BASE, model(), 2, patient=True) is Next.CHALLENGER
    assert next_of(Contender(1, 0, (0.935,)), BASE, model(), 2) is Next.CHALLENGER
    assert next_of(Contender(1, 0, (0.99,)), BASE, model(), 2) is Next.CHALLENGER_ALL
    assert next_of(Contender(1, 0, (0.99, 0.85)), BASE, model(), 2) is Next.DROP
    assert next_of(Contender(1, 0, (0.96, 0.96, 0.97)), BASE, model(), 2) is Next.DECIDE
    assert next_of(Contender(1, 0, (0.5,)), BASE, model(), 0) is Next.DECIDE  # the bare rule


def test_a_lead_that_the_history_doubts_has_the_side_with_fewer_seeds_measured_again():
    unlucky = Contender(0, None, (0.90, 0.90, 0.90))
    around = [Contender(number, 0, (0.925 + 0.001 * (number % 5),)) for number in range(1, 30)]
    challenger = Contender(40, 0, (0.925, 0.925, 0.925))
    fitted = fit([unlucky, *around], [0], 0.02)
    assert challenger.mean > unlucky.mean and fitted.probability(challenger, 0) < 0.5
    assert next_of(challenger, unlucky, fitted, 2) is Next.INCUMBENT
    measured = replace(unlucky, scores=(0.90,) * 4)
    assert next_of(challenger, measured, fit([measured, *around], [0], 0.02), 2) is Next.CHALLENGER


def test_the_noise_is_pooled_over_all_that_was_repeated():
    rng = random.Random(0)
    many = [Contender(n, 0, tuple(rng.gauss(0.9, 0.02) for _ in range(3))) for n in range(200)]
    assert noise_of_runs(many, 0.02) == pytest.approx(0.02, rel=0.1)
    assert noise_of_runs([Contender(0, None, (0.9,))], 0.013) == pytest.approx(0.013)
