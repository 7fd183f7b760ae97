"""The process beside a running search that serves its page and tells people; the search never waits for it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.cli.shown_options import PageOptions
from search.core.paths import PROJECT

END_SECONDS = 40.0  # to write the report, and to tell people of the end


class Beside:
    """Runs `search.page TAG --beside`. It ends with this process, whatever ends that.

    say: gets the page's address once it is served, and what is wrong if it is not.
    """

    def __init__(self, root: Path, tag: str, options: PageOptions, say: Callable[[str], None]) -> None:
        self.address = ""  # of the page, once it is served
        self._process: subprocess.Popen[str] | None = None
        if options.no_page and not options.notify:
            return
        paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "search.page", tag, "--beside", *options.arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the search
        )
        self._write({"notify": options.notify})
        threading.Thread(target=self._pass_on, args=(say,), daemon=True).start()

    def _pass_on(self, say: Callable[[str], None]) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            if not self.address and line.startswith(("http://", "https://")):
                self.address = line.strip()
            say(f"page    {line.rstrip()}")

    def _write(self, said: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended before: the search goes on without it
            self._process.stdin.write(json.dumps(said) + "\n")
            self._process.stdin.flush()

    def end(self, ended: dict[str, Any]) -> None:
        """The search has come to its end; returns when the report is written, or it takes too long."""
        if self._process is None:
            return
        self._write({"ended": ended})
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
