"""Reads a task.toml. Raises UsageError naming the file, the key and its value."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.core.paths import PROJECT
from search.core.task import Hyperparameters, Metric, OutsideScorer, Passing, Task, Trust
from search.core.types import UsageError

FILE = "task.toml"
UNITS_MB = {"B": 2.0**-20, "KB": 2.0**-10, "MB": 1.0, "GB": 2.0**10}
DIRECTIONS = {"higher": True, "lower": False}
NAME = re.compile(r"[A-Za-z][\w.-]{0,39}")
TEXTS = ("name", "edited", "hyperparameters", "trust", "room", "space", "program", "item")
LISTS = ("command", "fixed", "reads", "variables", "columns")
TABLES = {
    "metric": ("name", "meaning", "direction", "decimals", "shown_decimals", "low", "high", "pattern"),
    "tie_breaker": ("name", "meaning", "direction", "decimals", "shown_decimals", "low", "high", "pattern"),
    "seed": ("flag", "variable", "constant", "file"),
    "seconds": ("flag", "variable", "constant", "file", "usual", "most", "start_up"),
    "memory": ("key", "unit"),
    "log": ("training_lines",),
    "smoke": ("seconds",),
    "scorer": ("function", "labels", "predictions"),
}
FUNCTION = re.compile(r"([\w./-]+\.py):([A-Za-z_]\w*)")
ROOMS = ("screening",)
MOST_DECIMALS = 12


def load_task(path: Path, folder: str = "") -> Task:
    """The task that a file declares. folder: the file's, in its repository."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{path}: cannot read the task: {reason}; search.adopt writes one") from error
    return parse_task(text, str(path), folder)


def parse_task(text: str, name: str, folder: str = "") -> Task:
    """The task in the text of a task.toml. name: the file's, for messages."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not TOML: {error}") from error
    return _Reader(name, given).task(folder)


class _Reader:
    """file: its name. given: its content."""

    def __init__(self, file: str, given: Mapping[str, Any]) -> None:
        self.file, self.given = file, given

    def wrong(self, key: str, value: object, wanted: str) -> UsageError:
        return UsageError(f"{self.file}: {key} is {value!r}; {wanted}")

    def task(self, folder: str) -> Task:
        self._check_keys()
        texts = {key: self._text(key, self.given[key]) for key in TEXTS if key in self.given}
        lists = {key: self._list(key, self.given[key]) for key in LISTS if key in self.given}
        if "metric" not in self.given:
            raise UsageError(f"{self.file}: no table [metric]; it names what runs are compared by")
        metric = self._metric("metric")
        tie_breaker = self._metric("tie_breaker") if "tie_breaker" in self.given else None
        names = [metric.name, *([tie_breaker.name] if tie_breaker else [])]
        if len(set(names)) < len(names):
            raise self.wrong("tie_breaker.name", names[1], "another one than metric.name")
        if "columns" in lists and sorted(lists["columns"]) != sorted(names):
            raise self.wrong("columns", list(lists["columns"]), f"the metrics, in an order: {names}")
        edited = texts.get("edited", "train.py")
        for key, paths in (("edited", (edited,)), ("fixed", lists.get("fixed", ()))):
            for path in paths:
                self._check_inside(key, path)
        if edited in lists.get("fixed", ()):
            raise self.wrong("fixed", list(lists["fixed"]), f"without {edited}, which experiments edit")
        room = texts.pop("room", "")
        if room and room not in ROOMS:
            raise self.wrong("room", room, f"one of {', '.join(ROOMS)}, or left out")
        trust = self._one_of("trust", texts.pop("trust", str(Trust.REPORTED)), Trust)
        scorer = self._scorer()
        if scorer is not None and room:
            raise self.wrong("room", room, "left out where [scorer] says who scores")
        if (trust is Trust.SCORED) != bool(room or scorer):
            raise self.wrong("trust", str(trust), "scored where there is a table [scorer], else reported")
        if scorer is not None and scorer.file not in lists.get("fixed", ()):
            lists["fixed"] = (*lists.get("fixed", ()), scorer.file)
        seconds = self.given.get("seconds", {})
        hyperparameters = self._one_of("hyperparameters", texts.pop("hyperparameters", "recipe"), Hyperparameters)
        given: dict[str, Any] = {"name": Path(self.file).resolve().parent.name, **texts, **lists}
        task = Task(
            metric=metric,
            tie_breaker=tie_breaker,
            folder=folder,
            hyperparameters=hyperparameters,
            trust=trust,
            scorer=scorer,
            room=room,
            seed=self._passing("seed", edited),
            seconds=self._passing("seconds", edited),
            usual_seconds=self._number("seconds.usual", seconds.get("usual", 300.0), above=0.0),
            most_seconds=self._number("seconds.most", seconds["most"], above=0.0) if "most" in seconds else None,
            start_up_seconds=self._number("seconds.start_up", seconds.get("start_up", 300.0), above=0.0),
            **self._memory(),
            trains=self._flag("log.training_lines", self.given.get("log", {}).get("training_lines", True)),
            smoke_seconds=self._smoke(),
            **given,
        )
        return in_its_room(task)

    def _check_keys(self) -> None:
        for key, value in self.given.items():
            known = (*TEXTS, *LISTS, *TABLES)
            if key not in known:
                raise UsageError(f"{self.file}: unknown key {key}; there are {', '.join(known)}")
            if key in TABLES:
                if not isinstance(value, dict):
                    raise self.wrong(key, value, f"a table is needed, as in [{key}]")
                for inner in value:
                    if inner not in TABLES[key]:
                        raise UsageError(f"{self.file}: unknown key {key}.{inner}; there are {', '.join(TABLES[key])}")

    def _text(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip() or "\n" in value:
            raise self.wrong(key, value, "a text of one line")
        return value

    def _list(self, key: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.wrong(key, value, "a list of texts")
        if key == "command" and not value:
            raise self.wrong(key, value, 'a program and its arguments, as in ["{python}", "train.py"]')
        return tuple(value)

    def _flag(self, key: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def _number(self, key: str, value: object, above: float | None = None) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.wrong(key, value, "a number")
        if above is not None and value <= above:
            raise self.wrong(key, value, f"more than {above:g}")
        return float(value)

    def _one_of(self, key: str, value: str, kinds: Any) -> Any:
        if value not in list(kinds):
            raise self.wrong(key, value, f"one of {', '.join(kinds)}")
        return kinds(value)

    def _check_inside(self, key: str, path: str) -> None:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise self.wrong(key, path, f"a path below the folder of {FILE}")

    def _metric(self, key: str) -> Metric:
        table = self.given[key]
        for needed in ("name", "direction"):
            if needed not in table:
                raise UsageError(f"{self.file}: no {key}.{needed}")
        name = self._text(f"{key}.name", table["name"])
        if not NAME.fullmatch(name):
            raise self.wrong(f"{key}.name", name, "a letter, then letters, digits, '_', '.' and '-', at most 40")
        if table["direction"] not in DIRECTIONS:
            raise self.wrong(f"{key}.direction", table["direction"], "higher or lower: which is better")
        bounds: dict[str, Any] = {
            end: self._number(f"{key}.{end}", table[end]) for end in ("low", "high") if end in table
        }
        if len(bounds) == 2 and bounds["low"] >= bounds["high"]:
            raise self.wrong(f"{key}.low", table["low"], f"below {key}.high")
        digits: dict[str, Any] = {}
        for which, what in (("decimals", "digits"), ("shown_decimals", "shown_digits")):
            if which in table:
                number = table[which]
                if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MOST_DECIMALS:
                    raise self.wrong(f"{key}.{which}", number, f"a whole number from 0 to {MOST_DECIMALS}")
                digits[what] = number
        pattern = self._text(f"{key}.pattern", table["pattern"]) if "pattern" in table else ""
        try:
            groups = re.compile(pattern).groups if pattern else 1
        except re.error as error:
            raise self.wrong(f"{key}.pattern", pattern, f"a regular expression: {error}") from error
        if groups < 1:
            raise self.wrong(f"{key}.pattern", pattern, "with a group (…) that holds the number")
        meaning = self._text(f"{key}.meaning", table["meaning"]) if "meaning" in table else ""
        return Metric(name, meaning, DIRECTIONS[table["direction"]], **digits, **bounds, pattern=pattern)

    def _passing(self, key: str, edited: str) -> Passing:
        table = self.given.get(key, {})
        ways = [way for way in ("flag", "variable", "constant") if way in table]
        if len(ways) > 1:
            raise UsageError(f"{self.file}: {key} has {' and '.join(ways)}; one of them")
        if "file" in table and "constant" not in table:
            raise self.wrong(f"{key}.file", table["file"], f"only with {key}.constant")
        if not ways:
            return Passing()
        value = self._text(f"{key}.{ways[0]}", table[ways[0]])
        file = self._text(f"{key}.file", table.get("file", edited)) if ways[0] == "constant" else ""
        if file:
            self._check_inside(f"{key}.file", file)
        return Passing(**{ways[0]: value}, file=file)

    def _scorer(self) -> OutsideScorer | None:
        table = self.given.get("scorer")
        if table is None:
            return None
        for needed in TABLES["scorer"]:
            if needed not in table:
                raise UsageError(f"{self.file}: no scorer.{needed}")
        function = self._text("scorer.function", table["function"])
        match = FUNCTION.fullmatch(function)
        if match is None:
            raise self.wrong("scorer.function", function, 'a file and a function of it, as in "scoring.py:score"')
        predictions = self._text("scorer.predictions", table["predictions"])
        self._check_inside("scorer.function", match[1])
        self._check_inside("scorer.predictions", predictions)
        labels = str(
            Path(self.file).parent.absolute() / Path(self._text("scorer.labels", table["labels"])).expanduser()
        )
        return OutsideScorer(match[1], match[2], labels, predictions)

    def _memory(self) -> dict[str, Any]:
        table = self.given.get("memory")
        if table is None:
            return {"memory": ""}
        unit = table.get("unit", "MB")
        if unit not in UNITS_MB:
            raise self.wrong("memory.unit", unit, f"one of {', '.join(UNITS_MB)}")
        key = self._text("memory.key", table.get("key", "peak_vram_mb"))
        return {"memory": key, "memory_unit_mb": UNITS_MB[unit]}

    def _smoke(self) -> float | None:
        table = self.given.get("smoke")
        return None if table is None else self._number("smoke.seconds", table.get("seconds", 4.0), above=0.0)


def in_its_room(task: Task) -> Task:
    """The task with what its room says of it."""
    if task.room != "screening":
        return task
    from search.task.screening import words

    return replace(
        task,
        item=words.ITEM,
        rates=words.RATES,
        shown_rates=words.SHOWN_RATES,
        majority_hint=words.MAJORITY_HINT,
    )


def file_here() -> Path:
    """The task.toml that is meant by somebody who names none: of this folder, or the nearest above it; else this
    project's own."""
    here = Path.cwd()
    return next((folder / FILE for folder in (here, *here.parents) if (folder / FILE).is_file()), PROJECT / FILE)


def folder_in_repository(file: Path) -> str:
    """The folder of a task.toml by its path in the repository that holds it; '' for the top, or outside of any."""
    folder = Path(os.path.realpath(file)).parent
    top = next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)
    found = folder.relative_to(top).as_posix()
    return "" if found == "." else found


def task_here() -> Task:
    """The task of file_here. Raises UsageError."""
    file = file_here()
    return load_task(file, folder_in_repository(file))
