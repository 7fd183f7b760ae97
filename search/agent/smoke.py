"""A few seconds of real training on the CPU, before an edit may take a slot. A handful of training photos is enough."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import prepare
from search.core.paths import temporary_folder
from search.core.types import SearchError
from search.records.housekeeping import pack_log
from search.system.git import Repository
from search.system.process import Limits
from search.trial.footer import traceback_of
from search.trial.scorer import Labels
from search.trial.training import TrainingJob, run_training

PHOTOS = {"train": 48, "validation": 12, "test": 12}
SECONDS = 4.0  # of training
LIMITS = Limits(
    start_up=240.0, rest=240.0, largest_log=16 * 2**20
)  # a 384-pixel step of a large network takes a CPU many seconds
NICE = 10  # trials come first
_drawing = threading.Lock()  # several edits may be checked at once
REPORTED = 1500  # characters of a traceback that are handed back


@dataclass(frozen=True)
class Places:
    """Where edits are checked. fingerprint: the data set's. secret: what runs and agents must not read; None: they are
    not confined."""

    fingerprint: str
    threads: int
    secret: tuple[Path, ...] | None


@dataclass(frozen=True)
class SmokeSetup:
    """folder: its own, for the photos, worktrees and logs. secret: what the run must not read; None: not confined."""

    repository: Repository
    folder: Path
    fingerprint: str  # of the data set
    threads: int
    secret: tuple[Path, ...] | None

    @property
    def view(self) -> Path:
        return self.folder / "photos" / prepare.VIEW


def draw_photos(setup: SmokeSetup) -> Labels:
    """Writes the smoke run's photos, once: training photos only, so that no other label is needed. Raises SearchError
    if the decoded data set is gone."""
    data = prepare.cached(setup.fingerprint)
    if data is None:
        raise SearchError(f"the decoded data set {prepare.cache_root() / setup.fingerprint} has gone")
    of_class: dict[int, list[int]] = defaultdict(list)
    for index in data.indices("train"):
        of_class[int(data.labels[index])].append(int(index))
    longest = max(map(len, of_class.values()))
    in_turn = [members[n] for n in range(longest) for members in of_class.values() if n < len(members)]
    wanted = sum(PHOTOS.values())
    # Few photos are used more than once: nothing is concluded from the score.
    chosen = np.array((in_turn * (wanted // len(in_turn) + 1))[:wanted])
    labels = data.labels[chosen]
    part = np.repeat([prepare.PARTS.index(name) for name in PHOTOS], list(PHOTOS.values()))
    with _drawing:
        if not (setup.view / "view.json").exists():
            aside = setup.view.with_name(f"building-{os.getpid()}")
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            np.save(aside / prepare.IMAGES, data.images[chosen])
            view = {"labels": labels.tolist(), "part": part.tolist(), "image_size": data.image_size}
            view |= prepare.as_json(data.classes)
            (aside / "view.json").write_text(json.dumps(view))
            shutil.rmtree(setup.view, ignore_errors=True)
            os.rename(aside, setup.view)
    return Labels.of(prepare.load(setup.view))


def fault(setup: SmokeSetup, commit: str, name: str, started: Callable[[int], None] = lambda pid: None) -> str:
    """Why a commit's train.py cannot be trained, with the end of its traceback; '' if it can.

    name: of its folder and log. started: gets the process id of the guard.
    """
    tree = setup.folder / name / "tree"
    setup.repository.export(commit, tree)
    run = TrainingJob(
        tree=tree,
        view=setup.view,
        labels=draw_photos(setup),
        images=setup.view / prepare.IMAGES,
        seed=0,
        max_train_seconds=SECONDS,
        scratch=setup.folder / name / "scratch",
        temporary=temporary_folder(setup.folder / name),
        log=setup.folder / name / "smoke.log",
        gpu="",  # a running trial has it
        threads=setup.threads,
        limits=LIMITS,
        secret=setup.secret,
        nice=NICE,
    )
    ran = run_training(run, started)
    shutil.rmtree(tree, ignore_errors=True)
    pack_log(run.log)
    if not ran.reason:
        return ""
    return f"it did not train for {SECONDS:g} s on the CPU: {ran.reason}\n{traceback_of(ran.text)[-REPORTED:]}".rstrip()
