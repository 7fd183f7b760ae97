"""Statistics of the test photos."""

import numpy as np
import pytest

from search.report.evidence import probability_better, resampled_means
from search.report.test_set import permutation_p, smallest_gain

ALONE = np.arange(100)


def test_the_paired_test_finds_a_gain_and_none_where_there_is_none():
    assert permutation_p(np.array([1.0] * 20 + [0.0] * 80), ALONE) < 0.001
    assert permutation_p(np.zeros(100), ALONE) == 1.0
    assert permutation_p(np.array([1.0, -1.0] * 10), ALONE[:20]) > 0.5
    assert smallest_gain(np.array([1.0, -1.0] * 200), np.arange(400), 0.9) == pytest.approx(2.8016 / 20, rel=1e-3)


def of_patients(rng, patients=40, photos=5, effect=0.0):
    """Differences of two models on photos of patients: what they get right goes by the patient."""
    of_patient = np.sign(rng.normal(effect, 1.0, patients)) * (rng.random(patients) < 0.5)
    return np.repeat(of_patient, photos), np.repeat(np.arange(patients), photos)


def test_photos_of_one_patient_are_no_further_evidence():
    """Where there is no difference, one in twenty is called one; counted photo by photo, many more are."""
    rng = np.random.default_rng(0)
    drawn = [of_patients(rng) for _ in range(200)]
    by_group = np.mean([permutation_p(*one) < 0.05 for one in drawn])
    by_photo = np.mean([permutation_p(values, np.arange(len(values))) < 0.05 for values, _ in drawn])
    assert by_group <= 0.09
    assert by_photo > 0.25
    values, groups = drawn[0]
    assert smallest_gain(values, groups, 0.9) == pytest.approx(
        5**0.5 * smallest_gain(values, np.arange(len(values)), 0.9), rel=0.01
    )


def test_intervals_over_groups_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held = []
    for _ in range(200):
        values, groups = of_patients(rng)
        low, high = np.percentile(resampled_means(values[None], groups, 400), [2.5, 97.5])
        held.append(low <= 0.0 <= high)
    assert np.mean(held) > 0.9


def test_a_lead_on_one_patients_photos_is_less_of_a_lead():
    right, wrong = np.ones(100, np.uint8), np.ones(100, np.uint8)
    wrong[:10] = 0
    sides = [{0: np.packbits(one).tobytes().hex()} for one in (right, wrong)]
    groups = [0] * 10 + list(range(1, 91))
    assert probability_better(*sides, 100) > 0.99
    assert 0.5 < probability_better(*sides, 100, groups) < 0.9
