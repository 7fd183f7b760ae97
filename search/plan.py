"""What to run next, given the state. Pure but for the proposer that it asks."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from enum import Enum, auto

from search.space import Point, Space
from search.state import Run, State
from search.types import Experiment, Kind, Value, Work

MOST_CRASHES_IN_A_ROW = 8  # then the incumbent is measured again: does anything still run on this machine?


class Pause(Enum):
    """Why there is no work to hand out."""

    WAIT = auto()  # something in flight, or another slot's baseline, must come first
    FINISHED = auto()  # the limit is reached and nothing is in flight
    BROKEN = auto()  # one trial after another crashed, the incumbent's too: the machine is at fault, not the ideas


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
    in_flight: Set[Run],
    limit: Limit,
    space: Space,
    recipe: dict[str, Value],
    suggest: Callable[[int, dict[str, Value]], Point | None],
    slot: int,
    slots: int,
) -> Work | Pause:
    """The next trial to start in a slot, one of `slots`.

    in_flight: what slots run now; begun work that is not among it was lost with a driver and comes first. recipe: the
    incumbent's. suggest: the proposer's, by experiment number and recipe.
    """
    for work in state.unfinished():
        if (work.experiment.number, work.seed) not in in_flight:
            return Work(work.experiment, work.seed, work.attempt + 1, work.commit)
    first = baseline_work(state, slot, slots)
    if first is not None:
        return first
    for experiment in state.unstarted():
        return Work(experiment, state.settings.seed)
    if limit.reached(state):
        return Pause.FINISHED if state.decisions and not in_flight else Pause.WAIT
    if state.crashes_in_a_row >= MOST_CRASHES_IN_A_ROW and state.decisions:
        return after_many_crashes(state, in_flight)
    number = max(state.experiments) + 1
    point = suggest(number, recipe)
    if point is not None:
        changes = space.changes(recipe, point)
        description = ", ".join(map(str, changes))
        return Work(Experiment(number, Kind.SWEEP, state.centre, changes, description), state.settings.seed)
    return remeasure(state)


def baseline_work(state: State, slot: int, slots: int) -> Work | None:
    """The baseline's trial of this slot, if it has not begun; or that of a slot that is not there any more."""
    baseline = state.experiments.get(0) or Experiment(0, Kind.BASELINE, state.settings.base)
    for of_slot, seed in enumerate(state.baseline_seeds):
        if (0, seed) not in state.started and (of_slot == slot or of_slot >= slots):
            return Work(baseline, seed)
    return None


def remeasure(state: State) -> Work:
    """Measures the incumbent again with its next seed: what is left to do when a space is used up."""
    experiment = state.experiments[state.incumbent.experiment if state.incumbent else 0]
    seeds = [seed for number, seed in state.started if number == experiment.number]
    return Work(experiment, max(seeds) + 1, commit=state.centre)


def after_many_crashes(state: State, in_flight: Set[Run]) -> Work | Pause:
    """Is it the ideas or the machine? The incumbent, which did run once, tells."""
    if state.incumbent_crashed:
        return Pause.BROKEN
    if any(state.started[run].is_remeasure for run in in_flight):
        return Pause.WAIT
    return remeasure(state)
