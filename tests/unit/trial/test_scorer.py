"""The scorer's socket."""

import threading

import numpy as np
import pytest

import prepare
from search.trial.scorer import Labels, Scorer
from tests.support.answers import LABELS, probabilities_of


def test_the_first_submission_counts_and_the_second_is_counted(monkeypatch):
    labels = Labels(LABELS, LABELS[:20])
    good = probabilities_of(np.concatenate([LABELS, LABELS[:20]])).astype("<f4")
    with Scorer(labels) as scorer:
        monkeypatch.setenv(prepare.SCORER_VARIABLE, str(scorer.descriptor))
        trial = prepare._Scorer.of_this_trial()
        trial.ask({"event": "evaluating", "probe": 3.0})
        bad = probabilities_of(np.zeros(len(good), int)).astype("<f4")
        first = trial.ask({"event": "submit", "shape": list(bad.shape)}, bad.tobytes())
        second = trial.ask({"event": "submit", "shape": list(good.shape)}, good.tobytes())
    assert first == second == {"mc_acc": 0.2, "bin_acc": 0.8}
    assert (scorer.times, scorer.probe) == (2, 3.0)
    assert scorer.submission.test.shape == (20, 5)


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\n", b"[1]\n", b'{"event": "other"}\n', b'{"event": "submit"}\n', b"x" * 20_000, b"", b"\xff\xfe\n"],
)
def test_what_is_no_message_ends_the_talk_and_nothing_else(sent):
    before = threading.active_count()
    with Scorer(Labels(LABELS, LABELS)) as scorer:
        scorer._theirs.sendall(sent)
    assert scorer.submission is None
    assert threading.active_count() <= before
