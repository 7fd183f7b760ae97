"""Made-up scores and stolen time are found (docs/trust.md); without its defence each edit goes through."""

import pytest

from search.core.types import Experiment, Kind, Work
from search.system.git import Repository
from search.trial import integrity, run
from search.trial.run import run_trial
from tests.support.dishonest import START, TRAIN_LONG, based_on, edited, run_edit, went_through
from tests.support.repositories import ROOT
from tests.support.searches import setup_of

FORGED = 'scores = {"mc_acc": 0.99, "bin_acc": 0.99}'
REPLACED = "prepare.evaluate = lambda *_: {'mc_acc': 1.0, 'bin_acc': 1.0}\n"
AFTER_TWO = """
SUBMIT
first, best = scores, scores
for attempt_number in range(3):
    probabilities = np.roll(probabilities, 1, axis=1)
    SUBMIT
    best = max(best, scores, key=lambda found: found["bin_acc"])
scores = first
"""
SLOW_CLOCK = "real = time.monotonic\ntime.monotonic = lambda: real() / 100\nbegan = time.monotonic()\n"
CASES = {  # the edit, what is expected, and the defence whose removal lets it through
    "a footer without evaluate": (edited(instead=FORGED), "handed nothing to the scorer", None),
    "a replaced evaluate": (
        edited(before=REPLACED, instead="scores = prepare.evaluate()"),
        "handed nothing to the scorer",
        None,
    ),
    "a footer that claims more": (edited(instead="SUBMIT\n" + FORGED), "the footer says", "agrees"),
    "a patched prepare": (
        edited(before="prepare._Scorer.ask = lambda *_: {'mc_acc': 1.0, 'bin_acc': 1.0}\n"),
        "handed nothing to the scorer",
        None,
    ),
    "numbers that are no probabilities": (
        edited(instead="probabilities = np.full_like(probabilities, 9.0)\nSUBMIT"), "no probabilities", None,
    ),
    "probabilities of other photos": (
        edited(instead="probabilities = probabilities[:-1]\nSUBMIT"), "no message of prepare.py", None,
    ),
    "the labels that it was given": (edited(instead="know_all(data.labels[both])\nSUBMIT"), "worse", None),
    "scored again, keeping the best": (edited(instead=AFTER_TWO), "asked to be scored 4 times", "violations_of"),
    "training past the budget": (edited(before=TRAIN_LONG), "trained for", "violations_of"),
    "training before the first training line": (
        edited().replace(START, TRAIN_LONG + START), "trained for", "violations_of",
    ),
    "a slow clock": (edited(before=SLOW_CLOCK + TRAIN_LONG), "trained for", "violations_of"),
    "not saying when training ended": (
        edited().replace('scorer.ask({"event": "evaluating", "probe": 1.0})', ""), "did not say when", "violations_of",
    ),
    "another prepare.py": (
        edited(after="open('prepare.py', 'a').write('# more')\n"), "changed prepare.py while it ran", "changed",
    ),
    "another train.py than its commit's": (
        edited(after="open('train.py', 'a').write('# more')\n"), "changed train.py while it ran", "changed",
    ),
}  # fmt: skip
SAMPLED_CASES = ("a footer that claims more", "scored again, keeping the best", "a slow clock", "another prepare.py")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SAMPLED_CASES else pytest.mark.full) for name in CASES]
)
def test_made_up_scores_and_stolen_time_are_found(tmp_path, demo, honest, monkeypatch, name):
    monkeypatch.setattr(run, "OVER_BUDGET_SECONDS", 1.0)
    code, words, _ = CASES[name]
    outcome, _ = run_edit(tmp_path, demo, code, seconds=1.0)
    if words == "worse":
        assert outcome.score.primary < honest.primary
        return
    assert words in " ".join([outcome.reason, *outcome.violations])
    assert not went_through(outcome)


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name, (_, _, defence) in CASES.items() if defence])
def test_without_its_defence_each_goes_through(tmp_path, demo, honest, monkeypatch, name):
    code, _, defence = CASES[name]
    if defence == "agrees":
        monkeypatch.setattr("search.trial.scored.agrees", lambda *_: True)
    elif defence == "violations_of":
        monkeypatch.setattr(run, "violations_of", lambda *_: ())
    else:
        monkeypatch.setattr(integrity, "changed", lambda *_: [])
    outcome, _ = run_edit(tmp_path, demo, code, seconds=1.0)
    assert went_through(outcome)


def test_a_commit_that_changes_more_than_train_py_is_not_run(tmp_path, demo, honest):
    repository = Repository(tmp_path / "project")
    tree = repository.slot_worktree(tmp_path / "edit1", "edit", repository.commit_of("main"))
    commit = tree.commit_file("prepare.py", "raise SystemExit\n", "another metric", "a dishonest author")
    ready = based_on(repository.commit_of("main"), setup_of(tmp_path / "project", demo))
    outcome = run_trial(ready, Work(Experiment(1, Kind.SWEEP, commit), 0))
    assert outcome.reason == "not the search's own files before it ran: prepare.py"


@pytest.mark.full
def test_what_is_known_to_be_open_is_written_down(tmp_path, demo, honest):
    code = edited(before="mean = data.images[data.indices('validation')].mean()\n")
    outcome, _ = run_edit(tmp_path, demo, code)
    assert went_through(outcome)
    assert "learning from the photos that are scored, without their labels" in (ROOT / "docs/trust.md").read_text()
