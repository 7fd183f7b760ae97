"""Agents in a running search, driven and driving: no slot waits, and what is handed in becomes an experiment."""

import asyncio
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from search.mcp import server
from search.system.git import Repository
from tests.conftest import FAST_TRAIN, git, make_repository
from tests.edge.test_trials_and_resume import coordinator_of, run_all, setup_of
from tests.system.test_launch import (
    SLOW_TRAIN,
    begin,
    check_agreement,
    command,
    launch,
    rows,
    wait_until_dead,
)

THINKS = """
import sys, time, random
sys.stdin.read()
time.sleep({seconds})
text = open("train.py").read()
open("train.py", "w").write(text.replace("logits = 4 *", f"logits = {{random.uniform(4, 5):.4f}} *"))
print("IDEA: sharper logits")
"""


def agent(tmp_path, body):
    script = tmp_path / "agent.py"
    script.write_text(body)
    return shlex.join([sys.executable, str(script)])


def records(repository, name):
    path = repository / "runs/t" / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def gaps(repository):
    """(seconds, when) between two trials of a slot."""
    trials = sorted(records(repository, "trials.jsonl"), key=lambda trial: (trial["slot"], trial["began"]))
    pairs = itertools.pairwise(trials)
    return [(b["began"] - a["ended"], a["ended"]) for a, b in pairs if a["slot"] == b["slot"]]


def test_no_slot_waits_for_a_slow_agent_and_its_edit_becomes_an_experiment(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    asked = ["--agent", agent(tmp_path, THINKS.format(seconds=8)), "--agent-proposals", "2"]
    rounds = ["--experiments", "30", "--experiments-per-round", "3", "--confirm-seeds", "0"]
    launch(repository, demo, "--tag", "t", *asked, *rounds)
    check_agreement(repository, 31)
    proposals = records(repository, "proposals.jsonl")
    assert len(proposals) >= 2 and proposals[0]["turn"] == proposals[1]["turn"] == 1
    assert all(one["cost"]["seconds"] >= 8 for one in proposals)
    edits = {one["commit"][:7]: one for one in proposals if not one["refused"]}
    tried = [row for row in rows(repository) if row[0] in edits]
    assert tried and all(row[5] == "sharper logits" for row in tried)
    for row in tried:
        edit = edits[row[0]]
        assert git(repository, "diff", "--name-only", edit["parent"], edit["commit"]).split() == ["train.py"]
    # The agent thought for 8 s at a time: a slot that waited for it would show a gap of that length.
    assert max(gap for gap, _ in gaps(repository)) < 5
    thinking = min(one["time"] for one in proposals) - 8
    assert sum(thinking < when < thinking + 8 for _, when in gaps(repository)) >= 4
    told = json.loads((repository / "runs/t/analysis_summary.json").read_text())
    assert len(told["proposals"]) == len(proposals)
    assert told["costs"]["agent"]["proposals"] == len(proposals)
    assert told["costs"]["agent"]["trials"] == len(
        [t for t in records(repository, "trials.jsonl") if t["commit"][:7] in edits]
    )
    assert "## Proposals" in (repository / "runs/t/analysis_summary.md").read_text()


@pytest.mark.full
def test_an_agent_that_fails_costs_nothing_and_is_told(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    body = "print('no quota left'); raise SystemExit(4)"
    asked = ["--agent", agent(tmp_path, body), "--experiments-per-round", "3", "--experiments", "8"]
    launch(repository, demo, "--tag", "t", *asked, "--confirm-seeds", "0")
    check_agreement(repository, 9)
    summary = (repository / "runs/t/analysis_summary.md").read_text()
    assert "refused, the agent failed, exit code 4: no quota left" in summary


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--agent", "no-such-agent --fast"], "there is no command no-such-agent"),
        (["--agent", "'"], "not a command line"),
        (["--agent", "python nowhere.py"], "there is no file nowhere.py"),
        (["--agent-timeout", "0"], "--agent-timeout 0"),
        (["--agent-proposals", "0"], "--agent-proposals 0"),
        (["--agent", "python", "--agent-budget-usd", "-1"], "--agent-budget-usd -1"),
    ],
)
def test_what_cannot_be_asked_is_told_at_the_start(fast_repository, demo, arguments, words):
    done = launch(fast_repository, demo, *arguments, code=2)
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert git(fast_repository, "for-each-ref", "refs/autoresearch") == ""


def ask(repository, verb, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", f"search.{verb}", "--json", *arguments],
        cwd=repository, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


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
            assert "train_py" in (await client.call_tool("incumbent", {})).structured_content

    asyncio.run(look())


def edited(number):
    return SLOW_TRAIN.replace("logits = 4 *", f"logits = {number} *")


def settled(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not condition():
        time.sleep(0.5)
    assert condition()


@pytest.mark.full
def test_outside_agents_propose_pause_show_and_stop(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    results = repository / "runs/t/results.tsv"
    driver, below = begin(repository, demo, lambda: results.exists() and len(results.read_text().splitlines()) >= 2)
    (tmp_path / "edit.py").write_text(edited(5))
    told = ask(repository, "propose", "--file", str(tmp_path / "edit.py"), "--idea", "sharper logits")
    assert told["status"] in ("waiting", "running") and told["proposal"] == 1
    again = ask(repository, "propose", "--file", str(tmp_path / "edit.py"), "--idea", "the same", code=1)
    assert again["status"] == "refused" and "the same as" in again["reason"]

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

    ask(repository, "pause")
    assert json.loads(status(repository).stdout)["paused"] is True
    settled(lambda: all(slot["trial"] is None for slot in json.loads(status(repository).stdout)["slots"]))
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


@pytest.mark.full
def test_what_is_handed_in_while_nothing_runs_is_taken_once_over_resumes(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    launch(repository, demo, "--tag", "t", "--experiments", "4")
    (tmp_path / "edit.py").write_text(edited(7))
    asked = ["--file", str(tmp_path / "edit.py"), "--idea", "later", "--base", "main"]
    assert ask(repository, "propose", *asked)["status"] == "queued"
    git(repository, "checkout", "-q", "-b", "autoresearch/t-inbox", "main")
    (repository / "train.py").write_text(edited(6))
    git(repository, "commit", "-qam", "sharper still")
    git(repository, "checkout", "-q", "main")
    for experiments in (14, 20):
        launch(repository, demo, "--resume", "t", "--experiments", str(experiments))
        handed_in = [one for one in records(repository, "proposals.jsonl") if one["author"] == "inbox"]
        assert sorted(one["idea"] for one in handed_in) == ["later", "sharper still"]
        check_agreement(repository, experiments + 1)
    tried = [row[5] for row in rows(repository)]
    assert tried.count("later") == tried.count("sharper still") == 1


def status(repository):
    return subprocess.run(
        [sys.executable, "-m", "search.status", "--json"], cwd=repository, capture_output=True, text=True, check=True
    )


@pytest.mark.full
def test_kill_9_in_the_midst_of_a_turn_loses_no_request_and_the_agent_is_asked_again(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    asked = ["--agent", agent(tmp_path, THINKS.format(seconds=6)), "--experiments-per-round", "2"]
    log = repository / "runs/t/agent/turn0001-0/agent1.log"
    wanted = [*command(demo, "--tag", "t", "--confirm-seeds", "0"), *asked]
    driver = subprocess.Popen(
        wanted, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    settled(log.exists)
    (tmp_path / "edit.py").write_text(edited(5))
    ask(repository, "propose", "--file", str(tmp_path / "edit.py"), "--idea", "handed in", "--wait", "0")
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    time.sleep(3)
    alive = subprocess.run(["pgrep", "-f", str(tmp_path / "agent.py")], capture_output=True, check=False)
    assert alive.stdout == b""
    launch(repository, demo, "--resume", "t", "--experiments", "14", *asked)
    proposals = records(repository, "proposals.jsonl")
    assert "handed in" in [one["idea"] for one in proposals]
    turns = [one["turn"] for one in proposals if one["turn"]]
    assert turns and 1 not in turns  # it was cut short, and the agent was asked again
    check_agreement(repository, 15)


def tools_of(repository):
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "search.mcp"], cwd=str(repository), env={**os.environ}
    )
    return Client(stdio_client(server), read_timeout_seconds=120)


@pytest.mark.full
def test_a_client_drives_the_search_over_mcp(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    results = repository / "runs/t/results.tsv"
    driver, _ = begin(repository, demo, lambda: results.exists() and len(results.read_text().splitlines()) >= 2)

    async def drive():
        async with tools_of(repository) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {"status", "summary", "show", "incumbent", "propose", "pause", "resume", "stop"}
            assert (await client.call_tool("status", {})).structured_content["running"] is True
            best = (await client.call_tool("incumbent", {})).structured_content
            source = best["train_py"].replace("logits = 4 *", "logits = 5 *")
            edit = {"train_py": source, "idea": "sharper logits", "base": best["commit"]}
            made = (await client.call_tool("propose", edit)).structured_content
            assert made["status"] in ("waiting", "running"), made
            bad = await client.call_tool("propose", {**edit, "train_py": "x = ("})
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
