"""What a world says: the true score of every experiment, and what the agent proposes in it."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from search.core.space import Axis, Point, Space
from search.core.types import Experiment, Value

AXES = Space("effects", tuple(Axis(f"axis{n}", "float", 0.01, 100.0, True, 4.0) for n in range(8)))
LCBENCH = Space(
    "lcbench",
    (
        Axis("batch_size", "int", 16, 512, True, 3.0),
        Axis("learning_rate", "float", 1e-4, 1e-1, True, 4.0),
        Axis("momentum", "float", 0.1, 0.99, False, 0.3),
        Axis("weight_decay", "float", 1e-5, 1e-1, False, 0.03),
        Axis("num_layers", "int", 1, 5, False, 1.5),
        Axis("max_units", "int", 64, 1024, True, 3.0),
        Axis("max_dropout", "float", 0.0, 1.0, False, 0.3),
    ),
)
EPOCHS = 52
CORRELATED_ON = 400  # random points that two tasks' surfaces are compared on


class World(Protocol):
    """One search's world. noise: standard deviation of a trial. best: the highest true score there is, if it is known.

    start: the baseline's recipe. space: of its axes.
    """

    noise: float
    best: float | None
    space: Space
    start: dict[str, Value]

    def truth(self, experiment: Experiment, parent: float, point: Point, edits: Sequence[str]) -> float:
        """The true score of an experiment, of this recipe, that began from one of this true score; edits: of the code,
        in words, down to this experiment's."""

    def curve(self, point: Point, shares: Sequence[float]) -> tuple[float, ...]:
        """The true score of a recipe at these shares of its training; () if that is not known."""

    def proposal(self, turn: int) -> tuple[str, bool] | None:
        """An edit for the agent's turn, in words, and whether it makes train.py simpler; None for none."""


@dataclass(frozen=True)
class Effects:
    """How much experiments gain. good_share of the ideas are in 0…best, the others in worst…0; the agent proposes
    simplifications whose effect is in simpler_worst…0."""

    good_share: float
    best: float
    worst: float
    simpler_worst: float = -0.012


EFFECTS = {
    "generous": Effects(0.25, 0.02, -0.03),
    "sparse": Effects(0.05, 0.01, -0.02),
    "null": Effects(0.0, 0.0, -0.02),
}


class EffectsWorld:
    """Each experiment's true score is its parent's plus an effect, drawn from `effects`."""

    def __init__(self, effects: Effects, noise: float, seed: int, proposals: bool = True) -> None:
        self.effects, self.noise, self.best, self.proposals = effects, noise, None, proposals
        self.space, self.start = AXES, {axis.name: 1.0 for axis in AXES.axes}
        self._random = random.Random(f"effects {seed}")
        self.baseline = 0.9
        self._effects: dict[int, float] = {}  # of each experiment: a change has the same on top of another incumbent

    def truth(self, experiment: Experiment, parent: float, point: Point, edits: Sequence[str]) -> float:
        if experiment.number == 0:
            return self.baseline
        known = self._effects.get(-1 if experiment.origin is None else experiment.origin)
        effect = self._effects[experiment.number] = self._effect(experiment) if known is None else known
        return parent + effect

    def _effect(self, experiment: Experiment) -> float:
        effects = self.effects
        if experiment.proposal is not None:
            return self._random.uniform(effects.simpler_worst, 0.0)
        if self._random.random() < effects.good_share:
            return self._random.uniform(0.0, effects.best)
        return self._random.uniform(effects.worst, 0.0)

    def curve(self, point: Point, shares: Sequence[float]) -> tuple[float, ...]:
        return ()

    def proposal(self, turn: int) -> tuple[str, bool] | None:
        return (f"simpler {turn}", True) if self.proposals else None


class Table:
    """Real learning runs: lcbench.py in a folder, and what is known of its tasks."""

    def __init__(self, folder: Path) -> None:
        self.lcbench = _module(str(folder.resolve()))
        self.known: dict[str, Any] = json.loads((folder / "optimum.json").read_text())
        self.tasks: list[str] = list(self.lcbench.TASKS)

    def score(self, task: str, point: Point) -> float:
        """True accuracy, 0…1."""
        return float(self.lcbench.predict([dict(point, epoch=EPOCHS)], task)[0, 1]) / 100

    def curve(self, task: str, point: Point, shares: Sequence[float]) -> tuple[float, ...]:
        """True accuracy, 0…1, at these shares of all epochs."""
        rows = [dict(point, epoch=max(round(share * EPOCHS), 1)) for share in shares]
        return tuple(float(value) / 100 for value in self.lcbench.predict(rows, task)[:, 1])

    def best(self, task: str) -> float:
        return float(self.known[task]["best_val_accuracy"]) / 100

    @cache  # noqa: B019  tables live as long as their process
    def sample(self, task: str) -> np.ndarray:
        """True accuracies of the same random points for every task, (CORRELATED_ON,)."""
        rng = random.Random(0)
        points = [{axis.name: axis.value_at(rng.random()) for axis in LCBENCH.axes} for _ in range(CORRELATED_ON)]
        rows = [dict(point, epoch=EPOCHS) for point in points]
        return np.asarray(self.lcbench.predict(rows, task)[:, 1], float) / 100

    def span(self, task: str) -> float:
        """From the median of random points to the best that is known."""
        return self.best(task) - float(np.median(self.sample(task)))

    def related(self, task: str) -> list[str]:
        """The other tasks, the one whose surface is most like this one's first, by rank correlation."""

        def ranks(one: str) -> np.ndarray:
            return self.sample(one).argsort().argsort().astype(float)

        mine = ranks(task)
        others = [other for other in self.tasks if other != task]
        return sorted(others, key=lambda other: -float(np.corrcoef(mine, ranks(other))[0, 1]))


@cache
def _module(folder: str) -> Any:
    sys.path.insert(0, folder)
    import lcbench

    return lcbench


class TableWorld:
    """One task of a table. noise: a share of its span. The baseline is a random point."""

    def __init__(self, table: Table, noise: float, seed: int) -> None:
        self.table, self.task = table, table.tasks[seed % len(table.tasks)]
        rng = random.Random(seed)
        self.space, self.start = LCBENCH, {axis.name: axis.value_at(rng.random()) for axis in LCBENCH.axes}
        self.noise, self.best = noise * table.span(self.task), table.best(self.task)

    def truth(self, experiment: Experiment, parent: float, point: Point, edits: Sequence[str]) -> float:
        return self.table.score(self.task, point)

    def curve(self, point: Point, shares: Sequence[float]) -> tuple[float, ...]:
        return self.table.curve(self.task, point, shares)

    def proposal(self, turn: int) -> tuple[str, bool] | None:
        return None


class CodesWorld(TableWorld):
    """Each edit leads from one task's surface to a related one's, better by `edit_gain` noises where the search stands.

    quality: the share of edits that are; the others are worse by as much.
    """

    def __init__(
        self, table: Table, noise: float, seed: int, edit_gain: float, most_edits: int, quality: float
    ) -> None:
        super().__init__(table, noise, seed)
        self.edit_gain, self.most_edits, self.quality = edit_gain, most_edits, quality
        self._random = random.Random(f"codes {seed}")
        self.tasks = [self.task, *table.related(self.task)]
        self._codes: dict[tuple[str, ...], tuple[str, float]] = {(): (self.task, 0.0)}  # task, added to its scores

    def truth(self, experiment: Experiment, parent: float, point: Point, edits: Sequence[str]) -> float:
        code = tuple(edits)
        if code not in self._codes:
            task = self.tasks[min(len(self._codes), len(self.tasks) - 1)]
            sign = 1 if self._random.random() < self.quality else -1
            gain = sign * self.edit_gain * self.noise
            self._codes[code] = task, parent + gain - self.table.score(task, point)
        task, offset = self._codes[code]
        return self.table.score(task, point) + offset

    def highest(self) -> float:
        """The highest true score of all codes that were tried."""
        return max(self.table.best(task) + offset for task, offset in self._codes.values())

    def proposal(self, turn: int) -> tuple[str, bool] | None:
        return (f"edit {turn}", False) if turn <= self.most_edits else None


def with_flags(effects: Effects, good_share: float | None, best: float | None, worst: float | None) -> Effects:
    """The effects with what was named on the command line."""
    named = {"good_share": good_share, "best": best, "worst": worst}
    return replace(effects, **{name: value for name, value in named.items() if value is not None})
