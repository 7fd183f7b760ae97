"""What a trial's log and exit code say: its footer, why it crashed, its traceback. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from search.core.task import Metric, Task
from search.core.types import GUARD_KILLED, OUT_OF_MEMORY
from search.system.process import Ended

TRACEBACK_LINES = 40
LOSS = re.compile(r"(?:^|\r)(?:step|epoch)\b[^\r\n]*?loss[ =:]+(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\b", re.MULTILINE)
MOST_LOSSES = 7
SAYS_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemoryError|MemoryError|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)


def parse_footer(text: str) -> dict[str, str]:
    """The `key: value` lines after the last line `---`; empty if there is none."""
    lines = text.splitlines()
    rules = [number for number, line in enumerate(lines) if line.strip() == "---"]
    if not rules:
        return {}
    pairs = (line.partition(":") for line in lines[rules[-1] + 1 :] if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def figure_in(text: str, footer: Mapping[str, str], key: str, pattern: str = "") -> str | None:
    """What a log says a figure is: what a pattern finds last; else the footer; else its last line `key: value`."""
    if pattern:
        found = re.findall(pattern, text, re.MULTILINE)
        last = found[-1] if found else None
        return last[0] if isinstance(last, tuple) else last
    if key in footer:
        return footer[key]
    lines = re.findall(rf"(?:^|\r)\s*{re.escape(key)}\s*[:=]\s*([^\s,|]+)", text, re.MULTILINE)
    return lines[-1] if lines else None


def number_in(text: str, footer: Mapping[str, str], key: str) -> float | None:
    """Likewise, as a number; None if it is none."""
    try:
        return float(figure_in(text, footer, key) or "")
    except ValueError:
        return None


def scores_in(task: Task, text: str, footer: Mapping[str, str]) -> dict[str, str | None]:
    """What a log says of each metric."""
    return {metric.name: figure_in(text, footer, metric.name, metric.pattern) for metric in task.metrics}


def losses_of(text: str, most: int = MOST_LOSSES) -> tuple[float, ...]:
    """The training losses that a log names, at most so many, evenly over it; the first and the last are among them."""
    found = [float(number) for number in LOSS.findall(text)]
    if len(found) <= most:
        return tuple(found)
    return tuple(found[round(place * (len(found) - 1) / (most - 1))] for place in range(most))


def crash_reason(task: Task, ended: Ended, text: str, footer: Mapping[str, str]) -> str:
    """Why a trial is a crash, in one line; empty if it is none."""
    if ended.ended_for:
        return ended.ended_for
    if ended.code < 0:
        return f"{GUARD_KILLED}by signal {-ended.code}"
    if ended.code:
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
        if ended.code == 137:
            return "killed by signal 9 (the system's out-of-memory killer, or a person)"
        if SAYS_OUT_OF_MEMORY.search(text[-20_000:]):
            return f"{OUT_OF_MEMORY}: {last}"
        if ended.code > 128:
            return f"killed by signal {ended.code - 128}"
        return f"exit code {ended.code}: {last}"[:300]
    if task.scorer is not None:  # whatever it says of itself
        return ""
    said = scores_in(task, text, footer)
    for metric in reversed(task.metrics):
        problem = _problem_with(metric, said[metric.name], bool(footer))
        if problem:
            return problem
    return ""


def _problem_with(metric: Metric, said: str | None, has_footer: bool) -> str:
    if said is None and metric.pattern:
        return f"nothing that it printed matches the pattern of {metric.name}"
    if said is None:
        return f"no {metric.name} in its footer" if has_footer else "printed no footer"
    try:
        value = float(said)
    except ValueError:
        return f"{metric.name} in its footer is {said!r}"
    return "" if metric.allows(value) else f"{metric.name} in its footer is {said}"


def traceback_of(text: str) -> str:
    """The end of a log, from its last traceback if it has one."""
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    return "\n".join(lines[starts[-1] if starts else -TRACEBACK_LINES :][-TRACEBACK_LINES:])
