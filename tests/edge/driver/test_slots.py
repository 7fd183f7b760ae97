"""One coordinator with cards of several kinds, on nodes that go."""

import json
from dataclasses import replace

from search.core.task import Score
from search.core.types import Status, Work
from search.decide.plan import Pause
from search.trial.run import run_trial
from tests.support.searches import coordinator_of, setup_of


def test_running_out_of_memory_counts_only_on_the_largest_card(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=2) as coordinator:
        lines = []
        coordinator.announce = lines.append
        coordinator.enrol(0, "a", "0", "a", "T4", 16_000.0)
        coordinator.enrol(1, "b", "0", "b", "A100", 80_000.0)
        setup = setup_of(fast_repository, demo)
        coordinator.record(run_trial(setup, coordinator.next_work(0)))
        work = coordinator.next_work(0)
        failed = replace(run_trial(setup, work), score=None, reason="out of memory: CUDA out of memory")
        coordinator.record(failed)
        assert len(coordinator.state.decisions) == 1
        assert any("run again on a larger GPU" in line for line in lines)
        other = coordinator.next_work(0)
        assert other.experiment.number != work.experiment.number  # not on the small card again
        again = coordinator.next_work(1)
        assert (again.experiment.number, again.attempt) == (work.experiment.number, 2)
        coordinator.record(replace(failed, trial=again.trial_id, slot=1))
        assert coordinator.state.verdicts[work.experiment.number].status is Status.CRASH


def test_what_the_incumbent_needs_keeps_small_cards_from_what_would_not_fit(fast_repository, demo):
    with coordinator_of(fast_repository, demo) as coordinator:
        coordinator.enrol(0, "b", "0", "b", "A100", 80_000.0)
        coordinator.enrol(1, "a", "0", "a", "T4", 16_000.0)
        outcome = run_trial(setup_of(fast_repository, demo), coordinator.next_work(0))
        coordinator.record(replace(outcome, memory_mb=20_000.0))
        assert coordinator.next_work(1) is Pause.WAIT
        assert isinstance(coordinator.next_work(0), Work)
        coordinator.leave(0, "gone")
        assert isinstance(coordinator.next_work(1), Work)  # better a crash than nothing


def test_a_trial_lost_with_its_node_is_begun_again_and_recorded_once(fast_repository, demo):
    with coordinator_of(fast_repository, demo, slots=2, limit=1) as coordinator:
        first, lost = coordinator.next_work(0), coordinator.next_work(1)
        coordinator.leave(1, "its node has gone")
        coordinator.lose(lost, 1, "its node has gone")
        again = coordinator.next_work(0)
        assert (again.experiment, again.seed, again.attempt) == (lost.experiment, lost.seed, 2)
        setup = setup_of(fast_repository, demo)
        for work in (first, again):
            coordinator.record(run_trial(setup, work))
        late = replace(run_trial(replace(setup, slot=1), lost), score=Score(1.0, 1.0))  # the node is back, and reports
        coordinator.record(late)
        assert [decision.experiment for decision in coordinator.state.decisions] == [0]
        assert all(outcome.score != late.score for outcome in coordinator.state.outcomes.values())
        rows = (fast_repository / "runs/t/trials.jsonl").read_text().splitlines()
        assert sorted(json.loads(row)["trial"] for row in rows) == sorted((first.trial_id, again.trial_id))
