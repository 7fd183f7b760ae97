"""Who may see a page: hosts, origins, the token, and what is sent with every answer."""

import asyncio
from http.cookies import SimpleCookie

import pytest
from starlette.responses import PlainTextResponse

from search.cli.shown_options import Place
from search.web.access import Access, new_token
from search.web.serve import names_of

TOKEN = new_token()
HOST = "127.0.0.1:8420"
COOKIE = {"cookie": f"other=1; autoresearch-8420={TOKEN}"}


def ask(path="/", method="GET", query="", headers=None, host=HOST):
    """(status, headers, body) of a request."""
    access = Access(PlainTextResponse("inside"), TOKEN, names_of(Place(), 8420), "http", "autoresearch-8420")
    given = {"host": host, **(headers or {})}
    scope = {
        "type": "http", "method": method, "path": path, "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    sent = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    asyncio.run(access(scope, receive, send))
    found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(one.get("body", b"") for one in sent[1:]).decode()


@pytest.mark.parametrize("host", [HOST, "localhost:8420", "[::1]:8420"])
def test_with_the_cookie_the_page_is_seen_under_its_own_names(host):
    assert ask(headers=COOKIE, host=host)[::2] == (200, "inside")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8420.evil.example", ""])
def test_a_name_that_was_rebound_to_this_address_reads_nothing(host):
    status, _, body = ask(headers=COOKIE, host=host)
    assert status == 421 and "inside" not in body


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"cookie": "autoresearch-8420=wrong"},
        {"cookie": f"autoresearch-8421={TOKEN}"},
        {"cookie": "autoresearch-8420="},
        {"cookie": "\x00=;;autoresearch"},
        {"authorization": TOKEN},
    ],
)
@pytest.mark.parametrize("path", ["/", "/static/page.css", "/events", "/photos/1.jpg"])
def test_without_the_cookie_nothing_is_seen(headers, path):
    status, _, body = ask(path, headers=headers)
    assert status == 403 and "inside" not in body and TOKEN not in body


def test_the_token_in_an_address_becomes_a_cookie_that_scripts_and_other_sites_do_not_get():
    status, headers, body = ask("/experiments", query=f"token={TOKEN}&text=a%22%3E%3Cscript%3E")
    cookie = SimpleCookie(headers["set-cookie"])["autoresearch-8420"]
    assert (status, cookie.value, cookie["httponly"], cookie["samesite"]) == (200, TOKEN, True, "strict")
    assert 'url=/experiments?text=a%22%3E%3Cscript%3E"' in body and "<script>" not in body
    assert ask(query="token=wrong")[0] == 403


def test_an_address_leads_nowhere_else():
    assert 'url=/evil.example"' in ask("//evil.example", query=f"token={TOKEN}")[2]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": f"http://{HOST}"}, 200),
        ({"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}, 200),
        ({}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"origin": f"https://{HOST}"}, 403),
        ({"origin": f"http://{HOST}", "sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_only_the_page_itself_changes_anything(headers, status):
    assert ask("/ask/stop", "POST", headers=COOKIE | headers)[0] == status
    assert ask("/ask/stop", "POST", query=f"token={TOKEN}", headers=headers)[0] == 403  # a token is for reading


def test_another_site_does_not_read_along():
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert ask("/points", headers=COOKIE | embedded)[0] == 403
    assert ask("/", headers=COOKIE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"})[0] == 200


def test_every_answer_forbids_scripts_from_elsewhere_frames_and_keeping_it():
    for _, headers, _ in (ask(headers=COOKIE), ask(), ask(host="evil.example"), ask(query=f"token={TOKEN}")):
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
        assert headers["referrer-policy"] == "same-origin"


def test_on_other_addresses_it_goes_by_those_names():
    assert names_of(Place("10.0.0.5", certificate=None), 9000)[0] == "10.0.0.5:9000"
    assert "localhost:9000" in names_of(Place("0.0.0.0"), 9000)
    assert names_of(Place("::1"), 9000) == ["127.0.0.1:9000", "localhost:9000", "[::1]:9000"]
    assert "127.0.0.1" in names_of(Place(), 80)
