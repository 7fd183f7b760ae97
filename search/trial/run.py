"""One trial in one slot: commit the change, train, score, leave an outcome file."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import prepare
from search.core.codec import decode, encode
from search.core.paths import Names, SearchPaths, SlotPaths, TrialPaths
from search.core.recipe import code_size
from search.core.types import AT_FAULT, STOOD_STILL, Outcome, SearchError, Settings, Work, short
from search.decide.speed import from_footer
from search.system.files import wait_for_room, write_json
from search.system.git import Repository
from search.system.gpus import LEFT_MB, memory_left_behind
from search.system.process import Limits
from search.task.metrics import METRICS, named
from search.task.scoring import agrees
from search.task.screening import rightly_told, screen
from search.trial import integrity, sealed
from search.trial.footer import losses_of, traceback_of
from search.trial.integrity import printable
from search.trial.rewrite import rewrite_recipe
from search.trial.scorer import Labels
from search.trial.sealed import withheld
from search.trial.training import TrainingJob, run_training

START_UP_SECONDS = 300.0  # to the first training line
SHORTEST_REST = 20.0  # seconds; a budget of seconds is not lost to a busy machine
OVER_BUDGET = 1.1  # times the budget, and OVER_BUDGET_SECONDS: training for longer, by the worker's clock, is marked
OVER_BUDGET_SECONDS = 5.0


@dataclass(frozen=True)
class SlotSetup:
    """What a slot needs to run trials: numbers and paths that never change during a search."""

    settings: Settings
    repository: str
    run: str
    slot: int
    gpu: str  # its UUID, which CUDA_VISIBLE_DEVICES gets; '' for a logical one
    dataset: str  # its folder; '' on a node that has its decoded cache alone
    seal: str  # folder for what nobody sees while the search runs
    threads: int
    start_up_seconds: float = START_UP_SECONDS
    confine: bool = True  # if the kernel can
    isolated: bool = True  # in namespaces, if this machine can

    @property
    def limits(self) -> Limits:
        rest = max(2 * self.settings.max_train_seconds, SHORTEST_REST)
        return Limits(self.start_up_seconds, rest)


def run_trial(setup: SlotSetup, work: Work) -> Outcome:
    """Runs one trial and returns its outcome, which then lies in the trial's folder too. Never raises for a trial
    that fails: that is a crash with a reason. A trial that has an outcome already is not run again."""
    slot = SearchPaths(Path(setup.run)).slot(setup.slot)
    paths = slot.trial(work.trial_id)
    known = read_outcome(paths)
    if known is not None:
        return known
    with _slot_lock(slot):
        paths.root.mkdir(parents=True, exist_ok=True)
        for left in slot.running_trials():  # by a trial whose worker was killed
            left.running.unlink(missing_ok=True)
        began = time.time()
        commit = work.experiment.parent
        try:
            commit = _commit(setup, slot, work)
            outcome = _train(setup, slot, paths, work, commit, began)
        except Exception as error:  # whatever goes wrong in a slot ends this trial, not the search
            outcome = _crash(setup, work, commit, began, f"{type(error).__name__}: {error}")
        wait_for_room(lambda: write_json(paths.outcome, encode(outcome)))  # a trial that has ended is not lost to that
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
    names = Names(setup.settings.tag)
    repository = Repository(Path(setup.repository))
    experiment = work.experiment
    commit = work.commit or experiment.parent
    tree = repository.slot_worktree(slot.tree, names.slot_branch(setup.slot), commit)
    if experiment.changes and not work.commit:
        source = (slot.tree / "train.py").read_text()
        changed = rewrite_recipe(source, {change.axis: change.new for change in experiment.changes})
        message = f"{experiment.description}\n\nExperiment: {experiment.number}\nTrial: {work.trial_id}\n"
        commit = tree.commit_file("train.py", changed, message, author=names.slot_branch(setup.slot))
    repository.set_ref(names.trial_ref(work.trial_id), commit)
    return commit


def _train(setup: SlotSetup, slot: SlotPaths, paths: TrialPaths, work: Work, commit: str, began: float) -> Outcome:
    repository = Repository(Path(setup.repository))
    base, files = integrity.files_of(repository, setup.settings.base), integrity.files_of(repository, commit)
    wanted = integrity.as_checked_out(Repository(slot.tree), integrity.expected(base, files))
    wrong = (
        integrity.other_changes(base, files)
        or integrity.changed(slot.tree, wanted)
        or integrity.strays(slot.tree, wanted)
    )
    if wrong:
        return _crash(setup, work, commit, began, f"not the search's own files before it ran: {', '.join(wrong[:5])}")
    left = memory_left_behind(setup.gpu) if setup.gpu else 0.0
    if left >= LEFT_MB:
        reason = f"{AT_FAULT}{left:.0f} MB of GPU {setup.gpu} are still in use by what ran there before"
        return _crash(setup, work, commit, began, reason)
    data = load_scored(setup)
    view = prepare.view_of(data)
    secret = [*withheld(setup.dataset, setup.seal), repository.common_folder(), Path(setup.run)]
    running: dict[str, object] = {
        "began": began,
        "training_since": None,
        "slot": setup.slot,
        "commit": short(commit),
        "description": work.experiment.description,
        "max_train_seconds": setup.settings.max_train_seconds,
    }

    def started(pid: int) -> None:
        running["pid"] = pid
        write_json(paths.running, running)

    def training() -> None:
        running["training_since"] = time.time()
        write_json(paths.running, running)

    run = TrainingJob(
        tree=slot.tree,
        view=view,
        labels=Labels.of(data),
        images=prepare.images_of(data),
        seed=work.seed,
        max_train_seconds=setup.settings.max_train_seconds,
        scratch=paths.scratch,
        temporary=slot.temporary,
        log=paths.log,
        gpu=setup.gpu,
        threads=setup.threads,
        limits=setup.limits,
        secret=secret if setup.confine else None,
        isolated=setup.isolated,
    )
    ran = run_training(run, started, training)
    if ran.lives_on:
        reason = f"{AT_FAULT}a process of {work.trial_id} cannot be ended; a driver that hangs does that to it"
        return _crash(setup, work, commit, began, reason)
    if ran.stopped:
        return _crash(setup, work, commit, began, f"{STOOD_STILL}for {ran.stopped:.0f} s while it ran")
    if ran.reason:
        crash = _crash(setup, work, commit, began, ran.reason, traceback_of(ran.text), ran.footer)
        return replace(crash, losses=losses_of(ran.text))
    submission, footer = ran.scorer.submission, ran.footer
    if setup.gpu and footer.get("device") == "cpu":
        reason = f"{AT_FAULT}it has GPU {setup.gpu}, and the trial trained on the CPU"
        return _crash(setup, work, commit, began, reason, footer=footer)
    assert submission is not None
    if not agrees(submission.score, footer):
        claimed = ", ".join(f"{metric.name} {footer.get(metric.name)}" for metric in METRICS)
        computed = ", ".join(f"{name} {value:f}" for name, value in named(submission.score).items())
        reason = f"the footer says {claimed}; its predictions give {computed}"
        return _crash(setup, work, commit, began, reason, footer=footer)
    sealed.store(Path(setup.seal), work.trial_id, submission.validation, submission.test)
    right = rightly_told(submission.validation, run.labels.validation, data.classes)
    return replace(
        _outcome(setup, work, commit, began, footer),
        score=submission.score,
        losses=losses_of(ran.text),
        violations=violations_of(
            ran.scorer.times,
            integrity.changed(slot.tree, wanted),
            ran.trained_seconds,
            setup.settings.max_train_seconds,
        ),
        metrics=screen(submission.validation, run.labels.validation, run.labels.validation_groups, data.classes),
        correct=np.packbits(right).tobytes().hex(),
        speed={
            "start_up_seconds": _between(ran.began, ran.scorer.training),
            "training_seconds": ran.trained_seconds and round(max(ran.trained_seconds, 0.0), 2),
            "evaluation_seconds": _between(ran.scorer.evaluating, ran.scorer.submitted),
            "probe": ran.scorer.probe and round(ran.scorer.probe, 1),
            **from_footer(footer),
            **ran.gpu_seen,
        },
        code_size=code_size(repository.file_at(commit, "train.py")),
        machine=ran.gpu_name or footer.get("device", "cpu"),  # the card's own word if it has one
    )


def _between(began: float | None, ended: float | None) -> float | None:
    return None if began is None or ended is None else round(ended - began, 2)


def violations_of(
    times: int, changed: Sequence[str], trained: float | None, max_train_seconds: float
) -> tuple[str, ...]:
    """What a trial did that none must do.

    times: how often it asked to be scored. changed: files that it changed. trained: seconds of training by the worker's
    clock, None if the trial did not say when it began or ended. max_train_seconds: the budget.
    """
    found = []
    if times > 1:
        found.append(f"asked to be scored {times} times")
    if changed:
        found.append(printable(f"changed {', '.join(changed[:5])} while it ran"))
    if trained is None:
        found.append("did not say when its training began or ended")
    elif trained > max_train_seconds * OVER_BUDGET + OVER_BUDGET_SECONDS:
        found.append(f"trained for {trained:.0f} s, of {max_train_seconds:g} s")
    return tuple(found)


def load_scored(setup: SlotSetup) -> prepare.Data:
    """The data set that the search began with: as it was decoded then, whatever has become of the photos since. Raises
    SearchError if that is gone, and the photos have changed."""
    data = prepare.cached(setup.settings.fingerprint)
    if data is None and setup.dataset:
        data = prepare.load(setup.dataset)
    if data is None:
        raise SearchError(f"the decoded data set {prepare.cache_root() / setup.settings.fingerprint} has gone")
    if data.fingerprint != setup.settings.fingerprint:
        raise SearchError(f"the data set {setup.dataset} has changed since the search began")
    return data


def _outcome(setup: SlotSetup, work: Work, commit: str, began: float, footer: dict[str, str]) -> Outcome:
    """What is known of a trial in any case; without a score."""
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
        score=None,
        memory_mb=memory,
        began=began,
        ended=time.time(),
        footer=footer,
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
    outcome = _outcome(setup, work, commit, began, footer or {})
    return replace(outcome, reason=printable(" ".join(reason.split())), traceback=printable(traceback))


def running_guards(run: SearchPaths) -> list[int]:
    """The process ids of the guards that a search's running trials have left."""
    found = []
    for slot in run.slots():
        for trial in slot.running_trials():
            with suppress(OSError, ValueError, KeyError):
                found.append(int(json.loads(trial.running.read_text())["pid"]))
    return found


def read_outcome(paths: TrialPaths) -> Outcome | None:
    """The outcome that a trial left, or None."""
    try:
        return decode(Outcome, json.loads(paths.outcome.read_text()))
    except (OSError, ValueError):
        return None
