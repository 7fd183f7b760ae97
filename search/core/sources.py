"""What the train.py of a search's commits hold: recipe, code, axes.

Remembered, since commits never change. Pure but for the sources that it asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from search.core.recipe import Field, code_id, identity, read_recipe, usages
from search.core.space import Point, Space, adapted, parse_space
from search.core.state import State
from search.core.types import Experiment, Settings, Value


class Sources:
    """source_at: a commit's train.py. Parents come by `edited_from`; the base has none."""

    def __init__(self, settings: Settings, source_at: Callable[[str], str]) -> None:
        self.base = settings.base
        self.source_at = source_at
        self._spaces: dict[str, Space] = {}
        self._of_base = parse_space(settings.space, settings.space_name)
        self._parents: dict[str, str] = {}
        self._fields: dict[str, dict[str, Field]] = {}
        self._codes: dict[str, str] = {}
        self._tried: dict[str, str] = {}  # identity -> what to call it
        self._tried_experiments = self._tried_proposals = 0
        self._usages: dict[str, dict[str, str]] = {}
        self._edits: dict[str, tuple[str, str] | None] = {}

    def edited_from(self, commit: str, parent: str) -> None:
        """Notes the commit that another one edits."""
        if commit not in (parent, self.base):
            self._parents[commit] = parent

    def fields(self, commit: str) -> dict[str, Field]:
        """The recipe's fields. Raises RecipeError if it cannot be read."""
        if commit not in self._fields:
            self._fields[commit] = read_recipe(self.source_at(commit))
        return self._fields[commit]

    def recipe(self, commit: str) -> dict[str, Value]:
        return {name: field.value for name, field in self.fields(commit).items()}

    def code(self, commit: str) -> str:
        """By recipe.code_id."""
        if commit not in self._codes:
            self._codes[commit] = code_id(self.source_at(commit))
        return self._codes[commit]

    def usages(self, commit: str) -> dict[str, str]:
        """By recipe.usages; the same for all commits of one code."""
        code = self.code(commit)
        if code not in self._usages:
            self._usages[code] = usages(self.source_at(commit))
        return self._usages[code]

    def space(self, commit: str) -> Space:
        """The axes of a commit's code: the search's, adapted by every edit on the way from the base."""
        code = self.code(commit)
        if code not in self._spaces:
            step = self.edit_before(commit)
            if step is None:
                self._spaces[code] = self._of_base
            else:
                before, edited = step
                self._spaces[code] = adapted(self.space(before), self.fields(before), self.fields(edited))
        return self._spaces[code]

    def edit_before(self, commit: str) -> tuple[str, str] | None:
        """(the last commit of other code, the first of this one) on the way from the base; None for the base's code."""
        if commit not in self._edits:
            code, line = self.code(commit), self._line(commit)
            self._edits[commit] = next(((parent, child) for child, parent in line if self.code(parent) != code), None)
        return self._edits[commit]

    def _line(self, commit: str) -> Iterator[tuple[str, str]]:
        while (parent := self._parents.get(commit)) is not None:
            yield commit, parent
            commit = parent

    def point(self, experiment: Experiment) -> Point:
        """An experiment's whole recipe."""
        if experiment.commit:
            return self.recipe(experiment.commit)
        return self.recipe(experiment.parent) | {change.axis: change.new for change in experiment.changes}

    def code_of(self, experiment: Experiment) -> str:
        return self.code(experiment.commit or experiment.parent)

    def identity(self, experiment: Experiment) -> str:
        """By recipe.identity: equal for two experiments that try the same."""
        return identity(self.code_of(experiment), self.point(experiment))

    def tried(self, state: State) -> dict[str, str]:
        """What a search has tried or refused so far, by recipe.identity, with what to call it."""
        for proposal in state.proposals[self._tried_proposals :]:
            if proposal.identity:
                self._tried.setdefault(proposal.identity, f"proposal {proposal.number}")
        for number in range(self._tried_experiments, len(state.experiments)):
            experiment = state.experiments[number]
            self._tried[self.identity(experiment)] = f"experiment {number} ({experiment.description})"
        self._tried_proposals, self._tried_experiments = len(state.proposals), len(state.experiments)
        return self._tried
