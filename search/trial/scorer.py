"""The scorer's end of a trial's socket: hands out photos and training labels, takes the first probabilities, answers
with their score, and notes when.

It runs in the slot's worker, outside the worktree, and is the only one that has the labels.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

import prepare
from search.core.task import Score, Task
from search.core.types import SearchError
from search.system.files import write_aside

LONGEST_LINE = 10_000  # bytes
CALIBRATION_EVERY = 7  # a part of the training photos, as groups
LARGEST_WEIGHTS = 2 * 2**30  # bytes
CHUNK = 2**20  # bytes
HELD_BACK_SHARE, MOST_HELD_BACK = 0.1, 128  # of the training photos


@dataclass(frozen=True)
class Labels:
    """The classes, (n,) each, of the training photos, at their positions among all photos, and of the validation and
    of the test photos, which only the scorer knows; and which of these belong together, as Data.groups; None: each
    photo is by itself. calibration: positions of training photos that are never trained on; a threshold is chosen by
    them."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    validation_groups: np.ndarray | None = None
    test_groups: np.ndarray | None = None
    classes: prepare.Classes = prepare.FIVE_CLASSES
    calibration: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, data: prepare.Data, calibrates: bool = False) -> Labels:
        training = np.full(len(data.labels), prepare.WITHHELD)
        training[data.indices("train")] = data.labels[data.indices("train")]
        validation, test = data.indices("validation"), data.indices("test")
        of_each = data.groups if len(data.groups) else np.arange(len(data.labels))
        return cls(
            training,
            data.labels[validation],
            data.labels[test],
            of_each[validation],
            of_each[test],
            data.classes,
            calibration_photos(training, of_each) if calibrates else np.zeros(0, np.int64),
        )

    @property
    def given(self) -> np.ndarray:
        """(photos,): what a trial is told of the training photos."""
        found = self.training.copy()
        found[self.calibration] = prepare.WITHHELD
        return found


@dataclass(frozen=True)
class ScoredData:
    """What a run is trained on and scored by. view: the data set that it is named. images: the file of the photos."""

    view: Path
    labels: Labels
    images: Path


@dataclass(frozen=True)
class Submission:
    """Probabilities, float32 (n, classes) each, as a trial handed them over, and their score on validation."""

    validation: np.ndarray
    test: np.ndarray
    calibration: np.ndarray
    score: Score


class Scorer:
    """Listens to one trial. Use as a context; `descriptor` is what the trial inherits. images: the file of the photos.
    holds_back: whether the trial is to tell how far it has come, by training photos that it does not train on at first.
    weights: the file that the weights go to that were scored; None: they are not kept.

    After the context: submission, the first that could be scored; times, how often it was asked to score; training,
    evaluating and submitted, when it was first given photos and labels, when training ended by its own word, and when
    it first asked to be scored, in the clock of time.monotonic(); probe, of prepare.speed_probe; problem, why what came
    first could not be scored.
    """

    variable = prepare.SCORER_VARIABLE  # of the trial's environment, which names the descriptor

    def __init__(
        self, task: Task, labels: Labels, images: Path, holds_back: bool = False, weights: Path | None = None
    ) -> None:
        self.task, self.labels, self.images, self.weights = task, labels, images, weights
        self.held_back = held_back(labels.given) if holds_back else []
        self.training: float | None = None
        self.submission: Submission | None = None
        self.times = 0
        self.evaluating: float | None = None
        self.submitted: float | None = None
        self.probe: float | None = None
        self.problem = ""

    def __enter__(self) -> Scorer:
        self._mine, self._theirs = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._theirs.close()
        with suppress(OSError):
            self._mine.shutdown(socket.SHUT_RDWR)  # the trial has ended: nobody writes any more
        self._thread.join()
        self._mine.close()

    @property
    def descriptor(self) -> int:
        return self._theirs.fileno()

    def _serve(self) -> None:
        with self._mine.makefile("rb") as stream:
            while line := stream.readline(LONGEST_LINE):
                try:
                    answer = self._answer(json.loads(line), stream)
                    self._mine.sendall(json.dumps(answer).encode() + b"\n")
                except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                    # Not what evaluate() sends. The bytes that follow cannot be told from a message: hang up.
                    self.problem = self.problem or f"the scorer got no message of prepare.py: {error}"
                    with suppress(OSError):
                        self._mine.sendall(json.dumps({"error": self.problem}).encode() + b"\n")
                        self._mine.shutdown(socket.SHUT_RDWR)
                    return

    def _answer(self, message: dict[str, Any], stream: BinaryIO) -> dict[str, Any]:
        if message["event"] == "training":
            self.training = self.training or time.monotonic()
            opened = os.open(self.images, os.O_RDONLY)
            try:
                socket.send_fds(self._mine, [b" "], [opened])
            finally:
                os.close(opened)
            calibration = self.labels.calibration.tolist()
            return {"labels": self.labels.given.tolist(), "held_back": self.held_back, "calibration": calibration}
        if message["event"] == "evaluating":
            if self.evaluating is None:
                self.evaluating, self.probe = time.monotonic(), float(message["probe"])
            return {}
        if message["event"] == "weights":
            self._take_weights(int(message["bytes"]), stream)
            return {}
        if message["event"] != "submit":
            raise ValueError(message["event"])
        self.times += 1
        self.submitted = self.submitted or time.monotonic()
        parts = (self.labels.validation, self.labels.test, self.labels.calibration)
        images, classes = sum(map(len, parts)), len(self.labels.classes.names)
        if message["shape"] != [images, classes] or message["bytes"] != images * classes * 4:
            raise ValueError(f"probabilities of shape {message['shape']} instead of {[images, classes]}")
        payload = stream.read(images * classes * 4)
        if self.submission is None and not self.problem:
            try:
                self.submission = self._scored(np.frombuffer(payload, "<f4").reshape(images, classes))
            except ScoringError as error:
                self.problem = str(error)
        if self.submission is None:
            return {"error": self.problem}
        return self.task.named_exactly(self.submission.score)

    def _take_weights(self, size: int, stream: BinaryIO) -> None:
        """Keeps the first ones after what was scored. A disk without room, or weights beyond all measure, are no fault
        of the trial: they are read, and not kept."""
        if size < 0:
            raise ValueError(f"weights of {size} bytes")
        kept = None
        if self.weights is not None and self.submission is not None and size <= LARGEST_WEIGHTS:
            kept, self.weights = self.weights, None
        left = size

        def chunks() -> Iterator[bytes]:
            nonlocal left
            while left:
                chunk = stream.read(min(left, CHUNK))
                if not chunk:
                    raise ValueError(f"{left} bytes of its weights are missing")
                left -= len(chunk)
                yield chunk

        if kept is not None:
            with suppress(OSError):
                kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_aside(kept, lambda file: file.writelines(chunks()))
        for _ in chunks():
            continue

    def _scored(self, probabilities: np.ndarray) -> Submission:
        if not np.isfinite(probabilities).all() or not np.allclose(probabilities.sum(1), 1, atol=1e-2):
            raise ScoringError("what evaluate() handed over are no probabilities")
        ends = np.cumsum([len(self.labels.validation), len(self.labels.test)])
        validation, test, calibration = np.split(probabilities.copy(), ends)
        figures = prepare.accuracies(validation, self.labels.validation, self.labels.classes)
        return Submission(validation, test, calibration, self.task.score_of(figures))


def calibration_photos(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The positions of a part of the training photos, in whole groups, with as much of each class as there is of it.
    labels: (photos,), WITHHELD of all others; groups: (photos,)."""
    training = np.flatnonzero(labels != prepare.WITHHELD)
    of_each, first = np.unique(groups[training], return_index=True)
    by_class = of_each[np.argsort(labels[training[first]], kind="stable")]
    return training[np.isin(groups[training], by_class[CALIBRATION_EVERY // 2 :: CALIBRATION_EVERY])]


def held_back(labels: np.ndarray) -> list[int]:
    """The positions of a part of the training photos, with as much of each class as there is of it. labels: (photos,),
    WITHHELD of all others."""
    training = np.flatnonzero(labels != prepare.WITHHELD)
    count = min(int(len(training) * HELD_BACK_SHARE), MOST_HELD_BACK)
    by_class = training[np.argsort(labels[training], kind="stable")]
    return sorted(by_class[:: len(training) // count].tolist()) if count else []


class ScoringError(SearchError):
    """Probabilities that cannot be scored: the trial hears why, and what it says next is still read."""
