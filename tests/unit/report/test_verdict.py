"""The verdict on a search, and the labels of its frontier."""

import pytest

from search.core.task import Score
from search.core.types import Status
from search.decide.proof import Proof, figures
from search.records.results_tsv import Row
from search.report.frontier import Entry, Facts, analyse, verdict
from search.report.summary import MOST_LABELS, labels_of_kept
from tests.support.states import TASK


def rows(best, status="keep"):
    return [
        Row("a", Score(0.90, 0.5), 0.1, Status.KEEP, "baseline"),
        Row("b", Score(best, 0.5), 0.1, Status(status), "lr"),
    ]


@pytest.mark.parametrize(
    ("found", "majority", "words"),
    [
        (rows(0.95), 0.92, "the frontier beats the baseline (bin_acc 0.9500 against 0.9000"),
        (rows(0.95), 0.92, "and beats always giving the majority's answer (0.9200)"),
        (rows(0.92), 0.92, "and does NOT beat always giving the majority's answer"),
        (rows(0.80, "discard"), 0.92, "does NOT beat the baseline"),
        (rows(0.95), None, "against 0.5000)"),
        ([], 0.92, "no baseline yet"),
    ],
)
def test_the_verdict_says_what_the_frontier_beats(found, majority, words):
    assert words in verdict(analyse([Entry(row) for row in found], TASK, Facts(majority=majority)), TASK)


def test_the_labels_of_a_long_frontier_are_its_latest():
    kept = [(n, 0.9 + n / 1000, f"idea {n} at $5 " + "x " * 200) for n in range(20)]
    text = labels_of_kept(kept, 4)
    assert text.startswith(f"… {20 - MOST_LABELS} more before these")
    assert "19  0.9190  idea 19 at \\$5" in text
    assert len(text.splitlines()) <= 1 + 3 * MOST_LABELS
    assert labels_of_kept([], 4) == ""


def test_the_verdict_tells_the_mean_over_seeds():
    analysis = analyse([Entry(row) for row in rows(0.95)], TASK, Facts(majority=0.92))
    assert verdict(analysis, TASK, [0.95, 0.91]).endswith("over 2 seeds its bin_acc is 0.9300")


@pytest.mark.parametrize(
    ("p_value", "words"), [(0.0284, ", p 0.0284, 4 fresh seeds against 3"), (1e-9, ", p < 0.0001, 4")]
)
def test_a_p_value_is_never_said_to_be_zero(p_value, words):
    proof = Proof(3, "c" * 40, 4, 3, gain=0.02, low=0.01, high=0.03, p_value=p_value)
    assert f"bin_acc +0.0200, 95 % interval +0.0100 to +0.0300{words}" in figures(proof, TASK)
