"""How a model screens at its threshold, in all and in parts."""

import numpy as np
import pytest

import prepare
from search.model.operating import Operating, Photos, figures_at, operating_point
from search.model.subgroups import figures_of_subgroups, read_subgroups

CLASSES = prepare.Classes(("clean", "red", "infected"), (2,))


def photos(count=200, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    scores = rng.normal(0, 1, (count, 3)) + 2 * np.eye(3)[labels]
    raised = np.exp(scores)
    return Photos(raised / raised.sum(1, keepdims=True), labels, np.arange(count), CLASSES)


@pytest.mark.parametrize("wanted", [0.5, 0.9, 0.95, 1.0])
def test_the_threshold_reaches_the_sensitivity_that_is_wanted_and_no_more_than_it_must(wanted):
    some = photos()
    at = operating_point(some, wanted)
    figures = figures_at(some, at)["at_threshold"]
    assert figures["sensitivity"][0] >= wanted
    missed_next = figures_at(some, Operating(at.temperature, at.threshold + 0.2))["at_threshold"]
    assert missed_next["sensitivity"][0] < max(wanted, figures["sensitivity"][0]) or wanted == 0.5
    assert figures["sensitivity"][1] < figures["sensitivity"][0] <= figures["sensitivity"][2]
    assert figures["missed"] == round((1 - figures["sensitivity"][0]) * some.infected.sum())


def test_figures_stand_for_the_threshold_and_for_the_score():
    some = photos()
    found = figures_at(some, operating_point(some, 0.9))
    assert (found["photos"], found["infected"]) == (200, int((some.labels == 2).sum()))
    assert found["as_scored"]["bin_acc"] == pytest.approx(
        ((some.probabilities.argmax(1) == 2) == (some.labels == 2)).mean()
    )
    assert 0 <= found["at_threshold"]["calibration_error"] <= found["at_threshold"]["calibration_error_before"] + 0.05


def test_subgroups_are_told_by_what_the_table_says(tmp_path):
    some, at = photos(), Operating(1.0, 0.5)
    paths = [f"class/{number}.jpg" for number in range(200)]
    rows = [f"{path},{'left' if place % 4 else 'right'},{'x' if place < 5 else ''}" for place, path in enumerate(paths)]
    (tmp_path / "subgroups.csv").write_text("path,side,rare\n" + "\n".join(rows) + "\n")
    named = read_subgroups(tmp_path)
    found = figures_of_subgroups(some, at, paths, named)
    assert [(one["name"], one["photos"]) for one in found] == [("side: left", 150), ("side: right", 50)]
    flagged = some.risk(1.0) >= 0.5
    right = np.arange(200) % 4 == 0
    assert found[1]["sensitivity"][0] == pytest.approx(flagged[right & some.infected].mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the header is missing"),
        ("path\na", "the header is path;"),
        ("photo,sex\na,b", "the header is photo,sex"),
        ("path,sex,sex\n", "the header is path,sex,sex"),
        ("path,sex\na,b,c\n", "subgroups.csv:2: 'a,b,c' has 3 cells, not 2"),
    ],
)
def test_a_table_of_another_shape_is_one_line(tmp_path, text, words):
    (tmp_path / "subgroups.csv").write_text(text)
    with pytest.raises(prepare.DataError, match=r"subgroups\.csv") as told:
        read_subgroups(tmp_path)
    assert words in str(told.value) and len(str(told.value).splitlines()) == 1


def test_without_a_table_nothing_is_told(tmp_path):
    assert read_subgroups(tmp_path) == {}
