"""The processes beside a running search, which serve its page, tell people, and copy it to trackers; the search never
waits for them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from search.cli.shown_options import PageOptions
from search.core.paths import PROJECT

END_SECONDS = 40.0  # to write the report, to tell people of the end, and to copy what is left


class ProcessBeside:
    """Runs a command of this project's with an open standard input. It ends with this process, whatever ends that.

    hears: gets each line of its output.
    """

    def __init__(self, root: Path, command: Sequence[str], hears: Callable[[str], None]) -> None:
        paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the search
        )
        threading.Thread(target=self._pass_on, args=(hears,), daemon=True).start()

    def _pass_on(self, hears: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            hears(line.rstrip())

    def write(self, said: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended before: the search goes on without it
            self._process.stdin.write(json.dumps(said) + "\n")
            self._process.stdin.flush()

    def end(self) -> None:
        """Closes its input; returns when it has ended, or takes too long."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Beside:
    """Runs `search.page TAG --beside`, and `search.track TAG --beside` for each tracker.

    say: gets the page's address once it is served, and what is wrong with it or with a tracker.
    """

    def __init__(
        self, root: Path, tag: str, options: PageOptions, trackers: Sequence[str], say: Callable[[str], None]
    ) -> None:
        self.address, self._say = "", say  # of the page, once it is served
        self._page: ProcessBeside | None = None
        if not options.no_page or options.notify:
            self._page = ProcessBeside(root, ["search.page", tag, "--beside", *options.arguments], self._of_page)
            self._page.write({"notify": options.notify})
        self._trackers = [
            ProcessBeside(root, ["search.track", tag, "--to", name, "--beside"], partial(self._of_tracker, name))
            for name in dict.fromkeys(trackers)
        ]

    def _of_page(self, line: str) -> None:
        if not self.address and line.startswith(("http://", "https://")):
            self.address = line
        self._say(f"page    {line}")

    def _of_tracker(self, name: str, line: str) -> None:
        self._say(f"{name:7} {line}")

    def end(self, ended: dict[str, Any]) -> None:
        """The search has come to its end; returns when the report is written and the trackers have it all, or when that
        takes too long."""
        if self._page is not None:
            self._page.write({"ended": ended})
        for one in (*self._trackers, self._page):
            if one is not None:
                one.end()
