"""How far a run has come, by what it prints."""

import pytest

from search.core.types import EarlyStop
from search.decide.early_stop import Progress, Yardstick
from search.trial.progress import ProgressWatch

NOTHING = Yardstick()


def followed(watch, *told):
    """told: (seconds, text)"""
    return [watch.judge(text.encode(), seconds) for seconds, text in told]


def test_a_rung_has_the_mean_of_what_was_said_since_half_of_it():
    watch = ProgressWatch(NOTHING, 8.0)
    followed(watch, (0.1, "step 1 | loss 9.0\n"), (0.6, "step 2 | loss 2.0\nstep 3 | lo"), (0.9, "ss 1.0\n"), (1.0, ""))
    assert watch.values == [-1.5]
    followed(
        watch, (1.9, "epoch 2, loss=0.5\rstep 9: loss = 0.25\n"), (2.1, ""), (3.9, "step 10 loss 0.1\n"), (4.0, "")
    )
    assert watch.values == [-1.5, pytest.approx(-0.375), pytest.approx(-0.1)]
    followed(watch, (7.0, "step 11 loss 0.0\n"))
    assert len(watch.values) == 3


def test_progress_goes_before_loss():
    watch = ProgressWatch(NOTHING, 8.0)
    said = "step 1 | progress 0.25 | 0.7 s\nstep 2 | loss 1.0 | progress -1e-1\n"
    followed(watch, (0.6, "step 1 | loss 2.0\n"), (0.8, said), (0.9, "step 2 | loss 9.0\n"), (1.0, ""))
    assert watch.values == [pytest.approx(0.075)]


def test_one_that_says_nothing_more_is_not_judged():
    watch = ProgressWatch(NOTHING, 8.0)
    followed(watch, (0.9, "step 1 | loss 2.0\n"), (1.0, ""), (4.5, "evaluating\n"), (8.0, "step 2 | loss 1.0\n"))
    assert watch.values == [-2.0]
    assert ProgressWatch(NOTHING, 8.0).judge(b"", 8.0) == ""


def test_one_that_says_something_after_a_rung_is_judged_there_until_the_next():
    watch = ProgressWatch(NOTHING, 8.0)
    followed(watch, (0.1, "step 1 | loss 9.0\n"), (1.0, ""), (1.5, "step 2 | loss 2.0\n"), (2.1, "step 3 | loss 1.0\n"))
    assert watch.values == [-2.0, pytest.approx(-1.5)]
    late = ProgressWatch(NOTHING, 8.0)
    followed(late, (0.1, "step 1 | loss 9.0\n"), (1.0, ""), (2.0, ""), (2.1, "step 2 | loss 2.0\n"), (4.0, ""))
    assert late.values == []


def test_one_that_is_hopeless_is_stopped_and_says_when():
    others = tuple(Progress((-loss, -loss), 1 - loss) for loss in (0.1 + n / 50 for n in range(30)))
    watch = ProgressWatch(Yardstick(EarlyStop.LEARNED, 0.6, others), 240.0)
    said = followed(watch, (20.0, "step 1 | loss 0.3\n"), (30.0, ""), (50.0, "step 2 | loss 0.9\n"), (61.0, ""))
    assert said == ["", "", "", "stopped at 61 s of 240"]
    assert watch.stopped.seconds == 61.0 and watch.stopped.expected < 0.4
