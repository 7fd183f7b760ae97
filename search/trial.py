"""One trial in one slot: commit the change, train, score, leave an outcome file."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import prepare
from search.paths import Names, RunPaths, SlotPaths, TrialPaths
from search.process import Ended, Limits, run_limited
from search.recipe import rewrite_recipe
from search.scoring import agrees, score_predictions
from search.types import Outcome, Score, SearchError, Work, from_json, to_json
from search.worktree import SHORT, Repository

START_UP_SECONDS = 300.0  # to the first training line
SHORTEST_REST = 20.0  # seconds; a budget of seconds is not lost to a busy machine
TRACEBACK_LINES = 40
OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemoryError|MemoryError|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "USER",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "TORCH_HOME",
    "XDG_CACHE_HOME",
    "AUTORESEARCH_CACHE",
    "CUDA_HOME",
    "SSL_CERT_FILE",
    "SYSTEMROOT",
)


@dataclass(frozen=True)
class SlotSetup:
    """What a slot needs to run trials: numbers and paths that never change during a search."""

    repository: str
    run: str
    tag: str
    slot: int
    gpu: str  # the id that CUDA_VISIBLE_DEVICES gets
    dataset: str
    fingerprint: str
    max_train_seconds: float
    threads: int
    start_up_seconds: float = START_UP_SECONDS

    @property
    def limits(self) -> Limits:
        rest = max(2 * self.max_train_seconds, SHORTEST_REST) if self.max_train_seconds else 2.0 * prepare.TIME_BUDGET
        return Limits(self.start_up_seconds, rest)


def run_trial(setup: SlotSetup, work: Work) -> Outcome:
    """Runs one trial and returns its outcome, which then lies in the trial's folder too. Never raises for a trial
    that fails: that is a crash with a reason. A trial that has an outcome already is not run again."""
    slot = RunPaths(Path(setup.run)).slot(setup.slot)
    paths = slot.trial(work.trial_id)
    known = read_outcome(paths)
    if known is not None:
        return known
    with _slot_lock(slot):
        paths.root.mkdir(parents=True, exist_ok=True)
        for left in slot.trials.glob("*/running.json"):  # by a trial whose worker was killed
            left.unlink(missing_ok=True)
        began = time.time()
        commit = work.experiment.parent
        try:
            commit = _commit(setup, slot, work)
            outcome = _train(setup, slot, paths, work, commit, began)
        except Exception as error:  # whatever goes wrong in a slot ends this trial, not the search
            outcome = _crash(setup, work, commit, began, f"{type(error).__name__}: {error}")
        write_json(paths.outcome, to_json(outcome))
        paths.running.unlink(missing_ok=True)
        return outcome


@contextmanager
def _slot_lock(slot: SlotPaths) -> Iterator[None]:
    """A worker that outlives its driver for a moment and its successor never use the worktree at once."""
    slot.root.mkdir(parents=True, exist_ok=True)
    with slot.lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _commit(setup: SlotSetup, slot: SlotPaths, work: Work) -> str:
    """Resets the slot's worktree to the parent, commits the change, and keeps the commit reachable."""
    names = Names(setup.tag)
    repository = Repository(Path(setup.repository))
    experiment = work.experiment
    commit = work.commit or experiment.parent
    tree = repository.slot_worktree(slot.tree, names.slot_branch(setup.slot), commit)
    if experiment.changes and not work.is_remeasure:
        source = (slot.tree / "train.py").read_text()
        changed = rewrite_recipe(source, {change.axis: change.new for change in experiment.changes})
        message = f"{experiment.description}\n\nExperiment: {experiment.number}\nTrial: {work.trial_id}\n"
        commit = tree.commit_file("train.py", changed, message, names.slot_branch(setup.slot))
    repository.set_ref(names.trial_ref(work.trial_id), commit)
    return commit


def child_environment(setup: SlotSetup, predictions: Path) -> dict[str, str]:
    """The whole environment of a trial: a short list of the user's variables, its slot's GPU, and its own files."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    threads = str(setup.threads)
    return environment | {
        "CUDA_VISIBLE_DEVICES": setup.gpu,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        prepare.PREDICTIONS_VARIABLE: str(predictions),
    }


def _train(setup: SlotSetup, slot: SlotPaths, paths: TrialPaths, work: Work, commit: str, began: float) -> Outcome:
    command = [
        sys.executable,
        "train.py",
        "--dataset",
        setup.dataset,
        "--seed",
        str(work.seed),
        "--max-train-seconds",
        f"{setup.max_train_seconds:g}",
    ]

    running: dict[str, object] = {
        "began": began,
        "training_since": None,
        "slot": setup.slot,
        "commit": commit[:SHORT],
        "description": work.experiment.description,
        "budget": setup.max_train_seconds,
    }

    def started(pid: int) -> None:
        running["pid"] = pid
        write_json(paths.running, running)

    def training() -> None:
        running["training_since"] = time.time()
        write_json(paths.running, running)

    paths.predictions.unlink(missing_ok=True)
    ended = run_limited(
        command, slot.tree, child_environment(setup, paths.predictions), paths.log, setup.limits, started, training
    )
    text = paths.log.read_text(errors="replace")
    footer = parse_footer(text)
    reason = crash_reason(ended, text, footer)
    if reason:
        return _crash(setup, work, commit, began, reason, traceback_of(text), footer)
    try:
        score = score_predictions(paths.predictions, load_scored(setup))
    except SearchError as error:
        return _crash(setup, work, commit, began, str(error), footer=footer)
    if not agrees(score, footer):
        told = f"bin_acc {footer.get('bin_acc')}, mc_acc {footer.get('mc_acc')}"
        reason = f"the footer tells {told}; its predictions give bin_acc {score.bin_acc:f}, mc_acc {score.mc_acc:f}"
        return _crash(setup, work, commit, began, reason, footer=footer)
    return _outcome(setup, work, commit, began, score, footer)


def load_scored(setup: SlotSetup) -> prepare.Data:
    """The data set that the search began with. Raises SearchError where it has changed since."""
    data = prepare.load(setup.dataset)
    if data.fingerprint != setup.fingerprint:
        raise SearchError(f"the data set {setup.dataset} has changed since the search began")
    return data


def _outcome(
    setup: SlotSetup,
    work: Work,
    commit: str,
    began: float,
    score: Score | None,
    footer: dict[str, str],
    reason: str = "",
    traceback: str = "",
) -> Outcome:
    try:
        memory = float(footer["peak_vram_mb"])
    except (KeyError, ValueError):
        memory = None
    return Outcome(
        trial=work.trial_id,
        experiment=work.experiment.number,
        seed=work.seed,
        slot=setup.slot,
        commit=commit,
        score=score,
        reason=reason,
        memory_mb=memory,
        began=began,
        ended=time.time(),
        footer=footer,
        traceback=traceback,
    )


def _crash(
    setup: SlotSetup,
    work: Work,
    commit: str,
    began: float,
    reason: str,
    traceback: str = "",
    footer: dict[str, str] | None = None,
) -> Outcome:
    return _outcome(setup, work, commit, began, None, footer or {}, " ".join(reason.split()), traceback)


def parse_footer(text: str) -> dict[str, str]:
    """The `key: value` lines after the last line `---`; empty where there is none."""
    lines = text.splitlines()
    marks = [number for number, line in enumerate(lines) if line.strip() == "---"]
    if not marks:
        return {}
    pairs = (line.partition(":") for line in lines[marks[-1] + 1 :] if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def crash_reason(ended: Ended, text: str, footer: dict[str, str]) -> str:
    """Why a trial is a crash, in one line; empty where it is none."""
    if ended.ended_for:
        return ended.ended_for
    if ended.code:
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
        if ended.code == 137:
            return "killed by signal 9 (the system's out-of-memory killer, or a person)"
        if OUT_OF_MEMORY.search(text[-20_000:]):
            return f"out of memory: {last}"
        if ended.code > 128:
            return f"killed by signal {ended.code - 128}"
        return f"exit code {ended.code}: {last}"[:300]
    for key in ("mc_acc", "bin_acc"):
        if key not in footer:
            return f"no {key} in its footer" if footer else "printed no footer"
        try:
            value = float(footer[key])
        except ValueError:
            return f"{key} in its footer is {footer[key]!r}"
        if not 0 <= value <= 1:  # NaN is not either
            return f"{key} in its footer is {footer[key]}"
    return ""


def traceback_of(text: str) -> str:
    """The end of a log, from its last traceback where it has one."""
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    return "\n".join(lines[starts[-1] if starts else -TRACEBACK_LINES :][-TRACEBACK_LINES:])


def running_guards(run: RunPaths) -> list[int]:
    """The process ids of the guards that a search's running trials have told."""
    found = []
    for slot in run.slots():
        for running in slot.trials.glob("*/running.json"):
            with suppress(OSError, ValueError, KeyError):
                found.append(int(json.loads(running.read_text())["pid"]))
    return found


def write_json(path: Path, record: object) -> None:
    """Writes a file aside and moves it into place."""
    aside = path.with_suffix(".partial")
    with aside.open("w") as stream:
        json.dump(record, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(aside, path)


def read_outcome(paths: TrialPaths) -> Outcome | None:
    """The outcome that a trial left, or None."""
    try:
        return from_json(Outcome, json.loads(paths.outcome.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None
