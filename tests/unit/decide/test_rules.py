"""The rule by which a model is kept."""

from hypothesis import given
from hypothesis import strategies as st

from search.core.task import Score
from search.core.types import Status
from search.decide.rules import better_than, judge, memory_note
from tests.support.answers import scores
from tests.support.states import TASK


@given(scores, scores, st.booleans())
def test_kept_is_better_or_equal_and_simpler(challenger, incumbent, simpler):
    status, _ = judge(TASK, challenger, incumbent, "equal and simpler" if simpler and challenger == incumbent else "")
    expected = better_than(challenger, incumbent) or (challenger == incumbent and simpler)
    assert status is (Status.KEEP if expected else Status.DISCARD)


def test_the_primary_metric_comes_first():
    assert judge(TASK, Score(0.91, 0.1), Score(0.9, 0.9))[0] is Status.KEEP
    assert judge(TASK, Score(0.89, 0.9), Score(0.9, 0.1))[0] is Status.DISCARD
    assert judge(TASK, Score(0.9, 0.2), Score(0.9, 0.1))[0] is Status.KEEP


def test_memory_far_above_is_told_and_little_is_not():
    assert "4.0 GB" in memory_note(4.0, 1.0)
    assert memory_note(1.9, 1.0) == ""
    assert memory_note(0.3, 0.1) == ""
