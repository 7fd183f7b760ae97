"""The frontier of a history, and what it says of further experiments."""

import itertools
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from search.core.task import Score
from search.core.types import Change, Status
from search.decide.rules import better_than
from search.records.results_tsv import Row
from search.report.frontier import Entry, Facts, analyse, steps
from search.report.summary import markdown
from tests.support.answers import scores
from tests.support.states import TASK


def row(commit, bin_acc, mc_acc, status, description=""):
    return Row(commit, Score(bin_acc, mc_acc), 0.3, Status(status), description)


def entries_of(rows):
    return [Entry(row, tuple(CHANGED.get(row.commit, ()))) for row in rows]


ROWS = [
    row("a", 0.80, 0.5, "keep", "baseline"),
    row("b", 0.85, 0.5, "keep"),
    row("c", 0.84, 0.7, "discard"),
    row("d", 0.0, 0.0, "crash"),
    row("e", 0.70, 0.4, "discard"),
    row("f", 0.75, 0.4, "discard"),
]
CHANGED = {
    "b": [Change("lr", 0.1, 0.2)],
    "e": [Change("depth", 3, 4)],
    "f": [Change("depth", 3, 5)],
    "c": [Change("mode", "x", "y")],
}


def test_the_summary_of_a_history():
    found = analyse(entries_of(ROWS), TASK)
    assert found["counts"] == {"experiments": 6, "keep": 2, "discard": 3, "crash": 1}
    assert found["current_best"]["commit"] == "b"
    assert found["best_mc_acc_side_run"]["commit"] == "c"
    assert [step["commit"] for step in found["frontier"]] == ["a", "b"]
    assert found["frontier"][1]["gain_bin_acc"] == 0.05
    assert [(miss["commit"], miss["gap_bin_acc"]) for miss in found["near_misses"]] == [("c", 0.01)]
    losing = [(region["axis"], region["direction"], region["tries"]) for region in found["losing_regions"]]
    assert losing == [("depth", "up", 2)]
    assert any("lr up" in hint for hint in found["next_hints"])


def test_words_in_descriptions_change_nothing_but_what_is_shown():
    renamed = [row(r.commit, r.primary, r.secondary, r.status, "lr depth mode best keep crash") for r in ROWS]
    one, other = analyse(entries_of(ROWS), TASK), analyse(entries_of(renamed), TASK)
    assert one["losing_regions"] == other["losing_regions"]
    assert one["next_hints"] == [hint.replace("lr depth mode best keep crash", "c") for hint in other["next_hints"]]


def test_the_best_that_is_only_the_majority_is_told():
    assert "majority" in analyse(entries_of(ROWS), TASK, Facts(majority=0.85))["next_hints"][0]
    assert not any("majority" in hint for hint in analyse(entries_of(ROWS), TASK, Facts(majority=0.8))["next_hints"])


@given(
    st.lists(st.builds(lambda s, k: row("x", s.primary, s.secondary, k), scores, st.sampled_from(["keep", "discard"])))
)
def test_a_frontier_of_several_searches_never_falls_from_one_to_another(rows):
    entries = [replace(entry, history=str(place)) for place, entry in enumerate(entries_of(rows))]
    kept = [step.row.score for step in steps(entries) if step.is_incumbent]
    assert not any(better_than(one, two) for one, two in itertools.pairwise(kept))


def test_whatever_a_search_keeps_is_on_its_frontier():
    """A simpler train.py that is as good may show a lower mean than what it replaced."""
    rows = [row("a", 0.80, 0.5, "keep"), row("b", 0.799, 0.5, "keep"), row("c", 0.81, 0.5, "discard")]
    found = analyse(entries_of(rows), TASK)
    assert [one["commit"] for one in found["frontier"]] == ["a", "b"] and found["current_best"]["commit"] == "b"
    assert found["counts"]["keep"] == len(found["frontier"])


def test_memory_far_above_the_incumbents_is_told_in_the_summary():
    rows = [row("a", 0.8, 0.5, "keep"), replace(row("b", 0.7, 0.5, "discard"), memory_gb=4.0)]
    assert [note["commit"] for note in analyse([Entry(row) for row in rows], TASK)["memory_notes"]] == ["b"]


def test_what_was_discarded_though_it_beats_the_best_is_told():
    rows = [row("a", 0.8, 0.5, "keep"), row("b", 0.8, 0.6, "discard"), row("c", 0.8, 0.4, "discard")]
    assert [found["commit"] for found in analyse([Entry(row) for row in rows], TASK)["discarded_though_better"]] == [
        "b"
    ]
    assert "- `b` 0.8000 / 0.6000" in markdown(analyse([Entry(row) for row in rows], TASK), TASK)
    assert analyse(entries_of(ROWS), TASK)["discarded_though_better"] == []


def test_a_direction_of_which_every_try_crashed_is_losing_and_has_no_number():
    rows = [row("a", 0.8, 0.5, "keep"), row("e", 0, 0, "crash"), row("f", 0, 0, "crash")]
    region = analyse(entries_of(rows), TASK)["losing_regions"][0]
    assert (region["axis"], region["crashes"], region["best_gap"]) == ("depth", 2, None)
    assert "depth up: 2 tries, none kept, all crashed" in markdown(analyse(entries_of(rows), TASK), TASK)


def test_an_empty_history_has_a_hint():
    assert analyse([], TASK)["next_hints"] == ["run the baseline first"]


def test_a_hint_names_a_row_by_what_it_tried_and_a_gain_as_a_gain():
    rows = [
        row("a", 0.80, 0.5, "keep", "baseline"),
        row("b", 0.8089, 0.5199, "discard", "lr 0.1 -> 0.2"),
        row("c", 0.79, 0.6, "discard", "wider"),
    ]
    found = analyse(entries_of(rows), TASK)["next_hints"]
    assert "lr 0.1 -> 0.2 (b) has mc_acc +0.0199 at bin_acc +0.0089: combine it with the best" in found
    assert "wider (c) has mc_acc +0.1000 at bin_acc -0.0100: combine it with the best" in found
