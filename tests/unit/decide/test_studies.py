"""What a search suggests does not depend on whether it was resumed."""

import random

from search.core.events import ExperimentPlanned, TrialEnded, TrialLost
from search.core.sources import Sources
from search.core.state import State
from search.core.types import Experiment, Kind, Outcome, Score, Work
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
