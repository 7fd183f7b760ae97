"""Trials of dishonest edits of train.py."""

from dataclasses import dataclass, replace
from pathlib import Path

import prepare
from search.core.types import Experiment, Kind, Work
from search.system.git import Repository
from search.trial.ahead import Ahead
from search.trial.run import run_trial
from tests.support.repositories import FAST_TRAIN, make_repository
from tests.support.searches import setup_of

START = 'print("step 1 | loss 1.0", flush=True)\n'
SUBMIT = 'scores = scorer.ask({"event": "submit"'
SEND = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'photos', ('127.0.0.1', 9))"  # UDP
HELP = """
def attempt(action):
    try:
        action()
    except OSError as error:
        print("stopped:", type(error).__name__, flush=True)
    else:
        print("succeeded", flush=True)
"""
PERFECT = """
def know_all(labels):
    global probabilities
    probabilities = np.eye(5)[labels] * 0.9 + 0.02
"""
AHEAD = Ahead()  # one for all, as a slot has it
TRAIN_LONG = "import time as t\nuntil = t.perf_counter() + 2.5\nwhile t.perf_counter() < until: pass\n"


@dataclass(frozen=True)
class Places:
    """Where a dishonest author would look; they know the machine."""

    repository: Path
    dataset: Path

    @property
    def run(self):
        return self.repository / "runs/t"

    @property
    def cache(self):
        return prepare.view_of(prepare.load(self.dataset)).parent

    @property
    def seal(self):
        return self.repository.parent / "sealed"


def edited(before="", instead="", after=""):
    """FAST_TRAIN with code behind its first training line, in place of its submission, and at its end."""
    found = FAST_TRAIN.replace(START, START + HELP + PERFECT + before)
    if instead:
        line = next(line for line in found.splitlines() if line.startswith(SUBMIT))
        found = found.replace(line, instead.replace("SUBMIT", line))
    return found + after


def based_on(commit, setup):
    """A slot's setup of a search that began with this commit."""
    return replace(setup, settings=replace(setup.settings, base=commit))


def run_edit(tmp_path, demo, code, number=1, ahead=AHEAD, **setup):
    """The outcome of a trial with this train.py, and what it printed. The baseline is the project's own.

    ahead: None: the trial starts by itself.
    """
    folder = tmp_path / "project"
    if not folder.exists():
        make_repository(folder, FAST_TRAIN)
    repository = Repository(folder)
    base = repository.commit_of("main")
    tree = repository.slot_worktree(tmp_path / f"edit{number}", "edit", base)
    commit = base if code is None else tree.commit_file("train.py", code, f"edit {number}", "a dishonest author")
    work = Work(Experiment(number, Kind.SWEEP, commit), 0)
    ready = based_on(base, setup_of(folder, demo, seconds=setup.pop("seconds", 5.0)))
    ready = replace(ready, **setup)
    outcome = run_trial(ready, work, ahead)
    log = folder / f"runs/t/gpu0/trials/{work.trial_id}/run.log"
    return outcome, log.read_text() if log.exists() else ""


def went_through(outcome):
    return outcome.score is not None and not outcome.violations
