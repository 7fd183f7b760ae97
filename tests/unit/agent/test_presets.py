"""The command lines and the output of agents known by name."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from search.agent.presets import PRESETS, agent_of, check_agent
from search.core.types import UsageError
from tests.support.repositories import ROOT


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
    with pytest.raises(UsageError, match="codex does not report what it costs"):
        check_agent(agent_of("codex"), 5.0)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_docs_have_the_very_line(name):
    line = shlex.join(replace(PRESETS[name], more=("MORE",)).words("BRIEF.md", "OWN", 1.0, True))
    assert line in (ROOT / "docs/agents.md").read_text().splitlines()
