"""The terminal of a search may go away: its output is dropped then, and a search can be started without one."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

STARTED = "AUTORESEARCH_STARTED"  # the file descriptor by which a search in the background says that it runs
GONE = {errno.EPIPE, errno.EIO, errno.EBADF}  # the reader or the terminal; a full disk may have room again


class LossyStream:
    """A text stream that drops what cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._dropped():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropped():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _dropped(self) -> Iterator[None]:
        try:
            yield
        except ValueError:  # it is closed
            pass
        except OSError as error:
            if error.errno in GONE:
                with contextlib.suppress(OSError, ValueError):
                    _lead_to(os.devnull, self._stream.fileno())


@contextlib.contextmanager
def lossy_output() -> Iterator[None]:
    """Within, nothing that is printed can fail."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (LossyStream(stream) for stream in before)  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def start_in_background(command: Sequence[str]) -> tuple[int, str]:
    """Starts a command in a session of its own, and waits until it calls leave_terminal: (process id, its word).

    If it ends before: (exit code, ''). Until then it has this terminal.
    """
    reading, writing = os.pipe()
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=(writing,),
        env={**os.environ, STARTED: str(writing)},
    )
    os.close(writing)
    with os.fdopen(reading) as stream:
        try:
            word = stream.read()
        except KeyboardInterrupt:
            child.terminate()
            word = ""
    return (child.pid, word) if word else (child.wait(), "")


def hold_on_to_terminal() -> bool:
    """Called first: whether this is in the background. What it starts does not keep the one waiting that started it."""
    if STARTED not in os.environ:
        return False
    os.set_inheritable(int(os.environ[STARTED]), False)
    return True


def leave_terminal(log: Path, word: str) -> None:
    """From here on a search in the background writes to its log; any other goes on as it is."""
    named = os.environ.pop(STARTED, "")
    if not named:
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        _lead_to(str(log), stream.fileno())
    with os.fdopen(int(named), "w") as started:
        started.write(word)


def _lead_to(path: str, descriptor: int) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(opened, descriptor)
    os.close(opened)
