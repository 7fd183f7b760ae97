"""The studies of a search, one for each code that an incumbent had, and what each learns from those before it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from search.core.sources import Commits
from search.core.space import Point
from search.core.state import State
from search.core.types import Experiment, Kind, Outcome
from search.decide.study import Study, value_of
from search.decide.transfer import Observation, transferred


class Studies:
    """Asks and tells the study of the right code; a study is made when its code is first searched around.

    records: the journal so far, whose order studies keep, so that a resumed search suggests what it would have.
    mirror: an SQLite file for Optuna's dashboard.
    """

    def __init__(self, state: State, commits: Commits, mirror: Path, records: Iterable[dict[str, Any]]) -> None:
        self.state, self.commits, self.mirror = state, commits, mirror
        self._studies: dict[str, Study] = {}
        self._past: list[tuple[int, int | None]] = []  # experiment begun, None; or experiment, seed of an outcome
        for record in records:
            if record["event"] == "experiment":
                self._past.append((record["number"], None))
            elif record["event"] == "outcome":
                self._past.append((record["experiment"], record["seed"]))

    def suggest(self, experiment: int, commit: str) -> Point | None:
        """The next point around a commit, or None where every point in reach was suggested before."""
        study = self._study_at(commit)
        study.transfer(self._told_before(commit))
        return study.suggest(experiment, self.commits.recipe(commit))

    def begun(self, experiment: Experiment) -> None:
        """An experiment is in flight from now on."""
        self._past.append((experiment.number, None))
        study = self._studies.get(self.commits.code_of(experiment))
        if study is not None and experiment.kind is not Kind.SWEEP:  # a sweep's point is the study's own
            study.begin(experiment.number, self.commits.point(experiment))

    def told(self, outcome: Outcome) -> None:
        """A trial has ended."""
        self._past.append((outcome.experiment, outcome.seed))
        experiment = self.state.experiments[outcome.experiment]
        study = self._studies.get(self.commits.code_of(experiment))
        if study is not None:
            study.tell(outcome.experiment, self.commits.point(experiment), outcome.seed, outcome.score)

    def _study_at(self, commit: str) -> Study:
        code = self.commits.code(commit)
        if code in self._studies:
            return self._studies[code]
        study = self._studies[code] = Study(self.commits.space(commit), self.state.settings.seed, code, self.mirror)
        study.exclude(self.commits.recipe(commit))
        for number, seed in self._past:
            experiment = self.state.experiments[number]
            if self.commits.code_of(experiment) != code or (experiment.kind is Kind.BASELINE and seed is None):
                continue
            if seed is None:
                study.begin(number, self.commits.point(experiment))
            else:
                score = self.state.outcomes[(number, seed)].score
                study.tell(number, self.commits.point(experiment), seed, score)
        return study

    def _told_before(self, commit: str) -> list[Observation]:
        """What the trials of the codes that this commit's is an edit of tell about it."""
        step = self.commits.edit_before(commit)
        if step is None:
            return []
        before, edited = step
        code = self.commits.code(before)
        told = self._told_before(before)
        for outcome in self.state.outcomes.values():
            experiment = self.state.experiments[outcome.experiment]
            if outcome.score is not None and self.commits.code_of(experiment) == code:
                told.append(Observation(self.commits.point(experiment), value_of(outcome.score), code))
        recipes = self.commits.recipe(before), self.commits.recipe(edited)
        usages = self.commits.usages(before), self.commits.usages(edited)
        return transferred(told, *recipes, *usages, self.commits.space(commit))
