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
        while True:
            try:
                found = self.library.references.get(ref)
                signature = pygit2.Signature("autoresearch search", "autoresearch@localhost")
                parents = [found.target] if found else []
                tree = self.library.TreeBuilder().write()
                return str(self.library.create_commit(ref, signature, signature, message, tree, parents))
            except (pygit2.GitError, OSError, ValueError) as error:
                if "lock" not in str(error) or time.monotonic() > deadline:
                    raise GitError(f"{ref}: {' '.join(str(error).split())}") from error
                time.sleep(RETRY_SECONDS)
