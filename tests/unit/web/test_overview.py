"""What the overview makes of a slot's trial."""

import pytest

from search.web.pages.overview import running_spans


@pytest.mark.parametrize(
    ("trained", "evaluated", "spans"),
    [
        (None, None, [("start-up", 100.0, 110.0)]),
        (4.0, None, [("start-up", 100.0, 106.0), ("training", 106.0, 110.0)]),
        (4.0, 1.0, [("start-up", 100.0, 105.0), ("training", 105.0, 109.0), ("evaluation", 109.0, 110.0)]),
    ],
)
def test_a_running_trials_time_has_the_parts_that_it_has_begun(trained, evaluated, spans):
    slot = {"trial": "e0001-s0", "began": 100.0, "training_seconds": trained, "evaluating_seconds": evaluated}
    assert [(one.kind, one.began, one.ended) for one in running_spans(slot, 110.0)] == spans
