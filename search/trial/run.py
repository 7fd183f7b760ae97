"""One trial in one slot: commit the change, train, score, leave an outcome file."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.core.codec import decode, encode
from search.core.paths import Names, SearchPaths, SlotPaths, TrialPaths
from search.core.recipe import code_size
from search.core.types import AT_FAULT, STOOD_STILL, EarlyStop, Outcome, Settings, Work, short
from search.decide.early_stop import Yardstick
from search.decide.speed import from_footer
from search.system.files import wait_for_room, write_json
from search.system.git import Repository
from search.system.gpus import LEFT_MB, memory_left_behind
from search.system.process import Limits
from search.trial import integrity
from search.trial.ahead import Ahead
from search.trial.footer import losses_of, number_in, scores_in, traceback_of
from search.trial.integrity import printable
from search.trial.outside_score import OutsideScoreError, outside_score
from search.trial.progress import ProgressWatch
from search.trial.rewrite import rewrite_recipe
from search.trial.sealed import weights_path, withheld
from search.trial.training import TrainingJob, TrainingResult, limits_of, run_training, tell_by_constants

OVER_BUDGET = 1.1  # times the budget, and OVER_BUDGET_SECONDS: training for longer, by the worker's clock, is marked
OVER_BUDGET_SECONDS = 5.0
NOTHING_STOPPED = Yardstick()


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
    start_up_seconds: float | None = None  # to the first training line; None: as the task says
    confine: bool = True  # if the kernel can
    isolated: bool = True  # in namespaces, if this machine can

    @property
    def limits(self) -> Limits:
        task = self.settings.task
        start_up = task.start_up_seconds if self.start_up_seconds is None else self.start_up_seconds
        return limits_of(task, self.settings.max_train_seconds, start_up)


def run_trial(
    setup: SlotSetup, work: Work, ahead: Ahead | None = None, yardstick: Yardstick = NOTHING_STOPPED
) -> Outcome:
    """Runs one trial and returns its outcome, which then lies in the trial's folder too. Never raises for a trial
    that fails: that is a crash with a reason. A trial that has an outcome already is not run again.

    ahead: what the slot has imported for its trials; None: a trial imports for itself. yardstick: by which it may be
    stopped early.
    """
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
            outcome = _train(setup, slot, paths, work, commit, began, ahead, yardstick)
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
        edited = setup.settings.task.edited_path
        source = (slot.tree / edited).read_text()
        changed = rewrite_recipe(source, {change.axis: change.new for change in experiment.changes})
        message = f"{experiment.description}\n\nExperiment: {experiment.number}\nTrial: {work.trial_id}\n"
        commit = tree.commit_file(edited, changed, message, author=names.slot_branch(setup.slot))
    repository.set_ref(names.trial_ref(work.trial_id), commit)
    return commit


def _train(
    setup: SlotSetup,
    slot: SlotPaths,
    paths: TrialPaths,
    work: Work,
    commit: str,
    began: float,
    ahead: Ahead | None,
    yardstick: Yardstick,
) -> Outcome:
    repository = Repository(Path(setup.repository))
    task, base = setup.settings.task, setup.settings.base
    warm = ahead.interpreter(repository, base, task, setup.gpu, setup.threads) if ahead else None
    first, files = integrity.files_of(repository, base), integrity.files_of(repository, commit)
    wanted = integrity.as_checked_out(Repository(slot.tree), integrity.expected(first, files, task.edited_path))
    wrong = (
        integrity.other_changes(first, files, task.edited_path)
        or integrity.changed(slot.tree, wanted)
        or integrity.strays(slot.tree, wanted)
    )
    if wrong:
        return _crash(setup, work, commit, began, f"not the search's own files before it ran: {', '.join(wrong[:5])}")
    left = memory_left_behind(setup.gpu) if setup.gpu else 0.0
    if left >= LEFT_MB:
        reason = f"{AT_FAULT}{left:.0f} MB of GPU {setup.gpu} are still in use by what ran there before"
        return _crash(setup, work, commit, began, reason)
    data = None
    if task.room:
        from search.trial.scored import scored_data

        calibrates = setup.settings.least_sensitivity is not None
        data = scored_data(setup.settings.fingerprint, setup.dataset, calibrates)
    secret = [*withheld(task, setup.dataset, setup.seal), repository.common_folder(), Path(setup.run)]
    running: dict[str, object] = {
        "began": began,
        "training_since": None if task.trains else began,  # nothing else will tell
        "evaluating_since": None,
        "slot": setup.slot,
        "commit": short(commit),
        "description": work.experiment.description,
        "why": work.why or work.experiment.why,
        "max_train_seconds": setup.settings.max_train_seconds,
    }

    def started(pid: int) -> None:
        running["pid"] = pid
        write_json(paths.running, running)

    def training() -> None:
        running["training_since"] = time.time()
        write_json(paths.running, running)

    def evaluating() -> None:
        running["evaluating_since"] = time.time()
        with suppress(OSError):  # a full disk: it is for people to see, and no reason to lose a trial that has trained
            write_json(paths.running, running)

    run = TrainingJob(
        task=task,
        tree=slot.tree,
        data=data,
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
        warm=warm,
        holds_back=setup.settings.early_stop is not EarlyStop.NONE,
        weights=weights_path(Path(setup.seal), work.trial_id),
    )
    told = tell_by_constants(run)
    wanted |= integrity.as_written(slot.tree, {path: wanted[path] for path in told})
    watch = ProgressWatch(yardstick, setup.settings.max_train_seconds)
    ran = run_training(run, started, training, evaluating, watch.judge)
    if ran.lives_on:
        reason = f"{AT_FAULT}a process of {work.trial_id} cannot be ended; a driver that hangs does that to it"
        return _crash(setup, work, commit, began, reason)
    if ran.stopped:
        return _crash(setup, work, commit, began, f"{STOOD_STILL}for {ran.stopped:.0f} s while it ran")
    if ran.reason and watch.stopped is None:
        crash = _crash(setup, work, commit, began, ran.reason, traceback_of(ran.text), ran)
        return replace(crash, losses=losses_of(ran.text))
    known: dict[str, Any] = {
        "losses": losses_of(ran.text),
        "progress": tuple(watch.values),
        "code_size": code_size(repository.file_at(commit, task.edited_path)),
    }
    if watch.stopped is not None:
        return replace(
            _outcome(setup, work, commit, began, ran),
            **known,
            stopped=watch.stopped,
            reason=ran.reason,
            speed={**speed_of(ran), "training_seconds": watch.stopped.seconds},
            machine=ran.gpu_name or yardstick.machine,
        )
    footer = ran.footer
    if setup.gpu and footer.get("device") == "cpu":
        reason = f"{AT_FAULT}it has GPU {setup.gpu}, and the trial trained on the CPU"
        return _crash(setup, work, commit, began, reason, ran=ran)
    found: dict[str, Any] = {}
    if task.scorer is not None:
        aside = paths.root / "scoring"
        try:
            found["score"] = outside_score(task, run.folder, repository, base, aside, secret if setup.confine else None)
        except OutsideScoreError as error:
            return _crash(setup, work, commit, began, str(error), ran=ran)
    elif data is None or ran.scorer is None:
        found["score"] = task.score_of(scores_in(task, ran.text, footer))
    else:
        from search.trial.scored import contradiction, kept_of

        submission = ran.scorer.submission
        assert submission is not None
        wrong_word = contradiction(task, submission, footer)
        if wrong_word:
            return _crash(setup, work, commit, began, wrong_word, ran=ran)
        found = kept_of(submission, data, setup.seal, work.trial_id)
    return replace(
        _outcome(setup, work, commit, began, ran),
        **found,
        **known,
        violations=violations_of(ran, integrity.changed(slot.tree, wanted), setup.settings.max_train_seconds),
        speed=speed_of(ran),
        machine=ran.gpu_name or footer.get("device", "cpu"),  # the card's own word if it has one
    )


def speed_of(ran: TrainingResult) -> dict[str, Any]:
    """Outcome.speed of a run that trained."""
    scorer = ran.scorer
    return {
        "start_up_seconds": _between(ran.began, scorer.training) if scorer else None,
        "training_seconds": ran.trained_seconds and round(max(ran.trained_seconds, 0.0), 2),
        "evaluation_seconds": _between(scorer.evaluating, scorer.submitted) if scorer else None,
        "was_warm": ran.was_warm,
        "probe": scorer.probe and round(scorer.probe, 1) if scorer else None,
        **from_footer(ran.footer),
        **ran.gpu_seen,
    }


def _between(began: float | None, ended: float | None) -> float | None:
    return None if began is None or ended is None else round(ended - began, 2)


def violations_of(ran: TrainingResult, changed: Sequence[str], max_train_seconds: float) -> tuple[str, ...]:
    """What a trial did that none must do. changed: files that it changed. max_train_seconds: the budget."""
    found, scorer, trained = [], ran.scorer, ran.trained_seconds
    if scorer is not None and scorer.times > 1:
        found.append(f"asked to be scored {scorer.times} times")
    if changed:
        found.append(printable(f"changed {', '.join(changed[:5])} while it ran"))
    if scorer is not None and trained is None:
        found.append("did not say when its training began or ended")
    elif scorer is not None and trained is not None and trained > max_train_seconds * OVER_BUDGET + OVER_BUDGET_SECONDS:
        found.append(f"trained for {trained:.0f} s, of {max_train_seconds:g} s")
    return tuple(found)


def _outcome(setup: SlotSetup, work: Work, commit: str, began: float, ran: TrainingResult | None = None) -> Outcome:
    """What is known of a trial in any case; without a score."""
    memory = None
    if ran is not None and setup.settings.task.memory:
        said = number_in(ran.text, ran.footer, setup.settings.task.memory)
        memory = None if said is None else said * setup.settings.task.memory_unit_mb
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
        footer=ran.footer if ran else {},
    )


def _crash(
    setup: SlotSetup,
    work: Work,
    commit: str,
    began: float,
    reason: str,
    traceback: str = "",
    ran: TrainingResult | None = None,
) -> Outcome:
    outcome = _outcome(setup, work, commit, began, ran)
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
