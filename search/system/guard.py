"""Leaves no process alive behind another one's death, even by kill -9. Run as a script by search.system.process.

Standard library only, so that it starts in milliseconds. The other process holds the far end of standard input: that
it closes is what its death looks like from here.

guard.py COMMAND …   stands between a slot's worker and its trial: runs the command, and ends it and everything it
                     started, whatever group or session they moved to, when it exits or the worker dies. Exit code
                     LIVES_ON if that cannot be ended, as what hangs in a driver cannot.
guard.py --watch MARK
                     stands beside a driver, or a slot's worker on a cluster: when that ends, ends all that it had
                     started and that does not end by itself (some of Ray's agents outlive a killed driver for minutes):
                     what was seen below it, and what has the mark in its environment, since it may have begun a moment
                     before. Begins a process for this that is not its child: Ray kills a worker's children as it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
STARTED_BY = "AUTORESEARCH_STARTED_BY"
POLL_SECONDS = 0.05
WATCH_SECONDS = 1.0
END_SECONDS = 10.0
LIVES_ON = 119  # exit code
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_SECONDS = 4.0  # Ray's own processes end by themselves within two, mostly


def prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the process group alone is ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def processes() -> list[int]:
    """Every process id there is, from /proc; none if there is no /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def descendants(root: int) -> list[int]:
    """Every process below this one, from /proc; empty if there is no /proc."""
    children: dict[int, list[int]] = {}
    for pid in processes():
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
                parent = int(stream.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(pid)
    found, frontier = [], [root]
    while frontier:
        below = children.get(frontier.pop(), [])
        found += below
        frontier += below
    return found


def started_at(pid: int) -> str:
    """When a process began, in the kernel's clock ticks: with its id this names it for good; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def marked(mark: str) -> list[int]:
    """Every process of this user that was started with the mark in its environment; empty if there is no /proc."""
    found, wanted = [], f"{STARTED_BY}={mark}".encode()
    for pid in processes():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as stream:
            if wanted in stream.read().split(b"\0") and pid != os.getpid():
                found.append(pid)
    return found


def watch(driver: int, mark: str) -> int:
    """Waits for the end of a driver or worker, then ends what is left of the processes that it had."""
    if os.fork():
        return 0
    seen: dict[int, str] = {}
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    while not select.select([0], [], [], WATCH_SECONDS)[0]:
        below = descendants(driver)
        seen = {pid: seen.get(pid) or started_at(pid) for pid in {*seen, *below} if pid != os.getpid()}
        seen = {pid: when for pid, when in seen.items() if when and when == started_at(pid)}
    time.sleep(GRACE_SECONDS)
    seen |= {pid: started_at(pid) for pid in marked(mark)}
    for pid, when in seen.items():
        if when == started_at(pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    return 0


def end_everything(group: int) -> bool:
    """Kills the command's group and all descendants until none is left; orphans come to this process, the reaper.
    False if one lives on."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        time.sleep(0.01)
    return False


def end_told_by(child: int) -> list[int]:
    """A descriptor that can be read once a child has ended, if this kernel has any."""
    try:
        return [os.pidfd_open(child)]
    except (AttributeError, OSError):
        return []


def stand_by(start: Callable[[], int]) -> int:
    """Has a child started, and ends it and all that came of it when it exits or the worker dies.

    start: gives its process id. Returns its exit code, 128 + n if signal n ended it, 143 if the worker died, LIVES_ON
    if something of it cannot be ended.
    """
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    for number in ENDING:
        signal.signal(number, stop)
    child = start()
    code, looked_at = None, [0, *end_told_by(child)]
    while code is None and not stopped:
        readable, _, _ = select.select(looked_at, [], [], POLL_SECONDS)
        if 0 in readable and not os.read(0, 1):
            stopped = True
        ended, status = os.waitpid(child, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if ended else None
    if not end_everything(child):
        return LIVES_ON
    if code is None:
        return 143
    return code if code >= 0 else 128 - code


def begun(command: list[str]) -> subprocess.Popen[bytes]:
    """Begins a command that ends with this process, in a group of its own."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        process_group=0,
        close_fds=False,  # the scorer's socket is handed on
        preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509  this process has one thread
    )


def main(command: list[str]) -> int:
    """Runs the command under guard; the exit code, as of stand_by."""
    kept = []  # a Popen that is forgotten asks for its child's exit code, and takes it away

    def start() -> int:
        kept.append(begun(command))
        return kept[0].pid

    return stand_by(start)


if __name__ == "__main__":
    sys.exit(watch(os.getppid(), sys.argv[2]) if sys.argv[1] == "--watch" else main(sys.argv[1:]))
