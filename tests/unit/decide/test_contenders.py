"""The index of contenders says what looking through the whole history says."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.core.types import Status
from search.decide import contenders, posterior
from search.decide.contenders import LARGEST_HISTORY, RaceIndex
from search.decide.decision import next_decision
from search.decide.races import open_races, overtaken
from tests.support.states import Search

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["first", "again", "incumbent", "crash", "keep", "discard"]),
        st.floats(0.85, 0.97),
        st.sampled_from(["", "card", "other"]),
    ),
    max_size=25,
)


@pytest.fixture(autouse=True)
def short_memory(monkeypatch):
    monkeypatch.setattr(contenders, "MOST_INCUMBENTS", 2)


@given(ACTIONS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_index_that_follows_a_search_gives_the_races_of_one_made_anew(actions):
    search = Search()
    followed = RaceIndex(search.state)
    for action, score, machine in actions:
        state = search.state
        undecided = state.undecided()
        if action == "first":
            search.first(state.next_experiment, score, state.incumbent_commit, machine=machine)
        elif action == "crash":
            search.first(state.next_experiment, None, state.incumbent_commit, reason="boom")
        elif action == "incumbent":
            number = state.incumbent.experiment
            search.again(number, state.next_seed(number), score, machine=machine)
        elif action == "again" and undecided:
            search.again(undecided[-1], state.next_seed(undecided[-1]), score, machine=machine)
        elif action in ("keep", "discard") and undecided:  # the latest first: not in the order of outcomes
            has_score = any(outcome.score for outcome in state.outcomes_of(undecided[-1]))
            search.decide(undecided[-1], Status(action) if has_score else Status.CRASH, state.incumbent_commit)
        assert open_races(state, followed) == open_races(state)
        assert overtaken(state, followed) == overtaken(state)
        assert next_decision(state, 1e9, followed) == next_decision(state, 1e9)


def test_a_model_knows_the_latest_experiments_and_no_more(monkeypatch):
    search, fitted = Search(), []
    for number in range(1, LARGEST_HISTORY + 50):
        search.first(number, 0.90)
        search.decide(number, Status.DISCARD)

    def fit(contenders, incumbents, guess, noise):
        fitted.append([one.number for one in contenders])
        return posterior.fit(contenders, incumbents, guess, noise)

    monkeypatch.setattr("search.decide.contenders.fit", fit)
    model = RaceIndex(search.state).followed().field(None).model()
    assert fitted == [[0, *range(50, LARGEST_HISTORY + 50)]]
    assert 0.90 < model.level(0).mean < 0.92
