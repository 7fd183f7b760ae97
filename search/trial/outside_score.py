"""Scores what a run has predicted, outside of it: by a function that its task names, which no experiment changes."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from search.core.task import OutsideScorer, Score, Task
from search.core.types import SearchError
from search.system.files import end_of
from search.system.git import Repository
from search.system.process import Limits, run_limited
from search.system.sandbox import confined, is_available
from search.system.worktrees import made_anew, remove_tree

LARGEST_PREDICTIONS = 2**30  # bytes
SECONDS = 300.0
READ_OF_LOG = 2**16  # bytes, the last
RUNNER = """\
import importlib.util, json, sys
import numpy

def loaded(path):
    if path.endswith((".npy", ".npz")):
        return numpy.load(path, allow_pickle=False)
    return open(path, "rb").read()

source, name, predictions, labels = sys.argv[1:]
spec = importlib.util.spec_from_file_location("scoring", source)
scoring = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scoring)
found = getattr(scoring, name)(loaded(predictions), loaded(labels))
print("\\n" + json.dumps({str(key): float(value) for key, value in found.items()}))
"""


class OutsideScoreError(SearchError):
    """There is nothing that could be scored, or the function failed; the message says which."""


def outside_score(
    task: Task, folder: Path, repository: Repository, base: str, aside: Path, secret: Sequence[Path] | None
) -> Score:
    """The score of the predictions that a run left in its folder, by the function as the commit `base` has it.

    aside: a folder of its own, made here and gone afterwards. secret: as for sandbox.confined. Raises
    OutsideScoreError.
    """
    scorer = task.scorer
    assert scorer is not None
    predictions = taken(folder / scorer.predictions, scorer)
    made_anew(aside)
    try:
        repository.export(base, aside / "tree")
        moved = aside / f"predictions{Path(scorer.predictions).suffix}"
        shutil.copyfile(predictions, moved)
        return _scored(task, scorer, moved, aside, secret)
    finally:
        remove_tree(aside)


def taken(path: Path, scorer: OutsideScorer) -> Path:
    """The file, if it is one, and of a size that can be."""
    try:
        about = path.lstat()
    except OSError as error:
        raise OutsideScoreError(f"it left no {scorer.predictions} to be scored by") from error
    if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST_PREDICTIONS:
        raise OutsideScoreError(f"its {scorer.predictions} is no file of at most {LARGEST_PREDICTIONS >> 20} MiB")
    return path


def _scored(task: Task, scorer: OutsideScorer, moved: Path, aside: Path, secret: Sequence[Path] | None) -> Score:
    tree, log = aside / "tree" / task.folder, aside / "scoring.log"
    labels = Path(scorer.labels).expanduser()
    command = [sys.executable, "-c", RUNNER, str(tree / scorer.file), scorer.function, str(moved), str(labels)]
    if secret is not None and is_available():
        command = confined(command, [aside, labels], [aside], secret, aside / "rules.json")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(aside)}
    ended = run_limited(command, tree, environment, log, Limits(SECONDS, None))
    text = end_of(log, READ_OF_LOG)
    lines = [line for line in text.splitlines() if line.strip()] or ["no word"]
    if ended.ended_for or ended.code:
        raise OutsideScoreError(f"{scorer.file}:{scorer.function} failed: {ended.ended_for or lines[-1]}"[:300])
    try:
        figures = json.loads(lines[-1])
        wrong = [metric for metric in task.metrics if not metric.allows(float(figures[metric.name]))]
        if wrong:
            raise OutsideScoreError(f"{wrong[0].name} by {scorer.file} is {figures[wrong[0].name]}")
        return task.score_of(figures)
    except (ValueError, TypeError, KeyError) as error:
        names = ", ".join(metric.name for metric in task.metrics)
        raise OutsideScoreError(f"{scorer.file}:{scorer.function} gave no {names}: {lines[-1][:100]}") from error
