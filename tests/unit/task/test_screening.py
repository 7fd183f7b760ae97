"""Metrics and intervals: against their definitions, on cases with a known answer."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare import Classes
from search.decide.rules import mean_rates
from search.task.screening.rates import (
    aurocs,
    average_precisions,
    screen,
    share_with_interval,
    wilson,
)
from tests.support.answers import LABELS, probabilities_of
from tests.support.states import TASK


def test_a_perfect_and_a_blind_model():
    perfect = screen(probabilities_of(LABELS), LABELS)
    assert perfect["sensitivity"][0] == perfect["specificity"][0] == perfect["auroc"][0] == 1.0
    assert perfect["confusion"] == (np.eye(5, dtype=int) * 12).tolist()
    assert not perfect["degenerate"]
    blind = screen(probabilities_of(np.zeros_like(LABELS)), LABELS)
    assert (blind["sensitivity"][0], blind["specificity"][0], blind["balanced_accuracy"][0]) == (0.0, 1.0, 0.5)
    assert blind["auroc"][0] == 0.5 and blind["average_precision"][0] == pytest.approx(0.2)
    assert blind["not_infected_share"] == 0.8
    assert blind["degenerate"]
    assert screen(probabilities_of(np.full_like(LABELS, 4)), LABELS)["degenerate"]
    json.dumps(perfect)


def test_without_infected_photos_what_cannot_be_told_is_none():
    found = screen(probabilities_of(np.zeros(10, int)), np.zeros(10, int))
    assert found["sensitivity"] is found["auroc"] is found["average_precision"] is found["balanced_accuracy"] is None


def test_wilsons_interval_is_the_textbooks():
    assert wilson(8, 10) == pytest.approx([0.8, 0.490162, 0.943318], abs=1e-5)
    assert wilson(0, 10)[1] == 0.0
    assert share_with_interval(np.ones(0, bool), np.zeros(0, int)) is None


def test_photos_of_one_group_count_for_less():
    hits, alone = np.repeat([True, False, True, True], 5), np.arange(20)
    together = np.repeat(np.arange(4), 5)  # all photos of a group tell the same
    assert share_with_interval(hits, alone) == wilson(15, 20)
    share, low, high = share_with_interval(hits, together)
    assert share == 0.75 and low < wilson(15, 20)[1] and high > wilson(15, 20)[2]
    assert share_with_interval(np.ones(20, bool), together) == wilson(4, 4)
    assert share_with_interval(hits, np.zeros(20, int)) == wilson(0.75, 1)
    mixed = np.tile([True, True, False, True, True], 4)  # groups that are all alike tell no less than single photos
    assert share_with_interval(mixed, together) == wilson(16, 20)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_the_curves_are_what_their_definitions_say(pairs):
    risk, infected = np.array([r / 5 for r, _ in pairs]), np.array([i for _, i in pairs])
    once = np.ones((1, len(pairs)))
    positive, negative = risk[infected], risk[~infected]
    area = aurocs(risk, infected, once)[0]
    if len(positive) and len(negative):
        wins = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
        assert area == pytest.approx(np.mean(wins))
    else:
        assert np.isnan(area)
    if len(positive):
        precision = [infected[risk >= p].mean() for p in positive]
        assert average_precisions(risk, infected, once)[0] == pytest.approx(np.mean(precision))


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(60):
        labels = np.where(rng.random(200) < 0.3, 4, 0)
        risk = rng.normal(labels / 4.0, 1.0)
        given_risk = 1 / (1 + np.exp(-risk))
        probabilities = np.stack([1 - given_risk, *[np.zeros(200)] * 3, given_risk], 1)
        low, high = screen(probabilities, labels)["auroc"][1:]
        inside += low <= 0.76025 <= high  # of two normals, one standard deviation apart
    assert inside >= 50


def test_means_over_seeds_are_of_what_every_seed_has():
    assert mean_rates(TASK, [{"auroc": [0.8, 0.7, 0.9]}, {"auroc": [0.6, 0.5, 0.7]}]) == {"auroc": 0.7}
    assert mean_rates(TASK, [{"auroc": [0.8, 0.7, 0.9]}, {"auroc": None}]) == {}


def test_the_risk_is_that_of_all_positive_classes():
    classes = Classes(("clean", "red", "infected"), (1, 2))
    labels = np.array([0, 0, 1, 2])
    probabilities = np.array([[0.9, 0.1, 0.0], [0.4, 0.3, 0.3], [0.2, 0.3, 0.5], [0.1, 0.6, 0.3]])
    found = screen(probabilities, labels, classes=classes)
    assert found["sensitivity"][0] == 1.0 and found["specificity"][0] == 1.0
    assert found["infected"] == 2 and found["confusion"] == [[2, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert found["auroc"][0] == 1.0  # 0.6 of the second photo is below 0.8 and 0.9
