"""From probabilities to an answer: threshold, temperature, curves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.model.threshold import decision_curve, net_benefit, risk_of, roc, scaled, temperature_of, threshold_for

RISKS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=60).filter(
    lambda found: any(infected for _, infected in found)
)


def both(found):
    return np.array([risk for risk, _ in found]), np.array([infected for _, infected in found])


@given(RISKS, st.floats(0.01, 1))
def test_the_threshold_reaches_the_sensitivity_and_no_larger_one_of_them_does(found, wanted):
    risk, infected = both(found)
    threshold = threshold_for(risk, infected, wanted)
    assert (risk[infected] >= threshold).mean() >= wanted - 1e-9
    above = risk[risk > threshold]
    if len(above) and above.min() < risk.max():
        fewer = (risk[infected] > above.min()).mean()
        assert fewer < wanted or above.min() not in risk[infected]


def test_the_threshold_lies_between_two_risks():
    risk, infected = np.array([0.9, 0.6, 0.4, 0.1]), np.array([True, False, True, False])
    assert threshold_for(risk, infected, 1.0) == pytest.approx(0.25)
    assert threshold_for(risk, infected, 0.5) == pytest.approx(0.75)


def test_the_temperature_is_found_again():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 5))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(5, p=one) for one in true])
    sharper = scaled(true, 1 / 2.5)  # too sure of itself by a factor of 2.5
    assert temperature_of(sharper, labels) == pytest.approx(2.5, rel=0.1)
    assert risk_of(true, (4,)).shape == (4000,) and np.allclose(scaled(true, 1.0), true)


@given(RISKS)
def test_the_roc_curve_rises_from_corner_to_corner(found):
    risk, infected = both(found)
    alarms, hits = roc(risk, infected)
    assert (alarms[0], hits[0]) == (0, 0) and hits[-1] == 1 and alarms[-1] == (1.0 if (~infected).any() else 0.0)
    assert (np.diff(alarms) >= 0).all() and (np.diff(hits) >= 0).all()


def test_net_benefit_is_that_of_vickers_and_elkin():
    infected = np.array([True, True, False, False, False])
    flagged = np.array([True, False, True, False, False])
    assert net_benefit(flagged, infected, 0.2) == pytest.approx(1 / 5 - 1 / 5 * 0.25)
    curve = decision_curve(np.where(infected, 0.9, 0.1), infected)
    assert curve["model"][49] == pytest.approx(0.4) and not curve["none"].any()
    assert curve["all"][0] == pytest.approx(0.4 - 0.6 * 0.01 / 0.99)
    assert math.isclose(curve["all"][39], 0.4 - 0.6 * 0.4 / 0.6, abs_tol=1e-9)
