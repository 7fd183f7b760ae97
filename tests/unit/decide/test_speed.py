"""Slots of unequal speed."""

from search.decide.speed import calibration, from_footer, slow_note, unequal_note


def test_slots_of_unequal_speed_are_told():
    assert unequal_note({0: 100.0, 1: 95.0, 2: 60.0}) == "slots of unequal speed, beside the fastest: gpu2 60%"
    assert unequal_note({0: 100.0, 1: 90.0}) == unequal_note({}) == unequal_note({0: 0.0}) == ""


def test_a_slow_slot_is_told():
    assert slow_note(60.0, calibration([100.0, 110.0, 90.0])) == "its slot ran at 60% of its usual speed"
    assert slow_note(80.0, calibration([100.0, 100.0])) == ""
    assert slow_note(None, 100.0) == slow_note(10.0, calibration([100.0])) == ""
    assert from_footer({"steps": "12", "photos_per_second": "fast"}) == {"steps": 12.0}
