"""What Optuna is given and asked: the history of one code becomes the next point around the incumbent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna

from search.core.space import Point, Space
from search.core.types import Score, Value
from search.decide.sampler import AroundIncumbent, distributions
from search.decide.transfer import Observation
from search.task.metrics import PRIMARY, SECONDARY, named

SECONDARY_WEIGHT = 0.01  # beside the primary metric in the value that Optuna sees: it breaks ties and little more


def value_of(score: Score) -> float:
    """The one number that Optuna maximises."""
    return PRIMARY.gain(score.primary, 0.0) + SECONDARY_WEIGHT * SECONDARY.gain(score.secondary, 0.0)


def holds(space: Space, point: Mapping[str, Value]) -> bool:
    """Whether a point lies within the axes: one of another history of the same code may not."""
    return all(axis.name in point and axis.allows(point[axis.name]) for axis in space.axes)


def frozen_trial(
    space: Space, code: str, experiment: int, seed: int, point: Point, score: Score | None
) -> optuna.trial.FrozenTrial:
    """A trial that has ended, in Optuna's terms; score None: it crashed."""
    state = optuna.trial.TrialState.FAIL if score is None else optuna.trial.TrialState.COMPLETE
    return optuna.trial.create_trial(
        state=state,
        value=None if score is None else value_of(score),
        params={axis.name: point[axis.name] for axis in space.axes},
        distributions=distributions(space),
        user_attrs={"experiment": experiment, "seed": seed, "code": code, **(named(score) if score else {})},
    )


class Study:
    """Optuna's study of one code: the trials that have ended. What is in flight is the state's to know.

    Same seed and same calls in the same order give the same points.
    """

    def __init__(self, space: Space, seed: int, code: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.code = space, code
        self.sampler = AroundIncumbent(space, seed)
        self.study = optuna.create_study(direction="maximize", sampler=self.sampler)

    def exclude(self, point: Mapping[str, Value]) -> None:
        """Never suggests this point again."""
        if holds(self.space, point):
            self.sampler.seen.add(self.space.key(point))

    def observe(self, experiment: int, seed: int, point: Point, score: Score | None) -> None:
        """One trial's score, or None if it crashed; further seeds of a point are trials of their own."""
        if holds(self.space, point):
            self.study.add_trial(frozen_trial(self.space, self.code, experiment, seed, point, score))

    def suggest(
        self,
        experiment: int,
        incumbent: Mapping[str, Value],
        pending: Sequence[Point] = (),
        transferred: Sequence[Observation] = (),
    ) -> Point | None:
        """The next point around the incumbent's recipe, or None if every point in reach was tried before.

        pending: points in flight. transferred: what is known of the codes that this one is an edit of.
        """
        names = [axis.name for axis in self.space.axes]
        self.sampler.incumbent = {name: incumbent[name] for name in names}
        self.sampler.pending = [{name: point[name] for name in names} for point in pending if holds(self.space, point)]
        self.sampler.transferred = list(transferred)
        self.sampler.experiment = experiment
        asked = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
        self.sampler.sample_relative(self.study, asked, self.sampler.infer_relative_search_space(self.study, asked))
        return self.sampler.suggestion
