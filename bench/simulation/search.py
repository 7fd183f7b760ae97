"""The product's own loop in a world: its plan, decisions, races, posterior and state, with trials that take no time."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bench.simulation.worlds import World
from search.core.events import Event, ProposalRecorded, SlotJoined, TurnBegun
from search.core.paths import PROJECT
from search.core.sources import Sources
from search.core.space import Space
from search.core.state import State
from search.core.task import Score
from search.core.types import EarlyStop, Outcome, Proposal, Settings, Slot, StoppedEarly, Turn, Value, Work
from search.decide.early_stop import RUNGS, hopeless, yardstick_of
from search.decide.loop import SearchLoop
from search.decide.plan import Limit, Pause, turn_is_due
from search.decide.proof import recommended
from search.task.declaration import load_task

TRIAL_SECONDS = 300.0
THINKING_SECONDS = 120.0
PER_ROUND = 12
CODE_SIZE = 1000
GUESSED_NOISE = 1.5  # times the true noise: what the search takes it for before it has repeats


@dataclass(frozen=True)
class Conditions:
    """What a search runs under. slow: slots that take twice as long. kinds: of slots; the second scores less by two
    noises. crash_share: of trials. seed_correlation: the share of the noise's variance that trials of one seed have in
    common."""

    slots: int = 4
    limit: Limit = field(default_factory=Limit)
    confirm_seeds: int = 1
    proof_share: float = 0.1
    slow: int = 0
    kinds: int = 1
    crash_share: float = 0.0
    seed_correlation: float = 0.0
    per_round: int = PER_ROUND
    borrowing: bool = True
    early_stop: EarlyStop = EarlyStop.NONE  # in worlds that have learning curves
    with_curves: bool = False  # whether trials tell their progress though none is stopped
    seconds: float = math.inf  # then it is over, whatever runs


@dataclass
class Simulated:
    """One search, once it is over. truths: of every experiment."""

    loop: SearchLoop
    truths: dict[int, float]
    seconds: float

    @property
    def state(self) -> State:
        return self.loop.state

    @property
    def incumbent(self) -> int:
        assert self.state.incumbent is not None
        return self.state.incumbent.experiment

    @property
    def recommended(self) -> int:
        found = recommended(self.state)
        assert found is not None
        return found.experiment


def space_text(space: Space) -> str:
    """A space as its file has it."""
    tables = []
    for axis in space.axes:
        scale = "log" if axis.log else "linear"
        number = int if axis.kind == "int" else float
        tables.append(
            f'[{axis.name}]\nkind = "{axis.kind}"\nlow = {number(axis.low)}\nhigh = {number(axis.high)}\n'
            f'scale = "{scale}"\nstep = {axis.step}\n'
        )
    return "\n".join(tables)


def train_py(recipe: dict[str, Value], edits: Sequence[str]) -> str:
    """A made-up train.py: the recipe, and one statement for each edit."""
    fields = "".join(f"    {name}: {type(value).__name__} = {value!r}\n" for name, value in recipe.items())
    return f"class Recipe:\n{fields}\n" + "".join(f"edited({edit!r})\n" for edit in edits)


@dataclass(frozen=True)
class Training:
    """A trial under way. share: of its seconds that it will take. progress: at the rungs that it will reach."""

    work: Work
    began: float
    share: float = 1.0
    progress: tuple[float, ...] = ()
    stopped: StoppedEarly | None = None


class Simulation:
    """A search in a world, from its baseline to its limit."""

    def __init__(self, world: World, conditions: Conditions, seed: int) -> None:
        self.world, self.conditions = world, conditions
        settings = settings_of(world, conditions, seed)
        self.state = State(settings)
        self.random = random.Random(f"noise {seed}")
        self.of_seed: dict[int, float] = {}
        self.truths: dict[int, float] = {}
        self.recipes: dict[str, dict[str, Value]] = {"base": dict(world.start)}
        self.edits: dict[str, tuple[str, ...]] = {"base": ()}
        self.clock = 0.0
        sources = Sources(settings, lambda commit: train_py(self.recipes[commit], self.edits[commit]))
        self.loop = SearchLoop(self.state, sources, self.record)
        self.loop.belief.borrowing = conditions.borrowing
        self.loop.limit = conditions.limit
        for slot in range(conditions.slots):
            self.record(SlotJoined(Slot(slot, "node", "node", str(slot))))

    def record(self, event: Event) -> None:
        self.state.apply(replace(event, at=self.clock))

    def run(self) -> Simulated:
        slots = range(self.conditions.slots)
        idle, ends, answers = list(slots), list[tuple[float, int, Training]](), list[tuple[float, Turn]]()
        while True:
            still = []
            for slot in idle:
                work = self.loop.hand_out(slot, set(slots))
                if isinstance(work, Work):
                    training = self._training(work, slot)
                    heapq.heappush(ends, (self.clock + training.share * self._seconds(slot), slot, training))
                else:
                    still.append(slot)
                    if work is Pause.FINISHED and not ends:
                        return Simulated(self.loop, self.truths, self.clock)
            if not ends and not answers:
                raise RuntimeError("the search waits for nothing")
            if answers and (not ends or answers[0][0] <= ends[0][0]):
                self.clock, turn = answers.pop(0)
                self._answer(turn)
                idle = still
                continue
            if ends[0][0] > self.conditions.seconds:
                return Simulated(self.loop, self.truths, self.conditions.seconds)
            self.clock, slot, training = heapq.heappop(ends)
            self.loop.take(self._outcome(training, slot))
            for decision in self.loop.decide(lambda: self.clock):
                self._remember(decision.commit, decision.experiment)
            if turn_is_due(self.state, self.conditions.per_round, self.loop.limit):
                turn = Turn(len(self.state.turns) + 1, "made-up", 1, self.state.done, self.state.incumbent_commit)
                self.record(TurnBegun(turn))
                answers.append((self.clock + THINKING_SECONDS, turn))
            idle = [*still, slot]

    def _training(self, work: Work, slot: int) -> Training:
        """A trial that begins: how its progress will be, and when it will be stopped, if it is."""
        conditions = self.conditions
        if conditions.early_stop is EarlyStop.NONE and not conditions.with_curves:
            return Training(work, self.clock)
        curve = self.world.curve(self.loop.sources.point(work.experiment), RUNGS)
        yardstick = yardstick_of(self.state, work, slot)
        values = tuple(value + self.random.gauss(0, self.world.noise) for value in curve)
        for reached, rung in enumerate(RUNGS, 1):
            found = hopeless(yardstick, values[:reached])
            if found is not None:
                stopped = StoppedEarly(rung * TRIAL_SECONDS, found.mean, found.deviation)
                return Training(work, self.clock, rung, values[:reached], stopped)
        return Training(work, self.clock, 1.0, values)

    def _seconds(self, slot: int) -> float:
        slow = 2.0 if slot < self.conditions.slow else 1.0
        return TRIAL_SECONDS * slow * self.random.uniform(0.95, 1.05)

    def _remember(self, commit: str, number: int) -> None:
        if commit not in self.recipes:
            experiment = self.state.experiments[number]
            self.recipes[commit] = self.loop.sources.point(experiment)
            self.edits[commit] = self.edits[experiment.commit or experiment.parent]

    def _answer(self, turn: Turn) -> None:
        """The agent's answer comes."""
        found = self.world.proposal(turn.number)
        parent, number = self.state.incumbent_commit, len(self.state.proposals) + 1
        made = Proposal(number, "made-up", "", parent, refused="nothing to propose", turn=turn.number)
        if found is not None:
            idea, simpler = found
            commit = f"p{number}"
            self.recipes[commit] = dict(self.recipes[parent])
            self.edits[commit] = (*self.edits[parent], f"{idea}{' -' if simpler else ''}")
            self.loop.sources.edited_from(commit, parent)
            made = replace(made, refused="", idea=idea, commit=commit, identity=commit)
        self.record(ProposalRecorded(made))

    def _outcome(self, training: Training, slot: int) -> Outcome:
        work, world = training.work, self.world
        experiment = work.experiment
        commit = "base" if experiment.number == 0 else experiment.commit or f"c{experiment.number}"
        edits = self.edits[experiment.commit or experiment.parent]
        if experiment.number not in self.truths:
            parents = {decision.commit: decision.experiment for decision in self.state.kept}
            parent = self.truths.get(parents.get(experiment.parent, 0), 0.0)
            point = self.loop.sources.point(experiment)
            self.truths[experiment.number] = world.truth(experiment, parent, point, edits)
        kind = slot % self.conditions.kinds
        machine = f"card{kind}" if self.conditions.kinds > 1 else ""
        number, seed = work.key
        trial = Outcome(work.trial_id, number, seed, slot, commit, None, "boom", machine=machine)
        if number and self.random.random() < self.conditions.crash_share:
            return replace(trial, began=training.began, ended=self.clock)
        score = self.truths[number] + self._noise(seed) - 2 * kind * world.noise
        size = CODE_SIZE - sum(1 if edit.endswith(" -") else -1 for edit in edits)
        stopped = training.stopped
        return replace(
            trial,
            score=None if stopped else Score(score, 0.5),
            reason="stopped" if stopped else "",
            began=training.began,
            ended=self.clock,
            code_size=size,
            progress=training.progress,
            stopped=stopped,
        )

    def _noise(self, seed: int) -> float:
        common = self.of_seed.setdefault(seed, self.random.gauss(0, 1))
        share = self.conditions.seed_correlation
        return self.world.noise * (share**0.5 * common + (1 - share) ** 0.5 * self.random.gauss(0, 1))


TASK = load_task(PROJECT / "task.toml")


def settings_of(world: World, conditions: Conditions, seed: int) -> Settings:
    return Settings(
        tag="simulated",
        task=TASK,
        base="base",
        dataset="",
        fingerprint="",
        image_size=0,
        majority_score=0.5,
        space=space_text(world.space),
        space_name=world.space.name,
        seed=seed,
        max_train_seconds=TRIAL_SECONDS,
        slots=conditions.slots,
        created=0.0,
        validation_images=max(round(0.25 / (GUESSED_NOISE * world.noise) ** 2), 1),
        validation_groups=(),
        confirm_seeds=conditions.confirm_seeds,
        allow_degenerate=True,
        agent="made-up",
        gpu_dollars_per_hour=None,
        most_slots=None,
        gpu_model="",
        on_gpus=False,
        proof_share=conditions.proof_share,
        early_stop=conditions.early_stop,
    )
