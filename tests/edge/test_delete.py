"""Searches are listed, and removed with all that they left and nothing else."""

import json
from dataclasses import replace

import pytest

from search import delete
from search import list as lists
from search.cli import removal
from search.core.types import SearchError, UsageError
from search.driver.coordinator import Coordinator
from search.system.git import Repository
from search.trial import sealed
from tests.support.repositories import git
from tests.support.searches import coordinator_of, run_all, settings_of, setup_of


@pytest.fixture
def searched(fast_repository, demo, monkeypatch):
    """A repository with a search t that has ended, what git showed before, and where its sealed results lie."""
    for place in ("search.delete.repository_here", "search.list.repository_here", "search.cli.control.repository_here"):
        monkeypatch.setattr(place, lambda: Repository(fast_repository))
    git(fast_repository, "branch", "autoresearch/other")
    before = everything(fast_repository)
    settings = settings_of(fast_repository, demo)
    with coordinator_of(fast_repository, demo, limit=2) as coordinator:
        run_all(coordinator, replace(setup_of(fast_repository, demo), seal=str(sealed.folder_of(settings))))
        coordinator.settle_worktrees()
    assert sealed.folder_of(settings).exists()
    return fast_repository, before, sealed.folder_of(settings)


def everything(repository):
    return (
        git(repository, "for-each-ref"),
        git(repository, "worktree", "list", "--porcelain"),
        git(repository, "status", "--porcelain"),
        sorted((repository / "runs").glob("*")),
    )


def test_a_search_is_listed_with_what_it_takes(searched, capsys):
    repository, _, seal = searched
    (repository / "runs/half").mkdir()
    (repository / "runs/half/.lock").touch()
    (repository / "runs/notes").mkdir()  # the user's own
    assert lists.main(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)["searches"]
    assert [(one["tag"], one["state"]) for one in found] == [
        ("t", "ended"), ("half", "half deleted"), ("other", "half deleted"),
    ]  # fmt: skip
    assert found[0]["experiments"] == 3 and found[0]["best"]
    assert all(found[0][f"bytes_{where}"] > 1000 for where in ("on_disk", "in_git", "outside"))
    assert found[0]["bytes_outside"] == sum(path.stat().st_blocks * 512 for path in seal.iterdir())
    assert lists.main([]) == 0
    assert "t: ended; 3 experiments" in capsys.readouterr().out


def test_nothing_but_the_search_is_removed(searched, capsys):
    repository, before, seal = searched
    assert delete.main(["t"]) == 2  # nobody can be asked here
    assert "--yes is needed" in (said := capsys.readouterr().err) and "- branch autoresearch/t-gpu0" in said
    best = git(repository, "rev-parse", "autoresearch/t").strip()
    assert delete.main(["t", "--yes", "--keep-best", "mine"]) == 0
    assert git(repository, "rev-parse", "mine").strip() == best
    git(repository, "branch", "-D", "mine")
    assert everything(repository) == before and not seal.exists()
    with pytest.raises(UsageError, match="no such search"):
        delete.delete("t", "", True)
    assert delete.main(["other", "--yes"]) == 0  # of a search that is half deleted


@pytest.mark.parametrize("step", ["remove_tree", "delete_ref"])
@pytest.mark.parametrize("call", [pytest.param(n, marks=[] if n == 3 else pytest.mark.full) for n in (1, 2, 3, 4)])
def test_what_was_killed_while_it_removed_can_be_removed(searched, monkeypatch, step, call):
    class Died(BaseException):
        pass

    repository, before, seal = searched
    owner = removal if step == "remove_tree" else Repository
    original, calls = getattr(owner, step), []

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise Died
        return original(*arguments)

    monkeypatch.setattr(owner, step, dies)
    with pytest.raises(Died):
        delete.delete("t", "", True)
    monkeypatch.setattr(owner, step, original)
    assert "t" in [one["tag"] for one in removal.listed(Repository(repository))]
    delete.delete("t", "", True)
    assert everything(repository) == before and not seal.exists()


def test_what_must_not_be_removed_is_refused(searched, tmp_path):
    repository, _, _ = searched
    for name in ("..", "../..", "t/gpu0", "nowhere", ""):
        with pytest.raises(UsageError, match=r"no such search|no name of a search"):
            delete.delete(name, "", True)
    git(repository, "commit", "-q", "--allow-empty", "-m", "more")
    git(repository, "branch", "taken", "HEAD")
    with pytest.raises(UsageError, match="a branch of this name exists"):
        delete.delete("t", "taken", True)
    with pytest.raises(UsageError, match="--keep-best a b"):
        delete.delete("t", "a b", True)
    coordinator = Coordinator(Repository(repository), "t", lambda line: None)
    with pytest.raises(SearchError, match=r"t runs; end it first"):
        delete.delete("t", "", True)
    coordinator.close()
    git(repository, "worktree", "add", "-q", "--force", str(tmp_path / "mine"), "autoresearch/t")
    with pytest.raises(SearchError, match=r"checked out in .*mine"):
        delete.delete("t", "", True)
    assert (repository / "runs/t/results.tsv").exists() and (repository / "runs/t/gpu0/tree/train.py").exists()
