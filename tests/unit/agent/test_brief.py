"""The brief that an agent gets."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from search.agent.brief import LONGEST, PLATEAU, facts_of, hints_of, written
from search.core.events import Decided, TrialEnded
from search.core.task import Score
from search.core.types import Decision, Status
from tests.support.states import ask, begin, decide, decided_baseline, outcome, proposal, take


def eventful(proposals=3, traceback="", description="wider", reason="lower"):
    state = decided_baseline()
    state.baseline_changed = None
    for number in range(1, proposals + 1):
        take(state, proposal(number))
        work = ask(state)
        begin(state, work)
        crashed = number % 3 == 0
        done = outcome(work, None if crashed else 0.89)
        done = replace(done, reason="KeyError" if crashed else "", traceback=traceback, commit=f"p{number}")
        state.apply(TrialEnded(done))
        status = Status.CRASH if crashed else Status.DISCARD
        score = None if crashed else Score(0.89, 0.5)
        made = Decision(
            work.experiment.number, status, reason, f"p{number}", 0, score, 0.0, f"{description} {number}", "c0",
            Score(0.9, 0.5), (), (0,), 0.0,
        )  # fmt: skip
        state.apply(Decided(made))
    return state


def brief_of(state, rules="the rules", notes="", patch="@@ -1 +1 @@\n-a\n+b"):
    summary = {"next_hints": ["go further up"], "losing_regions": [{"axis": "lr", "direction": "down", "tries": 3}]}
    facts = facts_of(state, 0.012, ["lr", "width"], hints_of(summary))
    paths = {"check": "python train.py --dataset /photos", "Everything": "analysis_summary.json"}
    return written(facts, rules, notes, lambda old, new: patch, paths)


def test_a_brief_has_everything_that_a_model_needs():
    state = eventful(6, traceback="Traceback\nKeyError: 'x'")
    take(state, proposal(7, refused="it does not parse"))
    text = brief_of(state, notes="try attention")
    for words in (
        "the rules", "try attention", "`c0`", "0.0120", "analysis_summary.json", "lr, width", "IDEA: ",
        "idea 7 [tool]: refused: it does not parse", "idea 1 [tool]: discard: lower", "KeyError: 'x'", "+b",
        "bin_acc -0.0100 to the incumbent", "go further up", "lr down loses: 3 tries",
    ):  # fmt: skip
        assert words in text, words


def test_loss_curves_stand_beside_the_incumbent_what_was_near_and_what_crashed():
    state = eventful(3)
    state.trials[0] = {seed: replace(one, losses=(1.6, 0.9, 0.412)) for seed, one in state.trials[0].items()}
    state.trials[1] = {seed: replace(one, losses=(1.5, 1.4)) for seed, one in state.trials[1].items()}
    state.trials[3] = {seed: replace(one, losses=(9.0,)) for seed, one in state.trials[3].items()}
    text = brief_of(state)
    assert "The incumbent's training loss 1.6 0.9 0.412" in text
    assert "to the incumbent; lower; training loss 1.5 1.4" in text and "KeyError; training loss 9" in text


def test_what_was_tried_is_grouped_by_what_it_changed():
    patch = "@@ -1,2 +1,2 @@ def augment(images):\n-a\n+b\n@@ -9 +9 @@ class Net(nn.Module):\n-c\n+d"
    text = brief_of(eventful(3), patch=patch)
    assert "- augment: 3 edits, 0 kept, nearest -0.0100 to the incumbent" in text and "- Net: 3 edits" in text


def test_on_a_plateau_something_further_away_is_asked_for():
    state = eventful(3)
    assert "plateau" not in brief_of(state)
    for number in range(4, 4 + PLATEAU):
        work = ask(state)
        begin(state, work)
        state.apply(TrialEnded(outcome(work, 0.5)))
        decide(state, number, Status.DISCARD, Score(0.5, 0.5))
    text = brief_of(state)
    assert f"on a plateau: {PLATEAU + 3} experiments since" in text and "further away" in text


@given(
    st.integers(0, 12), st.text(max_size=3000), st.text(max_size=20_000), st.text(max_size=9000), st.text(max_size=400)
)
def test_a_brief_is_never_too_long_and_says_what_is_wanted(count, traceback, patch, notes, reason):
    text = brief_of(eventful(count, traceback, reason=reason), "rules " * 3000, notes, patch)
    assert len(text) <= LONGEST
    assert "Make one idea real" in text and "Where the search stands" in text
