"""What is suggested: around the best that is believed in, never twice, and the same after a resume."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.space import parse_space
from search.core.types import Change, Status
from search.decide.points.sampler import AS_MANY_AS_PAY, AroundBest, decoded, encoded, moved_axes, on_grid
from search.decide.points.suggestions import Suggestions
from tests.support.states import RECIPE, SPACE, Search

TINY = '[a]\nkind="choice"\nchoices=[1,2]\n[b]\nkind="choice"\nchoices=[1,2,3]\n'
MIXED = parse_space(
    '[lr]\nkind="float"\nlow=1e-4\nhigh=0.1\nscale="log"\nstep=4\n'
    '[width]\nkind="int"\nlow=4\nhigh=64\nscale="log"\nstep=3\n'
    '[depth]\nkind="int"\nlow=1\nhigh=5\nstep=1\n[mode]\nkind="choice"\nchoices=["a","b"]\n',
    "mixed",
)


def suggestions(count, rebuild_at=None, slope=-0.02):
    """A search that tries what is suggested, and scores by lr."""
    search, found = Search(), []
    belief = search.belief
    asked = Suggestions(search.state, belief.sources, belief)
    for number in range(1, count + 1):
        if number == rebuild_at:
            belief = search.belief
            asked = Suggestions(search.state, belief.sources, belief)
        suggested = asked.suggest(number)
        point = suggested.point
        found.append((point, suggested.why))
        changes = SPACE.changes(RECIPE, point)
        search.first(number, 0.91 + slope * math.log10(point["lr"] / 0.01), changes=changes)
        search.decide(number, Status.DISCARD)
    return found


def test_a_resumed_search_suggests_what_it_would_have():
    assert suggestions(14) == suggestions(14, rebuild_at=9)


def test_no_point_is_suggested_twice_most_move_few_axes_and_each_says_why():
    found = suggestions(30)
    points = [point for point, _ in found]
    assert len({SPACE.key(point) for point in points}) == len(points)
    assert all("axes moved from the best" in why or why.startswith("far away") for _, why in found)
    few = sum(not why.startswith("far away") for _, why in found)
    assert few > len(found) / 2


def test_it_goes_where_the_scores_are_better():
    lower, higher = ([point["lr"] for point, _ in suggestions(24, slope=slope)] for slope in (-0.02, 0.02))
    assert np.median(lower) < 0.01 < np.median(higher)


def test_a_small_space_is_used_up():
    space = parse_space(TINY, "tiny")
    sampler = AroundBest(space, 0)
    sampler.centre, points = {"a": 1, "b": 1}, []
    sampler.known = [sampler.centre]
    for number in range(7):
        sampler.experiment = number
        sampler.sample_relative(None, None, {})
        points.append(sampler.suggestion and sampler.suggestion.point)
        if points[-1]:
            sampler.seen.add(space.key(points[-1]))
    assert sorted((p["a"], p["b"]) for p in points if p) == [(1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert points[5:] == [None, None]


def test_a_twin_of_what_was_measured_is_passed_over():
    sampler = AroundBest(SPACE, 0)
    known = encoded(SPACE, [RECIPE], RECIPE)
    near = encoded(SPACE, [{**RECIPE, "lr": RECIPE["lr"] * 1.001}], RECIPE)[0]
    other = encoded(SPACE, [{**RECIPE, "width": RECIPE["width"] + 1}], RECIPE)[0]
    assert sampler._is_twin(near, known) and not sampler._is_twin(other, known)


@given(st.floats(1e-4, 0.1), st.integers(4, 64), st.integers(1, 5), st.sampled_from(["a", "b"]))
def test_a_point_comes_back_from_its_units(lr, width, depth, mode):
    point = {"lr": float(f"{lr:.3g}"), "width": width, "depth": depth, "mode": mode}
    if not 1e-4 <= point["lr"] <= 0.1:
        return
    units = encoded(MIXED, [point], point)
    back = decoded(MIXED, units[0])
    assert back == {**point, "lr": back["lr"]} and abs(back["lr"] / point["lr"] - 1) < 0.006
    assert np.allclose(on_grid(MIXED, units), units)


def test_crashes_are_kept_away_from():
    """Every large lr crashed: few are suggested any more."""
    search = Search()
    for number in range(1, 25):
        lr = 0.02 * 1.2**number
        search.first(number, None if lr > 0.1 else 0.91, changes=(Change("lr", 0.01, lr),), reason="boom")
        search.decide(number, Status.CRASH if lr > 0.1 else Status.DISCARD)
    belief = search.belief
    asked = Suggestions(search.state, belief.sources, belief)
    found = [asked.suggest(number).point["lr"] for number in range(100, 140)]
    assert sum(lr > 0.2 for lr in found) < len(found) / 4


def test_what_could_not_be_kept_is_no_centre_however_high_it_scored():
    """Models that find no infection score high where few are infected."""
    search = Search()
    for number in range(1, 15):
        lr = 0.02 * 1.25**number
        degenerate = {"metrics": {"degenerate": True}} if lr > 0.1 else {}
        search.first(number, 0.99 if degenerate else 0.91, changes=(Change("lr", 0.01, lr),), **degenerate)
        search.decide(number, Status.DISCARD)
    belief = search.belief
    asked = Suggestions(search.state, belief.sources, belief)
    found = [asked.suggest(number).point["lr"] for number in range(100, 130)]
    assert sum(lr > 0.2 for lr in found) < len(found) / 4


@pytest.mark.parametrize(("in_flight", "any_axes"), [(0, 0.5), (16, 0.625), (32, 0.75), (500, 0.75)])
def test_the_more_is_in_flight_the_more_suggestions_may_move_any_axes(in_flight, any_axes):
    drawn = [moved_axes((n + 0.5) / 1000, in_flight) for n in range(1000)]
    assert drawn.count(AS_MANY_AS_PAY) / 1000 == pytest.approx(any_axes, abs=0.002)
    assert drawn.count(1) + 20 < drawn.count(2) and drawn.count(1) == pytest.approx(drawn.count(3), abs=2)
