"""Nothing is lost by dying: a coordinator without Ray, with real trials."""

import os

import pytest

from search.core.paths import Names
from search.core.types import UsageError
from search.driver.branches import Branches
from search.driver.coordinator import Coordinator
from search.records import journal
from search.records.ledgers import Ledgers
from search.system.git import Repository
from tests.support.repositories import FAST_TRAIN, git, make_repository
from tests.support.searches import agree, coordinator_of, ledgers, run_all, setup_of

STEPS = {  # what a driver does, how often in this search, and the calls before which `make test` lets it die
    (Coordinator, "_append"): (16, (6,)),
    (Branches, "follow"): (4, (2,)),
    (Coordinator, "_mirror"): (4, (2,)),
    (Repository, "set_ref"): (6, (2,)),
    (Ledgers, "add_outcome"): (4, (1,)),
    (Ledgers, "add_decision"): (4, (1,)),
}
DEATHS = [
    pytest.param(*step, call, id=f"{step[1]}-{call}", marks=[] if call in sampled else pytest.mark.full)
    for step, (calls, sampled) in STEPS.items()
    for call in range(1, calls + 1)
]


@pytest.mark.parametrize(("owner", "point", "call"), DEATHS)
def test_dying_between_any_two_steps_loses_no_finished_trial(fast_repository, demo, monkeypatch, owner, point, call):
    class Died(BaseException):
        pass

    setup = setup_of(fast_repository, demo)
    original = getattr(owner, point)
    calls = 0

    def dies(self, *arguments):
        nonlocal calls
        calls += 1
        if calls == call:
            raise Died
        return original(self, *arguments)

    with coordinator_of(fast_repository, demo, limit=3, seed=1) as coordinator:
        monkeypatch.setattr(owner, point, dies)
        with pytest.raises(Died):
            run_all(coordinator, setup)
        monkeypatch.setattr(owner, point, original)
    finished = len(list(fast_repository.glob("runs/t/gpu0/trials/*/outcome.json")))
    with coordinator_of(fast_repository, limit=3) as coordinator:
        assert len(coordinator.state.outcomes) == finished
        run_all(coordinator, setup)
        assert len(coordinator.state.decisions) == 4
        agree(fast_repository, coordinator)
    after = ledgers(fast_repository)
    with coordinator_of(fast_repository, limit=3):
        assert ledgers(fast_repository) == after


def story(coordinator):
    """What a search decided, without what differs from one time to the next."""
    decisions = coordinator.state.decisions
    return [(d.experiment, d.status, d.score, d.seeds, d.incumbent_seeds, d.probability, d.reason) for d in decisions]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, demo):
    """The story of a search with races that nothing disturbed, and how many records it wrote."""
    repository = make_repository(tmp_path_factory.mktemp("undisturbed") / "project", FAST_TRAIN)
    with coordinator_of(repository, demo, limit=5, confirm_seeds=2, seed=1) as coordinator:
        run_all(coordinator, setup_of(repository, demo))
        assert len(coordinator.state.kept) > 1
        return story(coordinator), len(journal.read(Repository(repository), Names("t")))


@pytest.mark.parametrize("call", [pytest.param(n, marks=[] if n == 18 else pytest.mark.full) for n in range(9, 25, 3)])
def test_dying_in_the_midst_of_races_changes_nothing_of_what_is_decided(
    fast_repository, demo, monkeypatch, undisturbed, call
):
    class Died(BaseException):
        pass

    expected, records = undisturbed
    assert records > call
    original, calls = Coordinator._append, 0

    def dies(self, record):
        nonlocal calls
        calls += 1
        if calls == call:
            raise Died
        original(self, record)

    setup = setup_of(fast_repository, demo)
    with coordinator_of(fast_repository, demo, limit=5, confirm_seeds=2, seed=1) as coordinator:
        monkeypatch.setattr(Coordinator, "_append", dies)
        with pytest.raises(Died):
            run_all(coordinator, setup)
        monkeypatch.setattr(Coordinator, "_append", original)
    with coordinator_of(fast_repository, limit=5) as coordinator:
        run_all(coordinator, setup)
        assert story(coordinator) == expected
        agree(fast_repository, coordinator)


def test_torn_and_deleted_files_are_restored_byte_for_byte(fast_repository, demo):
    with coordinator_of(fast_repository, demo) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
    before = ledgers(fast_repository)
    results = fast_repository / "runs/t/results.tsv"
    os.truncate(results, results.stat().st_size - 9)
    (fast_repository / "runs/t/decisions.jsonl").unlink()
    with coordinator_of(fast_repository):
        assert ledgers(fast_repository) == before


@pytest.mark.full
def test_locks_that_a_killed_git_left_do_not_stop_a_resume(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=1) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
    git(fast_repository, "update-ref", "-d", "refs/heads/autoresearch/t")
    for ref in ("autoresearch/t/journal", "heads/autoresearch/t", "heads/autoresearch/t-gpu0"):
        (fast_repository / f".git/refs/{ref}.lock").write_text("")
    (fast_repository / ".git/refs/heads/autoresearch/tea.lock").write_text("")  # another search's
    with coordinator_of(fast_repository, limit=2) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
        assert len(coordinator.state.decisions) == 3
        agree(fast_repository, coordinator)
    assert (fast_repository / ".git/refs/heads/autoresearch/tea.lock").exists()


def test_a_row_that_somebody_added_is_kept_beside(fast_repository, demo):
    with coordinator_of(fast_repository, demo, limit=1) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
    results = fast_repository / "runs/t/results.tsv"
    results.write_text(results.read_text() + "abc1234\t0.5\t0.5\t0.1\tdiscard\tby hand\n")
    with coordinator_of(fast_repository):
        kept = list(fast_repository.glob("runs/t/results.tsv.before-resume-*"))
    assert "by hand" in kept[0].read_text()


def test_git_clean_takes_nothing_but_the_logs(fast_repository, demo):
    with coordinator_of(fast_repository, demo) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
    before = ledgers(fast_repository)
    git(fast_repository, "clean", "-ffdxq")
    assert not (fast_repository / "runs").exists()
    with coordinator_of(fast_repository, limit=4) as coordinator:
        assert ledgers(fast_repository) == before
        run_all(coordinator, setup_of(fast_repository, demo))
        assert len(coordinator.state.decisions) == 5
        agree(fast_repository, coordinator)


def test_resuming_what_is_not_there(fast_repository):
    coordinator = Coordinator(Repository(fast_repository), "t")
    with pytest.raises(UsageError, match="no such search"):
        coordinator.resume()
    coordinator.close()
