"""One search's pages: each is made once for all browsers, and again when the search has gone on."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from search.core.types import SearchError
from search.report.snapshot import duration
from search.system.files import write_text
from search.web.pages import overview
from search.web.pages.source import PageSource

HERE = Path(__file__).parent
LOOK_SECONDS = 1.0
LEAST_SECONDS, MOST_SECONDS = 2.0, 30.0  # between two versions that browsers are told of
LOOK_SHARE, SHARE = 0.005, 0.01  # of one core, for looking and for showing what has come
LONGEST_NOTES = 2**16  # characters
MOST_REMEMBERED = 64  # pages of one version
PAGES = (
    ("/", "Overview"),
    ("/experiments", "Experiments"),
    ("/lineage", "Lineage"),
    ("/axes", "Axes"),
    ("/proposals", "Proposals"),
    ("/photos", "Photos"),
    ("/audit", "Audit"),
    ("/cluster", "Cluster"),
    ("/notes", "Notes"),
)
Ask = Callable[[str], Any]
Propose = Callable[[str, str], Any]


def environment() -> jinja2.Environment:
    """Templates, with everything escaped that they are given."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["duration"] = lambda seconds: "" if seconds is None else duration(seconds)
    made.filters["clock"] = lambda moment: time.strftime("%d %b %H:%M", time.localtime(moment))
    return made


class Site:
    """One search's pages, shared by all browsers. Each version of a page is made once.

    ask, propose: hand a request to the running search; None: this page only shows. photos: whether photos are shown.
    """

    def __init__(
        self, source: PageSource, photos: bool = False, ask: Ask | None = None, propose: Propose | None = None
    ) -> None:
        self.source, self.with_photos, self.ask, self.propose = source, photos, ask, propose
        self.templates = environment()
        self.version, self.loaded = 0, False
        self._lock = threading.Lock()  # the source is for one thread at a time
        self._changed = asyncio.Condition()
        self._remembered: dict[str, tuple[int, bytes]] = {}
        self._looked = 0.0  # seconds that the last look took
        self._took = 0.0  # seconds, of all pages of this version
        self._axes: Any = None
        self._photos: Any = None

    # --- what has come ---

    def look(self) -> bool:
        """Reads what the search has written; whether it is anything new."""
        with self._lock:
            began = time.thread_time()
            changed = self.source.refresh()
            self._looked = time.thread_time() - began if self.loaded else 0.0  # the first one reads it all
            self.loaded = True
            return changed

    async def follow(self) -> None:
        """Looks again and again, and tells browsers; as often as showing it takes SHARE of one core, within bounds."""
        waiting, told = False, 0.0
        while True:
            waiting = await run_in_threadpool(self.look) or waiting
            pause = min(max(LEAST_SECONDS, self._took / SHARE), MOST_SECONDS)
            if waiting and time.monotonic() - told >= pause:
                waiting, told, self._took = False, time.monotonic(), 0.0
                async with self._changed:
                    self.version += 1
                    self._changed.notify_all()
            await asyncio.sleep(max(LOOK_SECONDS, self._looked / LOOK_SHARE))

    async def versions(self) -> AsyncIterator[dict[str, str]]:
        """Each new version, as a server-sent event."""
        while True:
            async with self._changed:
                await self._changed.wait()
            yield {"event": "changed", "data": str(self.version)}

    # --- pages ---

    def page(self, name: str, address: str, values: Callable[[], dict[str, Any] | None], code: int = 200) -> Response:
        """A page by its template; 404 if there is nothing to show."""
        key = f"{code} {address}"
        with self._lock:
            known = self._remembered.get(key)  # all browsers ask at once when something has come
            if known is not None and known[0] == self.version:
                return HTMLResponse(known[1], code)
            began, version = time.thread_time(), self.version
            if not self.loaded:
                return self._rendered("reading.html", address, {}, code)
            try:
                found = values()
                if found is None:
                    return self.nothing(address)
                response = self._rendered(name, address, found, code)
            except Exception as error:  # of a file that somebody edited, or a bug: the other pages go on
                words = f"This page could not be made ({type(error).__name__}: {error}). The others may do."
                print(f"{address}: {words}", flush=True)
                return self._rendered("said.html", address, {"words": words}, 500)
            self._took += time.thread_time() - began
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = version, bytes(response.body)
            return response

    def forget(self) -> None:
        """Somebody has changed something: every page is made anew."""
        self._remembered.clear()

    def nothing(self, address: str) -> Response:
        """There is no such page, or nothing to show on it."""
        return self._rendered("nothing.html", address, {"what": address}, 404)

    def said(self, words: str, code: int) -> Response:
        """An answer in one line."""
        return self._rendered("said.html", "/", {"words": words}, code)

    def notes(self, address: str, problem: str = "", mine: str = "") -> Response:
        """The notes to edit. problem: why those of this person, mine, were not saved."""

        def values() -> dict[str, Any]:
            text = self.source.notes()
            return {"notes": text, "mark": mark_of(text), "problem": problem, "mine": mine, "can_write": True}

        return (
            self._rendered("notes.html", "/notes", values(), 409)
            if problem
            else self.page("notes.html", address, values)
        )

    def _rendered(self, name: str, address: str, values: dict[str, Any], code: int) -> HTMLResponse:
        return HTMLResponse(self.templates.get_template(name).render({**self.frame(address), **values}), code)

    def frame(self, address: str) -> dict[str, Any]:
        """What every page shows around its own content."""
        source, hidden = self.source, set()
        if not self.with_photos:
            hidden.add("/photos")
        if source.records.audit is None:
            hidden.add("/audit")
        return {
            "tag": source.tag,
            "pages": [(path, words) for path, words in PAGES if path not in hidden],
            "here": "/" + address.strip("/").partition("?")[0].partition("/")[0],
            "running": source.running,
            "paused": bool(source.view.get("paused")),
            "task": source.task,
            "can_ask": self.ask is not None and source.running,
            "exported": False,
            "updated": time.strftime("%H:%M:%S"),
        }

    def points(self) -> list[tuple[int, float | None, str]]:
        """What the pointer can be over: number, value and status of each experiment, in order of decision."""
        with self._lock:
            return [(one.number, one.value, one.status) for one in self.source.once(overview.points_of)]

    def axes(self) -> dict[str, Any]:
        if self._axes is None:
            from search.web.pages.axes import AxesPage  # Optuna takes its time to load

            self._axes = AxesPage(self.source)
        return dict(self._axes.shown())

    def photos(self) -> Any:
        """Raises NoPhotosError where they are not to be had."""
        if self._photos is None:
            from search.web.pages.photos import PhotosPage

            self._photos = PhotosPage(self.source)
        return self._photos

    def photos_shown(self) -> dict[str, Any]:
        recommended = (self.source.view.get("recommended") or self.source.summary.get("recommended") or {}).get(
            "commit"
        )
        numbers = [one.experiment for one in self.source.records.decisions if one.commit[:7] == recommended]
        try:
            return {"problem": "", **self.photos().shown(numbers[-1] if numbers else 0)}
        except SearchError as error:
            return {"problem": str(error)}

    # --- notes ---

    def save_notes(self, text: str, before: str) -> str:
        """Writes the notes; why not, if it did not. before: mark_of what the person saw."""
        text = text.replace("\r\n", "\n")
        if len(text) > LONGEST_NOTES:
            return f"the notes have {len(text)} characters; {LONGEST_NOTES} at most"
        if before != mark_of(self.source.notes()):
            return "the notes were changed meanwhile; yours are below, what stands there now is above them"
        try:
            write_text(self.source.paths.notes, text)
        except OSError as error:
            return f"the notes could not be written: {error}"
        self.forget()
        return ""


def mark_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
