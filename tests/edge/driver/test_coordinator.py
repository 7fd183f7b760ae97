"""One coordinator without Ray, with real trials: what it keeps, and why."""

from dataclasses import replace

import pytest

from search.cli.control import last_view
from search.core.recipe import values_of
from search.core.task import Score
from search.core.types import Outcome, Purpose, SearchError, Status, Work
from search.decide.plan import Pause
from search.driver.coordinator import BaselineFailed, Coordinator
from search.records.results_tsv import read_rows, render
from search.report.frontier import Entry, steps
from search.report.history import History
from search.report.summary import merged_rows
from search.system.git import Repository
from search.trial.run import run_trial
from tests.support.repositories import FAST_TRAIN, git, make_repository
from tests.support.searches import agree, coordinator_of, ledgers, run_all, setup_of
from tests.support.states import TASK, started


def test_a_search_keeps_by_the_rules_and_every_commit_stays_reachable(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=5) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        assert len(coordinator.state.decisions) == 6
        best = None
        for decision in coordinator.state.decisions:
            key = (decision.score.primary, decision.score.secondary)
            assert (decision.status is Status.KEEP) == (best is None or key > best)
            best = key if decision.status is Status.KEEP else best
        agree(fast_repository, coordinator)
        for decision in coordinator.state.decisions[1:]:
            recipe = values_of(git(fast_repository, "show", f"{decision.commit}:train.py"))
            assert all(recipe[change.axis] == change.new for change in decision.changes)
            files = git(fast_repository, "diff", "--name-only", f"{decision.commit}^", decision.commit).split()
            assert files == ["train.py"]


def test_what_is_kept_was_confirmed_and_rows_can_be_checked_against_decisions(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=14, confirm_seeds=2, seed=1) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        state = coordinator.state
        kept = state.kept[1:]
        assert kept, "the search of this seed keeps something"
        for decision in kept:
            assert len(decision.seeds) >= 3
            ours = [state.outcomes[(decision.experiment, seed)].score.primary for seed in decision.seeds]
            assert decision.score.primary == pytest.approx(sum(ours) / len(ours), abs=1e-6)
            assert set(decision.seeds) & set(decision.incumbent_seeds)
            assert decision.score.primary >= decision.incumbent_score.primary
            assert 0 < decision.estimate < 1 and 0 < decision.probability < 1
        assert len(state.verdicts) == 15
        agree(fast_repository, coordinator)
        frontier = steps([Entry(placed.row) for placed in read_rows(fast_repository / "runs/t/results.tsv", TASK)])
        assert [step.row.commit for step in frontier if step.is_incumbent] == [d.commit[:7] for d in state.frontier]
    before = ledgers(fast_repository)
    with coordinator_of(fast_repository, limit=14) as coordinator:
        assert ledgers(fast_repository) == before
        agree(fast_repository, coordinator)


@pytest.mark.full
def test_an_incumbent_found_out_gives_its_place_back_and_its_row_says_so(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=14, confirm_seeds=2, seed=1) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        state = coordinator.state
        incumbent, before = state.incumbent, state.frontier[-2]
        work = Work(state.experiments[incumbent.experiment], 77, commit=incumbent.commit, purpose=Purpose.CONFIRM)
        coordinator._append(started(work))
        low = replace(state.outcomes_of(incumbent.experiment)[0], trial=work.trial_id, seed=77, score=Score(0.1, 0.1))
        coordinator.repository.set_ref(coordinator.names.trial_ref(work.trial_id), incumbent.commit)
        coordinator.record(low)
        assert coordinator.state.incumbent.commit == before.commit
        agree(fast_repository, coordinator)
        rows = (fast_repository / "runs/t/results.tsv").read_text().splitlines()[1:]
        row = next(row for row in rows if row.startswith(incumbent.commit[:7]))
        assert "\tdiscard\t" in row
        assert "worse than its predecessor" in coordinator.state.decisions[-1].reason
    files = sorted(fast_repository.glob("runs/t/gpu*/results.tsv"))
    assert render(merged_rows(files, History(None)), TASK) == (fast_repository / "runs/t/results.tsv").read_text()
    with coordinator_of(fast_repository, limit=14) as coordinator:
        assert coordinator.state.incumbent.commit == before.commit


def test_a_trial_on_a_slow_slot_is_marked_and_can_be_run_again(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=4) as coordinator:
        setup = setup_of(fast_repository, demo)
        for _ in range(3):
            coordinator.record(replace(run_trial(setup, coordinator.next_work(0)), machine="card"))
        work = coordinator.next_work(0)
        slow = run_trial(setup, work)
        slow = replace(slow, speed=slow.speed | {"probe": 0.5}, machine="card")
        coordinator.rerun_slow = True
        coordinator.record(slow)
        again = coordinator.next_work(0)
        assert (again.experiment, again.seed, again.attempt) == (work.experiment, work.seed, 2)
        coordinator.record(replace(run_trial(setup, again), speed={"probe": 0.5}, machine="card"))  # once only
        assert "its slot ran at 50%" in coordinator.state.decisions[-1].note
        assert coordinator.state.set_aside == {slow.trial}


def test_experiments_that_ended_before_the_baseline_are_decided_right_behind_it(fast_repository, demo):
    with coordinator_of(fast_repository, demo, slots=2, limit=3) as coordinator:
        late = coordinator.next_work(1)
        for _ in range(4):
            work = coordinator.next_work(0)
            coordinator.record(run_trial(setup_of(fast_repository, demo, 0), work))
        assert coordinator.next_work(0) is Pause.WAIT
        assert coordinator.state.decisions == []
        coordinator.record(run_trial(setup_of(fast_repository, demo, 1), late))
        assert [decision.experiment for decision in coordinator.state.decisions] == [0, 1, 2, 3]
        assert coordinator.next_work(0) is Pause.FINISHED
        agree(fast_repository, coordinator)


def test_two_drivers_cannot_run_one_search(fast_repository, demo):
    with coordinator_of(fast_repository, demo), pytest.raises(SearchError, match="running already"):
        Coordinator(Repository(fast_repository), "t")


def test_a_baseline_that_fails_ends_the_search_with_its_traceback(tmp_path, demo):
    repository = make_repository(
        tmp_path / "project", FAST_TRAIN.replace("recipe = Recipe()", "recipe = Recipe(1, 2, 3, 4)")
    )
    with coordinator_of(repository, demo) as coordinator, pytest.raises(BaselineFailed, match="takes from 1 to 4"):
        run_all(coordinator, setup_of(repository, demo))
    with pytest.raises(BaselineFailed, match="takes from 1 to 4"), coordinator_of(repository):
        pass  # a resume cannot go on from it, and says why


def test_a_view_never_goes_with_a_later_tip(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=1) as coordinator:
        coordinator.pause(True)
        coordinator.write_view()  # between a record and the next view
        assert last_view(coordinator.paths, coordinator.tip, False, 0.0) is None
        coordinator.refresh_view()
        coordinator.write_view()
        assert last_view(coordinator.paths, coordinator.tip, False, 0.0)["paused"] is True
    with coordinator_of(fast_repository, limit=1) as coordinator:
        assert coordinator.view["paused"] is False and coordinator.view["tip"] != ""


def test_a_users_own_commit_on_the_incumbents_branch_is_kept_under_a_name(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=1) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        best = coordinator.state.incumbent_commit
    git(fast_repository, "checkout", "-q", "autoresearch/t")
    (fast_repository / "mine.txt").write_text("mine")
    git(fast_repository, "add", "mine.txt")
    git(fast_repository, "commit", "-qm", "mine")
    git(fast_repository, "checkout", "-q", "--detach")
    mine = git(fast_repository, "rev-parse", "HEAD").strip()
    said = []
    coordinator = Coordinator(Repository(fast_repository), "t", said.append)
    try:
        coordinator.resume()
    finally:
        coordinator.close()
    assert git(fast_repository, "rev-parse", "autoresearch/t").strip() == best
    assert git(fast_repository, "rev-parse", f"autoresearch/t-yours-{mine[:7]}").strip() == mine
    assert [line for line in said if mine[:7] in line and "yours" in line]


@pytest.mark.parametrize("slots", [2, 1])
def test_a_bad_card_is_found_out_and_its_rows_are_taken_back(fast_repository, demo, slots):
    """Slot 1 crashes whatever it runs; slot 0 does not. slots: at the start; slot 1 may join later."""
    with coordinator_of(fast_repository, demo, slots=slots, limit=9) as coordinator:
        coordinator.enrol(1, "here", "1")
        setups = [setup_of(fast_repository, demo, slot) for slot in (0, 1)]
        said = []
        coordinator.announce = said.append
        for slot in range(slots):
            coordinator.record(run_trial(setups[slot], coordinator.next_work(slot)))
        crashed = []
        for _ in range(3):
            work = coordinator.next_work(1)
            crashed.append(work.experiment.number)
            coordinator.record(Outcome(work.trial_id, *work.key, 1, work.experiment.parent, None, "no CUDA"))
        assert coordinator.next_work(1) is Pause.WAIT
        rows = (fast_repository / "runs/t/results.tsv").read_text().splitlines()[1:]
        assert len(rows) == 3 and [row.split("\t")[4] for row in rows[1:]] == ["crash", "crash"]
        for number in (crashed[2], *crashed[:2]):
            work = coordinator.next_work(0)
            assert (work.experiment.number, work.attempt) == (number, 2)
            coordinator.record(run_trial(setups[0], work))
        written = [(fast_repository / "runs/t" / folder / "results.tsv").read_text() for folder in ("", "gpu0", "gpu1")]
        assert not any("crash" in text for text in written)
        assert coordinator.next_work(1) is Pause.WAIT
        words = "\n".join(said)
        assert f"recheck e{crashed[2]:04d}-s0" in words and "aside   gpu1: 3 trials crashed there in a row" in words
        agree(fast_repository, coordinator)
    before = ledgers(fast_repository)
    with coordinator_of(fast_repository, slots=slots, limit=9):
        assert ledgers(fast_repository) == before


def test_a_trial_that_trained_on_the_cpu_of_a_gpu_slot_is_its_slots_fault(tmp_path, demo):
    train = FAST_TRAIN.replace('print("arch: none")', 'print("arch: none"); print("device: cpu")')
    repository = make_repository(tmp_path / "project", train)
    with coordinator_of(repository, demo, slots=2, limit=1) as coordinator:
        said = []
        coordinator.announce = said.append
        setup = replace(setup_of(repository, demo), gpu="GPU-1")
        coordinator.record(run_trial(setup, coordinator.next_work(0)))
        assert coordinator.state.outcomes == {} and coordinator.next_work(0) is Pause.WAIT
        assert "aside   gpu0: it has GPU GPU-1, and the trial trained on the CPU" in said[0]
        again = coordinator.next_work(1)
        assert (again.key, again.attempt) == ((0, 0), 2)
        assert run_trial(setup_of(repository, demo, 1), again).score is not None  # a logical slot is none
