"""Charts as markup: what they show, what they cost, and that nothing in them is markup of somebody else's."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from search.web.pages import charts
from search.web.pages.axes import column_of, worth_of
from search.web.pages.charts import Axis, Point, Span

NUMBERS = st.floats(-1e6, 1e6)
STATUSES = st.sampled_from(["keep", "discard", "crash", "stopped"])
POINTS = st.lists(st.tuples(NUMBERS | st.none(), STATUSES), max_size=30).map(
    lambda some: [Point(place, place, value, status) for place, (value, status) in enumerate(some)]
)
EVIL = "<script>&\"'"


@given(NUMBERS, NUMBERS)
@example(0.0, 5e-324)
@example(0.1, math.nextafter(0.1, 1))
def test_ticks_are_few_round_numbers_within_the_range(one, other):
    low, high = min(one, other), max(one, other)
    found = charts.ticks(low, high)
    assert 1 <= len(found) <= charts.TICKS + 1
    if high - low > 1e-6 * max(abs(low), abs(high), 1):
        little = 1e-6 * (high - low)
        assert all(low - little <= tick <= high + little for tick in found)
        assert found == sorted(found)


@given(POINTS)
def test_any_history_is_one_well_formed_image_within_its_box(points):
    root = ElementTree.fromstring(charts.progress(points, EVIL, (0.9, EVIL), (0.1, 0.2, EVIL)))
    for circle in root.iter("circle"):
        assert charts.DESK.left <= float(circle.get("cx")) <= charts.DESK.width
        assert 0 <= float(circle.get("cy")) <= 320
    kept = [one for one in points if one.status == "keep" and one.value is not None]
    assert len(list(root.iter("circle"))) == len(kept)
    assert f"{len(points)} experiments, {len(kept)} kept" in root.get("aria-label")


def test_many_experiments_take_little_room():
    points = [Point(n, n, 0.8 + 0.1 * math.sin(n), "keep" if n % 100 == 0 else "discard") for n in range(10_000)]
    assert len(charts.progress(points, "bin_acc")) < 150_000


def test_a_few_hopeless_values_do_not_flatten_the_rest():
    low, high = charts.range_of([0.0, *(0.9 + n / 10_000 for n in range(200))], [0.915])
    assert low > 0.85 and high < 1
    assert charts.range_of([0.0], [0.5]) == pytest.approx((-0.03, 0.53))


def test_lanes_show_each_part_of_a_slots_time():
    spans = {"gpu0": [Span(0, 6, "start-up", EVIL), Span(6, 306, "training", "e0001-s0")], "gpu1": []}
    root = ElementTree.fromstring(charts.lanes(spans, 0, 600))
    widths = {rect.get("class"): float(rect.get("width")) for rect in root.iter("rect") if "span" in rect.get("class")}
    assert widths["span training"] == pytest.approx(50 * widths["span start-up"], rel=0.03)
    assert [title.text for title in root.iter("title")] == [EVIL, "e0001-s0"]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [2.0, 1.0, math.inf]])
def test_a_curve_of_less_than_two_numbers_is_nothing(values):
    assert bool(charts.sparkline(values, "loss")) is (len([v for v in values if math.isfinite(v)]) > 1)


def test_the_best_lines_of_parallel_coordinates_are_drawn_last():
    axes = [Axis("lr", [0.0, 1.0, None], "0", "1"), Axis("width", [0.5, 0.5, 0.1], "1", "64")]
    found = re.findall(r"worth-(\d)", charts.parallel(axes, worth_of([0.9, 0.1, 0.5]), "x"))
    assert found == ["0", "4"]  # the third has a place on one axis alone


@pytest.mark.parametrize(
    ("values", "places", "ends"),
    [
        ([1e-4, 1e-2, 1.0], [0.0, 0.5, 1.0], ("0.0001", "1")),  # a wide range, by its logarithm
        ([0.0, 5.0, 10.0], [0.0, 0.5, 1.0], ("0", "10")),
        (["b", "a", None], [1.0, 0.0, None], ("a", "b")),
        ([True, False], [1.0, 0.0], ("False", "True")),
        ([3, 3], [0.0, 0.0], ("3", "3")),
        ([None], [None], ("", "")),
    ],
)
def test_where_values_lie_on_an_axis(values, places, ends):
    found = column_of("x", values)
    assert (found.low, found.high) == ends
    assert list(found.places) == [place if place is None else pytest.approx(place) for place in places]
