"""What agents say, read without any process."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.agent.agents import idea_of, plain, records_of
from search.agent.presets import PRESETS


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
