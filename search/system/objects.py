"""Git's objects and refs through libgit2, which needs no process: what is read and written often."""

from __future__ import annotations

import time
from pathlib import Path

import pygit2

from search.core.types import GitError

REF_LOCK_SECONDS = 10.0  # how long a gc of the user's may hold one
RETRY_SECONDS = 0.01


class Objects:
    """Of one repository, for one thread. folder: git's own, which all worktrees share. Raises GitError if it is of a
    kind that libgit2 cannot read."""

    def __init__(self, folder: Path) -> None:
        pygit2.settings.enable_fsync_gitdir(True)  # a record is on the disk, whatever happens to the machine
        try:
            self.library = pygit2.Repository(str(folder))
        except (pygit2.GitError, OSError, ValueError) as error:
            raise GitError(f"{folder}: libgit2 cannot read this repository: {error}") from error

    def file_at(self, commit: str, path: str) -> str | None:
        """A file's text; None if it cannot be read here. commit: its full hash."""
        try:
            found = self.library[commit].peel(pygit2.Commit).tree / path
            return found.data.decode() if isinstance(found, pygit2.Blob) else None
        except (KeyError, ValueError, pygit2.GitError):
            return None

    def time_of(self, commit: str) -> float | None:
        """When a commit was made, in seconds since the epoch; None if it is not here. commit: its full hash."""
        try:
            return float(self.library[commit].peel(pygit2.Commit).commit_time)
        except (KeyError, ValueError, pygit2.GitError):
            return None

    def append_message(self, ref: str, message: str) -> str:
        """Adds a commit without files to a chain, in about a millisecond; its hash.

        The ref moves only from where this call saw it, so that two writers cannot both succeed. Raises GitError.
        """
        deadline = time.monotonic() + REF_LOCK_SECONDS
        commit: pygit2.Oid | None = None  # made once for each tip, so that no try leaves one without a ref
        behind: list[pygit2.Oid | str] = []
        while True:
            try:
                found = self.library.references.get(ref)
                parents: list[pygit2.Oid | str] = [found.target] if found else []
                if commit is None or behind != parents:
                    commit, behind = self._commit(message, parents), parents
                if found:
                    found.set_target(commit)
                else:
                    self.library.references.create(ref, commit)
                return str(commit)
            except (pygit2.GitError, OSError, ValueError) as error:
                if "lock" not in str(error) or time.monotonic() > deadline:
                    raise GitError(f"{ref}: {' '.join(str(error).split())}") from error
                time.sleep(RETRY_SECONDS)

    def _commit(self, message: str, parents: list[pygit2.Oid | str]) -> pygit2.Oid:
        """A commit without files that no ref names yet."""
        signature = pygit2.Signature("autoresearch search", "autoresearch@localhost")
        tree = self.library.TreeBuilder().write()
        return self.library.create_commit(None, signature, signature, message, tree, parents)
