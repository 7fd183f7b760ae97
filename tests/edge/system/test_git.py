"""Real git: worktrees, records, names."""

import contextlib
import os
import subprocess
import threading

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


JOURNAL = "refs/autoresearch/t/journal"


def test_a_chain_gives_back_its_messages(fast_repository):
    repository = Repository(fast_repository)
    messages = ['one\n\n{"text": "é \\t \\"quote\\" -> \\\\"}', "two"]
    commits = [repository.append_message(JOURNAL, message) for message in messages]
    assert repository.messages(JOURNAL) == messages
    assert repository.messages("refs/autoresearch/other/journal") == []
    assert repository.commit_of(JOURNAL) == commits[1] and repository.parents_of(commits[1]) == [commits[0]]
    assert git(fast_repository, "fsck", "--strict") == ""


def test_two_writers_cannot_both_succeed_from_the_same_place(fast_repository):
    written = {"a": [], "b": []}

    def write(name):
        repository = Repository(fast_repository)
        for number in range(40):
            with contextlib.suppress(GitError):
                repository.append_message(JOURNAL, f"{name} {number}")
                written[name].append(f"{name} {number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in written]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Repository(fast_repository).messages(JOURNAL)
    assert sorted(found) == sorted(written["a"] + written["b"]) and len(found) >= 40
    for name, own in written.items():
        assert [message for message in found if message.startswith(name)] == own


def test_a_lock_that_somebody_holds_for_a_moment_is_waited_for(fast_repository):
    repository = Repository(fast_repository)
    repository.append_message(JOURNAL, "one")
    lock = fast_repository / ".git" / f"{JOURNAL}.lock"
    lock.touch()
    threading.Timer(1.5, lock.unlink).start()
    repository.append_message(JOURNAL, "two")
    assert repository.messages(JOURNAL) == ["one", "two"]
    assert git(fast_repository, "fsck", "--connectivity-only") == ""  # no try has left a commit of its own


def test_packing_loses_nothing_while_records_are_written(fast_repository):
    repository = Repository(fast_repository)
    ended = threading.Event()

    def pack():
        while not ended.is_set():
            Repository(fast_repository).pack(objects=True)

    packing = threading.Thread(target=pack)
    packing.start()
    try:
        for number in range(200):
            repository.append_message(JOURNAL, f"record {number}")
            repository.set_ref(f"refs/autoresearch/t/trials/e{number:04d}", repository.commit_of("HEAD"))
    finally:
        ended.set()
        packing.join()
    assert repository.messages(JOURNAL) == [f"record {number}" for number in range(200)]
    assert len(repository.refs("refs/autoresearch/t/trials")) == 200
    assert git(fast_repository, "fsck", "--connectivity-only") == ""


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


def test_a_lock_that_a_killed_packing_left_is_removed_and_a_young_one_is_not(fast_repository):
    repository, lock = Repository(fast_repository), fast_repository / ".git/packed-refs.lock"
    lock.touch()
    repository.remove_old_pack_lock()
    assert lock.exists()
    os.utime(lock, (0, 0))
    repository.remove_old_pack_lock()
    assert not lock.exists()


def test_a_repository_that_libgit2_cannot_read_is_one_line(tmp_path):
    git(tmp_path, "init", "-q", "--object-format=sha256")
    with pytest.raises(GitError, match="libgit2 cannot read this repository"):
        Repository(tmp_path).append_message(JOURNAL, "one")
