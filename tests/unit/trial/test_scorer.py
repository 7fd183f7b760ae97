"""The scorer's socket."""

import os
import threading

import numpy as np
import pytest

import prepare
from search.trial.scorer import Labels, Scorer, calibration_photos
from tests.support.answers import LABELS, probabilities_of
from tests.support.states import TASK


@pytest.fixture
def images(tmp_path):
    """A file of three photos of two pixels a side."""
    np.save(tmp_path / "images.npy", np.arange(36, dtype=np.uint8).reshape(3, 2, 2, 3))
    return tmp_path / "images.npy"


def test_photos_and_training_labels_come_when_training_begins(monkeypatch, tmp_path, images):
    view = tmp_path / "view"
    view.mkdir()
    (view / "view.json").write_text('{"part": [0, 1, 0], "image_size": 2, "classes": ["a", "b"], "positive": [1]}')
    blank = prepare.load(view)
    assert not blank.images.any() and set(blank.labels) == {prepare.WITHHELD}
    with Scorer(TASK, Labels(np.array([3, prepare.WITHHELD, 4]), LABELS, LABELS), images) as scorer:
        monkeypatch.setenv(prepare.SCORER_VARIABLE, str(scorer.descriptor))
        assert scorer.training is None
        images.unlink()  # what is read is what the scorer opened, not a name
        with pytest.raises(prepare.DataError, match=r"no message of prepare\.py"):
            prepare.begin_training(blank)
        np.save(images, np.arange(36, dtype=np.uint8).reshape(3, 2, 2, 3))
    with Scorer(TASK, Labels(np.array([3, prepare.WITHHELD, 4]), LABELS, LABELS), images) as scorer:
        monkeypatch.setenv(prepare.SCORER_VARIABLE, str(scorer.descriptor))
        open_before = len(os.listdir("/proc/self/fd"))
        data = prepare.begin_training(blank)
        first = scorer.training
        again = prepare.begin_training(blank)
        assert scorer.training == first is not None  # the clock starts once
        assert data.labels.tolist() == again.labels.tolist() == [3, prepare.WITHHELD, 4]
        assert data.images.tolist() == np.load(images).tolist()
        del data, again
        assert len(os.listdir("/proc/self/fd")) <= open_before + 4  # of the trial's two talks
    with pytest.raises(prepare.DataError, match="blank"):
        prepare.evaluate(None, blank, "cpu")


def test_the_first_submission_counts_and_the_second_is_counted(monkeypatch, images):
    labels = Labels(LABELS, LABELS, LABELS[:20])
    good = probabilities_of(np.concatenate([LABELS, LABELS[:20]])).astype("<f4")
    with Scorer(TASK, labels, images) as scorer:
        monkeypatch.setenv(prepare.SCORER_VARIABLE, str(scorer.descriptor))
        trial = prepare._Scorer.of_this_trial()
        trial.ask({"event": "evaluating", "probe": 3.0})
        bad = probabilities_of(np.zeros(len(good), int)).astype("<f4")
        first = trial.ask({"event": "submit", "shape": list(bad.shape)}, bad.tobytes())
        second = trial.ask({"event": "submit", "shape": list(good.shape)}, good.tobytes())
    assert first == second == {"mc_acc": 0.2, "bin_acc": 0.8}
    assert (scorer.times, scorer.probe) == (2, 3.0)
    assert scorer.submission.test.shape == (20, 5)


def test_the_weights_that_follow_what_was_scored_are_kept_once(monkeypatch, images, tmp_path):
    good, kept = (
        probabilities_of(np.concatenate([LABELS, LABELS])).astype("<f4"),
        tmp_path / "sealed/e0001-s0.safetensors",
    )
    with Scorer(TASK, Labels(LABELS, LABELS, LABELS), images, weights=kept) as scorer:
        monkeypatch.setenv(prepare.SCORER_VARIABLE, str(scorer.descriptor))
        trial = prepare._Scorer.of_this_trial()
        trial.ask({"event": "weights"}, b"too early")
        assert not kept.exists()
        trial.ask({"event": "submit", "shape": list(good.shape)}, good.tobytes())
        trial.ask({"event": "weights"}, b"these" * 500_000)
        trial.ask({"event": "weights"}, b"others")
    assert kept.read_bytes() == b"these" * 500_000 and scorer.problem == ""
    with Scorer(TASK, Labels(LABELS, LABELS, LABELS), images, weights=kept) as scorer:
        scorer._theirs.sendall(b'{"event": "weights", "bytes": -1}\n')
    assert "weights of -1 bytes" in scorer.problem


def test_photos_for_a_threshold_come_in_whole_groups_and_their_labels_stay(monkeypatch, images):
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 5, 400), np.sort(rng.integers(0, 120, 400))
    labels[:100] = prepare.WITHHELD  # of other parts
    chosen = calibration_photos(labels, groups)
    inside = set(groups[chosen])
    assert 30 <= len(chosen) <= 60 and set(labels[chosen]) == {0, 1, 2, 3, 4}
    assert not inside & set(groups[np.setdiff1d(np.arange(100, 400), chosen)])
    told = Labels(labels, LABELS, LABELS, calibration=chosen)
    assert (told.given[chosen] == prepare.WITHHELD).all()
    assert (np.flatnonzero(told.given != told.training) == chosen).all()


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\n", b"[1]\n", b'{"event": "other"}\n', b'{"event": "submit"}\n', b"x" * 20_000, b"", b"\xff\xfe\n"],
)
def test_what_is_no_message_ends_the_talk_and_nothing_else(sent, images):
    before = threading.active_count()
    with Scorer(TASK, Labels(LABELS, LABELS, LABELS), images) as scorer:
        scorer._theirs.sendall(sent)
    assert scorer.submission is None
    assert threading.active_count() <= before
