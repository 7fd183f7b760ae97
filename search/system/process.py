"""Runs one command under limits, its output streamed to a log file; the only place that starts trials."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol

from search.system.files import GrowingFile, size_of
from search.system.guard import END_SECONDS, LIVES_ON, STARTED_BY, descendants, started_at

GUARD = Path(__file__).with_name("guard.py")
TRAINING_LINE = re.compile(rb"(?:^|\r)(step|epoch)\b", re.IGNORECASE | re.MULTILINE)
FOOTER_LINE = re.compile(rb"^---\s*$", re.MULTILINE)
POLL_SECONDS = 0.05
LARGEST_LOG = 256 * 2**20  # bytes; a trial that prints more is ended
MOST_LEFT = 10 * 2**30  # bytes
STOPPED_FROM = 5.0  # seconds between two readings of a clock that is read all the time
WEIGH_SECONDS = 5.0  # between two looks at its folders


def usable_cores(groups: Path = Path("/sys/fs/cgroup"), mine: Path = Path("/proc/self/cgroup")) -> int:
    """How many cores this process may use: those that it is bound to, and at most what its control groups grant it.

    groups, mine: where Linux tells of control groups (cgroups(7)), of version 2 and 1.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = []
    try:
        lines = [line.split(":", 2) for line in mine.read_text().splitlines()]
    except OSError:
        return bound
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups if not controllers else groups / "cpu"
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):  # every group above it limits it too
            with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                if controllers:
                    quota = float((folder / "cpu.cfs_quota_us").read_text())
                    period = float((folder / "cpu.cfs_period_us").read_text())
                else:
                    quota, period = map(float, (folder / "cpu.max").read_text().split())  # "max": no limit
                if quota > 0:
                    granted.append(quota / period)
            if folder == root:
                break
    return max(min([bound, *map(int, granted)]), 1)


@dataclass(frozen=True)
class Limits:
    """Seconds until the first training line, and from there to the end; rest None: start_up is for all, whatever is
    printed. largest_log: bytes; what prints more is ended. folders: its own; what adds more than most_left bytes to
    them is ended too."""

    start_up: float
    rest: float | None
    largest_log: int = LARGEST_LOG
    folders: tuple[Path, ...] = ()
    most_left: int = MOST_LEFT


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (128 + n for signal n), or the reason it was ended for. lives_on: something of
    it could not be ended. stopped: seconds by which this process, and so perhaps all of the machine, stood still."""

    code: int
    ended_for: str = ""
    lives_on: bool = False
    stopped: float = 0.0


class RunningClock:
    """Seconds that count: not those by which this process stood still, as when a machine is suspended. It must be read
    more often than every STOPPED_FROM seconds."""

    def __init__(self) -> None:
        self._read, self.stopped = time.monotonic(), 0.0

    def seconds(self) -> float:
        now = time.monotonic()
        self.stopped += now - self._read if now - self._read > STOPPED_FROM else 0.0
        self._read = now
        return now - self.stopped

    def worked(self) -> None:
        """What passed since the last reading was work of this process's own, however long."""
        self._read = time.monotonic()


class Scales:
    """Weighs folders now and then, so that it takes a fiftieth of the time at most."""

    def __init__(self, folders: Sequence[Path], clock: RunningClock) -> None:
        self.folders, self.clock = folders, clock
        self._before = self._now = self._weigh()

    def _weigh(self) -> int:
        began = time.monotonic()
        found = sum(map(size_of, self.folders))
        self.clock.worked()
        self._next = time.monotonic() + max(WEIGH_SECONDS, 50 * (time.monotonic() - began))
        return found

    def gained(self) -> int:
        """Bytes that the folders have gained, as far as is known."""
        if self.folders and time.monotonic() > self._next:
            self._now = self._weigh()
        return self._now - self._before


class GuardedRun(Protocol):
    """A command under guard. pid: the guard's, whose death ends the command."""

    @property
    def pid(self) -> int: ...

    def wait(self, timeout: float) -> int:
        """The guard's exit code, -n if signal n killed it. Raises subprocess.TimeoutExpired."""

    def release(self) -> None:
        """Nobody holds it any more: it ends."""

    def kill(self) -> None: ...


class ColdRun(subprocess.Popen[bytes]):
    """A guard, and a command, that are started as programs."""

    def release(self) -> None:
        assert self.stdin
        self.stdin.close()


def started_cold(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], output: IO[bytes], descriptors: Sequence[int]
) -> GuardedRun:
    """Starts a command under guard. descriptors: what it inherits of this process's, beside its output."""
    return ColdRun(
        [sys.executable, "-I", "-S", str(GUARD), *command],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=descriptors,
    )


Judge = Callable[[bytes, float], str]  # what was printed, seconds since the first training line -> why to end it


def run_limited(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    limits: Limits,
    on_started: Callable[[int], None] = lambda pid: None,
    on_training: Callable[[], None] = lambda: None,
) -> Ended:
    """Runs a command in a folder, as limited does."""
    return limited(
        lambda output: started_cold(command, folder, environment, output, ()), log, limits, on_started, on_training
    )


def limited(
    start: Callable[[IO[bytes]], GuardedRun],
    log: Path,
    limits: Limits,
    on_started: Callable[[int], None] = lambda pid: None,
    on_training: Callable[[], None] = lambda: None,
    judge: Judge = lambda printed, seconds: "",
) -> Ended:
    """Runs what is started to its end or its limit; afterwards no process of it is alive, unless the kernel cannot end
    it.

    start: gets the file for its output. on_started gets the process id of the guard. on_training: at its first training
    line. judge: asked again and again from there on, unless there is but one limit.
    """
    with log.open("wb") as output:
        guard = start(output)
    clock = RunningClock()
    try:
        on_started(guard.pid)
        if limits.rest is None:
            ended = _wait(guard, log, limits, clock)
        else:
            ended = _watch(guard, log, limits, on_training, judge, clock)
    finally:
        guard.release()
        try:
            lives_on = guard.wait(timeout=END_SECONDS + 5) == LIVES_ON
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait(timeout=END_SECONDS)
            lives_on = True
    return replace(ended, lives_on=lives_on, stopped=clock.stopped)


def _wait(guard: GuardedRun, log: Path, limits: Limits, clock: RunningClock) -> Ended:
    deadline = clock.seconds() + limits.start_up
    while True:
        try:
            return Ended(guard.wait(timeout=POLL_SECONDS))
        except subprocess.TimeoutExpired:
            pass
        if clock.seconds() > deadline:
            return Ended(-1, f"no end within {limits.start_up:g} s")
        if log.stat().st_size > limits.largest_log:
            return Ended(-1, f"printed more than {limits.largest_log >> 20} MiB")


def _watch(
    guard: GuardedRun,
    log: Path,
    limits: Limits,
    on_training: Callable[[], None],
    judge: Judge,
    clock: RunningClock,
) -> Ended:
    began = clock.seconds()
    training_since: float | None = None
    scales = Scales(limits.folders, clock)
    printed_footer = False
    growing, unread = GrowingFile(log), b""
    while True:
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = guard.wait(timeout=POLL_SECONDS)
        gained = growing.gained(2**20)
        if gained:
            unread = unread[-4096:] + gained
            if training_since is None and TRAINING_LINE.search(unread):
                training_since = clock.seconds()
                on_training()
            printed_footer = printed_footer or bool(FOOTER_LINE.search(unread))
        now = clock.seconds()
        if code is not None:
            if not gained:  # what it printed between two looks is read to its end, too
                return Ended(code)
            continue
        if training_since is not None and (why := judge(gained, now - training_since)):
            return Ended(-1, why)
        if training_since is None and now - began > limits.start_up:
            return Ended(-1, f"no training line within {limits.start_up:g} s of its start")
        assert limits.rest is not None
        if training_since is not None and now - training_since > limits.rest:
            how = "hung after its footer" if printed_footer else "did not end"
            return Ended(-1, f"{how}: still running {limits.rest:g} s after its first training line")
        if log.stat().st_size > limits.largest_log:
            return Ended(-1, f"printed more than {limits.largest_log >> 20} MiB")
        if scales.gained() > limits.most_left:
            return Ended(-1, f"left more than {limits.most_left >> 20} MiB in its folders")


def watch_over_this_process() -> IO[bytes]:
    """From here on, whatever this process has started ends with it, even when it is killed; keep what is returned, and
    close it at the end."""
    os.environ[STARTED_BY] = f"{os.getpid()}-{started_at(os.getpid())}"
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), "--watch", os.environ[STARTED_BY]],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    started.wait()
    assert started.stdin
    return started.stdin


def is_guard(pid: int) -> bool:
    """Whether this process is one of ours, not another one that got the same id."""
    try:
        return GUARD.name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def alive_guards(pids: Callable[[], list[int]]) -> list[int]:
    """Those of these processes that are guards of ours, and live."""
    return [pid for pid in pids() if is_alive(pid) and is_guard(pid)]


def wait_for_guards(pids: Callable[[], list[int]], patience: float = 5.0) -> None:
    """Waits until these guards have ended by themselves, as they do when their worker has, or for so many seconds."""
    deadline = time.monotonic() + patience
    while alive_guards(pids) and time.monotonic() < deadline:
        time.sleep(0.1)


def end_guards(pids: Callable[[], list[int]], patience: float = 10.0) -> None:
    """Ends these guards and so their trials; returns when all have ended, or after so many seconds."""
    deadline = time.monotonic() + patience
    while (alive := alive_guards(pids)) and time.monotonic() < deadline:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)


def kill_descendants() -> None:
    """Kills all that this process has started, parents first, but the guards, which end what they guard themselves: a
    trial whose worker has died has no outcome, and runs again."""
    for pid in descendants(os.getpid()):
        if not is_guard(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether a process with this id runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except (PermissionError, OSError):
        return True
