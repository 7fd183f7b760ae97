"""Races: how many seeds a challenger gets, and what is decided by them."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.sources import Commits
from search.core.state import State, apply, record_of, start_record
from search.core.types import Change, Decision, Experiment, Kind, Outcome, Purpose, Score, Status, Work
from search.decide.plan import Limit, SlotContext, next_work
from search.decide.posterior import MOST_SEEDS, Contender, Next, fit, next_of, noise_of_runs
from search.decide.races import equal_within_error, open_races, overtaken, race_of
from tests.unit.test_search_choices import SETTINGS as OTHERS
from tests.unit.test_search_choices import train_of

BASE = Contender(0, None, (0.90, 0.92, 0.91, 0.93))
SETTINGS = replace(OTHERS, confirm_seeds=2, slots=3, validation_photos=400)


def model(*others):
    return fit([BASE, *others], [0], 0.02)


def test_a_challenger_is_likelier_the_higher_its_seeds_are_and_the_more_of_them():
    one = model()
    chances = [one.probability(Contender(1, 0, (score,)), 0) for score in (0.90, 0.92, 0.94, 0.97)]
    assert chances == sorted(chances) and chances[0] < 0.4 and chances[-1] > 0.7
    assert one.probability(Contender(1, 0, (0.95, 0.95, 0.95)), 0) > one.probability(Contender(1, 0, (0.95,)), 0)


def test_a_kept_model_is_estimated_below_the_mean_that_made_it_kept():
    kept = Contender(1, 0, (0.95, 0.95, 0.95))
    level = fit([BASE, kept], [0, 1], 0.02).level(1)
    assert BASE.mean < level.mean < kept.mean


def test_an_incumbent_that_was_lucky_is_known_by_the_experiments_around_it():
    around = [Contender(number, 0, (0.90 + 0.001 * (number % 7),)) for number in range(1, 40)]
    low = [replace(contender, scores=(contender.scores[0] - 0.03,)) for contender in around]
    assert fit([BASE, *low], [0], 0.02).level(0).mean < fit([BASE, *around], [0], 0.02).level(0).mean < 0.93


def test_one_collapse_says_nothing_of_the_incumbent():
    around = [Contender(number, 0, (0.905 + 0.001 * (number % 7),)) for number in range(1, 20)]
    with_collapse = fit([BASE, *around, Contender(20, 0, (0.05,))], [0], 0.02)
    assert abs(with_collapse.level(0).mean - fit([BASE, *around], [0], 0.02).level(0).mean) < 0.005


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_every_race_ends_and_its_chances_are_chances(ours, theirs):
    base, challenger = Contender(0, None, tuple(theirs)), Contender(1, 0, tuple(ours))
    rng = random.Random(1)
    for _ in range(2 * MOST_SEEDS + 3):
        fitted = fit([base], [0], 0.02)
        assert 0 <= fitted.probability(challenger, 0) <= 1
        need = next_of(challenger, base, fitted, 2)
        if need in (Next.DECIDE, Next.DROP):
            return
        if need is Next.INCUMBENT:
            base = replace(base, scores=(*base.scores, rng.random()))
        else:
            challenger = replace(challenger, scores=(*challenger.scores, rng.random()))
    raise AssertionError("the race did not end")


def test_what_is_hopeless_is_dropped_and_what_leads_is_run_again():
    assert next_of(Contender(1, 0, (0.85,)), BASE, model(), 2) is Next.DROP
    assert next_of(Contender(1, 0, (0.85,)), BASE, model(), 2, is_tie=True) is Next.CHALLENGER
    assert next_of(Contender(1, 0, (0.85,)), BASE, model(), 2, patient=True) is Next.CHALLENGER
    assert next_of(Contender(1, 0, (0.935,)), BASE, model(), 2) is Next.CHALLENGER
    assert next_of(Contender(1, 0, (0.99,)), BASE, model(), 2) is Next.CHALLENGER_ALL
    assert next_of(Contender(1, 0, (0.99, 0.85)), BASE, model(), 2) is Next.DROP
    assert next_of(Contender(1, 0, (0.96, 0.96, 0.97)), BASE, model(), 2) is Next.DECIDE
    assert next_of(Contender(1, 0, (0.5,)), BASE, model(), 0) is Next.DECIDE  # the bare rule


def test_a_lead_that_the_history_doubts_has_the_side_with_fewer_seeds_measured_again():
    unlucky = Contender(0, None, (0.90, 0.90, 0.90))
    around = [Contender(number, 0, (0.925 + 0.001 * (number % 5),)) for number in range(1, 30)]
    challenger = Contender(40, 0, (0.925, 0.925, 0.925))
    fitted = fit([unlucky, *around], [0], 0.02)
    assert challenger.mean > unlucky.mean and fitted.probability(challenger, 0) < 0.5
    assert next_of(challenger, unlucky, fitted, 2) is Next.INCUMBENT
    measured = replace(unlucky, scores=(0.90,) * 4)
    assert next_of(challenger, measured, fit([measured, *around], [0], 0.02), 2) is Next.CHALLENGER


def test_the_noise_is_pooled_over_all_that_was_repeated():
    rng = random.Random(0)
    many = [Contender(n, 0, tuple(rng.gauss(0.9, 0.02) for _ in range(3))) for n in range(200)]
    assert noise_of_runs(many, 0.02) == pytest.approx(0.02, rel=0.1)
    assert noise_of_runs([Contender(0, None, (0.9,))], 0.013) == pytest.approx(0.013)


# --- in a search ---


class Search:
    """A state, with outcomes made up."""

    def __init__(self, settings=SETTINGS, base=(0.90, 0.91, 0.92)):
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


def test_a_promising_challenger_is_run_again_before_anything_new():
    search = Search()
    search.first(1, 0.97)
    work = search.ask()
    assert (work.experiment.number, work.seed, work.commit, work.purpose) == (1, 1, "c1", Purpose.CONFIRM)
    apply(search.state, start_record(work))
    other = search.ask(slot=1, in_flight=[(1, 1)])
    assert (other.experiment.number, other.seed) == (1, 2)  # likely enough: both at once
    apply(search.state, start_record(other))
    assert search.ask(slot=2, in_flight=[(1, 1), (1, 2)]).purpose is Purpose.FIRST


def test_both_sides_have_the_same_seeds():
    search = Search(replace(SETTINGS, slots=1), base=(0.90,))
    search.first(1, 0.97)
    search.again(1, 1, 0.97)
    work = search.ask()
    assert (work.experiment.number, work.seed, work.commit) == (0, 1, "base")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"violations": ("asked to be scored 2 times",)}, "marked: asked"),
        ({"metrics": {"flagged": 0.0}}, "degenerate"),
        ({"metrics": {"flagged": 1.0}}, "degenerate"),
    ],
)
def test_what_cannot_be_kept_is_out_whatever_its_score(more, words):
    search = Search()
    search.first(1, 0.99, **more)
    race = race_of(search.state, 1)
    assert race.need is Next.DECIDE and race.out.startswith(words)
    allowed = Search(replace(SETTINGS, allow_degenerate=True))
    allowed.first(1, 0.99, **more)
    assert bool(race_of(allowed.state, 1).out) == words.startswith("marked")


def test_evaluating_far_longer_than_the_baseline_did_is_marked():
    search = Search()
    search.baseline_is(speed={"evaluation_seconds": 2.0})
    search.first(1, 0.99, speed={"evaluation_seconds": 20.0})
    search.first(2, 0.99, speed={"evaluation_seconds": 30.0})
    assert race_of(search.state, 1).out == ""
    assert race_of(search.state, 2).out == "marked: took 30 s to evaluate, 21 s is the most allowed"


def test_a_lead_over_a_model_that_finds_no_infection_is_always_looked_at():
    search = Search(base=(0.92, 0.92, 0.92))
    search.first(1, 0.9201, metrics={"flagged": 0.1})
    assert race_of(search.state, 1).need is Next.DROP
    search.baseline_is(metrics={"flagged": 0.0})
    assert race_of(search.state, 1).need is Next.CHALLENGER


def test_a_crash_in_a_further_seed_puts_a_challenger_out():
    search = Search()
    search.first(1, 0.99)
    search.again(1, 1, None, reason="boom")
    assert race_of(search.state, 1).out == "seed 1: boom"


def test_an_incumbent_that_falls_below_its_predecessor_is_overtaken():
    search = Search()
    search.first(1, 0.95)
    search.decide(1, Status.KEEP)
    assert overtaken(search.state) is None
    search.again(1, 1, 0.80)
    incumbent, before = overtaken(search.state)
    assert (incumbent.experiment, before.experiment) == (1, 0)
    search.decide(1, Status.DISCARD)
    assert search.state.incumbent.experiment == 0 and search.state.count(Status.DISCARD) == 1
    assert [decision.experiment for decision in search.state.kept] == [0, 1]


def test_a_winner_that_began_elsewhere_is_tried_on_top_of_what_it_beat():
    search = Search()
    search.first(1, 0.97, changes=(Change("lr", 0.01, 0.1),))
    search.first(2, 0.98, changes=(Change("width", 8, 16),))
    search.decide(1, Status.KEEP)
    search.decide(2, Status.KEEP, incumbent="c1")
    recipes = {"base": (0.01, 8), "c1": (0.1, 8), "c2": (0.01, 16)}

    def ask():
        commits = Commits(SETTINGS, lambda commit: train_of(*recipes[commit]))
        return next_work(search.state, set(), Limit(99), commits, lambda n, r: None, SlotContext(0, {0, 1, 2}, {}))

    work = ask()
    assert (work.experiment.kind, work.experiment.parent, work.experiment.origin) == (Kind.REBASE, "c1", 2)
    assert work.experiment.changes == (Change("width", 8, 16),)
    search.run(work, None)
    search.decide(3, Status.CRASH)
    recipes["c3"] = (0.1, 16)
    assert ask().purpose is Purpose.AGAIN  # once only


def test_sides_are_compared_on_the_same_kind_of_slot():
    search = Search()
    search.baseline_is(machine="fast")
    search.first(1, 0.97, machine="other")
    race = open_races(search.state)[0]
    assert race.need is Next.INCUMBENT and race.machine == "other"
    machines = {0: "fast", 1: "fast", 2: "other"}
    assert search.ask(slot=0, machines=machines).purpose is Purpose.FIRST
    work = search.ask(slot=2, machines=machines)
    assert (work.experiment.number, work.purpose) == (0, Purpose.CONFIRM)


def test_a_simpler_train_py_that_is_as_good_is_measured_with_all_its_seeds():
    search = Search()
    search.baseline_is(code_size=100)
    search.first(1, 0.909, code_size=90)
    assert race_of(search.state, 1).need is Next.CHALLENGER
    search.again(1, 1, 0.909, code_size=90)
    search.again(1, 2, 0.909, code_size=90)
    assert race_of(search.state, 1).need is Next.DECIDE
    search.first(2, 0.909, code_size=110)
    assert race_of(search.state, 2).need is Next.DROP


def test_a_race_whose_kind_of_slot_is_gone_ends():
    search = Search()
    search.baseline_is(machine="old")
    search.first(1, 0.97, machine="old")
    assert race_of(search.state, 1).out == ""
    search.first(2, 0.97, machine="new")  # by slot 0, which ran all of the above
    assert race_of(search.state, 1).out == "no old slot is left to confirm it on"


def test_equal_is_within_the_standard_error_once_there_are_seeds():
    search = Search()
    search.first(1, 0.912)
    assert equal_within_error(search.state, 1)
    search.first(2, 0.99)
    assert not equal_within_error(search.state, 2)
    single = Search(replace(SETTINGS, slots=1), base=(0.90,))
    single.first(1, 0.901)
    assert not equal_within_error(single.state, 1)
