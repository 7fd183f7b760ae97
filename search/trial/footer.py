"""What a trial's log and exit code say: its footer, why it crashed, its traceback. Pure."""

from __future__ import annotations

import re

from search.core.types import OUT_OF_MEMORY
from search.system.process import Ended
from search.task.metrics import PRIMARY, SECONDARY

TRACEBACK_LINES = 40
LOSS = re.compile(r"^(?:step|epoch)\b.*?loss[ =:]+(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\b", re.MULTILINE)
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


def losses_of(text: str, most: int = MOST_LOSSES) -> tuple[float, ...]:
    """The training losses that a log names, at most so many, evenly over it; the first and the last are among them."""
    found = [float(number) for number in LOSS.findall(text)]
    if len(found) <= most:
        return tuple(found)
    return tuple(found[round(place * (len(found) - 1) / (most - 1))] for place in range(most))


def crash_reason(ended: Ended, text: str, footer: dict[str, str]) -> str:
    """Why a trial is a crash, in one line; empty if it is none."""
    if ended.ended_for:
        return ended.ended_for
    if ended.code:
        last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
        if ended.code == 137:
            return "killed by signal 9 (the system's out-of-memory killer, or a person)"
        if SAYS_OUT_OF_MEMORY.search(text[-20_000:]):
            return f"{OUT_OF_MEMORY}: {last}"
        if ended.code > 128:
            return f"killed by signal {ended.code - 128}"
        return f"exit code {ended.code}: {last}"[:300]
    for key in (SECONDARY.name, PRIMARY.name):
        if key not in footer:
            return f"no {key} in its footer" if footer else "printed no footer"
        try:
            value = float(footer[key])
        except ValueError:
            return f"{key} in its footer is {footer[key]!r}"
        if not 0 <= value <= 1:  # NaN is not either
            return f"{key} in its footer is {footer[key]}"
    return ""


def traceback_of(text: str) -> str:
    """The end of a log, from its last traceback if it has one."""
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    return "\n".join(lines[starts[-1] if starts else -TRACEBACK_LINES :][-TRACEBACK_LINES:])
