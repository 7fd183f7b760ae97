"""The agents that `--agent` can name: how each is run without a person, and how its answer is read. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

LONGEST_IDEA = 100  # characters
IDEA = re.compile(r"^[\s>*#`_]*IDEA\s*:[\s*`_]*(\S.*)$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Said:
    """What an agent's output says. What it does not tell is None."""

    answer: str
    turns: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    dollars: float | None = None
    failure: str = ""


@dataclass(frozen=True)
class Agent:
    """One way to be asked.

    command: with {brief}, the file that holds the prompt, {folder}, where it works, and {dollars}, what may be spent;
    words with a {dollars} that is not limited are left out, with the word before. on_stdin: the prompt comes there.
    said: reads its output. keys: environment variables, one of which must be set, unless one of the files, below the
    home, is there. leaves: patterns of what the tool leaves in its folder. tells_dollars: whether a budget
    can be kept.
    """

    name: str
    command: tuple[str, ...]
    said: Callable[[str], Said]
    on_stdin: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    tells_dollars: bool | None = None  # None: it may

    def words(self, brief: str, folder: str, dollars: float | None) -> list[str]:
        """The command line of one call."""
        found: list[str] = []
        for word in self.command:
            if "{dollars}" in word and dollars is None:
                found = found[:-1]  # the option itself
                continue
            filled = word.replace("{brief}", brief).replace("{folder}", folder)
            found.append(filled.replace("{dollars}", f"{dollars:.4f}" if dollars is not None else ""))
        return found


def idea_of(answer: str) -> str:
    """The idea's name, from the line `IDEA: …`, else from the answer's first line."""
    marked = IDEA.findall(answer)
    lines = [line for line in answer.splitlines() if line.strip()]
    text = marked[-1] if marked else lines[0] if lines else ""
    text = " ".join(text.replace("`", "").split()).strip("*_ ")
    return text if len(text) <= LONGEST_IDEA else text[: LONGEST_IDEA - 1] + "…"


def plain(output: str) -> Said:
    """Any command's: its text; and where its last line is JSON, the cost that it tells."""
    lines = output.strip().splitlines()
    record = _record(lines[-1]) if lines else {}
    turns = _number(record, "turns", "num_turns")
    tokens = _number(record, "input_tokens"), _number(record, "output_tokens")
    dollars = _number(record, "dollars", "total_cost_usd", "cost_usd")
    if all(value is None for value in (turns, dollars, *tokens)):
        return Said(output.strip())
    answer = str(record.get("answer") or "\n".join(lines[:-1]))
    return Said(answer, whole(turns), whole(tokens[0]), whole(tokens[1]), dollars)


def whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _record(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(record: dict[str, Any], *names: str) -> float | None:
    for name in names:
        value = record.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None


def records_of(output: str) -> list[dict[str, Any]]:
    """The lines of an output that are JSON objects."""
    return [record for line in output.splitlines() if line.startswith("{") and (record := _record(line))]


def total(values: Sequence[float | None]) -> float | None:
    """Their sum; None where none is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
