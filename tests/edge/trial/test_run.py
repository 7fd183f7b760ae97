"""Real trials: every way to fail is a crash with its reason."""

import shutil

import pytest

from search.core.types import Change, Experiment, Kind, Work
from search.system.git import Repository
from search.trial.run import run_trial
from tests.support.repositories import FAST_TRAIN, make_repository
from tests.support.searches import setup_of

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
    monkeypatch.setattr("search.trial.run.SHORTEST_REST", 2.0)
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


def test_a_changed_data_set_is_no_score(fast_repository, demo, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    setup = setup_of(fast_repository, copy)
    next((copy / "class_0").iterdir()).unlink()
    work = Work(Experiment(0, Kind.BASELINE, Repository(fast_repository).commit_of("HEAD")), 0)
    assert "has changed since the search began" in run_trial(setup, work).reason
