"""Who may see a page: whoever has its token, from the page's own origin. As ASGI middleware around the whole page."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

READS = ("GET", "HEAD")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer, browsers name no origin when a form is sent
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# A redirection would not do: after a link from elsewhere, browsers send no strict cookie along with it.
WELCOME = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={to}">'
    '<link rel="icon" href="/static/icon.svg"><title>search</title></head>'
    '<body><p><a href="{to}">Go on to the page</a></p></body></html>'
)


def new_token() -> str:
    return secrets.token_urlsafe(24)


class Access:
    """Lets a request through that has the token's cookie, and that comes from the page itself.

    hosts: `name:port` as browsers send it; others are refused, so that a name that was rebound to this address reads
    nothing (DNS rebinding). scheme: http or https. cookie: its name, since ports share cookies.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str], scheme: str, cookie: str) -> None:
        self.app, self.token, self.scheme, self.cookie = app, token, scheme, cookie
        self.hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", [])}
                message["headers"] = [
                    *message.get("headers", []),
                    *((n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in there),
                ]
            await send(message)

        answer = self._refusal(scope) or self._welcome(scope) or self.app
        await answer(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """None if the request's host and origin are the page's own."""
        headers = _headers_of(scope)
        if headers.get("host", "") not in self.hosts:
            return PlainTextResponse("This page does not go by that name.", 421)
        site = headers.get("sec-fetch-site", "")
        if scope["method"] not in READS:
            if headers.get("origin") != f"{self.scheme}://{headers['host']}" or site not in ("", "same-origin"):
                return PlainTextResponse("This page takes nothing from another site.", 403)
        elif site in ("cross-site", "same-site") and headers.get("sec-fetch-mode", "navigate") != "navigate":
            return PlainTextResponse("This page is not read by another site.", 403)
        return None

    def _welcome(self, scope: Scope) -> ASGIApp | None:
        """None if the request has the cookie; a right token in the address becomes one."""
        asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = asked.pop("token", [""])[0]
        if given and scope["method"] in READS and _equal(given, self.token):
            rest = urlencode(asked, doseq=True)
            to = "/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else "")
            response = HTMLResponse(WELCOME.format(to=_attribute(to)))
            response.set_cookie(
                self.cookie, self.token, httponly=True, samesite="strict", secure=self.scheme == "https", path="/"
            )
            return response
        if _equal(_cookies_of(scope).get(self.cookie, ""), self.token):
            return None
        return PlainTextResponse(
            "This page needs its token: open the whole address that the search has printed, or that "
            "python -m search.page prints.",
            403,
        )


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _attribute(words: str) -> str:
    return words.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def _headers_of(scope: Scope) -> dict[str, Any]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _cookies_of(scope: Scope) -> dict[str, str]:
    try:
        found = SimpleCookie(_headers_of(scope).get("cookie", ""))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in found.items()}
