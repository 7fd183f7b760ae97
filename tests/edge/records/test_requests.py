"""What is asked of a search lies in git."""

from search.records.requests import Operation, handed_in, pending, send
from search.system.git import Repository
from tests.support.repositories import BETTER_TRAIN, FAST_TRAIN, git, make_repository
from tests.support.searches import coordinator_of, run_all, setup_of


def test_requests_lie_in_git_until_they_are_taken(fast_repository, demo):
    here = Repository(fast_repository)
    with coordinator_of(fast_repository, demo, limit=0) as coordinator:
        names = coordinator.names
        send(here, names, Operation.PAUSE)
        base = here.commit_of("HEAD")
        sent = send(here, names, Operation.PROPOSE, (base, BETTER_TRAIN, "better"))
        git(fast_repository, "clean", "-qfdx", "-e", "runs")
        found = pending(here, names)
        assert [one.operation for one in found] == [Operation.PAUSE, Operation.PROPOSE]
        assert here.file_at(sent.commit, "train.py") == BETTER_TRAIN
        here.set_ref(f"{names.requests}/zzz", base)  # not one of ours
        assert len(pending(here, names)) == 2
        here.delete_ref(sent.ref)
        assert [one.operation for one in pending(here, names)] == [Operation.PAUSE]


def test_the_inbox_gives_what_the_search_does_not_have(tmp_path, demo):
    repository = make_repository(tmp_path / "project", FAST_TRAIN)
    here = Repository(repository)
    with coordinator_of(repository, demo, limit=1) as coordinator:
        run_all(coordinator, setup_of(repository, demo))
        base, names = coordinator.settings.base, coordinator.names
        assert handed_in(here, names, base) == []
        git(repository, "checkout", "-q", "-b", "autoresearch/t-inbox", coordinator.state.incumbent_commit)
        assert handed_in(here, names, base) == []
        for number in (5, 6):
            (repository / "train.py").write_text(FAST_TRAIN.replace("logits = 4 *", f"logits = {number} *"))
            git(repository, "commit", "-qam", f"sharper {number}")
        assert [here.message_of(one) for one in handed_in(here, names, base)] == ["sharper 5", "sharper 6"]
        git(repository, "branch", "mine", "HEAD~1")  # what another branch has, is not meant
        assert [here.message_of(one) for one in handed_in(here, names, base)] == ["sharper 6"]
