"""results.tsv: reading anybody's, writing ours, merging many into one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from search.core.types import Decision, Score, SearchError, Status
from search.system.git import SHORT

COLUMNS = ("commit", "mc_acc", "bin_acc", "memory_gb", "status", "description")
HEADER = "\t".join(COLUMNS)
SHORTEST_HASH = 4  # characters; git abbreviates to no less


Key = tuple[str, str]  # of a row: its commit, 7 characters, and its description


def key_of(commit: str, description: str) -> Key:
    """What names a row: several may share a commit."""
    return commit[:SHORT].lower(), " ".join(description.split())


class LedgerError(SearchError):
    """A results.tsv that cannot be read or merged; the message names file, line and value."""


@dataclass(frozen=True)
class Row:
    """One experiment as results.tsv holds it."""

    commit: str
    mc_acc: float
    bin_acc: float
    memory_gb: float
    status: Status
    description: str

    @property
    def score(self) -> Score:
        return Score(self.bin_acc, self.mc_acc)

    @property
    def key(self) -> Key:
        return key_of(self.commit, self.description)

    @property
    def line(self) -> str:
        numbers = f"{self.mc_acc:.6f}\t{self.bin_acc:.6f}\t{self.memory_gb:.1f}"
        return f"{self.commit}\t{numbers}\t{self.status}\t{self.description}"


@dataclass(frozen=True)
class Placed:
    """A row and where it was read, as file:line."""

    row: Row
    where: str


def row_of(decision: Decision) -> Row:
    """The row of a decision."""
    score = decision.score or Score(0.0, 0.0)
    description = " ".join(decision.description.split())
    return Row(
        decision.commit[:SHORT], score.mc_acc, score.bin_acc, round(decision.memory_gb, 1), decision.status, description
    )


def render(rows: Iterable[Row]) -> str:
    """The text of a results.tsv."""
    return "".join(f"{line}\n" for line in [HEADER, *(row.line for row in rows)])


def read_rows(path: Path) -> list[Placed]:
    """The rows of a results.tsv, in its order. Raises LedgerError naming file, line and value.

    Taken as they come: statuses in any letter case, hashes of any length, Windows line ends, a missing header. A last
    line without its end, as a killed writer leaves it, is left out when it is not a whole row.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise LedgerError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path}: cannot be read: {error}") from error
    placed = []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line.rstrip("\r").split("\t")]
        if not any(cells):
            continue
        if cells[0].lower() == "commit":
            if tuple(cell.lower() for cell in cells) != COLUMNS:
                raise LedgerError(
                    f"{path}:{number}: the columns are {', '.join(cells)}; they must be "
                    f"{', '.join(COLUMNS)}, separated by tabs"
                )
            continue
        is_torn_end = number == len(lines) and len(cells) < len(COLUMNS)
        try:
            placed.append(Placed(_row(cells), f"{path}:{number}"))
        except ValueError as error:
            if is_torn_end:
                break
            raise LedgerError(f"{path}:{number}: {error}") from error
    return placed


def _row(cells: Sequence[str]) -> Row:
    if len(cells) == len(COLUMNS) - 1:
        cells = [*cells, ""]  # an editor has trimmed the end of a row without a description
    if len(cells) < len(COLUMNS):
        raise ValueError(f"{len(cells)} columns, not {len(COLUMNS)} separated by tabs: {' | '.join(cells)!r}")
    numbers = []
    for name, cell in zip(COLUMNS[1:4], cells[1:4], strict=True):
        try:
            number = float(cell)
        except ValueError as error:
            raise ValueError(f"{name} is {cell!r}, not a number") from error
        if not 0 <= number < float("inf") or (name != "memory_gb" and number > 1):
            raise ValueError(f"{name} is {cell}; out of its range")
        numbers.append(number)
    try:
        status = Status(cells[4].lower())
    except ValueError as error:
        raise ValueError(f"status is {cells[4]!r}; keep, discard or crash") from error
    if not cells[0]:
        raise ValueError("the commit is missing")
    return Row(cells[0], numbers[0], numbers[1], numbers[2], status, " ".join(" ".join(cells[5:]).split()))


TimeOf = Callable[[Row, Path], float | None]


def merge(paths: Sequence[Path], time_of: TimeOf) -> list[Placed]:
    """The rows of several files as one history: each file's order kept, files interleaved by time_of.

    A row without a time stands right behind its file's earlier rows. Exact duplicates are dropped. Raises LedgerError
    for rows of the same commit and description with other numbers, naming both.
    """
    timed = []
    for index, path in enumerate(sorted(set(paths))):
        latest = float("-inf")
        for position, placed in enumerate(read_rows(path)):
            # Not before the file's earlier rows, so that sorting by time keeps each file's order.
            latest = max(latest, time_of(placed.row, path) or latest)
            timed.append((latest, index, position, placed))
    timed.sort(key=lambda item: item[:3])
    shortest = shortest_names(placed.row.commit for *_, placed in timed)
    seen: dict[tuple[str, str], Placed] = {}
    merged = []
    for *_, placed in timed:
        known = seen.setdefault((shortest[placed.row.commit], placed.row.description), placed)
        if known is placed:
            merged.append(placed)
        elif replace(placed.row, commit=known.row.commit) != known.row:
            raise LedgerError(
                f"{known.where} and {placed.where} contradict each other: {known.row.line!r} and "
                f"{placed.row.line!r}; remove the wrong one"
            )
    return merged


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


def write_in_place(path: Path, text: str) -> None:
    """Writes a file aside and moves it into place; leaves it alone where it holds the text already."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".partial")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
