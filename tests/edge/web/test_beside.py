"""The page's process beside a search: it ends with it, and tells people what matters."""

import json
import os
import subprocess
import sys
import time

import pytest

from search.web.serve import ADDRESS_FILE
from tests.edge.web.page_process import Browser
from tests.support.lab import wait_for
from tests.support.repositories import ROOT


def beside(folder, out, *said):
    """What a notifier got from the process beside a search that says so; the process has ended."""
    command = f"{sys.executable} -c \"import sys; open('{out}', 'a').write(sys.stdin.read() + chr(10))\""
    process = subprocess.Popen(
        [sys.executable, "-m", "search.page", folder.name, "--runs", str(folder.parent), "--beside"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdin.write(json.dumps({"notify": [command]}) + "\n")
    process.stdin.flush()
    address = process.stdout.readline().strip()
    assert Browser(address).ask("/static/page.css")[0] == 200
    for line in said:
        process.stdin.write(json.dumps(line) + "\n")
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        pytest.param((), "crash", id="killed"),
        pytest.param(({"ended": {"exit_code": 0, "error": ""}},), "end", id="ended", marks=pytest.mark.full),
    ],
)
def test_the_process_beside_a_search_ends_with_it_and_tells_how(folder, tmp_path, said, kind):
    notices = beside(folder, tmp_path / "out", *said)
    assert [one["kind"] for one in notices] == [kind]
    assert "</html>" in (folder / "report.html").read_text()
    assert not (folder / ADDRESS_FILE).exists()


def test_it_tells_of_a_confirmed_keep_once(folder, tmp_path):
    view = {"frontier": [{"commit": "aaaaaaa", "score_in_words": "bin_acc 0.8", "description": "baseline"}]}
    better = {"commit": "bbbbbbb", "score_in_words": "bin_acc 0.9", "description": "wider"}
    (folder / "view.json").write_text(json.dumps({"time": time.time(), "view": view}))
    out = tmp_path / "out"
    out.touch()
    command = f"{sys.executable} -c \"import sys; open('{out}', 'a').write(sys.stdin.read() + chr(10))\""
    process = subprocess.Popen(
        [sys.executable, "-m", "search.page", folder.name, "--runs", str(folder.parent), "--beside", "--no-page"],
        cwd=ROOT, stdin=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    process.stdin.write(json.dumps({"notify": [command]}) + "\n")
    process.stdin.flush()
    time.sleep(3)
    view["frontier"].append(better)
    (folder / "view.json").write_text(json.dumps({"time": time.time(), "view": view}))
    wait_for(lambda: "bbbbbbb" in out.read_text())
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert [json.loads(line)["kind"] for line in out.read_text().splitlines()] == ["keep", "crash"]
