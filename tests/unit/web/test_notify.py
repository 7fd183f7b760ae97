"""What is worth a word, how often it is said, and that a notifier which fails costs nothing."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from search.core.types import SearchError
from search.web.beside import last_notice
from search.web.notify import Notice, Notifier, news, senders

BASE = {"commit": "aaaaaaa", "score_in_words": "bin_acc 0.8", "description": "baseline"}
BETTER = {"commit": "bbbbbbb", "score_in_words": "bin_acc 0.9", "description": "wider"}
PROVED = {"shown_better": True, "words": "take bbbbbbb, which is better", "commit": "bbbbbbb"}


@pytest.mark.parametrize(
    ("before", "now", "kinds"),
    [
        ({}, {"frontier": [BASE, BETTER]}, []),  # nothing was known: it is no news
        ({"frontier": [BASE]}, {"frontier": [BASE]}, []),
        ({"frontier": [BASE]}, {"frontier": [BASE, BETTER]}, ["keep"]),
        ({"frontier": [BASE, BETTER]}, {"frontier": [BASE]}, []),  # it fell
        ({"recommended": None}, {"recommended": PROVED}, ["proof"]),
        ({"recommended": PROVED}, {"recommended": PROVED}, []),
        ({"aside": [1]}, {"aside": [1, 3]}, ["aside"]),
        ({"waits_for_room": False}, {"waits_for_room": True}, ["disk"]),
        ({"waits_for_room": True}, {"waits_for_room": True}, []),
    ],
)
def test_what_is_worth_a_word(before, now, kinds):
    found = news("t", before, now)
    assert [one.kind for one in found] == kinds
    assert all(one.words.startswith("t: ") for one in found)


@pytest.mark.parametrize(
    ("ended", "kind", "words"),
    [
        (None, "crash", "the search has crashed; go on with python -m search.launch --resume t"),
        ({"exit_code": 3, "error": ""}, "crash", "crashed"),
        ({"exit_code": 1, "error": "no slot runs\nmore"}, "crash", "has ended: no slot runs"),
        ({"exit_code": 0, "error": ""}, "end", "has ended after 7 experiments; take bbbbbbb, which is better"),
        ({"exit_code": 130, "error": ""}, "end", "has ended"),
    ],
)
def test_the_end_is_told_from_a_crash(ended, kind, words):
    notice = last_notice("t", ended, {"counts": {"experiments": 7}, "recommended": PROVED})
    assert notice.kind == kind and words in notice.words and "\n" not in notice.words


def sent_by(notices, between, seconds=0.0):
    sent = []
    notifier = Notifier(sent.append, between)
    for notice in notices:
        notifier.add(notice)
        time.sleep(0.05)
    time.sleep(seconds)
    before_the_end = list(sent)
    notifier.close()
    return before_the_end, sent


def test_of_many_at_once_the_first_goes_out_and_then_the_latest_with_their_number():
    keeps = [Notice("keep", "t", f"keep {n}") for n in range(5)]
    before, after = sent_by([*keeps, Notice("aside", "t", "aside")], between=60.0)
    assert [one.words for one in before] == ["keep 0", "aside"]
    assert [one.words for one in after] == ["keep 0", "aside", "keep 4 (and 3 more)"]


def test_a_kind_is_said_again_after_its_pause():
    before, _ = sent_by([Notice("keep", "t", "one"), Notice("keep", "t", "two")], between=0.2, seconds=0.6)
    assert [one.words for one in before] == ["one", "two"]


def test_a_notifier_that_fails_does_not_keep_the_next_one():
    sent = []

    def send(notice):
        if notice.kind == "keep":
            raise OSError("gone")
        sent.append(notice.kind)

    notifier = Notifier(send)
    for kind in ("keep", "end"):
        notifier.add(Notice(kind, "t", kind))
    notifier.close()
    assert sent == ["end"] and "gone" in notifier.failure


def test_a_command_gets_json_on_standard_input(tmp_path):
    out = tmp_path / "out"
    code = f"import sys; open({str(out)!r}, 'a').write(sys.stdin.read() + chr(10))"
    send = senders([f'{sys.executable} -c "{code}"'])
    send(Notice("keep", "t", "kept <b>", {"commit": "abc"}))
    assert json.loads(out.read_text()) == {"kind": "keep", "tag": "t", "words": "kept <b>", "facts": {"commit": "abc"}}
    with pytest.raises(Exception, match="returned non-zero"):
        senders(["false"])(Notice("end", "t", "x"))


def test_an_address_that_nobody_can_send_to_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(SearchError, match="apprise is not installed; pip install apprise"):
        senders(["mailto://user:secret@example.org"])


def test_an_address_of_apprise_is_sent_to(tmp_path):
    pytest.importorskip("apprise", reason="apprise is not installed, which is an extra")
    came = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self):
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Service) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        senders([f"json://127.0.0.1:{service.server_port}"])(Notice("keep", "t", "t: kept abc"))
        service.shutdown()
    assert (came[0]["title"], came[0]["message"]) == ("search t", "t: kept abc")
    with pytest.raises(SearchError, match="does not know this address"):
        senders(["nosuchservice://x"])
