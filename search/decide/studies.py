"""The studies of a search, one for each code that an incumbent had, and what each learns from those before it."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import islice

from search.core.sources import Sources
from search.core.space import Point
from search.core.state import State
from search.core.types import Experiment
from search.decide.sampler import LARGEST_HISTORY
from search.decide.study import Study, holds, value_of
from search.decide.transfer import Observation, transferred


class Studies:
    """Follows a state. A study is made when its code is first searched around.

    It sees trials in the order in which they ended, so that a resumed search suggests what it would have.
    """

    def __init__(self, state: State, sources: Sources) -> None:
        self.state, self.sources = state, sources
        self._studies: dict[str, Study] = {}
        self._experiments: dict[str, list[int]] = defaultdict(list)  # by code
        self._observations: dict[str, deque[Observation]] = defaultdict(lambda: deque(maxlen=LARGEST_HISTORY))
        self._planned = self._ended = 0

    def suggest(self, experiment: int, commit: str) -> Point | None:
        """The next point around a commit, or None if every point in reach was suggested before."""
        self._follow()
        study = self._study_at(commit)
        known = self._transferred(commit, LARGEST_HISTORY)
        return study.suggest(experiment, self.sources.recipe(commit), self._pending(study.code), known)

    def _follow(self) -> None:
        state, sources = self.state, self.sources
        for number in range(self._planned, len(state.experiments)):
            experiment = state.experiments[number]
            code = sources.code_of(experiment)
            self._experiments[code].append(number)
            if code in self._studies:
                self._studies[code].exclude(sources.point(experiment))
        for outcome in state.ended[self._ended :]:
            experiment = state.experiments[outcome.experiment]
            code, point = sources.code_of(experiment), sources.point(experiment)
            if outcome.score is not None:
                self._observations[code].append(Observation(point, value_of(outcome.score), code))
            if code in self._studies:
                self._studies[code].observe(outcome.experiment, outcome.seed, point, outcome.score)
        self._planned, self._ended = len(state.experiments), len(state.ended)

    def _pending(self, code: str) -> list[Point]:
        """Points of experiments that were begun and have no outcome, in order of their numbers."""
        state = self.state
        begun = {number for number, _ in (*state.in_flight, *state.to_rerun)} | set(state.unstarted)
        waited_for = [state.experiments[number] for number in sorted(begun) if number and number not in state.trials]
        return [self.sources.point(one) for one in waited_for if self.sources.code_of(one) == code]

    def _study_at(self, commit: str) -> Study:
        sources, code = self.sources, self.sources.code(commit)
        if code in self._studies:
            return self._studies[code]
        study = self._studies[code] = Study(sources.space(commit), self.state.settings.seed, code)
        study.exclude(sources.recipe(commit))
        own = [self.state.experiments[number] for number in self._experiments[code]]
        for experiment in own:
            study.exclude(sources.point(experiment))
        numbers: dict[int, Experiment] = {experiment.number: experiment for experiment in own}
        latest_first = (
            (outcome, point)
            for outcome in reversed(self.state.ended)
            if outcome.experiment in numbers and holds(study.space, point := sources.point(numbers[outcome.experiment]))
        )
        for outcome, point in reversed(list(islice(latest_first, LARGEST_HISTORY))):  # a sampler looks at no more
            study.observe(outcome.experiment, outcome.seed, point, outcome.score)
        return study

    def _transferred(self, commit: str, most: int) -> list[Observation]:
        """What trials of the codes that this commit's is an edit of say of it; of each code the latest, most in all."""
        step = self.sources.edit_before(commit)
        if step is None or most <= 0:
            return []
        before, edited = step
        own = list(self._observations[self.sources.code(before)])[-most:]
        known = [*self._transferred(before, most - len(own)), *own]
        recipes = self.sources.recipe(before), self.sources.recipe(edited)
        usages = self.sources.usages(before), self.sources.usages(edited)
        return transferred(known, *recipes, *usages, self.sources.space(commit))
