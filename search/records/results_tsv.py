"""The text of results.tsv: a row of ours, reading anybody's, merging many into one. ledgers.py writes the file."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from search.core.task import Score, Task
from search.core.types import Decision, SearchError, Status, short

STOPPED_EARLY = re.compile(r"\(stopped at [\d.]+ s of [\d.]+\)$")  # ends the description of one without a score
SHORTEST_HASH = 4  # characters; git abbreviates to no less


def columns_of(task: Task) -> tuple[str, ...]:
    """The columns of a task's results.tsv."""
    return ("commit", *task.metric_columns, "memory_gb", "status", "description")


def header_of(task: Task) -> str:
    return "\t".join(columns_of(task))


Key = tuple[str, str]  # of a row: its commit, 7 characters, and its description


def key_of(commit: str, description: str) -> Key:
    """What names a row: several may share a commit."""
    return short(commit).lower(), " ".join(description.split())


class LedgerError(SearchError):
    """A results.tsv that cannot be read or merged; the message names file, line and value."""


@dataclass(frozen=True)
class Row:
    """One experiment as results.tsv holds it."""

    commit: str
    score: Score  # nothing, unless it is measured
    memory_gb: float
    status: Status
    description: str

    @property
    def primary(self) -> float:
        return self.score.primary

    @property
    def secondary(self) -> float:
        return self.score.secondary

    @property
    def is_measured(self) -> bool:
        """Whether its numbers mean something: it did not crash, and was not stopped early."""
        return self.status is not Status.CRASH and not STOPPED_EARLY.search(self.description)

    @property
    def key(self) -> Key:
        return key_of(self.commit, self.description)

    def line(self, task: Task) -> str:
        """As its file has it."""
        named = task.named(self.score)
        texts = {metric.name: f"{named[metric.name]:.{metric.digits}f}" for metric in task.metrics}
        numbers = "\t".join(texts[name] for name in task.metric_columns)
        return f"{self.commit}\t{numbers}\t{self.memory_gb:.1f}\t{self.status}\t{self.description}"


@dataclass(frozen=True)
class Placed:
    """A row and where it was read."""

    row: Row
    path: Path
    line: int

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"


def row_of(decision: Decision) -> Row:
    """The row of a decision."""
    description = " ".join(decision.description.split())
    score = decision.score or Score(0.0)
    return Row(short(decision.commit), score, round(decision.memory_gb, 1), decision.status, description)


def render(rows: Iterable[Row], task: Task) -> str:
    """The text of a results.tsv."""
    return "".join(f"{line}\n" for line in [header_of(task), *(row.line(task) for row in rows)])


def read_rows(path: Path, task: Task) -> list[Placed]:
    """The rows of a results.tsv, in its order. Raises LedgerError naming file, line and value.

    Taken as they come: statuses in any letter case, hashes of any length, Windows line ends, a missing header. A last
    line without its end, as a killed writer leaves it, is left out when it is not a whole row.
    """
    table = read_table(path, task)
    metrics = [[metric.turned(value) for value in table[metric.name].tolist()] for metric in task.metrics]
    scores = [Score(*values) for values in zip(*metrics, strict=True)]
    columns = [table[name].tolist() for name in ("commit", "memory_gb", "status", "description", "line")]
    return [
        Placed(Row(commit, score, memory, Status(status), description), path, line)
        for score, commit, memory, status, description, line in zip(scores, *columns, strict=True)
    ]


def bytes_of(path: Path) -> bytes:
    """Raises LedgerError if the file cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise LedgerError(f"{path}: no such file") from error
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error}") from error


def read_table(path: Path, task: Task) -> pd.DataFrame:
    """The rows of a results.tsv as a table with its columns and `line`, counted from 1. Raises as read_rows does."""
    columns, header = columns_of(task), header_of(task)
    bounds = {metric.name: (metric.low, metric.high) for metric in task.metrics} | {"memory_gb": (0.0, None)}
    try:
        # The end of a letter may be missing at the file's, as a killed writer leaves it.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(bytes_of(path))
    except UnicodeDecodeError as error:
        raise LedgerError(f"{path}: cannot be read: {error}") from error
    lines = pd.Series(text.split("\n"), dtype="str")
    last = len(lines)
    cells = lines.str.rstrip("\r").str.split("\t", n=len(columns) - 1, expand=True).reindex(columns=range(len(columns)))
    counts = cells.notna().sum(axis=1)
    cells = cells.astype(object).fillna("").apply(lambda column: column.str.strip())
    cells.columns = list(columns)
    cells["line"] = range(1, last + 1)
    is_blank = (cells[list(columns)] == "").all(axis=1)
    is_header = cells["commit"].str.lower() == columns[0]
    for number in cells.index[is_header & ~is_blank]:
        if number + 1 < last or not header.startswith(lines[number]):  # not one that a killed writer has begun
            check_header(path, number + 1, lines[number], columns)
    rows = cells[~is_blank & ~is_header].copy()
    counts = counts[rows.index]
    wrong = counts < len(columns) - 1  # an editor may have trimmed the end of a row without a description
    rows["status"] = rows["status"].str.lower()
    # Their numbers mean nothing.
    without_score = (rows["status"] == Status.CRASH) | rows["description"].str.contains(STOPPED_EARLY)
    for name, (low, high) in bounds.items():
        numbers = pd.to_numeric(rows[name], errors="coerce")
        least, most = -float("inf") if low is None else low, float("inf") if high is None else high
        inside = numbers.between(least, most) & (numbers.abs() != float("inf"))
        wrong |= ~(inside | (without_score & (numbers == 0)))
        rows[name] = numbers
    wrong |= ~rows["status"].isin(list(Status)) | (rows["commit"] == "")
    for number in rows.index[wrong]:
        if number + 1 == last and counts[number] < len(columns):
            rows = rows.drop(index=number)  # a torn end
            break
        raise LedgerError(f"{path}:{number + 1}: {complaint(lines[number], columns, bounds)}")
    rows["description"] = rows["description"].str.split().str.join(" ")
    return rows


def check_header(path: Path, number: int, line: str, columns: Sequence[str]) -> None:
    """Raises LedgerError if a header has other columns."""
    cells = [cell.strip() for cell in line.rstrip("\r").split("\t")]
    if [cell.lower() for cell in cells] != [name.lower() for name in columns]:
        raise LedgerError(
            f"{path}:{number}: the columns are {', '.join(cells)}; they must be {', '.join(columns)}, separated by tabs"
        )


Bounds = Mapping[str, tuple[float | None, float | None]]


def complaint(line: str, columns: Sequence[str], bounds: Bounds) -> str:
    """What is wrong with a row, with the value."""
    cells = [cell.strip() for cell in line.rstrip("\r").split("\t")]
    if len(cells) < len(columns) - 1:
        return f"{len(cells)} columns, not {len(columns)} separated by tabs: {' | '.join(cells)!r}"
    for name, cell in zip(columns[1:-2], cells[1:-2], strict=False):
        try:
            number = float(cell)
        except ValueError:
            return f"{name} is {cell!r}, not a number"
        low, high = bounds[name]
        if not math.isfinite(number) or (low is not None and number < low) or (high is not None and number > high):
            return f"{name} is {cell}; out of its range"
    status = cells[len(columns) - 2]
    if status.lower() not in list(Status):
        return f"status is {status!r}; keep, discard or crash"
    return "the commit is missing"


TimeOf = Callable[[Row, Path], float | None]


def merge(
    paths: Sequence[Path],
    task: Task,
    time_of: TimeOf,
    look_up: Callable[[Iterable[Row]], None] = lambda rows: None,
) -> list[Placed]:
    """The rows of several files as one history: each file's order kept, files interleaved by time_of.

    A row without a time stands right behind its file's earlier rows. Exact duplicates are dropped. look_up: gets all
    rows before the first time_of. Raises LedgerError for rows of the same commit and description with other numbers,
    naming both.
    """
    files = [read_rows(path, task) for path in sorted(set(paths))]
    look_up(placed.row for rows in files for placed in rows)
    table = pd.DataFrame(
        [(index, one.row.commit, one.row.description, one) for index, rows in enumerate(files) for one in rows],
        columns=["file", "commit", "description", "placed"],
    )
    times = pd.Series([time_of(one.row, one.path) for one in table["placed"]], dtype=float)
    # Not before the file's earlier rows, so that sorting by time keeps each file's order.
    table["time"] = times.fillna(-float("inf")).groupby(table["file"]).cummax()
    table = table.sort_values("time", kind="stable")
    table["commit"] = table["commit"].map(shortest_names(table["commit"]))
    is_known = table.duplicated(["commit", "description"])
    first = table[~is_known].set_index(["commit", "description"])["placed"] if is_known.any() else None
    for commit, description, placed in table.loc[is_known, ["commit", "description", "placed"]].itertuples(index=False):
        assert first is not None
        known = first[(commit, description)]
        if replace(placed.row, commit=known.row.commit) != known.row:
            raise LedgerError(
                f"{known.place} and {placed.place} contradict each other: {known.row.line(task)!r} and "
                f"{placed.row.line(task)!r}; remove the wrong one"
            )
    return list(table.loc[~is_known, "placed"])


def shortest_names(commits: Iterable[str]) -> dict[str, str]:
    """commit -> the shortest hash among them that names the same commit: a1b2c3d for a1b2c3d4e5, whatever the case."""
    wanted = set(commits)
    known = {commit.lower() for commit in wanted}
    found = {}
    for commit in wanted:
        name = commit.lower()
        prefixes = (name[:length] for length in range(SHORTEST_HASH, len(name)))
        found[commit] = next((prefix for prefix in prefixes if prefix in known), name)
    return found
