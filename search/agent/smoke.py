"""A few seconds of a real run on the CPU, before an edit may take a slot; of a task that can be run so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.core.paths import temporary_folder
from search.core.task import Task
from search.records.housekeeping import pack_log
from search.system.git import Repository
from search.system.process import Limits
from search.trial.footer import traceback_of
from search.trial.training import TrainingJob, run_training, tell_by_constants

if TYPE_CHECKING:
    from search.trial.scorer import ScoredData

LONGEST = 240.0  # seconds to the first training line, and as many after it: a large network's step takes a CPU long
LARGEST_LOG = 16 * 2**20  # bytes
NICE = 10  # trials come first
REPORTED = 1500  # characters of a traceback that are handed back


@dataclass(frozen=True)
class Places:
    """Where edits are checked. fingerprint: the data set's; '' if the task has none. secret: what runs and agents must
    not read; None: they are not confined."""

    task: Task
    fingerprint: str
    threads: int
    secret: tuple[Path, ...] | None


@dataclass(frozen=True)
class SmokeSetup:
    """folder: its own, for photos, worktrees and logs."""

    repository: Repository
    folder: Path
    places: Places

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def view(self) -> Path | None:
        """What smoke runs are handed of the photos; None if the task has no data set of its own here."""
        if not self.places.task.room:
            return None
        from search.agent.smoke_photos import view_of

        return view_of(self.photos)

    def data(self) -> ScoredData | None:
        """What smoke runs train on; None if the task has no data set of its own here. Raises SearchError."""
        if not self.places.task.room:
            return None
        from search.agent.smoke_photos import draw_photos

        return draw_photos(self.photos, self.places.fingerprint)


def fault(setup: SmokeSetup, commit: str, name: str, started: Callable[[int], None] = lambda pid: None) -> str:
    """Why a commit's edited file cannot be run, with the end of its traceback; '' if it can.

    name: of its folder and log. started: gets the process id of the guard.
    """
    task, places = setup.places.task, setup.places
    if task.smoke_seconds is None:
        return ""
    tree = setup.folder / name / "tree"
    setup.repository.export(commit, tree)
    limits = Limits(LONGEST, LONGEST, LARGEST_LOG) if task.trains else Limits(2 * LONGEST, None, LARGEST_LOG)
    run = TrainingJob(
        task=task,
        tree=tree,
        data=setup.data(),
        seed=0,
        max_train_seconds=task.smoke_seconds,
        scratch=setup.folder / name / "scratch",
        temporary=temporary_folder(setup.folder / name),
        log=setup.folder / name / "smoke.log",
        gpu="",  # a running trial has it
        threads=places.threads,
        limits=limits,
        secret=places.secret,
        nice=NICE,
    )
    tell_by_constants(run)
    ran = run_training(run, started)
    shutil.rmtree(tree, ignore_errors=True)
    pack_log(run.log)
    if not ran.reason:
        return ""
    end = traceback_of(ran.text)[-REPORTED:]
    return f"it did not train for {task.smoke_seconds:g} s on the CPU: {ran.reason}\n{end}".rstrip()
