"""Serving a page: its socket, the address that people open, and its end."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.middleware import Middleware

from search.cli.shown_options import Place
from search.core.types import SearchError
from search.system.process import is_alive
from search.web.access import Access, new_token
from search.web.app import application
from search.web.site import Site

FIRST_PORT, PORTS = 8420, 40
ADDRESS_FILE = "page.json"  # in the search's folder, for this user alone
GRACE_SECONDS = 1


class Lines(Protocol):
    def readline(self) -> str:
        """The next line; '' at the end."""


def bound(place: Place) -> socket.socket:
    """A socket that listens there. Raises SearchError if it cannot."""
    ports = [place.port] if place.port is not None else [*range(FIRST_PORT, FIRST_PORT + PORTS), 0]
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    problem: OSError | None = None
    for port in ports:
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((place.host, port))
            listening.listen(64)
            return listening
        except OSError as error:
            listening.close()
            problem = error
    where = f"{place.host}:{place.port}" if place.port is not None else place.host
    raise SearchError(f"the page cannot be served at {where}: {problem}; name another --port")


def names_of(place: Place, port: int) -> list[str]:
    """The names by which browsers may ask for it, the one to be shown first; each with its port."""
    names = ["127.0.0.1", "localhost", "[::1]"]
    if not place.is_loopback:
        own = (
            [place.host]
            if place.host not in ("0.0.0.0", "::")
            else [socket.gethostname(), socket.getfqdn(), *own_addresses()]
        )
        names = [*(f"[{one}]" if ":" in one else one for one in own), *names]
    found = [f"{name}:{port}" for name in dict.fromkeys(names)]
    return [*found, *names] if port in (80, 443) else found


def own_addresses() -> list[str]:
    """This machine's addresses, as far as it knows them."""
    found = []
    with suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)]
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses a way out
        found.append(probe.getsockname()[0])
    return list(dict.fromkeys(found))


def serve(
    site: Site, place: Place, say: Callable[[str], None], until: Lines | None = None, told: Collection[str] = ()
) -> None:
    """Serves a page until it is interrupted. Raises SearchError if it cannot.

    until: it also ends when this closes. told: lines that are said with the address.
    """
    listening = bound(place)
    port = listening.getsockname()[1]
    token, names = new_token(), names_of(place, port)
    address = f"{place.scheme}://{names[0]}/?token={token}"
    access = Middleware(Access, token=token, hosts=names, scheme=place.scheme, cookie=f"autoresearch-{port}")
    config = uvicorn.Config(
        application(site, [access]),
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ssl_certfile=place.certificate,
        ssl_keyfile=place.key,
        timeout_graceful_shutdown=GRACE_SECONDS,
        lifespan="on",
    )
    server = uvicorn.Server(config)
    record = site.source.folder / ADDRESS_FILE
    leave_address(record, address)
    for line in (address, *told):
        say(line)
    if not place.is_loopback and place.certificate is None:
        say("whoever can listen on the way to this machine reads along: there is no TLS; name --cert and --key")
    if until is not None:
        threading.Thread(target=end_with, args=(until, server), daemon=True).start()
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
        if address_left(record) == address:
            record.unlink(missing_ok=True)


def end_with(stream: Lines, server: uvicorn.Server) -> None:
    while stream.readline():
        continue
    server.should_exit = True


def leave_address(path: Path, address: str) -> None:
    """Leaves the address for this user's other commands. A full disk is no reason not to serve."""
    with suppress(OSError):
        aside = path.with_name(f".{path.name}.partial")
        with open(aside, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
            json.dump({"address": address, "pid": os.getpid()}, stream)
        os.replace(aside, path)


def address_left(path: Path) -> str:
    """The address of a page that is served now; '' if there is none."""
    try:
        found = json.loads(path.read_text())
        return str(found["address"]) if is_alive(int(found["pid"])) else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
