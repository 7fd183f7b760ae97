"""The process beside a running search: it serves the page, tells people what matters, and writes the report at the end.

The search has nothing to wait for: it writes one line to this process's standard input as it begins, one as it ends,
and closes it. If it closes without the second one, the search has crashed.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from search.core.types import SearchError
from search.web.notify import Notice, Notifier, news, senders
from search.web.pages.source import PageSource, json_of
from search.web.serve import Lines

LOOK_SECONDS = 2.0
REPORT = "report.html"


class Companion:
    """Follows one search's view for what is worth a word. notify: commands and addresses. Raises SearchError for one
    that cannot be used."""

    def __init__(self, source: PageSource, notify: list[str]) -> None:
        self.source = source
        self.notifier = Notifier(senders(notify)) if notify else None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _view(self) -> dict[str, Any]:
        return dict(json_of(self.source.paths.view).get("view") or {})

    def _follow(self) -> None:
        before = self._view()
        while self.notifier and not self._over.wait(LOOK_SECONDS):
            now = self._view()
            for notice in news(self.source.tag, before, now):
                self.notifier.add(notice)
            before = now or before

    def end(self, ended: dict[str, Any] | None) -> None:
        """ended: what the search said as it ended; None: it has crashed."""
        self._over.set()
        self._thread.join()
        if self.notifier is not None:
            self.notifier.add(last_notice(self.source.tag, ended, self._view()))
            self.notifier.close()


def last_notice(tag: str, ended: dict[str, Any] | None, view: dict[str, Any]) -> Notice:
    """Of a search's end."""
    if ended is None or ended.get("exit_code") == 3:
        words = f"{tag}: the search has crashed; go on with python -m search.launch --resume {tag}"
        return Notice("crash", tag, words, {})
    if ended.get("error"):
        return Notice("crash", tag, f"{tag}: the search has ended: {ended['error'].splitlines()[0]}", ended)
    recommended = view.get("recommended") or {}
    count = view.get("counts", {}).get("experiments", 0)
    words = f"{tag}: the search has ended after {count} experiments" + (
        f"; {recommended['words']}" if recommended else ""
    )
    return Notice("end", tag, words, recommended)


class Input:
    """What the search says on standard input. ended: None until it has said so."""

    def __init__(self, stream: IO[str] = sys.stdin) -> None:
        self.stream = stream
        self.ended: dict[str, Any] | None = None

    def settings(self) -> dict[str, Any]:
        """Its first line. Raises SearchError if it is none."""
        try:
            return dict(json.loads(self.stream.readline()))
        except (ValueError, TypeError) as error:
            raise SearchError("--beside is for search.launch, which says on standard input what it wants") from error

    def readline(self) -> str:
        """The next line, '' at the end; as serve.end_with asks."""
        line = self.stream.readline()
        with suppress(ValueError, TypeError, KeyError):
            self.ended = dict(json.loads(line)["ended"])
        return line


def accompany(source: PageSource, serve: Callable[[Lines], None] | None) -> int:
    """Does it all, until standard input closes; the exit code. serve: serves the page until then; None: there is
    none. Raises SearchError."""
    from search.web.export import export

    given = Input()
    companion = Companion(source, [str(one) for one in given.settings().get("notify", [])])
    try:
        if serve is not None:
            serve(given)
        while given.readline():  # the page may have ended first
            continue
    finally:
        with suppress(SearchError, OSError, ValueError, KeyError):
            export(PageSource(source.folder, source.repository), source.folder / REPORT)
        companion.end(given.ended)
    return 0
