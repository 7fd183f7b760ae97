"""Sources on their way to a node."""

import pytest

from search.cluster import git_packs
from search.core.types import GitError
from search.system.git import Repository
from tests.support.repositories import git


def test_a_node_gets_what_it_lacks_and_no_more(home, tmp_path):
    repository = Repository(tmp_path / "project")
    (repository.root / "large.bin").write_bytes(bytes(range(256)) * 4000)
    git(repository.root, "add", "large.bin")
    git(repository.root, "commit", "-qm", "more")
    base = repository.commit_of("HEAD")
    first = git_packs.snapshot(repository, base)
    git_packs.begin_bare(tmp_path / "there", base, first)
    there = Repository(tmp_path / "there")
    assert there.file_at(base, "train.py") == repository.file_at(base, "train.py")
    assert there.run("rev-list", "--count", base) == "1"  # not the commits before it
    edited = repository.commit_edit(base, "train.py", "print(1)\n", "an edit", "test")
    again = repository.commit_edit(edited, "train.py", "print(2)\n", "another", "test")
    change = git_packs.pack(repository, again, [base])
    assert len(change) < 1500 < len(first)
    git_packs.unpack(there, change)
    assert there.file_at(again, "train.py") == "print(2)\n"
    assert there.run("fsck", "--connectivity-only", again).strip() == ""
    assert len(git_packs.pack(repository, again, [edited, "0" * 40])) < len(
        change
    )  # of unknown commits nothing is heard


def test_torn_packs_are_refused(home, tmp_path):
    setup, own_exchange = home
    data = own_exchange.base()
    with pytest.raises(GitError):
        git_packs.begin_bare(tmp_path / "there", setup.settings.base, data[: len(data) // 2])
    assert not git_packs.is_begun(tmp_path / "there", setup.settings.base)
    (tmp_path / "there").mkdir(exist_ok=True)
    (tmp_path / "there/config.lock").touch()  # a git was killed here
    git_packs.begin_bare(tmp_path / "there", setup.settings.base, data)
    assert git_packs.is_begun(tmp_path / "there", setup.settings.base)
