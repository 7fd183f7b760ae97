"""A least sensitivity, in real trials of the train.py that ships."""

import re
from dataclasses import replace

import numpy as np
import pytest

import prepare
from search.core.types import Experiment, Kind, Work
from search.task.screening.rates import best_threshold, risk_of, screen_at_threshold
from search.task.screening.words import AT_THRESHOLD
from search.trial import sealed
from search.trial.rewrite import rewrite_recipe
from search.trial.run import run_trial
from search.trial.scorer import Labels
from tests.support.repositories import ROOT, make_repository
from tests.support.searches import setup_of

TELLS = """    held = data.labels[data.part == prepare.CALIBRATION]
    print("of training", len(photos), "withheld", int((held < 0).sum()))
    steps_per_epoch ="""


@pytest.mark.parametrize("least", [pytest.param(None, marks=pytest.mark.full), 0.9])
def test_a_seventh_of_the_training_photos_is_held_back_and_chooses_the_threshold(tmp_path, demo, least):
    source = rewrite_recipe((ROOT / "train.py").read_text(), {"arch": "lite", "batch_size": 8})
    told = source.replace("    steps_per_epoch =", TELLS, 1)
    assert told != source
    repository, data = make_repository(tmp_path / "project", told), prepare.load(demo)
    setup = setup_of(repository, demo, seconds=1.0)
    setup = replace(setup, settings=replace(setup.settings, least_sensitivity=least))
    work = Work(Experiment(0, Kind.BASELINE, setup.settings.base), 0)
    outcome = run_trial(setup, work)
    assert outcome.score is not None, outcome.reason
    log = (repository / f"runs/t/gpu0/trials/{work.trial_id}/run.log").read_text()
    training, withheld = map(int, re.search(r"of training (\d+) withheld (\d+)", log).groups())
    held = Labels.of(data, calibrates=least is not None).calibration
    assert withheld == len(held) and training + withheld == len(data.indices("train"))
    if least is None:
        assert AT_THRESHOLD not in outcome.metrics and not len(held)
        return
    value, low, high = outcome.metrics[AT_THRESHOLD]
    assert 0 <= low <= value <= high <= 1
    validation, _ = sealed.read(tmp_path / "sealed", work.trial_id)
    labels, groups = (of_each[data.indices("validation")] for of_each in (data.labels, data.groups))
    again = screen_at_threshold(outcome.metrics["threshold"], validation, labels, groups, data.classes)
    assert again[AT_THRESHOLD] == outcome.metrics[AT_THRESHOLD]


def test_the_best_threshold_lies_where_sensitivity_and_specificity_are_largest_together():
    rng = np.random.default_rng(0)
    infected = rng.random(300) < 0.2
    risk = np.clip(rng.normal(0.2, 0.1, 300) + 0.15 * infected, 0, 1)
    found = best_threshold(risk, infected)

    def together(threshold):
        flagged = risk >= threshold
        return flagged[infected].mean() + (~flagged[~infected]).mean()

    assert together(found) == pytest.approx(max(together(one) for one in np.linspace(0, 1, 2001)), abs=1e-9)
    assert best_threshold(risk, np.zeros(300, bool)) == best_threshold(np.full(300, 0.3), infected) == 0.5
    assert risk_of(np.array([[0.2, 0.8]]), prepare.Classes(("a", "b"), (1,))).tolist() == [0.8]
