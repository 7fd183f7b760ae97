"""What agents say, read without any process."""

import time
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


def cpu_seconds_for(text):
    """Of reading it: the best of three times."""
    times = []
    for _ in range(3):
        began = time.process_time()
        assert len(idea_of(text + "\nIDEA: x")) <= 100
        times.append(time.process_time() - began)
    return min(times)


@pytest.mark.parametrize("part", ["#\n", "\n", "> ", "IDEA"])
def test_four_times_the_flood_takes_about_four_times_as_long(part):
    """Were it read in quadratic time, it would be sixteen times."""
    count = 1_000_000 // len(part)
    assert cpu_seconds_for(part * 4 * count) < 12 * cpu_seconds_for(part * count)


def test_json_is_found_among_other_lines():
    output = 'warning {x\n{"a": 1}\nmore\n{\n  "b": {"c": 2}\n}\n{broken\n'
    assert records_of(output) == [{"a": 1}, {"b": {"c": 2}}]


def test_a_plain_command_may_tell_its_cost():
    said = plain('IDEA: x\n{"dollars": 0.5, "input_tokens": 10, "output_tokens": 2, "turns": 3}\n', Path())
    assert (said.answer, said.dollars, said.turns, said.input_tokens) == ("IDEA: x", 0.5, 3, 10)
    assert plain('IDEA: x\n{"loss": 1}', Path()).dollars is None
