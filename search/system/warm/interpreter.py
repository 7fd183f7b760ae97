"""A Python that waits to be forked, as the process that uses it sees it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from search.core.types import SearchError
from search.system.warm.template import LENGTH

TEMPLATE = Path(__file__).with_name("template.py")
ROOM_FOR_NAMES = " " * 2000  # characters of a command that a run can show as its own
READY_SECONDS = 180.0  # to import all on a busy machine takes its time
BEGIN_SECONDS = 30.0  # to fork twice


class WarmError(SearchError):
    """No run can be forked; the message says why."""


class WarmRun:
    """A run that was forked: what run_limited needs of a process. pid: its guard's."""

    def __init__(self, life: int, told: int) -> None:
        self._life, self._told, self._lines = life, told, b""
        deadline = time.monotonic() + BEGIN_SECONDS
        while self._lines.count(b"\n") < 1:
            if time.monotonic() > deadline or not self._heard(deadline - time.monotonic()):
                self.release()
                os.close(told)
                raise WarmError("its guard did not begin")
        self.pid = int(self._lines.split(b"\n")[0])
        self.returncode: int | None = None

    def _heard(self, timeout: float) -> bool:
        """Reads what its guard has told by then; False if it has closed its end."""
        if not select.select([self._told], [], [], max(timeout, 0.0))[0]:
            return True
        gained = os.read(self._told, 100)
        self._lines += gained
        return bool(gained)

    def wait(self, timeout: float) -> int:
        """Its guard's exit code; -9 if the guard was killed. Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while self.returncode is None:
            if not self._heard(deadline - time.monotonic()):
                said = self._lines.split(b"\n")[1]
                self.returncode = int(said) if said else -signal.SIGKILL
                os.close(self._told)
            elif self.returncode is None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a forked run", timeout)
        return self.returncode

    def release(self) -> None:
        """Nobody holds it any more: it ends."""
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class WarmInterpreter:
    """Begins to import at once, beside this process.

    environment: of all its runs; what differs from run to run may be given to each. modules: imported ahead. Whoever
    makes it closes it; it also ends with this process.
    """

    def __init__(self, environment: Mapping[str, str], modules: Sequence[str]) -> None:
        self.environment, self.modules = dict(environment), tuple(modules)
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(TEMPLATE), str(theirs.fileno()), *modules, ROOM_FOR_NAMES],
                cwd="/",
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        self._fault: str | None = None  # '' once it can be forked

    @property
    def fault(self) -> str:
        """Why no run can be forked any more; '' as far as is known."""
        return self._fault or ""

    def wait_until_ready(self) -> None:
        """Raises WarmError if it cannot be forked."""
        if self._fault is None:
            self._control.settimeout(READY_SECONDS)
            try:
                with self._control.makefile("rb") as stream:
                    line = stream.readline()
                self._fault = str(json.loads(line)["fault"]) if line else "it ended while it imported"
            except (OSError, ValueError) as error:
                self._fault = str(error)
        if self._fault:
            self.close()
            raise WarmError(self._fault)

    def begin(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        rules: Path | None,
        output: IO[bytes],
        descriptors: Sequence[int] = (),
    ) -> WarmRun:
        """Begins a run: a program and its arguments, in a folder, confined by a file of rules (None: not at all).

        environment: all of it. descriptors: of this process's, which it inherits under the same numbers. Raises
        WarmError.
        """
        self.wait_until_ready()
        request = {
            "words": list(words),
            "folder": str(folder),
            "environment": dict(environment),
            "rules": str(rules or ""),
            "descriptors": list(descriptors),
        }
        message = json.dumps(request).encode()
        life_theirs, life = os.pipe()
        told, told_theirs = os.pipe()
        sent = [output.fileno(), life_theirs, told_theirs, *descriptors]
        try:
            socket.send_fds(self._control, [LENGTH.pack(len(message))], sent)
            self._control.sendall(message)
        except OSError as error:
            os.close(life)
            os.close(told)
            self._fault = f"it does not answer: {error}"
            raise WarmError(self._fault) from error
        finally:
            os.close(life_theirs)
            os.close(told_theirs)
        try:
            return WarmRun(life, told)
        except WarmError as error:  # it took the request as it ended, or takes too long: the next run asks another
            self._fault = str(error)
            raise

    def close(self) -> None:
        """Ends it; runs that it began go on."""
        self._control.close()
        self._fault = self._fault or "it is closed"
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
