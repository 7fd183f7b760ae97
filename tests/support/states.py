"""A search's state with outcomes made up, for tests of what is decided."""

from dataclasses import replace

from search.core.events import (
    Decided,
    ExperimentPlanned,
    ProposalRecorded,
    TrialEnded,
    TrialLost,
    TrialStarted,
)
from search.core.sources import Sources
from search.core.space import parse_space
from search.core.state import State
from search.core.task import Score
from search.core.types import Decision, Experiment, Kind, Outcome, Proposal, Purpose, Settings, Status, Work
from search.decide.belief import Belief
from search.decide.plan import Limit, SlotContext, next_work
from search.decide.points.sampler import Suggestion
from search.task.declaration import load_task
from tests.support.repositories import FAST_SPACE, ROOT

SPACE = parse_space(FAST_SPACE, "fast.toml")
RECIPE = {"lr": 0.01, "width": 8, "mode": "good"}
TASK = load_task(ROOT / "task.toml")  # the one that ships
SETTINGS = Settings(
    tag="t",
    task=TASK,
    base="base",
    dataset="/d",
    fingerprint="f",
    image_size=64,
    majority_score=0.9,
    space=FAST_SPACE,
    space_name="fast.toml",
    seed=0,
    max_train_seconds=5.0,
    slots=2,
    created=0.0,
    validation_images=0,
    validation_groups=(),
    confirm_seeds=0,
    allow_degenerate=False,
    agent="none",
    gpu_dollars_per_hour=None,
    most_slots=None,
    gpu_model="",
    on_gpus=False,
    proof_share=0.0,
)


def train_of(lr=0.01, width=8, more=""):
    return f"class Recipe:\n    lr: float = {lr}\n    width: int = {width}\n    mode: str = 'good'\n{more}"


def outcome(work, primary):
    score = None if primary is None else Score(primary, 0.5)
    return Outcome(work.trial_id, work.experiment.number, work.seed, 0, f"c{work.experiment.number}", score)


def begin(state, work):
    if work.experiment.number not in state.experiments:
        state.apply(ExperimentPlanned(work.experiment))
    state.apply(started(work))


def decide(state, number, status, score):
    state.apply(Decided(Decision(number, status, "", f"c{number}", 0, score, 0.0, "", "", None, (), (0,), 0.0)))


def started(work, slot=0):
    return TrialStarted(work.experiment.number, work.seed, slot, work.attempt, work.commit, work.purpose, work.why)


def lost(state, experiment, seed):
    """A trial whose node has gone."""
    state.apply(TrialLost("", experiment, seed, "its node has gone"))


def always(point):
    """A suggest that gives the same axes' values, moved on by the experiment's number."""
    return lambda number: Suggestion({**point, "lr": 0.02 + number}, "because")


EVER_HIGHER = always({"width": 8})


def ask(state, limit=None, suggest=EVER_HIGHER, slot=0, slots=2, **more):
    sources = Sources(SETTINGS, lambda commit: train_of())
    context = SlotContext(slot, set(range(slots)), {})
    return next_work(state, Limit(limit, **more), sources, suggest, context, Belief(state, sources))


def started_baseline():
    state = State(SETTINGS)
    works = []
    for slot in range(2):
        works.append(ask(state, slot=slot))
        begin(state, works[-1])
    return state, works


def decided_baseline():
    state, works = started_baseline()
    for done in works:
        state.apply(TrialEnded(outcome(done, 0.9)))
    decide(state, 0, Status.KEEP, Score(0.9, 0.5))
    return state


BODY = "def train(recipe):\n    if recipe.lr > 0:\n        step(recipe.lr)\n    wide(recipe.width)\n"
RACING = replace(SETTINGS, confirm_seeds=2, slots=3, validation_images=400)


class Search:
    """A state, with outcomes made up."""

    def __init__(self, settings=RACING, base=(0.90, 0.91, 0.92)):
        self.state, self.events = State(settings), []
        for seed, score in enumerate(base):
            self.run(Work(Experiment(0, Kind.BASELINE, "base"), seed), score)
        self.decide(0, Status.KEEP)

    def run(self, work, score, machine="", **more):
        if work.experiment.number not in self.state.experiments:
            self.apply(ExperimentPlanned(work.experiment))
        self.apply(started(work))
        scored = None if score is None else Score(score, 0.5)
        number = work.experiment.number
        commit = "base" if number == 0 else f"c{number}"
        done = Outcome(work.trial_id, number, work.seed, 0, commit, scored, machine=machine, **more)
        self.apply(TrialEnded(done))

    def first(self, number, score, parent="base", changes=(), **more):
        self.run(Work(Experiment(number, Kind.SWEEP, parent, changes, f"idea {number}"), 0), score, **more)

    def again(self, number, seed, score, purpose=Purpose.CONFIRM, **more):
        commit = f"c{number}" if number else "base"
        work = Work(self.state.experiments[number], seed, commit=commit, purpose=purpose)
        self.run(work, score, **more)

    def decide(self, number, status, incumbent="base"):
        commit = "base" if number == 0 else f"c{number}"
        made = Decision(
            number, status, "", commit, 0, Score(0.9, 0.5), 0.0, "", incumbent, None, (), (0,), float(number)
        )
        self.apply(Decided(made))

    def apply(self, event):
        self.events.append(event)
        self.state.apply(event)

    def baseline_is(self, **more):
        """As if the baseline's trials had ended otherwise."""
        events, settings = self.events, self.state.settings
        self.state, self.events = State(settings), []
        for event in events:
            is_baseline = isinstance(event, TrialEnded) and event.outcome.experiment == 0
            self.apply(replace(event, outcome=replace(event.outcome, **more)) if is_baseline else event)

    def ask(self, slot=0, machines=None, limit=None):
        slots = SlotContext(slot, {0, 1, 2}, machines or {})
        suggested = Suggestion({**RECIPE, "lr": 0.5}, "because")
        belief = self.belief
        return next_work(self.state, limit or Limit(99), belief.sources, lambda n: suggested, slots, belief)

    @property
    def belief(self):
        """Made anew of the state as it is now."""
        sources = Sources(self.state.settings, lambda commit: train_of())
        for decision in self.state.kept:
            sources.edited_from(decision.commit, self.state.experiments[decision.experiment].parent)
        return Belief(self.state, sources)


def proposal(number, **more):
    usual = {"author": "tool", "commit": f"p{number}", "identity": f"i{number}"}
    return Proposal(number=number, idea=f"idea {number}", parent="c0", **{**usual, **more})


def take(state, *proposals):
    for one in proposals:
        state.apply(ProposalRecorded(one))
