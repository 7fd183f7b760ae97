"""The tables that other loops write: which column is what, and what their words and numbers mean."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.core.types import Status
from search.records.results_tsv import LedgerError, bytes_of

COMMITS = ("commit", "git_commit", "commit_hash", "git_hash", "hash", "sha", "git_sha", "revision", "rev")
LABELS = ("experiment", "exp", "run", "run_id", "id", "trial", "config_id", "name", "candidate", "iteration", "iter")
STATUSES = ("status", "decision", "verdict", "outcome", "result", "kept", "keep")
DESCRIPTIONS = ("description", "desc", "notes", "note", "change", "idea", "hypothesis", "summary", "comment")
KINDS = (("commit", COMMITS), ("label", LABELS), ("status", STATUSES), ("description", DESCRIPTIONS))
MEMORY = re.compile(r"mem|vram", re.IGNORECASE)
WORDS = {
    Status.KEEP: "keep kept accept accepted improved improvement baseline best new win success promote promoted merged "
    "true yes y",
    Status.DISCARD: "discard discarded revert reverted reject rejected worse drop dropped no regression regressed undo "
    "neutral rollback false n",
    Status.CRASH: "crash crashed error errored oom timeout exception broken failed fail failure invalid aborted killed",
}
STATUS_OF = {word: status for status, words in WORDS.items() for word in words.split()}
NOT_MEASURED = {"", "-", "--", "—", "–", "na", "n/a", "nan", "none", "null", "?", "inf", "-inf", "tbd", "pending"}
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
TEXT_BEHIND = re.compile(r"[A-Za-z]{4,}|\s\S+\s")  # a unit is shorter


@dataclass(frozen=True)
class Table:
    """The cells of a file. places: which column is the commit, label, status, description, memory. numeric: (name,
    column) of the others. rows: (line, cells). direction: whether higher is better, if a column says. left_out: lines
    that are no rows, with the reason."""

    columns: list[str]
    places: dict[str, int]
    numeric: list[tuple[str, int]]
    rows: list[tuple[int, list[str]]]
    direction: bool | None
    left_out: list[tuple[int, str]]


def has_header(cells: Sequence[str]) -> bool:
    """Whether these cells name columns."""
    lowered = {cell.strip().lower() for cell in cells}
    is_named = any(not lowered.isdisjoint(names) for _, names in KINDS)
    return is_named and all(number_in(cell) is None for cell in cells)


def read_other_table(path: Path) -> Table:
    """Raises LedgerError if a file cannot be read, is empty, or has no header and no column of words like keep."""
    text = bytes_of(path).decode("utf-8-sig", errors="replace")
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise LedgerError(f"{path}: it is empty")
    separator = "\t" if "\t" in lines[0][1] or "," not in lines[0][1] else ","
    split = [(number, _cells(line, separator)) for number, line in lines]
    if has_header(split[0][1]):
        columns, split = [cell.lower() for cell in split[0][1]], split[1:]
        places = _places_by_name(columns)
    else:
        columns = [f"column{n}" for n in range(1, len(split[0][1]) + 1)]
        places = _places_by_content([cells for _, cells in split], path)
    rows, left_out = _rows(split, columns, places.get("status", 0))
    taken = {*places.values(), *(n for n, name in enumerate(columns) if MEMORY.search(name))}
    numeric, direction = [(name, n) for n, name in enumerate(columns) if n not in taken], None
    if "metric_value" in columns:  # one metric a row, with its name and direction beside it
        names, directions = (_values(rows, columns, column) for column in ("metric_name", "metric_direction"))
        numeric = [(min(names) if len(names) == 1 else "metric_value", columns.index("metric_value"))]
        known = [up for up, word in ((True, "max"), (False, "min")) if all(d.startswith(word) for d in directions)]
        direction = known[0] if directions and known else None
    return Table(columns, places, numeric, rows, direction, left_out)


def _rows(
    split: Sequence[tuple[int, list[str]]], columns: list[str], status: int
) -> tuple[list[tuple[int, list[str]]], list[tuple[int, str]]]:
    """(rows with a cell for each column, lines that are none)."""
    rows, left_out = [], []
    for number, cells in split:
        if [cell.lower() for cell in cells] == columns:
            continue  # a second header, of two files that were joined
        if len(cells) <= status:
            left_out.append((number, f"{len(cells)} columns of {len(columns)}"))
            continue
        last = len(columns) - 1  # a description may have tabs in it
        missing = [""] * (len(columns) - len(cells))
        whole = [*cells, *missing] if len(cells) <= last else [*cells[:last], " ".join(cells[last:])]
        rows.append((number, whole))
    return rows, left_out


def _values(rows: Sequence[tuple[int, list[str]]], columns: Sequence[str], name: str) -> set[str]:
    return {cells[columns.index(name)].lower() for _, cells in rows} if name in columns else set()


def _places_by_name(columns: Sequence[str]) -> dict[str, int]:
    places = {what: columns.index(name) for what, names in KINDS for name in reversed(names) if name in columns}
    memory = next((n for n, name in enumerate(columns) if MEMORY.search(name)), None)
    return places if memory is None else places | {"memory": memory}


def _places_by_content(rows: Sequence[Sequence[str]], path: Path) -> dict[str, int]:
    """Of a file without a header: the column of words like keep, the last one, and the first."""
    width = len(rows[0])
    said = [sum(len(row) > n and is_status(row[n]) for row in rows) for n in range(width)]
    if max(said) < len(rows) / 2:
        raise LedgerError(f"{path}:1: no header; its first line must name the columns, as in commit, status")
    status = said.index(max(said))
    return {"status": status, "description": width - 1} | ({"commit": 0} if status > 0 else {})


def is_status(cell: str) -> bool:
    return number_in(cell) is None and status_of(cell) is not None


def status_of(word: str) -> Status | None:
    """What the word of another loop means; None if it is of another kind."""
    first = re.search(r"[a-z]+|[01]$", word.strip().lower())
    if first is None:
        return None
    return {"1": Status.KEEP, "0": Status.DISCARD}.get(first[0]) or STATUS_OF.get(first[0])


def _cells(line: str, separator: str) -> list[str]:
    found = [cell.strip() for cell in line.split(separator)]
    return [cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell for cell in found]


def number_in(cell: str) -> float | None:
    """A cell's number, with a unit or a sign behind it; None if it has none."""
    text = cell.strip()
    if text.lower() in NOT_MEASURED:
        return None
    match = NUMBER.match(text)
    if match is None or TEXT_BEHIND.search(text[match.end() :]):
        return None
    value = float(match[0].replace(",", ""))
    return value if math.isfinite(value) else None
