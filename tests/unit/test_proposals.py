"""Briefs, answers, turns and costs, without any process."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.agent.agents import idea_of, plain, records_of
from search.agent.brief import LONGEST, facts_of, hints_of, written
from search.agent.presets import PRESETS, agent_of, check_agent
from search.agent.validate import EditBase, Refused, validated
from search.cli.options import parser, plan_of, settle
from search.core.recipe import identity_of
from search.core.sources import Commits
from search.core.space import parse_space
from search.core.state import apply, rebuild, record_of
from search.core.types import (
    Cost,
    Decision,
    Experiment,
    Kind,
    Outcome,
    Proposal,
    Score,
    Settings,
    Status,
    Turn,
    UsageError,
)  # fmt: skip
from search.decide.plan import Limit, turn_is_due, unmerged
from search.report.costs import Records, costs_of, proposals_of
from tests.conftest import FAST_SPACE, ROOT
from tests.unit.test_search_choices import SETTINGS, ask, begin, decide, decided_baseline, outcome, train_of

SPACE = parse_space(FAST_SPACE, "fast.toml")


def proposal(number, **more):
    usual = {"author": "tool", "commit": f"p{number}", "identity": f"i{number}"}
    return Proposal(number=number, idea=f"idea {number}", parent="c0", **{**usual, **more})


def take(state, *proposals):
    for one in proposals:
        apply(state, record_of("proposal", one))


# --- which work comes when ---


def test_a_proposal_that_passed_is_the_next_experiment_as_it_is():
    state = decided_baseline()
    take(state, proposal(1, refused="no"), proposal(2))
    work = ask(state)
    assert (work.experiment.kind, work.experiment.proposal, work.commit) == (Kind.PROPOSAL, 2, "p2")
    assert (work.experiment.description, work.experiment.parent) == ("idea 2", "c0")
    begin(state, work)
    assert ask(state, [(1, 0)]).experiment.kind is Kind.SWEEP
    assert state.experiment_of(2).number == 1 and state.waiting() == []
    assert rebuild_of(state).experiments[1].commit == "p2"


def rebuild_of(state):
    records = [record_of("search", state.settings)]
    records += [record_of("experiment", one) for one in state.experiments.values()]
    return rebuild(json.loads(json.dumps(records)))


def test_a_proposal_waits_where_the_limit_is_reached_and_where_the_search_is_paused():
    state = decided_baseline()
    take(state, proposal(1))
    assert ask(state, limit=0) != ask(state)
    apply(state, {"event": "pause", "paused": True})
    assert "WAIT" in str(ask(state))
    apply(state, {"event": "session"})
    assert ask(state).experiment.proposal == 1


def finish(state, count):
    for number in range(len(state.experiments), len(state.experiments) + count):
        work = ask(state)
        begin(state, work)
        apply(state, record_of("outcome", outcome(work, 0.5)))
        decide(state, number, Status.DISCARD, Score(0.5, 0.5))


def turn(state, number, asked=1):
    apply(state, record_of("turn", Turn(number, "tool", asked, state.done, "c0")))


def test_the_agent_is_asked_once_after_every_round():
    state, asked = decided_baseline(), []
    for _ in range(12):
        finish(state, 1)
        if turn_is_due(state, 3, Limit(None)):
            asked.append(state.done)
            turn(state, len(asked))
            assert not turn_is_due(state, 3, Limit(None))  # it thinks
            take(state, proposal(len(asked), turn=len(asked), refused="no"))
    assert asked == [3, 6, 9, 12]
    assert not turn_is_due(state, 3, Limit(12))


def test_a_slow_agent_makes_no_backlog_and_a_turn_cut_short_is_taken_again():
    state = decided_baseline()
    finish(state, 3)
    turn(state, 1, asked=2)
    finish(state, 7)
    take(state, proposal(1, turn=1, refused="no"))
    assert not turn_is_due(state, 3, Limit(None))
    take(state, proposal(2, turn=1, refused="no"))
    assert turn_is_due(state, 3, Limit(None))
    turn(state, 2)
    finish(state, 1)
    assert not turn_is_due(state, 3, Limit(None))
    apply(state, {"event": "session"})
    assert state.cut_short == {2} and turn_is_due(state, 3, Limit(None))


def test_an_edit_kept_without_having_begun_from_what_it_beat_is_to_be_merged_once():
    sources = {"base": train_of(), "c0": train_of(), "c1": train_of(lr=0.5), "c2": train_of(more="x = 1\n")}
    commits = Commits(SETTINGS, lambda commit: sources[commit])
    state = decided_baseline()
    for number, commit in ((1, ""), (2, "c2")):
        kind = Kind.PROPOSAL if commit else Kind.SWEEP
        apply(state, record_of("experiment", Experiment(number, kind, "base", (), f"e{number}", commit=commit)))
    for number, incumbent in ((1, "base"), (2, "c1")):
        made = Decision(
            number, Status.KEEP, "", f"c{number}", 0, Score(0.95, 0.5), 0, "", incumbent, None, (), (0,), 1.0
        )
        apply(state, record_of("decision", made))
    assert [decision.experiment for decision in unmerged(state, commits)] == [2]
    take(state, proposal(1, origin="c2", author="merge"))
    assert unmerged(state, commits) == []


# --- vetting ---


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = (", "does not parse"),
        ("x = 1", "no class Recipe"),
        ("# 1\n" + train_of(), "nothing but formatting"),
        (train_of(more="tried = 1\n"), "the same as experiment 4"),
        (train_of(more="# " + "x" * 500_000), "characters"),
        (train_of(more="    depth: int = 9  # 1 … 4\n"), "outside the range"),
        (train_of(width=128), "width is 128, outside its axis"),
        (train_of(more="    kind: Literal[A, B] = 'a'\n"), "Recipe.kind is not a literal"),
        (train_of(more="x = " + "(" * 300 + ")" * 300), "does not parse"),
    ],
)
def test_an_edit_that_cannot_be_tried_is_refused_in_words(source, words):
    known = {identity_of(train_of(more="tried = 1\n")): "experiment 4 (tried)"}
    with pytest.raises(Refused, match=words):
        validated(source, EditBase("c", train_of(), SPACE, known))


def test_an_edit_that_says_something_new_passes():
    assert validated(train_of(more="new = 1\n"), EditBase("c", train_of(), SPACE, {})) == identity_of(
        train_of(more="new = 1\n")
    )


# --- briefs ---


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
        apply(state, record_of("outcome", done))
        status = Status.CRASH if crashed else Status.DISCARD
        score = None if crashed else Score(0.89, 0.5)
        made = Decision(
            work.experiment.number, status, reason, f"p{number}", 0, score, 0.0, f"{description} {number}", "c0",
            Score(0.9, 0.5), (), (0,), 0.0,
        )  # fmt: skip
        apply(state, record_of("decision", made))
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


# --- what agents say ---


@pytest.mark.parametrize(
    ("answer", "idea"),
    [
        ("IDEA: wider stem\nmore", "wider stem"),
        ("I did it.\n**IDEA:** `SiLU` everywhere\n", "SiLU everywhere"),
        ("\n\n  A wider stem\nand so on", "A wider stem"),
        ("", ""),
        ("IDEA: " + "x" * 300, "x" * 99 + "…"),
        ("IDEA: tabs\tand   spaces", "tabs and spaces"),
    ],
)
def test_the_idea_is_named_by_its_line(answer, idea):
    assert idea_of(answer) == idea


@given(st.text())
def test_whatever_an_agent_prints_can_be_read(text):
    for agent in PRESETS.values():
        assert "\n" not in idea_of(agent.said(text, Path("/nowhere")).answer)
    assert "\t" not in idea_of(plain(text, Path()).answer)


def test_a_flood_is_read_in_no_time():
    for flood in ("#\n" * 500_000, "\n" * 500_000, "> " * 500_000, "IDEA" * 250_000):
        assert len(idea_of(flood + "\nIDEA: x")) <= 100


def test_json_is_found_among_other_lines():
    output = 'warning {x\n{"a": 1}\nmore\n{\n  "b": {"c": 2}\n}\n{broken\n'
    assert records_of(output) == [{"a": 1}, {"b": {"c": 2}}]


def test_a_plain_command_may_tell_its_cost():
    said = plain('IDEA: x\n{"dollars": 0.5, "input_tokens": 10, "output_tokens": 2, "turns": 3}\n', Path())
    assert (said.answer, said.dollars, said.turns, said.input_tokens) == ("IDEA: x", 0.5, 3, 10)
    assert plain('IDEA: x\n{"loss": 1}', Path()).dollars is None


def test_claude_says_what_went_wrong_in_json():
    record = {
        "type": "result",
        "subtype": "error_max_budget_usd",
        "is_error": True,
        "errors": ["Reached maximum budget"],
    }
    said = PRESETS["claude"].said(json.dumps(record), Path())
    assert said.failure == "Reached maximum budget"


def test_a_budget_is_an_option_only_where_there_is_one(monkeypatch):
    claude = agent_of("claude --model opus")
    assert claude.words("b", "o", None, False)[-2:] == ["--model", "opus"]
    assert "--max-budget-usd" not in claude.words("b", "o", None, False)
    assert (
        claude.words("b", "o", 1.5, True)[claude.words("b", "o", 1.5, True).index("--max-budget-usd") + 1] == "1.5000"
    )
    assert "danger-full-access" in agent_of("codex").words("b", "o", None, True)
    assert agent_of("codex").variables({"OPENAI_API_KEY": "k"}, "o") == {"CODEX_API_KEY": "k"}
    monkeypatch.setattr("search.agent.presets.shutil.which", lambda name: name)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(UsageError, match="codex does not tell what it costs"):
        check_agent(agent_of("codex"), 5.0)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_docs_have_the_very_line(name):
    line = shlex.join(replace(PRESETS[name], more=("MORE",)).words("BRIEF.md", "OWN", 1.0, True))
    assert line in (ROOT / "docs/agents.md").read_text().splitlines()


def test_the_agent_of_a_search_goes_on_unless_another_is_named():
    options = parser().parse_args(["--resume", "t", "--agent", "none"])
    settle(options)
    assert plan_of(options, "builtin") is None
    options = parser().parse_args(["--resume", "t"])
    settle(options)
    assert plan_of(options, "builtin").name == "builtin"
    assert plan_of(options, Settings.agent) is None  # a search from before there were agents


# --- costs ---


def test_costs_are_told_for_sweep_and_agent_apart():
    def trial(experiment, commit, hours):
        score = Score(0.9, 0.5)
        speed = {"energy_j": 3.6e6}
        made = Outcome("t", experiment, 0, 0, commit, score, began=0.0, ended=hours * 3600, speed=speed)
        return record_of("outcome", made)

    def decided(experiment, commit, status, edit=None):
        made = Decision(experiment, status, "r", commit, 0, None, 0, "", "", None, (), (0,), 1.0, proposal=edit)
        return record_of("decision", made)

    cost = Cost(30.0, 1, 4, 1000, 100, 0.5)
    edits = [proposal(1, cost=cost), proposal(2, commit="", refused="no", cost=Cost(10.0)), proposal(3)]
    records = Records(
        [trial(0, "c0", 1), trial(1, "c1", 2), trial(2, "p1", 1), trial(2, "p1", 1)],
        [decided(0, "c0", Status.KEEP), decided(1, "c1", Status.KEEP), decided(2, "p1", Status.KEEP, 1)],
        [record_of("proposal", one) for one in edits],
        price=2.0,
    )
    costs = costs_of(records)
    assert (costs["baseline"]["gpu_hours"], costs["sweep"]["gpu_hours"], costs["agent"]["gpu_hours"]) == (1, 2, 2)
    assert (costs["sweep"]["dollars"], costs["sweep"]["dollars_per_kept_step"]) == (4.0, 4.0)
    assert (costs["agent"]["model_dollars"], costs["agent"]["dollars_per_kept_step"]) == (0.5, 4.5)
    assert (costs["agent"]["seconds"], costs["agent"]["turns"], costs["agent"]["refused"]) == (40.0, 4, 1)
    assert costs["agent"]["energy_kwh"] == 2.0
    assert [one["status"] for one in proposals_of(records)] == ["keep", "refused", "waiting"]
    free = costs_of(Records(records.outcomes, records.decisions, ()))
    assert free["sweep"]["dollars"] is None and free["sweep"]["dollars_per_kept_step"] is None


def test_the_program_has_rules_that_fit_a_brief():
    from search.driver.proposals import rules_of

    class Repository:
        def file_at(self, commit, path):
            return (ROOT / path).read_text()

    rules = rules_of(Repository(), "HEAD")
    assert rules.startswith("- Edit `train.py` and nothing else") and 800 < len(rules) < 4000
