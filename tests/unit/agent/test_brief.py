"""The brief that an agent gets."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from search.agent.brief import LONGEST, facts_of, hints_of, written
from search.core.events import Decided, TrialEnded
from search.core.types import Decision, Score, Status
from tests.support.states import ask, begin, decided_baseline, outcome, proposal, take


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
    paths = {"python": "python", "photos": "/photos", "Everything": "analysis_summary.json"}
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


@given(
    st.integers(0, 12), st.text(max_size=3000), st.text(max_size=20_000), st.text(max_size=9000), st.text(max_size=400)
)
def test_a_brief_is_never_too_long_and_says_what_is_wanted(count, traceback, patch, notes, reason):
    text = brief_of(eventful(count, traceback, reason=reason), "rules " * 3000, notes, patch)
    assert len(text) <= LONGEST
    assert "Make one idea real" in text and "Where the search stands" in text
