"""What a person sees while a search runs: the live table, the derived summaries, the dashboard's gauges."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from search.core.state import State
from search.core.types import SearchError, Status
from search.driver.coordinator import Coordinator
from search.report.frontier import verdict
from search.report.history import History
from search.report.snapshot import snapshot
from search.report.summary import summarise
from search.report.table import plain_line, rendered

LOOK_SECONDS = 1.0
LINE_SECONDS = 60.0  # between two lines of what goes on, where there is no terminal


class Reporter:
    """Writes the summaries after every row and shows the live table, in a thread of its own, so that no slot waits."""

    def __init__(self, coordinator: Coordinator, follow_logs: bool, to_stderr: bool) -> None:
        self.coordinator = coordinator
        self.follow_logs = follow_logs
        self.stream = sys.stderr if to_stderr else sys.stdout
        self.console = Console(file=self.stream)
        self.history = History(coordinator.repository)
        self.summarised = -1
        self.dashboard = ""
        self.logs: dict[Path, FollowedLog] = {}
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
        gauges = Gauges()
        next_line = time.monotonic() + LINE_SECONDS
        if live:
            live.start()
        try:
            while not self._ended.wait(LOOK_SECONDS):
                try:
                    shown = self._snapshot()
                    gauges.set(self.coordinator.state, shown)
                    if self.follow_logs:
                        self._print_logs()
                    if live:
                        live.update(rendered(shown, self.dashboard), refresh=True)
                    elif time.monotonic() >= next_line:
                        next_line += LINE_SECONDS
                        print(plain_line(shown), file=self.stream, flush=True)
                    self.summarise()
                except Exception as error:  # the view must not end the search, whatever is wrong with it
                    print(f"report: {type(error).__name__}: {error}", file=sys.stderr)
        finally:
            if live:
                live.stop()

    def _snapshot(self) -> dict[str, Any]:
        return snapshot(self.coordinator.state, self.coordinator.paths, True, time.time())

    def summarise(self) -> dict[str, Any] | None:
        """Derives the summaries again where rows have come."""
        rows = len(self.coordinator.state.decisions)
        if rows in (self.summarised, 0):
            return None
        paths = self.coordinator.paths
        analysis = summarise(paths.slot_results(), paths.root, self.history)
        self.summarised = rows
        return analysis

    def _print_logs(self) -> None:
        """Prints what the trials' logs have gained, whole lines only; a trial that ended is read to its end."""
        for slot in self.coordinator.paths.slots():
            for running in slot.trials.glob("*/running.json"):
                self.logs.setdefault(running.parent / "run.log", FollowedLog(f"gpu{slot.number}"))
        for path, followed in list(self.logs.items()):
            is_running = (path.parent / "running.json").exists()
            for line in followed.new_lines(path):
                print(line, file=self.stream, flush=True)
            if not is_running:
                del self.logs[path]

    def finish(self) -> dict[str, Any]:
        """Writes the last summaries and prints them; what --json tells."""
        self.summarised = -1
        analysis = None
        try:
            analysis = self.summarise()
        except SearchError as error:
            print(f"report: {error}", file=sys.stderr)
        state, paths = self.coordinator.state, self.coordinator.paths
        shown = {"tag": state.settings.tag, "run": str(paths.root), **(analysis or {})}
        if analysis is None:
            print("no experiment was decided", file=self.stream)
            return shown
        print((paths.root / "analysis_summary.md").read_text(), file=self.stream)
        told = verdict(analysis, self._bin_accs_of_the_incumbent())
        print(told, file=self.stream, flush=True)
        return shown | {"verdict": told}

    def _bin_accs_of_the_incumbent(self) -> list[float]:
        state = self.coordinator.state
        outcomes = state.outcomes_of(state.incumbent.experiment) if state.incumbent else []
        return [outcome.score.bin_acc for outcome in outcomes if outcome.score]


class FollowedLog:
    """A trial's log as it grows."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.offset, self.rest = prefix, 0, b""

    def new_lines(self, path: Path) -> list[str]:
        """The lines that were finished since the last call, behind the slot's name."""
        try:
            with path.open("rb") as stream:
                stream.seek(self.offset)
                gained = stream.read()
        except OSError:
            return []
        self.offset += len(gained)
        *lines, self.rest = (self.rest + gained).split(b"\n")
        return [f"{self.prefix} {line.decode(errors='replace')}" for line in lines]


class Gauges:
    """The search's figures in Ray's dashboard and metrics, as ray_autoresearch_…; absent where Ray's are."""

    def __init__(self) -> None:
        from ray.util.metrics import Gauge

        self.best = Gauge("autoresearch_best_bin_acc", "bin_acc of the incumbent", ("tag",))
        self.rows = Gauge("autoresearch_experiments", "experiments decided, by status", ("tag", "status"))
        self.training = Gauge("autoresearch_training_share", "share of the slots' time that trains", ("tag",))

    def set(self, state: State, shown: dict[str, Any]) -> None:
        tag = {"tag": state.settings.tag}
        if state.incumbent and state.incumbent.score:
            self.best.set(state.incumbent.score.bin_acc, tag)
        for status in Status:
            self.rows.set(state.count(status), tag | {"status": str(status)})
        self.training.set(shown["share_of_time_training"], tag)
