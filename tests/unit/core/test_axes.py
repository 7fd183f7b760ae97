"""What an edit of train.py does to the axes."""

import pytest

from search.core.recipe import read_recipe
from search.core.space import AxisError, adapted, declared
from tests.support.repositories import ROOT
from tests.support.states import SPACE, train_of


def field_of(line):
    return next(iter(read_recipe(f"class Recipe:\n    {line}\n").values()))


@pytest.mark.parametrize(
    ("line", "axis"),
    [
        ("a: float = 0.2  # strength; 0 … 1", ("float", 0.0, 1.0, False)),
        ("a: float = 0.2  # was 3 ... 4 once; 1e-3 ... 1", ("float", 1e-3, 1.0, True)),
        ("a: int = 3  # blocks; 1 … 8", ("int", 1.0, 8.0, False)),
        ("a: float = 0  # without a dot; 0 … 1", ("float", 0.0, 1.0, False)),
        ("a: float = 0.98  # decay; 0 (off) … 0.9999", ("float", 0.0, 0.9999, False)),
        ("a: bool = True", ("choice", 0.0, 0.0, False)),
        ('a: Literal["x", "y"] = "x"', ("choice", 0.0, 0.0, False)),
        ("a: float = 0.2  # of no range", None),
        ('a: str = "x"', None),
    ],
)
def test_a_field_declares_its_axis_by_type_or_comment(line, axis):
    found = declared(field_of(line))
    assert (found and (found.kind, found.low, found.high, found.log)) == axis
    if found:
        assert found.allows(field_of(line).value)


@pytest.mark.parametrize(
    "line",
    ["a: float = 2.0  # 0 … 1", "a: float = 2.0  # 3 … 1", "a: int = 2  # 0.5 … 100", "a: int = 2  # 1 … 1e300"],
)
def test_a_declared_range_that_means_nothing_is_told(line):
    with pytest.raises(AxisError, match=r"Recipe\.a"):
        declared(field_of(line))


def test_the_shipped_recipe_declares_ranges_that_hold_its_values():
    fields = read_recipe((ROOT / "train.py").read_text())
    assert sum(declared(field) is not None for field in fields.values()) > 15


def test_gone_fields_leave_new_ones_join_and_values_outside_widen():
    old = read_recipe(train_of())
    source = (
        "class Recipe:\n    lr: float = 3.0\n    depth: int = 2  # 1 … 4\n    note: str = 'x'\n    mode: str = 'good'\n"
    )
    space = adapted(SPACE, old, read_recipe(source))
    assert [axis.name for axis in space.axes] == ["lr", "depth"]
    assert space.axes[0].high == 3.0 and space.axes[0].low == SPACE.axes[0].low
    assert (
        adapted(SPACE, old, read_recipe(train_of().replace("width: int = 8", "width: float = 8.0"))).axes
        == SPACE.axes[:1]
    )
    assert adapted(SPACE, old, old) == SPACE
    dotless = read_recipe(train_of().replace("lr: float = 0.01", "lr: float = 1"))
    assert [axis.name for axis in adapted(SPACE, old, dotless).axes] == ["lr", "width"]
