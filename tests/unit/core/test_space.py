"""Search spaces: their files, and moves within them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.recipe import Field, read_recipe
from search.core.space import Axis, check_space, load_space, parse_space, random_move
from search.core.types import UsageError
from tests.support.repositories import ROOT

LR = '[lr]\nkind = "float"\nlow = 1e-4\nhigh = 1.0\nscale = "log"\nstep = 4\n'


@pytest.mark.parametrize("name", ["default", "small", "wide"])
def test_shipped_spaces_fit_the_shipped_recipe(name):
    space = load_space(ROOT / "spaces" / f"{name}.toml")
    check_space(space, read_recipe((ROOT / "train.py").read_text()))
    assert len(space.axes) >= 5


@given(st.floats(0, 1), st.floats(0.1, 20), st.integers(0, 10**6))
def test_a_move_stays_in_range_and_within_its_steps(place, widen, seed):
    for axis in (
        Axis("lr", "float", 1e-4, 1.0, True, 4.0),
        Axis("n", "int", 1, 64, True, 2.0),
        Axis("p", "float", 0.0, 0.9, False, 0.2),
    ):
        here = axis.value_at(place)
        moved = axis.nearby(here, widen, random.Random(seed))
        assert axis.allows(moved)
        rounding = 0.5 / axis.low if axis.kind == "int" else 0.01
        assert abs(axis.unit(moved) - axis.unit(here)) <= axis.unit_step * widen + rounding


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_a_random_move_changes_at_most_the_asked_axes(seed, moved):
    space = load_space(ROOT / "spaces/default.toml")
    centre = {name: field.value for name, field in read_recipe((ROOT / "train.py").read_text()).items()}
    point = random_move(space, centre, moved, 1.0, random.Random(seed))
    assert len(space.changes(centre, point)) <= moved
    assert set(point) == {axis.name for axis in space.axes}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr = ", "not TOML"),
        ("", "no axes"),
        ("lr = 3", "axis lr: is 3"),
        ('[lr]\nkind = "real"', "axis lr: kind is 'real'"),
        ('[lr]\nkind = "float"\nlow = 1\nhigh = 1\nstep = 1', "axis lr: empty range 1 … 1"),
        ('[lr]\nkind = "float"\nlow = 0\nhigh = 1\nscale = "log"\nstep = 2', "axis lr: low is 0"),
        ('[lr]\nkind = "float"\nlow = 0\nhigh = 1\nstep = 0', "axis lr: step is 0"),
        ('[lr]\nkind = "float"\nlow = 0\nhigh = true\nstep = 1', "axis lr: high is True"),
        ('[lr]\nkind = "choice"\nchoices = [1]', r"axis lr: choices is \[1\]"),
        ('[lr]\nkind = "float"\nlow = 0\nhi = 1\nstep = 1', "axis lr: unknown key hi"),
    ],
)
def test_a_bad_space_names_file_axis_and_value(text, words):
    with pytest.raises(UsageError, match=f"some.toml: .*{words}"):
        parse_space(text, "some.toml")


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (Field("other", 1.0), "no such field"),
        (Field("lr", 7.0), "7.0 is not in"),
        (Field("lr", 1), "the recipe's value is 1"),
    ],
)
def test_a_space_that_does_not_fit_the_recipe_is_refused(field, words):
    with pytest.raises(UsageError, match=f"axis lr: .*{words}"):
        check_space(parse_space(LR, "s.toml"), {field.name: field})
