"""What the study suggests."""

from search.core.events import ExperimentPlanned, TrialEnded
from search.core.sources import Sources
from search.core.space import parse_space
from search.core.state import State
from search.core.types import Change, Experiment, Kind, Outcome, Score, Work
from search.decide.studies import Studies
from search.decide.study import Study
from tests.support.states import BODY, RECIPE, SETTINGS, SPACE, started, train_of


def suggestions(count, seed=0, rebuild_at=None):
    study = Study(SPACE, seed, "code")
    study.exclude(RECIPE)
    found = []
    for number in range(1, count + 1):
        if number == rebuild_at:
            study = Study(SPACE, seed, "code")
            study.exclude(RECIPE)
            for past, point in enumerate(found, start=1):
                study.exclude(point)
                study.observe(past, 0, point, Score(0.9 - point["lr"] / 10, 0.5))
        point = study.suggest(number, RECIPE)
        found.append(point)
        study.exclude(point)
        study.observe(number, 0, point, Score(0.9 - point["lr"] / 10, 0.5))
    return found


def test_same_seed_and_results_give_the_same_suggestions_even_when_rebuilt_in_between():
    assert suggestions(12) == suggestions(12, rebuild_at=8)
    assert suggestions(12) != suggestions(12, seed=1)


def test_no_point_is_suggested_twice_and_most_move_one_axis():
    found = suggestions(40)
    keys = [SPACE.key(point) for point in found]
    assert len(set(keys)) == len(keys)
    moved = [len(SPACE.changes(RECIPE, point)) for point in found]
    assert moved.count(1) > len(moved) / 2
    assert set(moved) <= {1, 2}


def test_a_small_space_is_widened_then_used_up():
    space = parse_space('[a]\nkind="choice"\nchoices=[1,2]\n[b]\nkind="choice"\nchoices=[1,2,3]\n', "tiny")
    study = Study(space, 0, "code")
    study.exclude({"a": 1, "b": 1})
    points = []
    for number in range(1, 8):
        points.append(study.suggest(number, {"a": 1, "b": 1}))
        study.exclude(points[-1] or {})
    assert sorted((p["a"], p["b"]) for p in points if p) == [(1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert points[5:] == [None, None]


def test_a_study_passes_over_points_outside_its_axes():
    study = Study(SPACE, 0, "code")
    study.exclude({"lr": 50.0, "width": 8})
    study.observe(1, 0, {"lr": 50.0, "width": 8}, Score(0.9, 0.5))
    assert study.sampler.seen == set()
    assert study.study.trials == []


def test_a_study_of_an_edited_code_learns_from_the_code_before():
    """The old code says that a large lr is good; its edit is searched accordingly, from the first."""
    sources = {"base": train_of(more=BODY), "edit": train_of(more=BODY + "    more()\n")}
    commits = Sources(SETTINGS, lambda commit: sources[commit])
    state = State(SETTINGS)
    edited = Experiment(1, Kind.PROPOSAL, "base", (), "more", None, 1, "edit")
    state.apply(ExperimentPlanned(Experiment(0, Kind.BASELINE, "base")))
    state.apply(ExperimentPlanned(edited))
    commits.edited_from("edit", "base")
    for number in range(2, 22):
        lr = 0.001 * 1.4**number
        tried = Experiment(number, Kind.SWEEP, "base", (Change("lr", 0.01, lr),), "")
        state.apply(ExperimentPlanned(tried))
        state.apply(started(Work(tried, 0)))
        score = Score(0.5 + min(lr, 0.5), 0.5)
        state.apply(TrialEnded(Outcome("", number, 0, 0, f"c{number}", score)))
    resumed = Studies(state, commits)
    suggested = [resumed.suggest(number, "edit")["lr"] for number in range(30, 50)]
    alone = Study(SPACE, 0, "edit")
    alone.exclude(commits.recipe("edit"))
    blind = [alone.suggest(number, commits.recipe("edit"))["lr"] for number in range(30, 50)]
    assert sum(lr > 0.01 for lr in suggested) > sum(lr > 0.01 for lr in blind) + 3
