"""What `python -m search.launch` takes about what it shows: its output, its page, and whom it tells."""

from __future__ import annotations

import argparse
from collections.abc import MutableMapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from search.core.types import UsageError

Group = argparse._ArgumentGroup


@dataclass(frozen=True)
class PageOptions:
    """no_page: none is served. page_host, page_port, page_cert, page_key, page_photos: as of search.page. notify:
    commands and addresses that are told what matters."""

    no_page: bool = False
    page_host: str | None = None
    page_port: int | None = None
    page_cert: Path | None = None
    page_key: Path | None = None
    page_photos: bool = False
    notify: tuple[str, ...] = ()

    @classmethod
    def taken_from(cls, options: MutableMapping[str, Any]) -> PageOptions:
        """Takes its own out of parsed options. Raises UsageError for what cannot be meant."""
        found = {field.name: options.pop(field.name) for field in fields(cls)}
        port = found["page_port"]
        if port is not None and not 0 < port < 2**16:
            raise UsageError(f"--page-port {port}: from 1 to 65535")
        if (found["page_cert"] is None) != (found["page_key"] is None):
            raise UsageError("--page-cert and --page-key go together")
        for name in ("page_cert", "page_key"):
            if found[name] is not None and not found[name].is_file():
                raise UsageError(f"--{name.replace('_', '-')} {found[name]}: no such file")
            found[name] = found[name] and found[name].absolute()
        if any(not one.strip() for one in found["notify"]):
            raise UsageError("--notify is empty: name a command, or an address of apprise")
        return cls(**{**found, "notify": tuple(found["notify"])})

    @property
    def arguments(self) -> list[str]:
        """For search.page."""
        named = (
            ("--host", self.page_host),
            ("--port", self.page_port),
            ("--cert", self.page_cert),
            ("--key", self.page_key),
        )
        words = [str(word) for flag, value in named if value is not None for word in (flag, value)]
        return [*words, *(["--photos"] if self.page_photos else []), *(["--no-page"] if self.no_page else [])]


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
    page.add_argument(
        "--page-port", type=int, metavar="N", help="of the page (default: the first that is free from 8420 on)"
    )
    page.add_argument(
        "--page-host",
        metavar="ADDRESS",
        help="address that the page listens at (default 127.0.0.1: this machine alone; with another one, name "
        "--page-cert and --page-key, or it warns)",
    )
    page.add_argument("--page-cert", type=Path, metavar="FILE", help="certificate of the page, for TLS")
    page.add_argument("--page-key", type=Path, metavar="FILE", help="its private key")
    page.add_argument(
        "--page-photos",
        action="store_true",
        help="show validation photos that the recommended model gets wrong; never of the test part",
    )
    page.add_argument(
        "--notify",
        action="append",
        default=[],
        metavar="COMMAND",
        help="run it for a confirmed keep, the proof, a slot put aside, a full disk, the end and a crash, with JSON on "
        "standard input; or an address of apprise, where that is installed; may be named several times",
    )
