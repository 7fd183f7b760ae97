"""What an edit of train.py does to the axes, and what trials of the code before it tell about the code after it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.axes import AxisError, adapted, declared
from search.core.recipe import code_id, identity_of, read_recipe, rewrite_recipe, usages
from search.core.sources import Commits
from search.core.space import parse_space
from search.core.state import State, apply, record_of, start_record
from search.core.types import Change, Experiment, Kind, Outcome, Score, Work
from search.decide.studies import Studies
from search.decide.study import Study
from search.decide.transfer import Observation, transferred
from tests.conftest import FAST_SPACE, ROOT
from tests.unit.test_search_choices import SETTINGS, train_of

SPACE = parse_space(FAST_SPACE, "fast.toml")
BODY = "def train(recipe):\n    if recipe.lr > 0:\n        step(recipe.lr)\n    wide(recipe.width)\n"


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


def test_a_study_passes_over_points_outside_its_axes():
    study = Study(SPACE, 0, "code")
    study.begin(1, {"lr": 50.0, "width": 8})
    study.tell(1, {"lr": 50.0, "width": 8}, 0, Score(0.9, 0.5))
    assert study.study.trials == []


def test_two_train_py_are_the_same_up_to_formatting_comments_and_docstrings():
    source = train_of(more=BODY)
    again = '"""Says what."""\n' + source.replace(
        "    if recipe.lr > 0:", "    # why\n    if (recipe.lr\n        > 0):"
    )
    assert identity_of(again) == identity_of(source)
    assert identity_of(source.replace("> 0", "> 1")) != identity_of(source)
    assert identity_of(rewrite_recipe(source, {"lr": 0.5})) != identity_of(source)
    assert code_id(rewrite_recipe(source, {"lr": 0.5})) == code_id(source)


def test_a_field_means_the_same_while_the_statements_that_read_it_are_the_same():
    before = usages(train_of(more=BODY))
    inner = usages(train_of(more=BODY.replace("        step(recipe.lr)", "        other()\n        step(recipe.lr)")))
    assert inner == before
    header = usages(train_of(more=BODY.replace("recipe.lr > 0", "recipe.lr > 1")))
    assert header["lr"] != before["lr"] and header["width"] == before["width"]


@given(st.floats(0.001, 0.9), st.integers(1, 60))
def test_moves_are_made_again_from_the_new_centre_unless_their_axis_changed(lr, width):
    old, new = {"lr": 0.01, "width": 8}, {"lr": 0.05, "width": 8, "depth": 2}
    told = [Observation({"lr": lr, "width": width}, 0.9, "a")]
    same = {"lr": "1", "width": "2"}
    assert transferred(told, old, new, same, same, SPACE) == [
        Observation({**new, **({"lr": lr} if lr != 0.01 else {}), "width": width}, 0.9, "a")
    ]
    other = transferred(told, old, new, same, {"lr": "9", "width": "2"}, SPACE)
    assert len(other) == (lr == 0.01)


def test_a_study_of_an_edited_code_learns_from_the_code_before():
    """The old code says that a large lr is good; its edit is searched accordingly, from the first."""
    sources = {"base": train_of(more=BODY), "edit": train_of(more=BODY + "    more()\n")}
    commits = Commits(SETTINGS, lambda commit: sources[commit])
    state = State(SETTINGS)
    edited = Experiment(1, Kind.PROPOSAL, "base", (), "more", None, 1, "edit")
    apply(state, record_of("experiment", Experiment(0, Kind.BASELINE, "base")))
    apply(state, record_of("experiment", edited))
    commits.edited_from("edit", "base")
    records = []
    for number in range(2, 22):
        lr = 0.001 * 1.4**number
        tried = Experiment(number, Kind.SWEEP, "base", (Change("lr", 0.01, lr),), "")
        apply(state, record_of("experiment", tried))
        apply(state, start_record(Work(tried, 0)))
        score = Score(0.5 + min(lr, 0.5), 0.5)
        apply(state, record_of("outcome", Outcome("", number, 0, 0, f"c{number}", score)))
    told = Studies(state, commits, None, records)
    suggested = [told.suggest(number, "edit")["lr"] for number in range(30, 50)]
    alone = Study(SPACE, 0, "edit")
    alone.exclude(commits.recipe("edit"))
    blind = [alone.suggest(number, commits.recipe("edit"))["lr"] for number in range(30, 50)]
    assert sum(lr > 0.01 for lr in suggested) > sum(lr > 0.01 for lr in blind) + 3
