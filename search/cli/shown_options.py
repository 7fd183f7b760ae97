"""Options of what is shown of a search: its output, its page, and whom it tells."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.core.types import UsageError
from search.tracking.trackers import PACKAGES

Group = argparse._ActionsContainer  # a parser, or a group of its flags
LOOPBACK = "127.0.0.1"
FLAGS = ("host", "port", "cert", "key")  # of a Place, in the order of its fields


@dataclass(frozen=True)
class Place:
    """Where a page is served. port: None: the first that is free. certificate, key: files, for TLS; None: without."""

    host: str = LOOPBACK
    port: int | None = None
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def taken_from(cls, options: MutableMapping[str, Any], prefix: str = "") -> Place:
        """Takes its own out of parsed options. Raises UsageError for what cannot be meant. prefix: of its flags."""
        host, port, certificate, key = (options.pop(f"{prefix}{name}".replace("-", "_")) for name in FLAGS)
        if port is not None and not 0 <= port < 2**16:
            raise UsageError(f"--{prefix}port {port}: from 0 to 65535")
        if (certificate is None) != (key is None):
            raise UsageError(f"--{prefix}cert and --{prefix}key go together")
        for name, path in (("cert", certificate), ("key", key)):
            if path is not None and not path.is_file():
                raise UsageError(f"--{prefix}{name} {path}: no such file")
        return cls(host, port, certificate and certificate.absolute(), key and key.absolute())

    @property
    def arguments(self) -> list[str]:
        """The flags that mean it, without a prefix."""
        named = zip(FLAGS, (self.host, self.port, self.certificate, self.key), strict=True)
        return [str(word) for flag, value in named if value is not None for word in (f"--{flag}", value)]

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"

    @property
    def is_loopback(self) -> bool:
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"


@dataclass(frozen=True)
class PageOptions:
    """no_page: none is served. photos: it shows photos. notify: commands and addresses that are told what matters."""

    no_page: bool = False
    place: Place = Place()
    photos: bool = False
    notify: tuple[str, ...] = ()

    @classmethod
    def taken_from(cls, options: MutableMapping[str, Any]) -> PageOptions:
        """Takes its own out of parsed options. Raises UsageError for what cannot be meant."""
        notify = tuple(options.pop("notify"))
        if any(not one.strip() for one in notify):
            raise UsageError("--notify is empty: name a command, or an address of apprise")
        return cls(options.pop("no_page"), Place.taken_from(options, "page-"), options.pop("page_photos"), notify)

    @property
    def arguments(self) -> list[str]:
        """For search.page."""
        flags = ("--photos", self.photos), ("--no-page", self.no_page)
        return [*self.place.arguments, *(flag for flag, is_set in flags if is_set)]


def add_shown(shown: Group) -> None:
    shown.add_argument("--logs", action="store_true", help="print the trials' own output too")
    shown.add_argument(
        "--detach",
        action="store_true",
        help="once it runs, go on in the background: it outlives this terminal, and prints to runs/TAG/launch.log; "
        "search.status shows it, search.stop ends it",
    )
    shown.add_argument("--dry-run", action="store_true", help="check everything, say what would run, and stop")
    shown.add_argument(
        "--json",
        action="store_true",
        help="end with one line of JSON on standard output; all else goes to standard error",
    )


def add_page(page: Group) -> None:
    page.add_argument("--no-page", action="store_true", help="serve no page")
    add_place(page, "page-")
    page.add_argument(
        "--notify",
        action="append",
        default=[],
        metavar="COMMAND",
        help="run it for a confirmed keep, the proof, a slot put aside, a full disk, the end and a crash, with JSON on "
        "standard input; or an address of apprise, where that is installed; may be named several times",
    )


def add_track(shown: Group) -> None:
    shown.add_argument(
        "--track",
        action="append",
        default=[],
        choices=PACKAGES,
        help="copy the search there as it goes, where its package is installed; on this machine alone, unless the "
        "tracker's own variables say otherwise; may be named several times, as python -m search.track may be run later",
    )


def add_place(page: Group, prefix: str = "") -> None:
    """Where the page is served, and whether with photos. prefix: of the flags."""
    page.add_argument(
        f"--{prefix}port",
        type=int,
        metavar="N",
        help="of the page; 0: any that is free (default: the first that is free from 8420 on)",
    )
    page.add_argument(
        f"--{prefix}host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help=f"address that the page listens at (default {LOOPBACK}: this machine alone; with another one, name "
        f"--{prefix}cert and --{prefix}key, or it warns)",
    )
    page.add_argument(f"--{prefix}cert", type=Path, metavar="FILE", help="certificate of the page, for TLS")
    page.add_argument(f"--{prefix}key", type=Path, metavar="FILE", help="its private key")
    page.add_argument(
        f"--{prefix}photos",
        action="store_true",
        help="show validation photos that the recommended model gets wrong; never of the test part",
    )
