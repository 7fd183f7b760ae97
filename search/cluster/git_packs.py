"""Commits of a search from one repository to another, as git packs of what the other one lacks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from search.system.git import Repository


def snapshot(repository: Repository, commit: str) -> bytes:
    """A pack of one commit and its files, without the commits before it."""
    objects = repository.run("rev-list", "--objects", "--no-object-names", "--no-walk", commit)
    return repository.pipe(f"{objects}\n".encode(), "pack-objects", "--stdout", "--quiet")


def pack(repository: Repository, wanted: str, had: Iterable[str]) -> bytes:
    """A pack of a commit with its files and all before it, for somebody who has some commits and all before them.

    had: as somebody says; what this repository does not know helps nothing.
    """
    asked = "".join(f"{commit}\n" for commit in had)
    answers = repository.run("cat-file", "--batch-check", stdin=asked).splitlines() if asked else []
    known = [line.split()[0] for line in answers if line.split()[1:2] == ["commit"]]
    revisions = "\n".join([wanted, *(f"^{commit}" for commit in known)]) + "\n"
    return repository.pipe(revisions.encode(), "pack-objects", "--revs", "--thin", "--stdout", "--quiet")


def unpack(repository: Repository, data: bytes) -> None:
    """Adds a pack's objects. Raises GitError if it is torn, or builds on what is not here."""
    repository.pipe(data, "unpack-objects", "-q")


def begin_bare(folder: Path, base: str, data: bytes) -> None:
    """Makes a repository without worktree whose history begins with the base, from its snapshot; what is there is lost.

    Made aside and moved into place: a git that was killed leaves locks that would stop the next one.
    """
    aside = folder.with_name(f"{folder.name}.partial")
    for left in (folder, aside):
        shutil.rmtree(left, ignore_errors=True)
    aside.mkdir(parents=True)
    repository = Repository(aside)
    repository.run("init", "--quiet", "--bare", ".")
    unpack(repository, data)
    (aside / "shallow").write_text(f"{base}\n")  # git's own list of commits whose parents are elsewhere
    repository.set_ref("refs/autoresearch-node/base", base)
    os.rename(aside, folder)


def is_begun(folder: Path, base: str) -> bool:
    """Whether begin_bare has come to its end here."""
    try:
        return Repository(folder).commit_of("refs/autoresearch-node/base") == base
    except OSError:  # there is no such folder
        return False
