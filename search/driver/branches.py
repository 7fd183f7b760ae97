"""The branches and refs that follow from a search's decisions."""

from __future__ import annotations

from search.core.paths import Names, SearchPaths
from search.core.state import State
from search.system.git import Repository


class Branches:
    """Points the incumbent's branch and the frontier's refs where the decisions say."""

    def __init__(self, repository: Repository, names: Names) -> None:
        self.repository, self.names = repository, names
        self._present: dict[str, str] = {}
        self._steps = 0  # of the frontier whose refs stand

    def restore(self, state: State) -> None:
        """Looks at what is there, and mends it."""
        refs = self.repository.refs(self.names.incumbent_ref) | self.repository.refs(self.names.refs + "/frontier")
        self._present, self._steps = refs, 0
        self.follow(state)

    def follow(self, state: State) -> None:
        """After a decision."""
        for step in range(self._steps, len(state.kept)):
            self._set(self.names.frontier_ref(step), state.kept[step].commit)
        self._steps = len(state.kept)
        self._present[self.names.incumbent_ref] = self.repository.commit_of(self.names.incumbent_ref) or ""
        self._set(self.names.incumbent_ref, state.incumbent_commit)

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
