"""Proposals in one coordinator, without Ray: decided like any experiment, and nothing is lost by dying."""

import time

import pytest

import prepare
from search.agent.smoke import Places
from search.core.types import Kind, Proposal, Status
from search.decide.plan import Limit, turn_is_due
from search.driver.coordinator import Coordinator
from search.driver.proposals import ProposalManager
from search.records import requests
from search.records.ledgers import Ledgers
from search.records.requests import Operation, pending, send
from search.system.git import Repository
from search.trial.run import run_trial
from tests.support.repositories import BETTER_TRAIN, FAST_TRAIN, git
from tests.support.searches import agree, coordinator_of, ledgers, run_all, setup_of
from tests.support.states import TASK

# One more axis, read by a new statement; the old ones mean the same.
WITH_AXIS = BETTER_TRAIN.replace(
    'mode: str = "good"\n', 'mode: str = "good"\n    sharpness: float = 4.0  # of the logits; 1 … 9\n'
).replace("logits = 4 *", "logits = recipe.sharpness *")


def proposal(repository, source, idea="better", parent=None, **more):
    here = Repository(repository)
    parent = parent or here.commit_of("HEAD")
    commit = here.commit_edit(parent, "train.py", source, idea, "tool")
    return Proposal(0, "tool", idea, parent, commit, **{"identity": idea, **more})


def test_a_kept_edit_becomes_the_centre_with_its_own_axes(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=0) as coordinator:
        setup = setup_of(fast_repository, demo)
        run_all(coordinator, setup)
        coordinator.take(proposal(fast_repository, WITH_AXIS))
        coordinator.limit = Limit(5)
        work = coordinator.next_work(0)
        assert work.experiment.kind is Kind.PROPOSAL
        coordinator.record(run_trial(setup, work))
        decision = coordinator.state.decisions[-1]
        assert (decision.status, decision.description) == (Status.KEEP, "better"), decision
        assert decision.commit == coordinator.state.proposals[0].commit == coordinator.state.incumbent_commit
        assert [axis.name for axis in coordinator.sources.space(coordinator.state.incumbent_commit).axes] == [
            "lr", "width", "sharpness",
        ]  # fmt: skip
        run_all(coordinator, setup)
        agree(fast_repository, coordinator)
        moved = {change.axis for one in coordinator.state.experiments.values() for change in one.changes}
        assert moved <= {"lr", "width", "sharpness"} and moved
        row = (fast_repository / "runs/t/results.tsv").read_text().splitlines()[2].split("\t")
        assert row[4:] == ["keep", "better"]
    before = ledgers(fast_repository)
    with coordinator_of(fast_repository, limit=5) as again:
        assert ledgers(fast_repository) == before
        assert again.sources.space(again.state.incumbent_commit) == coordinator.sources.space(
            coordinator.state.incumbent_commit
        )
        assert (
            git(fast_repository, "rev-parse", "refs/autoresearch/t/proposals/0001").strip()
            == again.state.proposals[0].commit
        )


def test_an_equal_and_simpler_edit_is_kept_by_the_measure_and_not_by_its_word(fast_repository, demo):
    """Both edits leave the score as it is; only one makes the code smaller, and the other one says so."""
    larger = FAST_TRAIN.replace("recipe = Recipe()", "recipe = Recipe()\nunused = [1, 2, 3]")
    smaller = FAST_TRAIN.replace('print("arch: none")\n', "")
    with coordinator_of(fast_repository, demo, limit=0) as coordinator:
        setup = setup_of(fast_repository, demo)
        run_all(coordinator, setup)
        coordinator.take(proposal(fast_repository, larger, "simpler code"))
        coordinator.take(proposal(fast_repository, smaller, "something else"))
        coordinator.limit = Limit(2)
        run_all(coordinator, setup)
        fates = {decision.description: decision.status for decision in coordinator.state.decisions[1:]}
    assert fates == {"simpler code": Status.DISCARD, "something else": Status.KEEP}


def test_a_number_outside_the_axes_ends_neither_the_search_nor_a_resume(fast_repository, demo):
    setup = setup_of(fast_repository, demo)
    with coordinator_of(fast_repository, demo, limit=2) as coordinator:
        run_all(coordinator, setup)
        made = coordinator.take(proposal(fast_repository, FAST_TRAIN.replace("width: int = 8", "width: int = 128")))
        assert "width is 128, outside the axis" in made.refused
    with coordinator_of(fast_repository, limit=4) as coordinator:
        run_all(coordinator, setup)
        assert len(coordinator.state.decisions) == 5


STEPS = [(Repository, "set_ref", 1), (Coordinator, "_append", 1), (Ledgers, "add_proposal", 1)]


@pytest.mark.parametrize(("owner", "point", "call"), STEPS)
def test_dying_while_a_proposal_is_taken_in_neither_loses_nor_doubles_it(
    fast_repository, demo, monkeypatch, owner, point, call
):
    class Died(BaseException):
        pass

    def dies(self, *arguments):
        raise Died

    setup = setup_of(fast_repository, demo)
    with coordinator_of(fast_repository, demo, limit=0) as coordinator:
        run_all(coordinator, setup)
        made = proposal(fast_repository, BETTER_TRAIN, origin="handed-in")
        with monkeypatch.context() as patched:
            patched.setattr(owner, point, dies)
            with pytest.raises(Died):
                coordinator.take(made)
    with coordinator_of(fast_repository, limit=1) as coordinator:
        coordinator.take(made)  # its request is still there, so that it is checked again
        assert [one.origin for one in coordinator.state.proposals] == ["handed-in"]
        run_all(coordinator, setup)
        assert [one.kind for one in coordinator.state.experiments.values()] == [Kind.BASELINE, Kind.PROPOSAL]
        agree(fast_repository, coordinator)
        lines = (fast_repository / "runs/t/proposals.jsonl").read_text().splitlines()
        assert len(lines) == 1


def test_a_proposal_that_waits_is_run_after_a_resume(fast_repository, demo):
    setup = setup_of(fast_repository, demo)
    with coordinator_of(fast_repository, demo, limit=0) as coordinator:
        run_all(coordinator, setup)
        coordinator.take(proposal(fast_repository, BETTER_TRAIN))
        run_all(coordinator, setup)
        assert len(coordinator.state.experiments) == 1 and len(coordinator.state.waiting) == 1
    with coordinator_of(fast_repository, limit=1) as coordinator:
        run_all(coordinator, setup)
        assert coordinator.state.experiments[1].proposal == 1


def test_a_turn_that_a_dead_driver_left_open_is_taken_again(fast_repository, demo):
    setup = setup_of(fast_repository, demo)
    with coordinator_of(fast_repository, demo, limit=2) as coordinator:
        run_all(coordinator, setup)
        coordinator.limit = Limit(9)
        assert turn_is_due(coordinator.state, 2, coordinator.limit)
        coordinator.begin_turn("tool", 1)
        assert not turn_is_due(coordinator.state, 2, coordinator.limit)
    with coordinator_of(fast_repository, limit=9) as coordinator:
        assert turn_is_due(coordinator.state, 2, coordinator.limit)


def test_a_request_that_was_taken_before_its_driver_died_is_only_forgotten(fast_repository, demo):
    here = Repository(fast_repository)
    with coordinator_of(fast_repository, demo, limit=0) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        sent = send(here, coordinator.names, Operation.PROPOSE, (here.commit_of("HEAD"), BETTER_TRAIN, "better"))
        coordinator.take(proposal(fast_repository, BETTER_TRAIN, origin=sent.commit))
        places = Places(TASK, prepare.load(demo).fingerprint, 1, None)
        proposals = ProposalManager(coordinator, None, places, lambda: None)
        proposals.poll()
        assert pending(here, coordinator.names) == [] and not coordinator.stopping
        proposals.close()
        assert len(coordinator.state.proposals) == 1


def test_pauses_and_stops_are_heeded_and_old_ones_are_void_whatever_the_clock_says(fast_repository, demo, monkeypatch):
    here = Repository(fast_repository)
    with coordinator_of(fast_repository, demo, limit=0) as coordinator:
        send(here, coordinator.names, Operation.PAUSE)
        proposals = ProposalManager(
            coordinator, None, Places(TASK, prepare.load(demo).fingerprint, 1, None), lambda: None
        )
        proposals.poll()
        assert coordinator.state.paused and not coordinator.stopping
        send(here, coordinator.names, Operation.STOP)
    with coordinator_of(fast_repository, limit=0) as again:
        stopped = []
        proposals = ProposalManager(
            again, None, Places(TASK, prepare.load(demo).fingerprint, 1, None), lambda: stopped.append(True)
        )
        proposals.poll()
        assert not again.stopping and not again.state.paused
        an_hour_ago = time.time() - 3600.0
        monkeypatch.setattr(requests.time, "time", lambda: an_hour_ago)
        send(here, again.names, Operation.STOP_NOW)
        proposals._looked = 0.0
        proposals.poll()
        assert again.stopping and stopped == [True]
        assert pending(here, again.names) == []
