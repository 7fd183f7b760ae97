"""The commands and the MCP server, on searches that run and that do not."""

import asyncio
import json
import os
import subprocess
import sys
import time

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from search.mcp import server
from search.system.git import Repository
from tests.support.launching import (
    SLOW_TRAIN,
    ask,
    begin,
    check_agreement,
    edited,
    launch,
    records,
    rows,
    settled,
    wait_until_dead,
)
from tests.support.repositories import FAST_TRAIN, git, make_repository
from tests.support.searches import coordinator_of, run_all, setup_of


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--agent", "no-such-agent --fast"], "there is no command no-such-agent"),
        pytest.param(["--agent", "'"], "not a command line", marks=pytest.mark.full),
        pytest.param(["--agent", "python nowhere.py"], "there is no file nowhere.py", marks=pytest.mark.full),
        (["--agent-timeout", "0"], "--agent-timeout 0"),
        pytest.param(["--agent-proposals", "0"], "--agent-proposals 0", marks=pytest.mark.full),
        pytest.param(
            ["--agent", "python", "--agent-budget-usd", "-1"], "--agent-budget-usd -1", marks=pytest.mark.full
        ),
    ],
)
def test_what_cannot_be_asked_is_told_at_the_start(fast_repository, demo, arguments, words):
    done = launch(fast_repository, demo, *arguments, code=2)
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert git(fast_repository, "for-each-ref", "refs/autoresearch") == ""


def test_the_verbs_where_no_driver_runs(fast_repository, demo, tmp_path, monkeypatch):
    with coordinator_of(fast_repository, demo, limit=2) as coordinator:
        run_all(coordinator, setup_of(fast_repository, demo))
    (tmp_path / "edit.py").write_text(FAST_TRAIN.replace("logits = 4 *", "logits = 5 *"))
    asked = ["--file", str(tmp_path / "edit.py"), "--idea", "sharper", "--base", "main"]
    assert ask(fast_repository, "propose", *asked)["status"] == "queued"
    assert "nothing to try" in ask(fast_repository, "propose", "--file", "train.py", *asked[2:], code=2)["error"]
    shown = ask(fast_repository, "show", "1")
    assert shown["diff"].startswith("diff --git") and shown["trials"][0]["metrics"]["photos"] > 0
    assert "t does not run" in ask(fast_repository, "stop", code=1)["error"]
    piped = f"{sys.executable} -m search.show 1 | head -1"
    seen = subprocess.run(["bash", "-c", piped], cwd=fast_repository, capture_output=True, text=True, check=True)
    assert seen.stderr == "" and "experiment 1" in seen.stdout
    assert ask(fast_repository, "status")["counts"]["experiments"] == 3
    monkeypatch.setattr("search.cli.control.repository_here", lambda: Repository(fast_repository))

    async def look():
        async with Client(server()) as client:
            baseline = (await client.call_tool("show", {"experiment": 0})).structured_content
            assert baseline["kind"] == "baseline" and baseline["status"] == "keep"
            lost = await client.call_tool("pause", {})
            assert lost.is_error and lost.content[0].text.startswith("error: t does not run")
            assert "source" in (await client.call_tool("incumbent", {})).structured_content

    asyncio.run(look())


@pytest.mark.full
def test_outside_agents_propose_pause_show_and_stop(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    results = repository / "runs/t/results.tsv"
    driver, below = begin(repository, demo, lambda: results.exists() and len(results.read_text().splitlines()) >= 2)
    (tmp_path / "edit.py").write_text(edited(5))
    wait_in_pause(repository)  # an edit is made again on each new incumbent, and so is another one there
    answer = ask(repository, "propose", "--file", str(tmp_path / "edit.py"), "--idea", "sharper logits")
    assert answer["status"] in ("waiting", "running") and answer["proposal"] == 1
    again = ask(repository, "propose", "--file", str(tmp_path / "edit.py"), "--idea", "the same", code=1)
    assert again["status"] == "refused" and "the same as" in again["reason"]
    ask(repository, "resume")

    # A commit on the inbox branch: its difference, once.
    git(repository, "checkout", "-q", "-b", "autoresearch/t-inbox", "main")
    (repository / "train.py").write_text(edited(6))
    git(repository, "commit", "-qam", "sharper still")
    git(repository, "checkout", "-q", "main")
    settled(lambda: len(records(repository, "proposals.jsonl")) >= 3)
    assert records(repository, "proposals.jsonl")[2]["idea"] == "sharper still"
    settled(lambda: {"sharper logits", "sharper still"} <= {row[5] for row in rows(repository)})
    row = next(row for row in rows(repository) if row[5] == "sharper logits")
    shown = ask(repository, "show", row[0])
    assert shown["description"] == "sharper logits" and shown["status"] == row[4]
    assert "+logits = 5 *" in shown["diff"] and "bin_acc:" in shown["log_tail"]
    assert shown["trials"][0]["metrics"]["photos"] > 0
    assert ask(repository, "show", "p2")["status"] == "refused"
    assert "no such experiment" in ask(repository, "show", "4711", code=2)["error"]

    wait_in_pause(repository)
    count = len(rows(repository))
    time.sleep(4)
    assert len(rows(repository)) == count
    ask(repository, "resume")
    settled(lambda: len(rows(repository)) > count)
    ask(repository, "stop")
    output = driver.communicate(timeout=60)[0]
    assert driver.returncode == 0, output
    wait_until_dead(below)
    check_agreement(repository, len(rows(repository)))
    assert "does not run" in ask(repository, "pause", code=1)["error"]


def wait_in_pause(repository):
    """Pauses a search, and returns when nothing runs any more."""
    ask(repository, "pause")
    assert json.loads(status(repository).stdout)["paused"] is True
    settled(lambda: all(slot["trial"] is None for slot in json.loads(status(repository).stdout)["slots"]))


def status(repository):
    return subprocess.run(
        [sys.executable, "-m", "search.status", "--json"], cwd=repository, capture_output=True, text=True, check=True
    )


def tools_of(repository):
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "search.mcp"], cwd=str(repository), env={**os.environ}
    )
    return Client(stdio_client(server), read_timeout_seconds=120)


@pytest.mark.full
def test_a_client_drives_the_search_over_mcp(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    driver, _ = begin(repository, demo, (repository / "runs/t/analysis_summary.json").exists)

    async def drive():
        async with tools_of(repository) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {"status", "summary", "show", "incumbent", "propose", "pause", "resume", "stop"}
            assert (await client.call_tool("status", {})).structured_content["running"] is True
            best = (await client.call_tool("incumbent", {})).structured_content
            source = best["source"].replace("logits = 4 *", "logits = 5 *")
            edit = {"source": source, "idea": "sharper logits", "base": best["commit"]}
            made = (await client.call_tool("propose", edit)).structured_content
            assert made["status"] in ("waiting", "running"), made
            bad = await client.call_tool("propose", {**edit, "source": "x = ("})
            assert bad.is_error and "does not parse" in bad.content[0].text and "\n" not in bad.content[0].text
            shown = await client.call_tool("show", {"experiment": f"p{made['proposal']}"})
            assert "+logits = 5 *" in shown.structured_content["diff"]
            lost = await client.call_tool("show", {"experiment": "nothing"})
            assert lost.is_error and lost.content[0].text.startswith("error: nothing: no such experiment")
            assert "costs" in (await client.call_tool("summary", {})).structured_content
            for verb in ("pause", "resume"):
                assert (await client.call_tool(verb, {})).structured_content["taken"] is True
            assert (await client.call_tool("stop", {"now": True})).structured_content["taken"] is True

    asyncio.run(drive())
    output = driver.communicate(timeout=60)[0]
    assert driver.returncode == 130, output
