"""What Optuna is told and asked: the history of one code becomes the next point around the incumbent."""

from __future__ import annotations

from pathlib import Path

import optuna

from search.core.space import Point, Space
from search.core.types import Score, Value
from search.decide.sampler import AroundIncumbent, distributions
from search.decide.transfer import Observation

MC_WEIGHT = 0.01  # of mc_acc beside bin_acc in the value that Optuna sees: it breaks ties and little more


def value_of(score: Score) -> float:
    """The one number that Optuna maximises."""
    return score.bin_acc + MC_WEIGHT * score.mc_acc


class Study:
    """Optuna's study of one code. Same seed and same calls in the same order give the same points.

    mirror: an SQLite file that Optuna's own dashboard opens. It is written, never read: a search is rebuilt without.
    """

    def __init__(self, space: Space, seed: int, code: str, mirror: Path | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space = space
        self.sampler = AroundIncumbent(space, seed)
        self.study = optuna.create_study(direction="maximize", sampler=self.sampler)
        self.code = code
        self.asked: dict[int, int] = {}  # experiment -> number of its trial in the study
        self.mirror = mirror
        self.mirrored: optuna.Study | None = None

    def exclude(self, point: Point) -> None:
        """Never suggests this point again."""
        self.sampler.seen.add(self.space.key(point))

    def transfer(self, told: list[Observation]) -> None:
        """Takes what trials of the codes before this one tell, in place of what was transferred before."""
        self.sampler.transferred = told

    def begin(self, experiment: int, point: Point) -> None:
        """Registers a point chosen before, as when a search is rebuilt: it is in flight from now on."""
        if not self._holds(point):
            return
        self.exclude(point)
        params = {axis.name: point[axis.name] for axis in self.space.axes}
        running = optuna.trial.TrialState.RUNNING
        self.study.add_trial(
            optuna.trial.create_trial(state=running, params=params, distributions=distributions(self.space))
        )
        self.asked[experiment] = len(self.study.get_trials(deepcopy=False)) - 1

    def _holds(self, point: Point) -> bool:
        """Whether a point lies within the axes: one of another history of the same code may not."""
        return all(axis.name in point and axis.allows(point[axis.name]) for axis in self.space.axes)

    def suggest(self, experiment: int, centre: dict[str, Value]) -> Point | None:
        """The next point around the centre, or None where every point in reach was suggested before."""
        self.sampler.centre = {axis.name: centre[axis.name] for axis in self.space.axes}
        self.sampler.experiment = experiment
        trial = self.study.ask(distributions(self.space))
        point = self.sampler.suggestion
        if point is None:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None
        self.exclude(point)
        self.asked[experiment] = trial.number
        return point

    def tell(self, experiment: int, point: Point, seed: int, score: Score | None) -> None:
        """One trial's score, or None where it crashed; further seeds of a point are told as trials of their own."""
        if not self._holds(point):
            return
        value = None if score is None else value_of(score)
        trial = self.asked.pop(experiment, None)
        state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
        params = {axis.name: point[axis.name] for axis in self.space.axes}
        frozen = optuna.trial.create_trial(
            state=state,
            value=value,
            params=params,
            distributions=distributions(self.space),
            user_attrs={"experiment": experiment, "seed": seed, "code": self.code}
            | ({"bin_acc": score.bin_acc, "mc_acc": score.mc_acc} if score else {}),
        )
        if trial is None:
            self.study.add_trial(frozen)
        else:
            self.study.tell(trial, value, state=state)
        self._mirror(frozen)

    def _mirror(self, frozen: optuna.trial.FrozenTrial) -> None:
        if self.mirror is None:
            return
        try:
            if self.mirrored is None:
                self.mirrored = optuna.create_study(
                    storage=f"sqlite:///{self.mirror}",
                    study_name=f"code {self.code}",
                    direction="maximize",
                    load_if_exists=True,
                )
                self.known = {(t.user_attrs.get("experiment"), t.user_attrs.get("seed")) for t in self.mirrored.trials}
            key = (frozen.user_attrs["experiment"], frozen.user_attrs["seed"])
            if key not in self.known:
                self.known.add(key)
                self.mirrored.add_trial(frozen)
        except Exception as error:  # a full disk or a locked file must not end the search
            print(f"optuna mirror {self.mirror}: {type(error).__name__}; the search goes on without it", flush=True)
            self.mirror = None
