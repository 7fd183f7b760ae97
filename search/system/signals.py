"""Ctrl-C and SIGTERM end a search, but never between the lines that record something; a lost terminal does not."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Signals:
    """The handler of both signals; it raises KeyboardInterrupt, once."""

    def __init__(self) -> None:
        self.recording, self.asked = False, False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what it starts ignores it too

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            return  # already ending; a second Ctrl-C must not cut the records short
        self.asked = True
        if not self.recording:
            raise KeyboardInterrupt

    def end(self) -> None:
        """As if a signal had come."""
        self(signal.SIGTERM, None)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A signal within takes effect at its end."""
        if self.recording:
            yield
            return
        self.recording = True
        try:
            yield
        finally:
            self.recording = False
            if self.asked:
                raise KeyboardInterrupt
