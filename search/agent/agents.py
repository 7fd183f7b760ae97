"""The agents that `--agent` can name: how each is run without a person, and how its answer is read. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.report.costs import total_of

LONGEST_IDEA = 100  # characters
IDEA = re.compile(r"^[ \t>*#`_]{0,20}IDEA[ \t]*:[ \t*`_]{0,20}(\S.*)$", re.MULTILINE | re.IGNORECASE)
LONGEST_ANSWER = 100_000  # characters of an answer that are read, its last


@dataclass(frozen=True)
class Said:
    """What an agent's output says. What it does not report is None."""

    answer: str
    turns: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    dollars: float | None = None
    failure: str = ""


@dataclass(frozen=True)
class Agent:
    """One way to be asked.

    command: with {brief}, the file that holds the prompt; {own}, a folder for the tool's files; {sandbox}, for one
    that has its own; {more}, further words of the user's; {dollars}, what may be spent: if nothing limits that,
    the word and the option before it are left out. on_stdin: the prompt comes there. said: reads its output, and its
    own folder.
    files: written to its own folder first. keys: environment variables, one of which must be set, unless one of the
    logins, files below the home folder, is there. aliases: variables that it wants under another name, (its, usual).
    homes: folders below the home folder where it keeps its state; made first, since a confined tool may not be able to.
    leaves: patterns of what it leaves where it works. reports_dollars: whether a budget can be kept; None: it may.
    """

    name: str
    command: tuple[str, ...]
    said: Callable[[str, Path], Said]
    on_stdin: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    logins: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    homes: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    reports_dollars: bool | None = None
    more: tuple[str, ...] = ()

    def words(self, brief: str, own: str, dollars: float | None, confined: bool) -> list[str]:
        """The command line of one call. confined: from outside, so that the tool's own sandbox would be in the way."""
        found: list[str] = []
        for word in self.command:
            if word == "{more}":
                found += self.more
            elif "{dollars}" in word and dollars is None:
                found = found[:-1]  # the option itself
            else:
                filled = word.replace("{brief}", brief).replace("{own}", own)
                filled = filled.replace("{sandbox}", "danger-full-access" if confined else "workspace-write")
                found.append(filled.replace("{dollars}", f"{dollars:.4f}" if dollars is not None else ""))
        return found

    def variables(self, given: Mapping[str, str], own: str) -> dict[str, str]:
        """What its environment has beside the user's."""
        renamed = {its: given[usual] for its, usual in self.aliases if its not in given and usual in given}
        return renamed | {name: value.replace("{own}", own) for name, value in self.environment.items()}


@dataclass(frozen=True)
class AgentPlan:
    """agent: None is the built-in one. seconds: for one proposal's thinking. dollars: for the whole search."""

    name: str
    agent: Agent | None
    proposals: int
    seconds: float
    per_round: int
    dollars: float | None = None


def idea_of(answer: str) -> str:
    """The idea's name, from the line `IDEA: …`, else from the answer's first line."""
    answer = answer[-LONGEST_ANSWER:]
    marked = IDEA.findall(answer)
    lines = [line for line in answer.splitlines() if line.strip()]
    text = marked[-1] if marked else lines[0] if lines else ""
    return one_line(text.replace("`", "")).strip("*_ ")


def one_line(text: str) -> str:
    """A text as a row can show it: one line, printable, not too long."""
    text = text[: 20 * LONGEST_IDEA]
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= LONGEST_IDEA else text[: LONGEST_IDEA - 1] + "…"


def plain(output: str, own: Path) -> Said:
    """Any command's: its text; and if its last line is JSON, the cost in it."""
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
    """The JSON objects that begin a line of an output, also those over several lines."""
    found, decoder, position = [], json.JSONDecoder(), 0
    while (position := output.find("{", position)) >= 0:
        if position and output[position - 1] != "\n":
            position += 1
            continue
        try:
            record, position = decoder.raw_decode(output, position)
            found.append(record)
        except ValueError:
            position += 1
    return found


def sum_of(records: Iterable[Any], *path: str) -> float | None:
    """The sum of a number that lies at this path of each record that has one."""
    values: list[float | None] = []
    for record in records:
        for key in path:
            record = record.get(key) if isinstance(record, dict) else None  # noqa: PLW2901
        if isinstance(record, (int, float)) and not isinstance(record, bool):
            values.append(float(record))
    return total_of(values)
