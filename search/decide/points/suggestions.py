"""The next point to try, by the posterior: which experiment to look around, and what is in flight. Pure."""

from __future__ import annotations

import numpy as np
import optuna

from search.core.sources import Sources
from search.core.space import Point, Space
from search.core.state import State
from search.core.types import Experiment
from search.decide.belief import Belief
from search.decide.points.memory import card_of, memory_model
from search.decide.points.sampler import AroundBest, Suggestion, holds
from search.decide.rules import out_of_race

LOST = 3.0  # noises below the worst score: what a crash counts as, and what could not be kept
MOST_LOST = 60
LATEST = 400  # points that a new one must be no twin of, the latest


class Suggestions:
    """Asks the sampler of the incumbent's code. What was tried is never suggested again."""

    def __init__(self, state: State, sources: Sources, belief: Belief) -> None:
        self.state, self.sources, self.belief = state, sources, belief
        self._samplers: dict[str, AroundBest] = {}
        self._points: dict[str, list[Point]] = {}  # of each code, as they were planned
        self._planned = 0
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._asked = optuna.create_study(direction="maximize")

    def suggest(self, experiment: int) -> Suggestion | None:
        """None if every point in reach was tried before."""
        self._follow()
        sampler, code = self._sampler()
        names = [axis.name for axis in sampler.space.axes]
        known = self._points.get(code, [])
        judge = PosteriorJudge(self.belief, self.sources, sampler.space) if self.belief.followed().rows else None
        centre = judge.best_point() if judge else None
        recipe = self.sources.recipe(self.state.incumbent_commit)
        chosen = centre if centre is not None and holds(sampler.space, centre) else recipe
        sampler.centre = {name: chosen[name] for name in names}
        sampler.seen = {sampler.space.key(point) for point in known} | {sampler.space.key(recipe)}
        sampler.known = [*known[-LATEST:], recipe]
        sampler.judge, sampler.experiment = judge, experiment
        sampler.in_flight = len(waiting_points(self.state))
        asked = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
        space = sampler.infer_relative_search_space(self._asked, asked)
        sampler.sample_relative(self._asked, asked, space)
        return sampler.suggestion

    def _sampler(self) -> tuple[AroundBest, str]:
        commit = self.state.incumbent_commit
        code = self.sources.code(commit)
        if code not in self._samplers:
            self._samplers[code] = AroundBest(self.sources.space(commit), self.state.settings.seed)
        return self._samplers[code], code

    def _follow(self) -> None:
        for number in range(self._planned, len(self.state.experiments)):
            experiment = self.state.experiments[number]
            point = self.sources.point(experiment)
            space = self.sources.space(experiment.commit or experiment.parent)
            if holds(space, point):
                self._points.setdefault(self.sources.code_of(experiment), []).append(point)
        self._planned = len(self.state.experiments)


class PosteriorJudge:
    """What a run of a point that begins from the incumbent is worth, with what is in flight counted as expected, and
    what crashed or could not be kept as worse than the worst; times the probability that it fits the largest card."""

    def __init__(self, belief: Belief, sources: Sources, space: Space) -> None:
        self.belief, self.sources, state = belief, sources, belief.state
        self.card = card_of(state)
        recipe = sources.recipe(state.incumbent_commit)
        self.memory = memory_model(state, sources, space, recipe) if self.card else None
        self.parent = state.incumbent.experiment if state.incumbent else 0
        known = belief.surrogate()
        self.layout, self._nodes = belief.layout, known.nodes.on_no_kind()
        waiting, out = waiting_points(state), lost(state, with_those_too_large=self.memory is None)
        made = self.layout.of_experiments([*waiting, *out])
        expected = known.mean(made) if len(made) else np.zeros(0)
        expected[len(waiting) :] = known.y.min() - LOST * known.hyper.noise
        self.posterior = known.expecting(made, expected)
        code = sources.code(self.layout.commit)
        own = [sources.code_of(state.experiments[number]) == code for number, _ in self.layout.keys]
        self.best = int(np.where(own, self.posterior.mean(self._nodes), -np.inf).argmax()) if any(own) else None

    def best_point(self) -> Point | None:
        """The recipe of the experiment that is believed to be the best, of those of the incumbent's code."""
        if self.best is None:
            return None
        return self.sources.point(self.belief.state.experiments[self.layout.keys[self.best][0]])

    def worths(self, units: np.ndarray) -> np.ndarray:
        """By the knowledge gradient, beside the best of this code."""
        made = self.layout.of_points(units, self.parent)
        beside = self._nodes.at([self.best or 0])
        return self.posterior.beside(made, beside).worths(self.posterior.hyper.noise) * self.fits(units)

    def fits(self, units: np.ndarray) -> np.ndarray:
        """The probability, (n,), that the largest card has room for each of these, (n, axes); 1 if nothing tells."""
        return self.memory.fits(units, self.card) if self.memory and self.card else np.ones(len(units))


def waiting_points(state: State) -> list[Experiment]:
    """Experiments that were begun and have no outcome, in order of their numbers."""
    begun = {number for number, _ in (*state.in_flight, *state.to_rerun)} | set(state.unstarted)
    return [state.experiments[number] for number in sorted(begun) if number and number not in state.trials]


def lost(state: State, with_those_too_large: bool) -> list[Experiment]:
    """Experiments that crashed, or could not be kept whatever their scores, the latest. Those that ran out of memory
    are left out where another model knows them: how good a recipe is, its size does not say."""
    latest = dict.fromkeys(
        one.experiment
        for one in state.ended[-LATEST:]
        if one.experiment and (with_those_too_large or not one.ran_out_of_memory)
    )
    found = [number for number in latest if number in state.trials and out_of_race(state, number)]
    return [state.experiments[number] for number in found[-MOST_LOST:]]
