"""A search's state with outcomes made up, for tests of what is decided."""

from dataclasses import replace

from search.core.sources import Commits
from search.core.space import parse_space
from search.core.state import State, apply, record_of, start_record
from search.core.types import Decision, Experiment, Kind, Outcome, Proposal, Purpose, Score, Settings, Status, Work
from search.decide.plan import Limit, SlotContext, next_work
from tests.support.repositories import FAST_SPACE

SPACE = parse_space(FAST_SPACE, "fast.toml")
RECIPE = {"lr": 0.01, "width": 8, "mode": "good"}
SETTINGS = Settings("t", "base", "/d", "f", 64, 0.9, FAST_SPACE, "fast.toml", 0, 5.0, 2, 0.0)


def train_of(lr=0.01, width=8, more=""):
    return f"class Recipe:\n    lr: float = {lr}\n    width: int = {width}\n    mode: str = 'good'\n{more}"


def outcome(work, bin_acc):
    score = None if bin_acc is None else Score(bin_acc, 0.5)
    return Outcome(work.trial_id, work.experiment.number, work.seed, 0, f"c{work.experiment.number}", score)


def begin(state, work):
    if work.experiment.number not in state.experiments:
        apply(state, record_of("experiment", work.experiment))
    apply(state, start_record(work))


def decide(state, number, status, score):
    apply(
        state,
        record_of("decision", Decision(number, status, "", f"c{number}", 0, score, 0.0, "", "", None, (), (0,), 0.0)),
    )


def ask(state, in_flight=(), limit=None, suggest=lambda n, r: {"lr": 0.02 + n, "width": 8}, slot=0, slots=2):
    commits = Commits(SETTINGS, lambda commit: train_of())
    return next_work(state, set(in_flight), Limit(limit), commits, suggest, SlotContext(slot, set(range(slots)), {}))


def run_of(work):
    return (work.experiment.number, work.seed)


def started_baseline():
    state = State(SETTINGS)
    works = []
    for slot in range(2):
        works.append(ask(state, map(run_of, works), slot=slot))
        begin(state, works[-1])
    return state, works


def decided_baseline():
    state, works = started_baseline()
    for done in works:
        apply(state, record_of("outcome", outcome(done, 0.9)))
    decide(state, 0, Status.KEEP, Score(0.9, 0.5))
    return state


BODY = "def train(recipe):\n    if recipe.lr > 0:\n        step(recipe.lr)\n    wide(recipe.width)\n"
RACING = replace(SETTINGS, confirm_seeds=2, slots=3, validation_photos=400)


class Search:
    """A state, with outcomes made up."""

    def __init__(self, settings=RACING, base=(0.90, 0.91, 0.92)):
        self.state = State(settings)
        for seed, score in enumerate(base):
            self.run(Work(Experiment(0, Kind.BASELINE, "base"), seed), score)
        self.decide(0, Status.KEEP)

    def run(self, work, score, machine="", **more):
        if work.experiment.number not in self.state.experiments:
            apply(self.state, record_of("experiment", work.experiment))
        apply(self.state, start_record(work))
        scored = None if score is None else Score(score, 0.5)
        number = work.experiment.number
        commit = "base" if number == 0 else f"c{number}"
        done = Outcome(work.trial_id, number, work.seed, 0, commit, scored, machine=machine, **more)
        apply(self.state, record_of("outcome", done))

    def first(self, number, score, parent="base", changes=(), **more):
        self.run(Work(Experiment(number, Kind.SWEEP, parent, changes, f"idea {number}"), 0), score, **more)

    def again(self, number, seed, score, **more):
        work = Work(self.state.experiments[number], seed, commit=f"c{number}", purpose=Purpose.CONFIRM)
        self.run(work, score, **more)

    def decide(self, number, status, incumbent="base"):
        commit = "base" if number == 0 else f"c{number}"
        made = Decision(
            number, status, "", commit, 0, Score(0.9, 0.5), 0.0, "", incumbent, None, (), (0,), float(number)
        )
        apply(self.state, record_of("decision", made))

    def baseline_is(self, **more):
        for seed in self.state.baseline_seeds:
            self.state.outcomes[(0, seed)] = replace(self.state.outcomes[(0, seed)], **more)

    def ask(self, slot=0, machines=None, in_flight=()):
        slots = SlotContext(slot, {0, 1, 2}, machines or {})
        recipe = {"lr": 0.01, "width": 8, "mode": "good"}
        commits = Commits(self.state.settings, lambda commit: train_of())
        return next_work(self.state, set(in_flight), Limit(99), commits, lambda n, commit: {**recipe, "lr": 0.5}, slots)


def proposal(number, **more):
    usual = {"author": "tool", "commit": f"p{number}", "identity": f"i{number}"}
    return Proposal(number=number, idea=f"idea {number}", parent="c0", **{**usual, **more})


def take(state, *proposals):
    for one in proposals:
        apply(state, record_of("proposal", one))
