"""Tells people what matters when it happens: what is worth a word, how often, and by what it is sent."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from search.core.types import SearchError

SEND_SECONDS = 30.0  # a notifier that takes longer is ended
BETWEEN_SECONDS = 60.0  # between two notices of a kind


@dataclass(frozen=True)
class Notice:
    """kind: keep, proof, aside, disk, end or crash. words: one line for people. facts: as search.status has them."""

    kind: str
    tag: str
    words: str
    facts: dict[str, Any] = field(default_factory=dict)


def news(tag: str, before: dict[str, Any], now: dict[str, Any]) -> list[Notice]:
    """What is worth a word between two views of a search. Pure. before, now: by snapshot.view_of, and what the
    coordinator adds."""
    found = []
    known = {one["commit"] for one in before.get("frontier", [])}
    for kept in now.get("frontier", []):
        if known and kept["commit"] not in known:
            words = f"{tag}: kept {kept['commit']} with {kept['score_in_words']}: {kept['description']}"
            found.append(Notice("keep", tag, words, kept))
    was, recommended = before.get("recommended") or {}, now.get("recommended") or {}
    if recommended.get("shown_better") and not was.get("shown_better"):
        found.append(Notice("proof", tag, f"{tag}: {recommended['words']}", recommended))
    for number in sorted(set(now.get("aside", [])) - set(before.get("aside", []))):
        found.append(
            Notice("aside", tag, f"{tag}: slot gpu{number} is put aside: it crashes what it runs", {"slot": number})
        )
    if now.get("waits_for_room") and not before.get("waits_for_room"):
        found.append(Notice("disk", tag, f"{tag}: no trial begins, since the disk has no room", {}))
    return found


class Notifier:
    """Sends notices in a thread of its own, at most one of a kind in BETWEEN_SECONDS: of more, the latest, which says
    how many there were. A notifier that fails costs nothing.

    send: raises whatever it likes.
    """

    def __init__(self, send: Callable[[Notice], None], between: float = BETWEEN_SECONDS) -> None:
        self._send, self._between = send, between
        self._waiting: dict[str, tuple[Notice, int]] = {}
        self._sent: dict[str, float] = {}
        self._come, self._closing = threading.Condition(), False
        self.failure = ""  # of the last one that could not be sent
        self._thread = threading.Thread(target=self._loop, name="notifier", daemon=True)
        self._thread.start()

    def add(self, notice: Notice) -> None:
        with self._come:
            _, count = self._waiting.get(notice.kind, (notice, 0))
            self._waiting[notice.kind] = notice, count + 1
            self._come.notify()

    def close(self, patience: float = SEND_SECONDS) -> None:
        """Sends what waits, whenever the last one went, and ends."""
        with self._come:
            self._closing = True
            self._come.notify()
        self._thread.join(patience)

    def _loop(self) -> None:
        while True:
            with self._come:
                while not (due := self._due()) and not (self._closing and not self._waiting):
                    self._come.wait(self._between / 10 if self._waiting else None)
                if not due:
                    return
                notice, count = self._waiting.pop(due)
                self._sent[due] = time.monotonic()
            if count > 1:
                notice = Notice(notice.kind, notice.tag, f"{notice.words} (and {count - 1} more)", notice.facts)
            try:
                self._send(notice)
            except Exception as error:  # of somebody's own command, or a service that is away
                self.failure = f"{type(error).__name__}: {error}"

    def _due(self) -> str:
        """A kind that may be sent now; '' for none."""
        now = time.monotonic()
        for kind in self._waiting:
            if self._closing or now - self._sent.get(kind, -self._between) >= self._between:
                return kind
        return ""


def senders(addresses: Sequence[str]) -> Callable[[Notice], None]:
    """By what notices are sent: commands, which get a notice as JSON on standard input, and addresses of apprise.

    Raises SearchError for an address where apprise is not installed, or that it does not know.
    """
    commands = [shlex.split(one) for one in addresses if "://" not in one.split(" ")[0]]
    services = [one for one in addresses if "://" in one.split(" ")[0]]
    messenger: Any = None
    if services:
        try:
            import apprise
        except ImportError as error:
            raise SearchError(
                f"--notify {services[0].partition('://')[0]}://…: apprise is not installed; pip install apprise"
            ) from error
        messenger = apprise.Apprise()
        for one in services:
            if not messenger.add(one):
                raise SearchError(f"--notify {one.partition('://')[0]}://…: apprise does not know this address")

    def send(notice: Notice) -> None:
        for command in commands:
            subprocess.run(
                command,
                input=json.dumps(asdict(notice)).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=SEND_SECONDS,
                check=True,
            )
        if messenger is not None and not messenger.notify(title=f"search {notice.tag}", body=notice.words):
            raise SearchError("a service did not take it")

    return send
