"""The contenders of a search by kind of slot: an index that follows the state's changes. Pure."""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass, field
from typing import Any

from search.core.state import State
from search.core.types import Score
from search.decide.posterior import Contender, Model, PooledNoise, fit
from search.task.metrics import PRIMARY, SECONDARY, Metric

LARGEST_HISTORY = 600  # decided experiments that a model knows, the latest: a fit takes as long after a thousand
MOST_INCUMBENTS = 32  # likewise


def score_part(score: Score, metric: Metric) -> float:
    """One of a score's two metrics."""
    return score.primary if metric is PRIMARY else score.secondary


def guess_of_noise(state: State) -> float:
    """Of one run, before any repeats: what drawing so few validation images at random would give."""
    share, images = state.settings.majority_score, state.settings.validation_images
    return math.sqrt(share * (1 - share) / images) if images else 0.02


@dataclass
class Field:
    """Every experiment with a score on one kind of slot, and the model of them.

    contenders: by primary metric. decided, incumbents (that are or were): (place in order, experiment), sorted, so that
    an index made anew is the same. noise: by metric, over all of them. version: grows with every change.
    """

    state: State
    machine: str | None
    contenders: dict[int, Contender] = field(default_factory=dict)
    secondary: dict[int, tuple[float, ...]] = field(default_factory=dict)
    decided: list[tuple[int, int]] = field(default_factory=list)
    incumbents: list[tuple[int, int]] = field(default_factory=list)
    noise: dict[str, PooledNoise] = field(default_factory=lambda: {m.name: PooledNoise() for m in (PRIMARY, SECONDARY)})
    noise_of_decided: PooledNoise = field(default_factory=PooledNoise)
    version: int = 0
    _known: set[int] = field(default_factory=set)  # the decided ones
    _model: tuple[int, Model] | None = None

    def noise_of(self, metric: Metric) -> PooledNoise:
        return self.noise[metric.name]

    def take(self, number: int, parent: int | None, place: int | None) -> None:
        """Looks at an experiment anew. parent: the experiment that it began from; None for the baseline. place: of its
        first decision among all; None while there is none."""
        scores = [
            (seed, outcome.score)
            for seed, outcome in sorted(self.state.trials.get(number, {}).items())
            if outcome.score is not None and self.machine in (None, outcome.machine)
        ]
        if not scores:
            return
        self.version += 1
        before, known = self.contenders.get(number), number in self._known
        if before is not None:
            self.noise[PRIMARY.name].add(before.scores, -1)
            self.noise[SECONDARY.name].add(self.secondary[number], -1)
            if known:
                self.noise_of_decided.add(before.scores, -1)
        now = Contender(number, parent, tuple(score.primary for _, score in scores))
        self.contenders[number] = now
        self.secondary[number] = tuple(score.secondary for _, score in scores)
        self.noise[PRIMARY.name].add(now.scores)
        self.noise[SECONDARY.name].add(self.secondary[number])
        if place is not None:
            if not known:
                self._known.add(number)
                insort(self.decided, (place, number))
            self.noise_of_decided.add(now.scores)

    def crown(self, number: int, place: int) -> None:
        """An experiment that is or was the incumbent. place: among all of them."""
        if number in self.contenders and (place, number) not in self.incumbents:
            insort(self.incumbents, (place, number))

    def model(self) -> Model:
        """What the decided experiments say, the latest LARGEST_HISTORY of them."""
        if self._model is None or self._model[0] != self.version:
            incumbents = [number for _, number in self.incumbents[-MOST_INCUMBENTS:]]
            present = self.state.incumbent
            if present and present.experiment in self.contenders and present.experiment not in incumbents:
                incumbents.append(present.experiment)
            numbers = {*incumbents, *(number for _, number in self.decided[-LARGEST_HISTORY:])}
            chosen = [self.contenders[number] for number in sorted(numbers)]
            guess = guess_of_noise(self.state)
            model = fit(chosen, incumbents, guess, self.noise_of_decided.deviation(guess))
            self._model = self.version, model
        return self._model[1]


class RaceIndex:
    """The fields of a state, one for each kind of slot and one (None) for all; `followed` brings it up to date.

    races: what is known of each race, with what it depends on.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.races: dict[int, tuple[Any, Any]] = {}
        self._fields: dict[str | None, Field] = {None: Field(state, None)}
        self._read = self._kept = self._decided = 0
        self._number_of: dict[str, int] = {}  # commit that was kept -> its experiment
        self._places: dict[int, int] = {}  # experiment -> place of its first decision
        self._reigns: dict[int, int] = {}  # experiment that was kept -> its place among them

    def field(self, machine: str | None) -> Field:
        if machine not in self._fields:
            self._fields[machine] = Field(self.state, machine)
        return self._fields[machine]

    def followed(self) -> RaceIndex:
        """This index, with all that the state has by now."""
        state = self.state
        while self._kept < len(state.kept):
            decision = state.kept[self._kept]
            self._number_of.setdefault(decision.commit, decision.experiment)
            self._reigns.setdefault(decision.experiment, len(self._reigns))
            self._kept += 1
        while self._decided < len(state.decisions):
            self._places.setdefault(state.decisions[self._decided].experiment, len(self._places))
            self._decided += 1
        while self._read < len(state.changed):
            number = state.changed[self._read]
            self._read += 1
            parent = None if number == 0 else self._number_of.get(state.experiments[number].parent, 0)
            for machine in {None, *(outcome.machine for outcome in state.trials[number].values())}:
                self.field(machine).take(number, parent, self._places.get(number))
                if number in self._reigns:
                    self.field(machine).crown(number, self._reigns[number])
            if number in state.verdicts:
                self.races.pop(number, None)
        return self
