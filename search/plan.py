"""What to run next, given the state. Pure but for the proposer that it asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from search.space import Point, Space
from search.state import Run, State
from search.types import Experiment, Kind, Value, Work


class Pause(Enum):
    """Why there is no work to hand out."""

    WAIT = auto()  # something in flight must end first
    FINISHED = auto()  # the limit is reached and nothing is in flight


@dataclass(frozen=True)
class Limit:
    """How many experiments and repeated measurements after the baseline; None: without end."""

    experiments: int | None = None

    def reached(self, state: State) -> bool:
        if self.experiments is None:
            return False
        begun = sum(experiment.kind is not Kind.BASELINE for experiment in state.experiments.values())
        again = sum(work.is_remeasure for work in state.started.values())
        return begun + again >= self.experiments


def next_work(
    state: State,
    in_flight: set[Run],
    limit: Limit,
    space: Space,
    recipe: dict[str, Value],
    suggest: Callable[[int, dict[str, Value]], Point | None],
) -> Work | Pause:
    """The next trial to start.

    in_flight: what slots run now; begun work that is not among it was lost with a driver and comes first. recipe: the
    incumbent's. suggest: the proposer's, by experiment number and recipe.
    """
    for work in state.unfinished():
        if (work.experiment.number, work.seed) not in in_flight:
            return Work(work.experiment, work.seed, work.attempt + 1, work.commit)
    settings = state.settings
    baseline = state.experiments.get(0) or Experiment(0, Kind.BASELINE, settings.base)
    for seed in range(settings.seed, settings.seed + settings.slots):
        if (0, seed) not in state.started:
            return Work(baseline, seed)
    if limit.reached(state):
        return Pause.WAIT if in_flight else Pause.FINISHED
    number = max(state.experiments) + 1
    point = suggest(number, recipe)
    if point is not None:
        changes = space.changes(recipe, point)
        description = ", ".join(map(str, changes))
        return Work(Experiment(number, Kind.SWEEP, state.centre, changes, description), settings.seed)
    return remeasure(state)


def remeasure(state: State) -> Work:
    """Measures the incumbent again with its next seed: what is left to do when a space is used up."""
    experiment = state.experiments[state.incumbent.experiment if state.incumbent else 0]
    seeds = [seed for number, seed in state.started if number == experiment.number]
    return Work(experiment, max(seeds) + 1, commit=state.centre)
