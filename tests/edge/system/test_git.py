"""Real git: worktrees, records, names."""

import os
import subprocess

import pytest

from search.core.types import GitError
from search.system.git import Repository, find_repository
from tests.support.repositories import git


def test_a_worktree_is_cleaned_of_all_that_a_trial_left(fast_repository):
    repository = Repository(fast_repository)
    base = repository.commit_of("HEAD")
    path = fast_repository / "runs/t/gpu0/tree"
    tree = repository.slot_worktree(path, "autoresearch/t-gpu0", base)
    commit = tree.commit_file("train.py", "x = 1\n", "idea", "gpu0")
    for name in ("sitecustomize.py", "torch.py", "runs/inner", "__pycache__/prepare.cpython-311.pyc"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("left over")
    (path / "prepare.py").write_text("changed")
    (fast_repository / ".git/worktrees/tree/index.lock").write_text("")
    subprocess.run(["git", "init", "-q", str(path / "nested")], check=True)
    tree = repository.slot_worktree(path, "autoresearch/t-gpu0", base)
    assert tree.run("status", "--porcelain", "--ignored") == ""
    assert tree.commit_of("HEAD") == base
    assert (path / "train.py").read_text() == (fast_repository / "train.py").read_text()
    assert repository.commit_of(commit) == commit


@pytest.mark.parametrize("damage", ["remove", "unlink"])
def test_a_broken_worktree_is_made_anew(fast_repository, damage):
    repository = Repository(fast_repository)
    base = repository.commit_of("HEAD")
    path = fast_repository / "runs/t/gpu0/tree"
    repository.slot_worktree(path, "autoresearch/t-gpu0", base)
    if damage == "remove":
        subprocess.run(["rm", "-rf", str(path)], check=True)
    else:
        (path / ".git").unlink()
    tree = repository.slot_worktree(path, "autoresearch/t-gpu0", base)
    assert tree.commit_of("HEAD") == base


def test_the_users_settings_and_hooks_are_left_alone(fast_repository):
    hook = fast_repository / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    before = (fast_repository / ".git/config").read_text()
    repository = Repository(fast_repository)
    tree = repository.slot_worktree(
        fast_repository / "runs/t/gpu0/tree", "autoresearch/t-gpu0", repository.commit_of("HEAD")
    )
    tree.commit_file("train.py", "x = 1\n", "idea\n\nwith a body", "gpu0")
    assert (fast_repository / ".git/config").read_text() == before
    assert git(fast_repository, "log", "-1", "--format=%an", "autoresearch/t-gpu0").strip() == "autoresearch gpu0"


def test_the_journal_gives_back_what_it_was_given(fast_repository):
    repository = Repository(fast_repository)
    records = [{"event": "x", "text": 'é \n tab\t"quote" -> \\'}, {"event": "y", "number": 3}]
    for record in records:
        repository.append_record("refs/autoresearch/t/journal", record)
    assert repository.read_records("refs/autoresearch/t/journal") == records
    assert repository.read_records("refs/autoresearch/other/journal") == []


def test_the_journal_refuses_a_second_writer(fast_repository, monkeypatch):
    repository = Repository(fast_repository)
    ref = "refs/autoresearch/t/journal"
    repository.append_record(ref, {"event": "one"})
    first = repository.commit_of(ref)
    repository.append_record(ref, {"event": "two"})
    monkeypatch.setattr(Repository, "commit_of", lambda self, name: first)
    with pytest.raises(GitError):
        repository.append_record(ref, {"event": "three"})
    monkeypatch.undo()
    assert repository.read_records(ref) == [{"event": "one"}, {"event": "two"}]


def test_outside_a_repository_and_without_a_commit(tmp_path):
    with pytest.raises(GitError, match="not in a git repository"):
        find_repository(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(GitError, match="no commit yet"):
        find_repository(tmp_path)


def test_variables_of_a_hook_do_not_lead_to_another_repository(fast_repository, tmp_path, monkeypatch):
    from search.system.git import clean_environment

    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    clean_environment()
    assert "GIT_DIR" not in os.environ
    assert find_repository(fast_repository).root == fast_repository
