"""Real trials: every way to fail is a crash with its reason."""

import json
import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from search.core.codec import encode
from search.core.paths import SlotPaths
from search.core.types import (
    AT_FAULT,
    GUARD_KILLED,
    STOOD_STILL,
    Change,
    EarlyStop,
    Experiment,
    Kind,
    SearchError,
    Work,
)
from search.decide.early_stop import Progress, Yardstick
from search.report.snapshot import slot_now
from search.system import process
from search.system.git import Repository
from search.system.guard import descendants
from search.task.screening import cache
from search.trial import run
from search.trial.ahead import Ahead
from search.trial.run import run_trial
from tests.support.lab import wait_for
from tests.support.repositories import FAST_TRAIN, git, make_repository
from tests.support.searches import coordinator_of, run_all, setup_of

BREAKS = {
    "exit": ("raise SystemExit('no way')", "exit code 1: no way"),
    "raise": ("raise KeyError('gone')", "exit code 1: KeyError: 'gone'"),
    "killed": ("os.kill(os.getpid(), 9)", "killed by signal 9"),
    "memory": ("raise MemoryError('CUDA out of memory')", "out of memory"),
    "silent": ("sys.exit(0)", "printed no footer"),
    "nan": ("print('---'); print('mc_acc: nan'); print('bin_acc: nan'); sys.exit(0)", "mc_acc in its footer is nan"),
    "half": ("print('---'); print('mc_acc: 0.5'); sys.exit(0)", "no bin_acc"),
    "forged": (
        "print('---'); print('mc_acc: 0.99'); print('bin_acc: 0.99'); sys.exit(0)",
        "handed nothing to the scorer",
    ),
    "hung": ("time.sleep(600)", "did not end"),
}


@pytest.mark.parametrize("kind", sorted(BREAKS))
def test_every_way_to_fail_is_a_crash_with_its_reason(tmp_path, demo, kind, monkeypatch):
    body, words = BREAKS[kind]
    monkeypatch.setattr("search.trial.training.SHORTEST_REST", 2.0)
    marker = 'print("step 1 | loss 1.0", flush=True)\n'
    train = FAST_TRAIN.replace(marker, marker + f'if recipe.mode == "bad":\n    {body}\n')
    repository = make_repository(tmp_path / "project", train)
    base = Repository(repository).commit_of("HEAD")
    change = (Change("mode", "good", "bad"),)
    work = Work(Experiment(1, Kind.SWEEP, base, change, "mode good -> bad"), 0)
    setup = setup_of(repository, demo, seconds=0.5)
    outcome = run_trial(setup, work)
    assert outcome.score is None
    assert words in outcome.reason
    good = run_trial(setup, Work(Experiment(2, Kind.SWEEP, base, (Change("lr", 0.01, 0.05),), "lr"), 0))
    assert good.score is not None
    assert run_trial(setup, work) == outcome  # an outcome that is there is not made again


def test_a_footer_that_differs_from_the_predictions_is_a_crash(tmp_path, demo):
    train = FAST_TRAIN.replace("{scores['bin_acc']:.6f}", "{0.999:.6f}")
    repository = make_repository(tmp_path / "project", train)
    work = Work(Experiment(0, Kind.BASELINE, Repository(repository).commit_of("HEAD")), 0)
    assert "the footer says bin_acc 0.999" in run_trial(setup_of(repository, demo), work).reason


def baseline_of(repository):
    return Work(Experiment(0, Kind.BASELINE, Repository(repository).commit_of("HEAD")), 0)


def test_a_search_runs_on_the_photos_that_it_began_with(fast_repository, demo, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    setup = setup_of(fast_repository, copy)
    next((copy / "class_0").iterdir()).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(cache, "build", lambda dataset: pytest.fail("the photos are decoded again"))
        assert run_trial(setup, baseline_of(fast_repository)).score is not None
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "another"))  # and what it decoded is gone too
    again = replace(baseline_of(fast_repository), attempt=2)
    assert "has changed since the search began" in run_trial(setup, again).reason


def test_a_trial_is_forked_and_starts_by_itself_where_that_fails(tmp_path, demo):
    repository = make_repository(tmp_path / "project", FAST_TRAIN)
    setup, base, ahead = setup_of(repository, demo), Repository(repository).commit_of("HEAD"), Ahead()

    def trial(number, ahead=ahead):
        return run_trial(setup, Work(Experiment(number, Kind.SWEEP, base, (Change("width", 8, 9),), ""), 0), ahead)

    try:
        found = [trial(1, None), trial(2)]
        ahead._interpreter._process.kill()
        found += [trial(3), trial(4)]
    finally:
        ahead.close()
    assert [outcome.speed["was_warm"] for outcome in found] == [False, True, False, True]
    assert len({outcome.score for outcome in found}) == 1 and found[0].score is not None


TRAINS_ON = """
if recipe.mode == "bad":
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("child", child.pid, flush=True)
    for step in range(2, 6000):
        print("step", step, "| loss 9.0", flush=True)
        time.sleep(0.1)
"""


@pytest.mark.parametrize("is_warm", [pytest.param(False, marks=pytest.mark.full), True])
def test_a_hopeless_trial_is_ended_at_once_with_all_of_its_processes(tmp_path, demo, is_warm):
    marker = 'print("step 1 | loss 1.0", flush=True)\n'
    repository = make_repository(tmp_path / "project", FAST_TRAIN.replace(marker, marker + TRAINS_ON))
    base = Repository(repository).commit_of("HEAD")
    setup = setup_of(repository, demo, seconds=16.0)
    others = tuple(Progress((-loss,), 1 - loss / 10) for loss in (1 + n / 10 for n in range(20)))
    yardstick = Yardstick(EarlyStop.LEARNED, 0.85, others, "cpu")
    ahead = Ahead() if is_warm else None
    work = Work(Experiment(1, Kind.SWEEP, base, (Change("mode", "good", "bad"),), "mode good -> bad"), 0)
    began = time.monotonic()
    try:
        outcome = run_trial(setup, work, ahead, yardstick)
        again = run_trial(
            setup, Work(Experiment(2, Kind.SWEEP, base, (Change("width", 8, 9),), ""), 0), ahead, yardstick
        )
    finally:
        if ahead:
            ahead.close()
    assert outcome.score is None and not outcome.crashed and outcome.reason == "stopped at 2 s of 16"
    assert 2.0 <= outcome.stopped.seconds < 6.0 and time.monotonic() - began < 60
    assert outcome.stopped.expected == pytest.approx(0.1, abs=0.05)
    assert (outcome.progress, outcome.machine, outcome.speed["was_warm"]) == ((-9.0,), "cpu", is_warm)
    log = (repository / "runs/t/gpu0/trials/e0001-s0/run.log").read_text()
    child = int(log.split("child")[1].split()[0])
    wait_for(lambda: not process.is_alive(child))
    assert again.score is not None  # it trains for a moment alone
    assert run_trial(setup, work, None, yardstick) == outcome


@pytest.mark.full
def test_a_trial_that_evaluates_is_seen_to_and_its_training_counts_no_further(tmp_path, demo):
    asked = 'scorer.ask({"event": "evaluating", "probe": 1.0})\n'
    repository = make_repository(tmp_path / "project", FAST_TRAIN.replace(asked, f"{asked}time.sleep(4)\n"))
    with coordinator_of(repository, demo) as coordinator:
        work, setup = coordinator.next_work(0), setup_of(repository, demo)
        slot = coordinator.paths.slot(0)
        worker = forked(setup, work)
        seen = []
        while os.waitpid(worker, os.WNOHANG)[0] == 0:
            seen.append(slot_now(slot, time.time()))
            time.sleep(0.2)
    evaluates = [one for one in seen if one["trial"] and one["evaluating_seconds"] is not None]
    assert evaluates[-1]["evaluating_seconds"] > 2
    assert len({one["training_seconds"] for one in evaluates}) == 1 and evaluates[0]["training_seconds"] < 3
    assert run.read_outcome(slot.trial(work.trial_id)).speed["evaluation_seconds"] > 3.9


ATTRIBUTES = {
    "line ends": "* text=auto eol=crlf\n",
    "a filter": "train.py -text\ndata.txt filter=shout\n",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "line ends" else pytest.mark.full) for name in ATTRIBUTES]
)
def test_files_that_git_writes_otherwise_than_it_stores_them_are_no_ones_change(fast_repository, demo, name):
    git(fast_repository, "config", "filter.shout.smudge", "tr a-z A-Z")
    git(fast_repository, "config", "filter.shout.clean", "tr A-Z a-z")
    (fast_repository / ".gitattributes").write_text(ATTRIBUTES[name])
    (fast_repository / "data.txt").write_text("stored\n")
    git(fast_repository, "add", "-A")
    git(fast_repository, "commit", "-qm", "attributes")
    setup = setup_of(fast_repository, demo)
    outcome = run_trial(setup, baseline_of(fast_repository))
    assert outcome.score is not None and outcome.violations == (), outcome.reason
    tree = fast_repository / "runs/t/gpu0/tree"
    assert (tree / "data.txt").read_bytes() == (b"STORED\n" if name == "a filter" else b"stored\r\n")
    change = Work(Experiment(1, Kind.SWEEP, setup.settings.base, (Change("lr", 0.01, 0.05),), "lr"), 0)
    changed = run_trial(setup, change)
    assert changed.score is not None and changed.violations == (), changed.reason
    files = git(fast_repository, "diff", "--name-only", setup.settings.base, changed.commit).split()
    assert files == ["train.py"]


def test_a_file_whose_name_is_no_text_does_not_end_a_search(fast_repository, demo):
    path = os.fsencode(fast_repository) + b"/caf\xe9.txt"
    with open(path, "w") as stream:
        stream.write("committed")
    git(fast_repository, "add", "-A")
    git(fast_repository, "commit", "-qm", "a name in latin 1")
    with coordinator_of(fast_repository, demo, limit=1) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        assert len(coordinator.state.decisions) == 2
    marker = 'print("---")\n'
    text = FAST_TRAIN.replace(marker, f"open(b'caf\\xe9.txt', 'w').write('changed')\n{marker}")
    (fast_repository / "train.py").write_text(text)
    git(fast_repository, "commit", "-qam", "changes it")
    with coordinator_of(fast_repository, limit=1):
        outcome = run_trial(setup_of(fast_repository, demo, slot=1), baseline_of(fast_repository))
        assert outcome.violations == ("changed caf\\xe9.txt while it ran",)
        json.dumps(encode(outcome), ensure_ascii=False).encode()


LOADER = """
import torch
class Photos(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, index): return torch.zeros(3)
loader = torch.utils.data.DataLoader(Photos(), num_workers=2)
assert len(list(loader)) == 8
"""


@pytest.mark.full
def test_the_workers_of_a_data_loader_meet_where_the_path_of_the_repository_is_long(tmp_path, demo):
    train = FAST_TRAIN.replace("recipe = Recipe()\n", f"recipe = Recipe()\n{LOADER}")
    repository = make_repository(tmp_path / ("a-rather-long-name/" * 6) / "and spaces in it", train)
    outcome = run_trial(setup_of(repository, demo, seconds=30.0), baseline_of(repository))
    assert outcome.score is not None, outcome.reason + outcome.traceback
    assert not SlotPaths(repository / "runs/t/gpu0", 0).temporary.exists()


@pytest.mark.full
def test_a_trial_of_which_something_lives_on_is_its_slots_fault(tmp_path, demo, monkeypatch):
    real = run.run_training
    monkeypatch.setattr(run, "run_training", lambda *given: replace(real(*given), lives_on=True))
    repository = make_repository(tmp_path / "project", FAST_TRAIN)
    work = Work(Experiment(0, Kind.BASELINE, Repository(repository).commit_of("HEAD")), 0)
    outcome = run_trial(setup_of(repository, demo), work)
    assert outcome.reason.startswith(AT_FAULT + "a process of e0000-s0 cannot be ended")


def forked(setup, work):
    """The process id of a worker that runs one trial."""
    worker = os.fork()
    if worker == 0:
        try:
            run_trial(setup, work)
        finally:
            os._exit(0)
    return worker


@pytest.mark.full
def test_a_trial_whose_guard_was_killed_is_no_crash_of_its_idea_unless_it_happens_again_and_again(tmp_path, demo):
    """As Ray kills what a worker has started, when its driver has died; a trial that kills its guard is found out."""
    repository = make_repository(tmp_path / "project", FAST_TRAIN.replace("rng = np", "time.sleep(9)\nrng = np", 1))
    with coordinator_of(repository, demo) as coordinator:
        names = []
        while not coordinator.state.outcomes and len(names) < 9:
            work, setup = coordinator.next_work(0), setup_of(repository, demo)
            trial = coordinator.paths.slot(0).trial(work.trial_id)
            names.append(work.trial_id)
            worker = forked(setup, work)
            wait_for(lambda trial=trial: trial.running.exists() and json.loads(trial.running.read_text()).get("pid"))
            os.kill(json.loads(trial.running.read_text())["pid"], signal.SIGKILL)
            os.waitpid(worker, 0)
            assert run.read_outcome(trial).reason == f"{GUARD_KILLED}by signal 9"
            with suppress(SearchError):  # the baseline has failed, at last
                coordinator.record(run.read_outcome(trial))
        assert names == ["e0000-s0", "e0000-s0-a2", "e0000-s0-a3", "e0000-s0-a4"]
        assert coordinator.state.outcomes[(0, 0)].crashed


@pytest.mark.full
def test_a_trial_that_was_suspended_is_no_crash_of_its_idea(tmp_path, demo, monkeypatch):
    """Its worker stood still with it: neither its clock nor its budget says anything."""
    monkeypatch.setattr(process, "STOPPED_FROM", 1.0)
    repository = make_repository(tmp_path / "project", FAST_TRAIN.replace("rng = np", "time.sleep(2)\nrng = np", 1))
    with coordinator_of(repository, demo) as coordinator:
        work, setup = coordinator.next_work(0), setup_of(repository, demo)
        trial = coordinator.paths.slot(0).trial(work.trial_id)
        worker = forked(setup, work)
        wait_for(lambda: trial.running.exists() and json.loads(trial.running.read_text())["training_since"])
        for number, pause in ((signal.SIGSTOP, 3.0), (signal.SIGCONT, 0.0)):
            for pid in (worker, *descendants(worker)):
                os.kill(pid, number)
            time.sleep(pause)
        os.waitpid(worker, 0)
        assert run.read_outcome(trial).reason.startswith(f"{STOOD_STILL}for 3 s")
        coordinator.record(run.read_outcome(trial))
        assert coordinator.state.outcomes == {}
        again = coordinator.next_work(0)
        assert again.key == work.key and again.trial_id != work.trial_id
