"""The budget of a training: no step is begun of which most would lie beyond it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.task.screening import harness


def trained(monkeypatch, limit, steps):
    """(seconds, steps) that a training of so long steps takes."""
    now = [100.0]
    monkeypatch.setattr(harness.time, "monotonic", lambda: now[0])
    clock, done = harness.Clock(limit), 0
    for step in steps:
        if done and clock.is_over:
            break
        now[0] += step
        done += 1
    return clock.seconds, done


@given(st.floats(0.1, 20), st.floats(0.001, 5))
def test_it_ends_within_half_a_step_of_the_budget(limit, step):
    with pytest.MonkeyPatch.context() as patch:
        seconds, done = trained(patch, limit, [step] * 30_000)
    assert done == 1 or abs(seconds - limit) <= step / 2 + 1e-6


def test_without_a_limit_it_never_ends_and_a_first_step_is_always_taken(monkeypatch):
    assert trained(monkeypatch, 0.0, [1.0] * 50)[1] == 50
    assert trained(monkeypatch, 0.5, [9.0] * 5)[1] == 1
