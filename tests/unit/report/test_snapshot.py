"""What a search's state at a glance says of time, and of what a slot does."""

import pytest

from search.report.snapshot import doing_of, duration, seconds_left


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (3599, "1 h 00 min"), (11_100, "3 h 05 min"), (187_200, "2 d 4 h")],
)
def test_durations_are_for_people(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("view", "left"),
    [
        ({"progress": 0.25, "first_began": 900.0}, 300.0),
        ({"progress": 0.0, "first_began": 900.0}, None),  # no limit, or hardly begun
        ({"progress": 1.2, "first_began": 900.0}, None),  # what is left is the proof's
        ({"progress": 0.5, "first_began": None}, None),
        ({}, None),
    ],
)
def test_the_time_left_goes_by_the_rate_so_far(view, left):
    assert seconds_left(view, 1000.0) == left


RUNS = {"trial": "e0001-s0", "left": False, "training_seconds": 3.0, "evaluating_seconds": None}


@pytest.mark.parametrize(
    ("differs", "doing"),
    [
        ({}, "training"),
        ({"evaluating_seconds": 0.0}, "evaluating"),
        ({"training_seconds": None}, "starting"),
        ({"trial": None}, "idle"),
        ({"left": True}, "left"),  # with its node: what stands of its trial is no longer run
        ({"trial": None, "left": True}, "left"),
    ],
)
def test_a_slot_does_one_thing(differs, doing):
    slot = RUNS | differs
    if slot["trial"] is None:
        slot = {name: slot[name] for name in ("trial", "left")}
    assert doing_of(slot) == doing
