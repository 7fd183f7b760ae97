"""What a person sees while a search runs: the live table, the derived summaries, the dashboard's gauges.

In a thread of its own, so that no slot waits: it sees the coordinator's view and the files, never the live state.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from search.core.paths import Names
from search.core.types import GitError, SearchError, Status
from search.driver.coordinator import Coordinator
from search.records.housekeeping import take_stock
from search.report.frontier import verdict
from search.report.history import History
from search.report.snapshot import snapshot
from search.report.summary import summarise
from search.report.table import plain_line, rendered
from search.system.files import GrowingFile
from search.system.git import Repository
from search.trial.sealed import folder_of

LOOK_SECONDS = 1.0
LINE_SECONDS = 60.0  # between two lines of what goes on, if there is no terminal
SUMMARY_SHARE = 0.05  # of the time goes to summaries at most
STOCK_SECONDS, SHORT_STOCK_SECONDS = 60.0, 5.0  # between two looks at what it takes on the disk
PACK_RECORDS = 4000  # refs and objects are packed after so many records


class Reporter:
    """Writes the summaries when rows have come, and shows the live table."""

    def __init__(self, coordinator: Coordinator, follow_logs: bool, to_stderr: bool) -> None:
        self.coordinator, self.paths = coordinator, coordinator.paths
        self.follow_logs = follow_logs
        self.stream = sys.stderr if to_stderr else sys.stdout
        self.console = Console(file=self.stream)
        self.history = History(coordinator.repository)
        self.repository = Repository(coordinator.repository.root)
        self.dashboard = ""
        self.page: Callable[[], str] = str  # its address, '' until it is served
        self.logs: dict[Path, FollowedLog] = {}
        self._read = {self._log_of(slot, trial) for slot, trial in coordinator.view["latest"]}  # to their ends
        self._summarised: Any = None
        self._next_summary = self._next_stock = 0.0
        self._packed = coordinator.records
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=30)

    def _loop(self) -> None:
        live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        gauges = Gauges(self.coordinator.settings.task.metric.name)
        next_line = time.monotonic() + LINE_SECONDS
        if live:
            live.start()
        try:
            while not self._ended.wait(LOOK_SECONDS):
                try:
                    self._take_stock()
                    self.coordinator.write_view()
                    shown = snapshot(self.coordinator.view, self.paths, True, time.time())
                    gauges.set(shown)
                    if self.follow_logs:
                        self._print_logs()
                    if live:
                        live.update(rendered(shown, self.dashboard, self.page()), refresh=True)
                    elif time.monotonic() >= next_line:
                        next_line += LINE_SECONDS
                        print(plain_line(shown), file=self.stream, flush=True)
                    if time.monotonic() >= self._next_summary:
                        self.summarise()
                    self._pack(PACK_RECORDS)
                except Exception as error:  # the view must not end the search, whatever is wrong with it
                    print(f"report: {type(error).__name__}: {error}", file=sys.stderr)
        finally:
            if live:
                live.stop()

    def summarise(self) -> dict[str, Any] | None:
        """Derives the summaries again if rows have come; the next time after a pause that the time they took sets."""
        counts = self.coordinator.view["counts"]
        if counts == self._summarised or not counts["experiments"]:
            return None
        began = time.monotonic()
        analysis = summarise(self.paths.slot_results(), self.paths.root, self.history)
        self._summarised = counts
        self._next_summary = time.monotonic() + (time.monotonic() - began) / SUMMARY_SHARE
        return analysis

    def _pack(self, least: int) -> None:
        written = self.coordinator.records
        if written - self._packed >= least:
            self._packed = written
            try:
                self.repository.pack(objects=True)
            except GitError as error:  # a gc of the user's may be at it
                print(f"report: {error}", file=sys.stderr)

    def _take_stock(self) -> None:
        room = self.coordinator.room
        if time.monotonic() >= self._next_stock:
            sealed_results = folder_of(self.coordinator.settings)
            refs = self.repository.common_folder() / Names(self.coordinator.settings.tag).refs
            room.taken = take_stock(self.paths, [sealed_results, refs])
            self._next_stock = time.monotonic() + (SHORT_STOCK_SECONDS if room.is_short else STOCK_SECONDS)

    def _log_of(self, slot: int, trial: str) -> Path:
        return self.paths.slot(slot).trial(trial).log

    def _print_logs(self) -> None:
        """Prints what the trials' logs have gained, whole lines only; a trial that ended is read to its end, also one
        that began and ended between two looks."""
        running = {trial.log: slot.number for slot in self.paths.slots() for trial in slot.running_trials()}
        ended = {self._log_of(slot, trial): slot for slot, trial in self.coordinator.view["latest"]}
        for path, slot in (ended | running).items():
            if path not in self._read:
                self.logs.setdefault(path, FollowedLog(f"gpu{slot}", path))
        for path, followed in list(self.logs.items()):
            is_over = path in ended
            lines = followed.new_lines()
            for line in lines:
                print(line, file=self.stream, flush=True)
            if is_over:
                self._read.add(path)
            if is_over or (path not in running and not lines):  # of a trial that was lost
                del self.logs[path]
        self._read &= set(ended)

    def finish(self) -> dict[str, Any]:
        """Writes the last summaries and prints them; what --json says."""
        self.coordinator.refresh_view()
        self.coordinator.write_view()
        if self.follow_logs:
            self._print_logs()
        self._summarised = None
        analysis = None
        try:
            analysis = self.summarise()
        except SearchError as error:
            print(f"report: {error}", file=sys.stderr)
        self._pack(PACK_RECORDS // 4)
        state = self.coordinator.state
        shown = {"tag": state.settings.tag, "run": str(self.paths.root), **(analysis or {})}
        if analysis is None:
            print("no experiment was decided", file=self.stream)
            return shown
        print((self.paths.root / "analysis_summary.md").read_text(), file=self.stream)
        outcomes = state.outcomes_of(state.incumbent.experiment) if state.incumbent else []
        line = verdict(analysis, state.settings.task, [outcome.score.primary for outcome in outcomes if outcome.score])
        print(line, file=self.stream, flush=True)
        if analysis["recommended"]:
            way = f"; python -m search.export {state.settings.tag} --out DIR" if state.settings.task.room else ""
            print(f"recommended: {analysis['recommended']['words']}{way}", file=self.stream, flush=True)
        return shown | {"verdict": line}


class FollowedLog:
    """A trial's log as it grows, behind its slot's name."""

    def __init__(self, prefix: str, path: Path) -> None:
        self.prefix, self._growing = prefix, GrowingFile(path)

    def new_lines(self) -> list[str]:
        """The lines that were finished since the last call."""
        return [f"{self.prefix} {line}" for line in self._growing.lines()]


class Gauges:
    """The search's figures in Ray's dashboard and metrics, as ray_autoresearch_…; absent if Ray's are."""

    def __init__(self, metric: str) -> None:
        from ray.util.metrics import Gauge

        self.metric = metric
        words = re.sub(r"\W", "_", metric)  # Prometheus takes no others
        self.best = Gauge(f"autoresearch_best_{words}", f"{metric} of the incumbent", ("tag",))
        self.rows = Gauge("autoresearch_experiments", "experiments decided, by status", ("tag", "status"))
        self.training = Gauge("autoresearch_training_share", "share of the slots' time that trains", ("tag",))
        self.rate = Gauge("autoresearch_experiments_per_hour", "experiments decided in an hour", ("tag",))
        self.slots = Gauge("autoresearch_slots", "slots, by what they do now", ("tag", "doing"))

    def set(self, shown: dict[str, Any]) -> None:
        tag = {"tag": shown["tag"]}
        if shown["frontier"]:
            self.best.set(shown["frontier"][-1][self.metric], tag)
        for status in Status:
            self.rows.set(shown["counts"][status], tag | {"status": str(status)})
        self.training.set(shown["share_of_time_training"], tag)
        self.rate.set(shown["experiments_per_hour"], tag)
        for doing, count in slots_by_doing(shown).items():
            self.slots.set(count, tag | {"doing": doing})


def slots_by_doing(shown: dict[str, Any]) -> dict[str, int]:
    """How many slots train, evaluate, start a trial, wait for one, or are put aside. shown: by snapshot."""
    found = dict.fromkeys(("training", "evaluating", "starting", "idle", "aside"), 0)
    for slot in shown["slots"]:
        if slot["slot"] in shown["aside"]:
            found["aside"] += 1
        elif slot["doing"] != "left":
            found[slot["doing"]] += 1
    return found
