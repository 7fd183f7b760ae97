"""A page as a real process: every part of it, what it takes, what it follows, and what it does with torn files."""

import fcntl
import http.client
import json
import ssl
import subprocess
import sys
import time
import urllib.parse
from html.parser import HTMLParser

import pytest

from search.web.serve import ADDRESS_FILE
from tests.edge.web import made_up
from tests.support.lab import wait_for
from tests.support.repositories import ROOT

PAGES = ("/", "/experiments", "/lineage", "/axes", "/proposals", "/cluster", "/notes")
NOT_THERE = ("/nope", "/experiments/4444", "/photos", "/photos/1.jpg", "/audit", "/static/../app.py", "/static/app.py")
ALONE = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source"}


class Outline(HTMLParser):
    """Whether every element is closed where it must be; the scripts, and where links lead."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.scripts, self.links, self.ids = [], [], [], [], []
        self.feed(text)
        self.wrong += self.open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[name] for name in ("href", "src", "action") if name in given]
        self.scripts += [given.get("src", "within")] if tag == "script" else []
        self.wrong += [name for name in given if name.startswith("on") or name == "style"]
        if tag not in ALONE and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.wrong.append(f"/{tag}")


def test_every_page_is_whole_and_nothing_of_anybody_elses_is_markup(folder, serve):
    browser = serve(folder.parent).loaded()
    for path in (*PAGES, *(f"/experiments/{n}" for n in range(4)), "/experiments?text=lr&order=score&page=9"):
        status, headers, text = browser.ask(path)
        outline = Outline(text)
        assert (status, outline.wrong) == (200, []), path
        assert outline.scripts == ["/static/page.js"] and "alert(" not in text.replace("alert(&#39;", "").replace(
            "alert(1)&gt;", ""
        )
        assert all(link.startswith(("/", "#", "data:,")) and not link.startswith("//") for link in outline.links)
        assert len(outline.ids) == len(set(outline.ids)), path
        assert "script-src 'self'" in headers["content-security-policy"]
    assert "&lt;script&gt;" in browser.ask("/experiments/1")[2] and "&lt;script&gt;" in browser.ask("/proposals")[2]


def test_what_is_not_there_is_said(folder, serve):
    browser = serve(folder.parent).loaded()
    assert {path: browser.ask(path)[0] for path in NOT_THERE} == dict.fromkeys(NOT_THERE, 404)


def test_notes_are_saved_and_nobody_elses_are_lost(folder, serve):
    browser = serve(folder.parent).loaded()
    mark = Outline(browser.ask("/notes")[2])
    assert mark.wrong == []
    before = browser.ask("/notes")[2].partition('name="mark" value="')[2].partition('"')[0]
    status, headers, _ = browser.post("/notes", text="deeper\r\nnets <b>", mark=before)
    assert (status, headers["location"]) == (303, "/notes")
    assert (folder / "notes.md").read_text() == "deeper\nnets <b>"
    assert "nets &lt;b&gt;" in browser.ask("/notes")[2]
    status, _, text = browser.post("/notes", text="mine", mark=before)  # as they were seen before
    assert status == 409 and "were changed meanwhile" in text and ">mine</textarea>" in text
    assert (folder / "notes.md").read_text() == "deeper\nnets <b>"
    assert browser.ask("/notes", "POST", "text=x", Content_Type="application/x-www-form-urlencoded")[0] == 403


def test_it_follows_what_the_search_writes(folder, serve):
    browser = serve(folder.parent).loaded()
    log = made_up.running(folder)
    connection = http.client.HTTPConnection(browser.host, timeout=30)
    connection.request("GET", "/events", headers={"Cookie": browser.cookie})
    stream = connection.getresponse()
    with log.open("a") as writing:
        writing.write("step 21 | loss 0.5\n")
    lines = iter(stream.readline, b"")
    assert next(line for line in lines if line.startswith(b"event")).strip() == b"event: changed"
    decisions = (folder / "decisions.jsonl").read_text().splitlines()
    more = json.loads(decisions[-1]) | {"experiment": 999, "description": "came later", "commit": "f" * 40}
    with (folder / "decisions.jsonl").open("a") as writing:
        writing.write(json.dumps(more) + "\n")
    wait_for(lambda: "came later" in browser.ask("/experiments")[2])
    connection.close()


def test_it_tells_a_trial_that_trains_from_one_that_evaluates(folder, serve):
    began = time.time() - 320
    made_up.running(folder, "e0008-s0", 0, began)
    made_up.running(folder, "e0009-s0", 1, began, evaluating=began + 306)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as its driver holds it
        text = serve(folder.parent).loaded().ask("/")[2]
    slots = text.partition('id="slots"')[2].partition("</table>")[0]
    trains, evaluates = (row for row in slots.split("<tr>") if ">gpu0<" in row or ">gpu1<" in row)
    assert "of 5 min" in trains and "evaluating" not in trains
    assert "evaluating" in evaluates and "of 5 min" not in evaluates


def test_another_command_finds_the_page_that_is_served(folder, serve):
    served = serve(folder.parent)
    assert (folder / ADDRESS_FILE).stat().st_mode & 0o777 == 0o600
    again = subprocess.run(
        [sys.executable, "-m", "search.page", "--runs", str(folder.parent)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert again.stdout.strip() == served.address
    assert served.end() == 0 and not (folder / ADDRESS_FILE).exists()


def test_without_a_repository_nothing_can_be_asked(folder, serve):
    browser = serve(folder.parent).loaded()
    assert "Steer it" not in browser.ask("/")[2]
    for path, fields in (("/ask/stop", {}), ("/propose", {"idea": "x", "source": "y"})):
        status, _, text = browser.post(path, **fields)
        assert status == 409 and "only shows" in text


@pytest.mark.parametrize(
    "damage", ["torn", *(pytest.param(damage, marks=pytest.mark.full) for damage in ("garbage", "gone", "numbers"))]
)
def test_reading_works_whatever_happened_to_the_files(folder, serve, damage):
    for name in ("trials.jsonl", "decisions.jsonl", "analysis_summary.json", "proposals.jsonl", "optuna.db"):
        path = folder / name
        whole = path.read_bytes()
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(
                {"torn": whole[: len(whole) * 2 // 3], "garbage": b"\xff\x00{", "numbers": b"17\n[]\n"}[damage]
            )
    (folder / "view.json").write_text("{")
    browser = serve(folder.parent).loaded()
    for path in PAGES:
        status, _, text = browser.ask(path)
        assert status == 200 and "Traceback" not in text, text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nope"], 2, "there is no search nope in it; there are: made-up"),
        (["--host", "192.0.2.77"], 1, "the page cannot be served at 192.0.2.77"),
        pytest.param(["--port", "99999"], 2, "--port 99999: from 0 to 65535", marks=pytest.mark.full),
        pytest.param(["--cert", "/nowhere"], 2, "--cert and --key go together", marks=pytest.mark.full),
        pytest.param(["--cert", "/nowhere", "--key", "/nowhere"], 2, "/nowhere: no such file", marks=pytest.mark.full),
        pytest.param(["--export", "nowhere/report.html"], 1, "nowhere", marks=pytest.mark.full),
    ],
)
def test_bad_input_is_one_line(folder, arguments, code, words):
    done = subprocess.run(
        [sys.executable, "-m", "search.page", "--runs", str(folder.parent), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
    assert words in done.stderr and done.stdout == ""


@pytest.mark.full
def test_a_port_that_is_taken_is_one_line_and_without_one_the_next_is_taken(folder, serve, tmp_path):
    served = serve(folder.parent)
    port = served.browser.host.partition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "search.page", "--runs", str(folder.parent), "--port", port],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and f"at 127.0.0.1:{port}" in done.stderr
    other = serve(made_up.search(tmp_path / "other", 3).parent)
    assert other.browser.host != served.browser.host


def test_one_file_has_it_all_and_leads_nowhere(folder, tmp_path):
    out = tmp_path / "report.html"
    done = subprocess.run(
        [sys.executable, "-m", "search.page", "--runs", str(folder.parent), "--export", str(out)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    text = out.read_text()
    outline = Outline(text)
    assert "MB" in done.stdout and outline.wrong == [] and outline.scripts == []
    assert all(link.startswith("#") for link in outline.links)
    assert {link[1:] for link in outline.links} <= set(outline.ids)
    for words in ("Recommendation", "Experiments", "Lineage", "How it was set up", "squeeze and excitation"):
        assert words in text
    assert "<form" not in text and "<img" not in text and "alert('x')" not in text


@pytest.mark.full
def test_ten_thousand_experiments_are_shown_within_a_second_and_sent_within_two_megabytes(tmp_path, serve):
    folder = made_up.search(tmp_path, 10_000)
    browser = serve(folder.parent).loaded()
    for path in PAGES:
        status, _, text = browser.ask(path)
        assert status == 200 and len(text) < 250_000, path
    done = [sys.executable, "-m", "search.page", "--runs", str(folder.parent), "--export", str(tmp_path / "r.html")]
    subprocess.run(done, cwd=ROOT, capture_output=True, timeout=120, check=True)
    assert (tmp_path / "r.html").stat().st_size < 2_000_000


@pytest.mark.full
def test_with_a_certificate_it_speaks_tls_and_without_one_elsewhere_it_warns(folder, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.2"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key)]
    subprocess.run([*made, "-out", str(cert), *subject], capture_output=True, check=True)
    command = [sys.executable, "-m", "search.page", "--runs", str(folder.parent), "--host"]
    with subprocess.Popen(
        [*command, "127.0.0.2", "--cert", str(cert), "--key", str(key)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as served:
        parts = urllib.parse.urlsplit(served.stdout.readline().strip())
        trusted = ssl.create_default_context(cafile=cert)
        connection = http.client.HTTPSConnection("127.0.0.2", parts.port, context=trusted, timeout=20)
        connection.request("GET", f"/?{parts.query}", headers={"Host": f"127.0.0.1:{parts.port}"})
        answer = connection.getresponse()
        assert parts.scheme == "https" and answer.status == 200
        assert "Secure" in answer.getheader("set-cookie")
        served.kill()
    with subprocess.Popen([*command, "0.0.0.0"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as served:
        said = [served.stdout.readline() for _ in range(3)]
        assert any("reads along: there is no TLS; name --cert and --key" in line for line in said), said
        served.kill()
