"""Reads the results.tsv of other loops, and infers which metric decided, and in which direction, from what was kept."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from search.core.task import Task
from search.core.types import Status
from search.records.results_tsv import LedgerError, columns_of
from search.report.other_loops.tables import number_in, read_other_table, status_of

# Numbers that stand beside a score and are none: what was spent, where it was, by how much it changed.
NO_METRIC = re.compile(
    r"(^|_)(seconds?|secs?|minutes?|mins?|hours?|duration|elapsed|wall|time|timestamp|date|cost|usd|tokens?|steps?|"
    r"epochs?|seeds?|params?|parameters|batch|lr|iter|iteration|delta|diff|change|gain|improvement|baseline|n|num|"
    r"count|trades|rank|round|gpu|std|stddev|ci|budget|size|clock)(_|$)|^n_|_s$|_pct$",
    re.IGNORECASE,
)
LOWER = re.compile(
    r"(^|_)(loss|bpb|bpc|err|error|wer|cer|mer|rmse|mae|mse|mape|ppl|perplexity|nll|fid|latency|ms|us|regret|ece|brier|"
    r"divergence|drawdown|max_dd|deviation|distance|violations|failures)(\d|_|$)",
    re.IGNORECASE,
)
HIGHER = re.compile(
    r"(^|_)(acc|accuracy|auc|auroc|auprc|f\d*|score|sharpe|sortino|calmar|r2|precision|recall|map|ap|iou|miou|dice|psnr|"
    r"ssim|rewards?|returns?|tok_s|tok_per_sec|tokens_per_sec|tps|throughput|tflops|speed|speedup|correlation|corr|"
    r"silhouette|winrate|win_rate|elo|pass|success|bleu|rouge|kappa|mcc|ndcg|mrr|hit|accept)(\d|_|$)",
    re.IGNORECASE,
)
SENTINELS = {999.0, 9999.0, 99999.0, 999999.0, 1e6, 1e9}  # of either sign: what loops write where nothing was measured
REPEAT = re.compile(
    r"\b(?:repeat(?:ed|s)?|re-?run|again|replicate[ds]?|replication|seed[ =]*\d+|confirm(?:ed|ation)?)\b", re.IGNORECASE
)
ENOUGH = 3  # decisions between two measured rows, from which on they say which metric decided
AGREEMENT = 0.75  # share of the decisions that a metric must agree with
CLEARLY = 0.1  # by so much more than any other column or direction, where the names do not tell


@dataclass(frozen=True)
class Measured:
    """One row. status: None if its word is none of ours, which is then in `word`. values: by column, without those
    that were not measured. repeat: what is the same for all measurements of one thing."""

    line: int
    commit: str
    label: str
    status: Status | None
    word: str
    values: dict[str, float]
    memory_gb: float | None
    description: str

    @property
    def repeat(self) -> str:
        """The same for rows that say that they measured the same thing; '' if nothing tells."""
        text = " ".join(REPEAT.sub(" ", self.description.lower()).split()).strip(" .,;:-()")
        return f"{self.commit.lower()} {text}" if self.commit or text else ""


@dataclass(frozen=True)
class Metric:
    """The metric that decided, and how that is known."""

    name: str
    higher_is_better: bool
    known_by: str

    def gain(self, new: float, old: float) -> float:
        return new - old if self.higher_is_better else old - new


@dataclass(frozen=True)
class OtherHistory:
    """A history of another loop. candidates: the columns of numbers. says_kept: whether a column says what was kept.
    direction: whether higher is better, if the file says. left_out: lines that are no rows, with the reason. notes:
    what was taken how."""

    path: Path
    columns: list[str]
    rows: list[Measured]
    candidates: list[str]
    says_kept: bool = True
    direction: bool | None = None
    left_out: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_ours(path: Path, task: Task) -> bool:
    """Whether a file has a task's own columns, or its rows without a header, or is no text: results_tsv.py reads
    it then."""
    try:
        first = path.read_text(encoding="utf-8-sig").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError):
        return True
    cells = [cell.strip().lower() for cell in first.split("\t")]
    columns = [name.lower() for name in columns_of(task)]
    is_row = (
        len(cells) == len(columns)
        and cells[-2] in list(Status)
        and all(number_in(cell) is not None for cell in cells[1:-2])
    )
    return cells == columns or is_row or cells == [""]


def read_other(path: Path) -> OtherHistory:
    """The history in a file. Raises LedgerError if it has no row or no number, or nothing says what was kept."""
    table = read_other_table(path)
    at = table.places
    rows = []
    for number, cells in table.rows:
        values = {name: value for name, n in table.numeric if (value := number_in(cells[n])) is not None}
        megabytes = number_in(cells[at["memory"]]) if "memory" in at else None
        if megabytes is not None and "mb" in table.columns[at["memory"]]:
            megabytes /= 1024
        word, text = (cells[at[what]] if what in at else "" for what in ("status", "description"))
        commit, label = (cells[at[what]] if what in at else "" for what in ("commit", "label"))
        status = status_of(word)
        rows.append(Measured(number, commit, label, status, word, values, megabytes, " ".join(text.split())))
    if not rows:
        raise LedgerError(f"{path}: it has a header and no row")
    measured = [name for name, _ in table.numeric if any(name in row.values for row in rows)]
    if not measured:
        raise LedgerError(f"{path}: no column of numbers beside memory; the columns are {', '.join(table.columns)}")
    cleaned, notes = _without_sentinels(rows, measured)
    return OtherHistory(path, table.columns, cleaned, measured, "status" in at, table.direction, table.left_out, notes)


def metric_of(history: OtherHistory, name: str = "", higher: bool | None = None) -> Metric:
    """The metric that decided. name, higher: as somebody said, '' and None if nobody did.

    Raises LedgerError, with the flag that helps, if the name is no column or the file does not tell.
    """
    there = ", ".join(history.candidates)
    if name and name.lower() not in history.candidates:
        raise LedgerError(f"--metric {name}: no column of numbers; there are {there}")
    if not history.says_kept and not name:
        raise LedgerError(
            f"{history.path}: no column says what was kept; name the metric with --metric ({there}), and then what is "
            "better than all before counts as kept"
        )
    higher = history.direction if higher is None else higher
    likely = [one for one in history.candidates if direction_of(one) is not None or not NO_METRIC.search(one)]
    names = [name.lower()] if name else likely or history.candidates
    by_decisions = _by_decisions(history.rows, names, higher)
    if by_decisions is not None:
        return by_decisions
    told = [(one, direction_of(one) if higher is None else higher) for one in names]
    known = [(one, up) for one, up in told if up is not None]
    has_decisions = any(row.status in (Status.KEEP, Status.DISCARD) for row in history.rows)
    if known and (name or has_decisions or "score" not in known[0][0]):  # a score may be of any kind
        one, up = known[0]
        how = "as its name says" if higher is None else "as the file or a flag says"
        return Metric(one, up, f"{one}, {'higher' if up else 'lower'} is better, {how}: decisions do not tell")
    raise LedgerError(
        f"{history.path}: which metric decided is not clear from what was kept; name it with --metric "
        f"({', '.join(names)}), and its direction with --minimize or --maximize"
    )


def _by_decisions(rows: Sequence[Measured], names: Sequence[str], higher: bool | None) -> Metric | None:
    """The metric and direction that most decisions agree with, if one does clearly; of several that do as well, the
    first whose name agrees too."""
    directions = (True, False) if higher is None else (higher,)
    found = [(one, up, *agreement(rows, one, up)) for one in names for up in directions]
    scored = [(agreed / of, one, up, agreed, of) for one, up, agreed, of in found if of >= ENOUGH]
    most = max((share for share, *_ in scored), default=0.0)
    best = [row for row in scored if row[0] > most - CLEARLY]
    fitting = [row for row in best if direction_of(row[1]) == row[2]] or best
    if most < AGREEMENT or len({row[2] for row in fitting if row[1] == fitting[0][1]}) > 1:
        return None
    _, one, up, agreed, of = fitting[0]
    words = "higher" if up else "lower"
    return Metric(one, up, f"{agreed} of {of} decisions agree with {one}, {words} is better")


def direction_of(name: str) -> bool | None:
    """Whether higher is better, by a metric's name; None if that does not tell."""
    lower, higher = bool(LOWER.search(name)), bool(HIGHER.search(name))
    return None if lower == higher else higher


def agreement(rows: Sequence[Measured], name: str, higher: bool) -> tuple[int, int]:
    """(decisions that agree with a metric and its direction, decisions between two measured rows): what was kept is
    better than what was kept before, and what was discarded is not."""
    sign, best = (1.0 if higher else -1.0), None
    agreed = of = 0
    for row in rows:
        value = row.values.get(name)
        if value is None or row.status not in (Status.KEEP, Status.DISCARD):
            continue
        if best is None:
            best = sign * value if row.status is Status.KEEP else None
            continue
        of += 1
        if row.status is Status.KEEP:
            agreed += sign * value >= best and not math.isclose(sign * value, best, rel_tol=1e-12)
            best = sign * value
        else:
            agreed += sign * value <= best
    return agreed, of


def _without_sentinels(rows: Sequence[Measured], names: Sequence[str]) -> tuple[list[Measured], list[str]]:
    """The rows without numbers that stand for none: those of crashes, zeros where all else is above or below zero, and
    what loops write for a failure."""
    notes: list[str] = []
    cleaned = [dict(row.values) if row.status is not Status.CRASH else {} for row in rows]
    for name in names:
        others = [values[name] for values in cleaned if values.get(name) and abs(values[name]) not in SENTINELS]
        one_side = all(value > 0 for value in others) or all(value < 0 for value in others)
        removed = 0
        for values in cleaned:
            value = values.get(name)
            if value is not None and (abs(value) in SENTINELS or (value == 0 and one_side and len(others) > 2)):
                del values[name]
                removed += 1
        if removed:
            notes.append(f"{name}: {removed} numbers stand for nothing (0 or 999) and are left out")
    return [replace(row, values=values) for row, values in zip(rows, cleaned, strict=True)], notes


def repeats(rows: Sequence[Measured], name: str) -> Iterator[list[float]]:
    """The values of each thing that was measured more than once."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if name in row.values and row.repeat:
            groups.setdefault(row.repeat, []).append(row.values[name])
    return (values for values in groups.values() if len(values) > 1)
