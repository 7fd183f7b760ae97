"""What a search suggests does not depend on whether it was resumed."""

import random
from dataclasses import replace

from search.core.events import ExperimentPlanned, TrialEnded, TrialLost
from search.core.sources import Sources
from search.core.state import State
from search.core.types import Change, Experiment, Kind, Outcome, Score, Work
from search.decide.studies import Studies
from tests.support.states import SETTINGS, started, train_of


def test_studies_made_anew_suggest_what_those_that_followed_would():
    rng = random.Random(3)
    state = State(SETTINGS)
    sources = Sources(SETTINGS, lambda commit: train_of())
    live = Studies(state, sources)
    base = Experiment(0, Kind.BASELINE, "base")
    state.apply(ExperimentPlanned(base))
    state.apply(started(Work(base, 0)))
    state.apply(TrialEnded(Outcome("", 0, 0, 0, "base", Score(0.9, 0.5))))
    open_trials = []
    for number in range(1, 40):
        point = live.suggest(number, "base")
        assert point == Studies(state, sources).suggest(number, "base")
        changes = sources.space("base").changes(sources.recipe("base"), point)
        experiment = Experiment(number, Kind.SWEEP, "base", changes, "")
        state.apply(ExperimentPlanned(experiment))
        if rng.random() < 0.9:  # else it was planned, and its driver died
            state.apply(started(Work(experiment, 0)))
            open_trials.append(number)
        while len(open_trials) > 3 or (open_trials and rng.random() < 0.3):
            ended = open_trials.pop(rng.randrange(len(open_trials)))
            if rng.random() < 0.1:
                state.apply(TrialLost("", ended, 0, "its node has gone"))
                continue
            score = None if rng.random() < 0.1 else Score(0.9 + rng.gauss(0, 0.01), 0.5)
            state.apply(TrialEnded(Outcome("", ended, 0, 0, f"c{ended}", score)))


def test_the_baselines_point_is_not_suggested_around_another_incumbent_whether_resumed_or_not():
    space = '[mode]\nkind = "choice"\nchoices = ["good", "bad"]\n[width]\nkind = "choice"\nchoices = [8, 16]\n'
    settings = replace(SETTINGS, space=space)
    sources = Sources(settings, lambda commit: train_of(width=16 if commit == "c1" else 8))
    state = State(settings)
    live = Studies(state, sources)
    for number, changes in ((0, ()), (1, (Change("width", 8, 16),))):
        kind = Kind.SWEEP if number else Kind.BASELINE
        experiment = Experiment(number, kind, "base", changes, "")
        state.apply(ExperimentPlanned(experiment))
        state.apply(started(Work(experiment, 0)))
        state.apply(TrialEnded(Outcome("", number, 0, 0, f"c{number}", Score(0.9 + number / 100, 0.5))))
        live.suggest(number + 1, "base")
    anew = Studies(state, sources)
    for number in range(2, 6):
        point = live.suggest(number, "c1")
        assert point == anew.suggest(number, "c1")
        assert point is None or point["width"] == 16 or point["mode"] == "bad"
