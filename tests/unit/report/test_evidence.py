"""How sure each row of a summary is."""

import numpy as np

from search.core.task import Score
from search.core.types import Status
from search.records.results_tsv import Row
from search.report.evidence import Evidence, believed, probability_better
from search.report.frontier import Entry, Facts, analyse
from tests.support.states import TASK


def bits(right):
    return np.packbits(np.array(right, bool)).tobytes().hex()


def test_probabilities_are_paired_over_photos_and_seeds():
    rng = np.random.default_rng(0)
    base = rng.random((3, 100)) < 0.9
    better = base | (rng.random((3, 100)) < 0.5)
    sides = [{seed: bits(right) for seed, right in enumerate(side)} for side in (base, better)]
    assert probability_better(sides[1], sides[0], 100) > 0.95
    assert probability_better(sides[0], sides[1], 100) < 0.05
    assert probability_better(sides[0], sides[0], 100) == 0.5
    assert probability_better(sides[0], {}, 100) is None
    other_seeds = {seed + 10: right for seed, right in sides[0].items()}
    assert 0.9 < probability_better(sides[1], other_seeds, 100) <= 1


def row(commit, score, status):
    return Row(commit, Score(score, 0.5), 0.0, status, f"idea {commit}")


def test_a_summary_says_what_is_known_of_each_row():
    rows = [row("a" * 7, 0.90, Status.KEEP), row("b" * 7, 0.905, Status.KEEP)]
    known = [
        Evidence({0: 0.9, 1: 0.9}, {0: bits([1] * 90 + [0] * 10)}, 0.9, {"sensitivity": 0.5}),
        Evidence({0: 0.9, 1: 0.91}, {0: bits([1] * 91 + [0] * 9)}, 0.902, {"sensitivity": 0.6}),
    ]
    entries = [Entry(one, (), evidence) for one, evidence in zip(rows, known, strict=True)]
    step = analyse(entries, TASK, Facts(0.01, 0.9, 100))["frontier"][1]
    assert (step["seeds"], step["estimate_bin_acc"], step["sensitivity"], step["specificity"]) == (2, 0.902, 0.6, None)
    assert step["gain_below_noise"] and step["gain_below_one_photo"]
    assert 0.5 < step["probability_better"] < 1
    assert "sens 0.60" in believed(step, TASK) and "gain below one photo" in believed(step, TASK)
    unknown = analyse([Entry(one) for one in rows], TASK, Facts(opened={"opened": "today"}))
    assert unknown["frontier"][1]["seeds"] is None and believed(unknown["frontier"][1], TASK) == ""
    assert unknown["test_opened"] == {"opened": "today"}
