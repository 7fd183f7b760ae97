"""The branches and refs that follow from a search's decisions."""

from __future__ import annotations

from collections.abc import Callable

from search.core.paths import Names, SearchPaths
from search.core.state import State
from search.core.types import GitError, short
from search.system.git import Repository

MOST_TRIES = 3


class Branches:
    """Points the incumbent's branch and the frontier's refs where the decisions say."""

    def __init__(self, repository: Repository, names: Names, announce: Callable[[str], None]) -> None:
        self.repository, self.names, self.announce = repository, names, announce
        self._present: dict[str, str] = {}
        self._steps = 0  # of the frontier whose refs stand

    def restore(self, state: State) -> None:
        """Looks at what is there, and mends it."""
        self._present, self._steps = self.repository.refs(self.names.refs + "/frontier"), 0
        self.follow(state)

    def follow(self, state: State) -> None:
        """After a decision."""
        for step in range(self._steps, len(state.kept)):
            self._set(self.names.frontier_ref(step), state.kept[step].commit)
        self._steps = len(state.kept)
        self._move_incumbent(state)

    def _move_incumbent(self, state: State) -> None:
        """A commit that somebody else put on the incumbent's branch is kept under a name of its own."""
        ref, wanted = self.names.incumbent_ref, state.incumbent_commit
        for attempt in range(MOST_TRIES):
            there = self.repository.commit_of(ref) or ""
            if there == wanted:
                return
            if there and there != state.settings.base and there not in {one.commit for one in state.kept}:
                kept = self.names.user_ref(there)
                self.repository.set_ref(kept, there)
                self.announce(
                    f"kept    {short(there)}, which is not the search's, was on {self.names.branch}: it is on "
                    f"{kept.removeprefix('refs/heads/')} now"
                )
            try:
                self.repository.set_ref(ref, wanted, there)
                return
            except GitError:  # it was moved meanwhile
                if attempt == MOST_TRIES - 1:
                    raise

    def _set(self, ref: str, commit: str) -> None:
        if self._present.get(ref) != commit:
            self.repository.set_ref(ref, commit)
            self._present[ref] = commit

    def settle(self, state: State, paths: SearchPaths) -> None:
        """Every slot's worktree and branch stand at the incumbent."""
        for slot in paths.slots():
            branch = self.names.slot_branch(slot.number)
            if slot.tree.exists():
                self.repository.slot_worktree(slot.tree, branch, state.incumbent_commit)
            elif self.repository.commit_of(f"refs/heads/{branch}") is not None:  # its worktree is on another machine
                self.repository.set_ref(f"refs/heads/{branch}", state.incumbent_commit)
