"""When an agent is asked, and when its proposals run."""

from search.core.events import (
    Decided,
    ExperimentPlanned,
    PauseSet,
    SearchBegun,
    SessionBegun,
    TrialEnded,
    TurnBegun,
    from_line,
    to_line,
)
from search.core.sources import Sources
from search.core.task import Score
from search.core.types import Decision, Experiment, Kind, Status, Turn
from search.decide.plan import Limit, Pause, turn_is_due, unmerged
from search.records.journal import rebuild
from tests.support.states import SETTINGS, ask, begin, decide, decided_baseline, outcome, proposal, take, train_of


def rebuild_of(state):
    events = [SearchBegun(state.settings), *(ExperimentPlanned(one) for one in state.experiments.values())]
    return rebuild(from_line(to_line(event)) for event in events)


def test_a_proposal_that_passed_is_the_next_experiment_as_it_is():
    state = decided_baseline()
    take(state, proposal(1, refused="no"), proposal(2))
    work = ask(state)
    assert (work.experiment.kind, work.experiment.proposal, work.commit) == (Kind.PROPOSAL, 2, "p2")
    assert (work.experiment.description, work.experiment.parent) == ("idea 2", "c0")
    begin(state, work)
    assert ask(state).experiment.kind is Kind.SWEEP
    assert state.experiment_of(2).number == 1 and state.waiting == {}
    assert rebuild_of(state).experiments[1].commit == "p2"


def test_a_proposal_waits_where_the_limit_is_reached_and_where_the_search_is_paused():
    state = decided_baseline()
    take(state, proposal(1))
    assert ask(state, limit=0) is Pause.FINISHED
    state.apply(PauseSet(True))
    assert ask(state) is Pause.WAIT
    state.apply(SessionBegun())
    assert ask(state).experiment.proposal == 1


def finish(state, count):
    for number in range(len(state.experiments), len(state.experiments) + count):
        work = ask(state)
        begin(state, work)
        state.apply(TrialEnded(outcome(work, 0.5)))
        decide(state, number, Status.DISCARD, Score(0.5, 0.5))


def turn(state, number, asked=1):
    state.apply(TurnBegun(Turn(number, "tool", asked, state.done, "c0")))


def test_the_agent_is_asked_once_after_every_round():
    state, asked = decided_baseline(), []
    for _ in range(12):
        finish(state, 1)
        if turn_is_due(state, 3, Limit(None)):
            asked.append(state.done)
            turn(state, len(asked))
            assert not turn_is_due(state, 3, Limit(None))  # it thinks
            take(state, proposal(len(asked), turn=len(asked), refused="no"))
    assert asked == [3, 6, 9, 12]
    assert not turn_is_due(state, 3, Limit(12))


def test_a_slow_agent_makes_no_backlog_and_a_turn_cut_short_is_taken_again():
    state = decided_baseline()
    finish(state, 3)
    turn(state, 1, asked=2)
    finish(state, 7)
    take(state, proposal(1, turn=1, refused="no"))
    assert not turn_is_due(state, 3, Limit(None))
    take(state, proposal(2, turn=1, refused="no"))
    assert turn_is_due(state, 3, Limit(None))
    turn(state, 2)
    finish(state, 1)
    assert not turn_is_due(state, 3, Limit(None))
    state.apply(SessionBegun())
    assert state.cut_short == {2} and turn_is_due(state, 3, Limit(None))


def test_an_edit_kept_without_having_begun_from_what_it_beat_is_to_be_merged_once():
    sources = {"base": train_of(), "c0": train_of(), "c1": train_of(lr=0.5), "c2": train_of(more="x = 1\n")}
    commits = Sources(SETTINGS, lambda commit: sources[commit])
    state = decided_baseline()
    for number, commit in ((1, ""), (2, "c2")):
        kind = Kind.PROPOSAL if commit else Kind.SWEEP
        state.apply(ExperimentPlanned(Experiment(number, kind, "base", (), f"e{number}", commit=commit)))
    for number, incumbent in ((1, "base"), (2, "c1")):
        made = Decision(
            number, Status.KEEP, "", f"c{number}", 0, Score(0.95, 0.5), 0, "", incumbent, None, (), (0,), 1.0
        )
        state.apply(Decided(made))
    assert [decision.experiment for decision in unmerged(state, commits)] == [2]
    take(state, proposal(1, origin="c2", author="merge"))
    assert unmerged(state, commits) == []
