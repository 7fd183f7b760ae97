"""Agents in a running search: no slot waits, and no request is lost."""

import itertools
import json
import os
import signal
import subprocess

import pytest

from tests.support.launching import (
    SLOW_TRAIN,
    agent,
    ask,
    check_agreement,
    command,
    edited,
    launch,
    records,
    rows,
    settled,
)
from tests.support.repositories import git, make_repository

THINKS = """
import sys, time, random
sys.stdin.read()
time.sleep({seconds})
text = open("train.py").read()
open("train.py", "w").write(text.replace("logits = 4 *", f"logits = {{random.uniform(4, 5):.4f}} *"))
print("IDEA: sharper logits")
"""


def gaps(repository):
    """(seconds, when) between two trials of a slot."""
    trials = sorted(records(repository, "trials.jsonl"), key=lambda trial: (trial["slot"], trial["began"]))
    pairs = itertools.pairwise(trials)
    return [(b["began"] - a["ended"], a["ended"]) for a, b in pairs if a["slot"] == b["slot"]]


@pytest.mark.full
def test_no_slot_waits_for_a_slow_agent_and_its_edit_becomes_an_experiment(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    asked = ["--agent", agent(tmp_path, THINKS.format(seconds=8)), "--agent-proposals", "2"]
    rounds = ["--experiments", "40", "--experiments-per-round", "3", "--confirm-seeds", "0"]
    launch(repository, demo, "--tag", "t", *asked, *rounds)
    check_agreement(repository, 41)
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
    summary = json.loads((repository / "runs/t/analysis_summary.json").read_text())
    assert len(summary["proposals"]) == len(proposals)
    assert summary["costs"]["agent"]["proposals"] == len(proposals)
    assert summary["costs"]["agent"]["trials"] == len(
        [t for t in records(repository, "trials.jsonl") if t["commit"][:7] in edits]
    )
    assert "## Proposals" in (repository / "runs/t/analysis_summary.md").read_text()


@pytest.mark.full
def test_an_agent_that_fails_costs_nothing_and_is_told(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    body = "print('no quota left'); raise SystemExit(4)"
    asked = ["--agent", agent(tmp_path, body), "--experiments-per-round", "3", "--experiments", "20"]
    launch(repository, demo, "--tag", "t", *asked, "--confirm-seeds", "0")
    check_agreement(repository, 21)
    summary = (repository / "runs/t/analysis_summary.md").read_text()
    assert "refused, the agent failed, exit code 4: no quota left" in summary


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


@pytest.mark.full
def test_kill_9_in_the_midst_of_a_turn_loses_no_request_and_the_agent_is_asked_again(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    asked = ["--agent", agent(tmp_path, THINKS.format(seconds=90)), "--experiments-per-round", "2"]
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
    running = ["pgrep", "-f", str(tmp_path / "agent.py")]
    settled(lambda: not subprocess.run(running, capture_output=True, check=False).stdout, 30)
    agent(tmp_path, THINKS.format(seconds=6))
    launch(repository, demo, "--resume", "t", "--experiments", "14", *asked)
    proposals = records(repository, "proposals.jsonl")
    assert "handed in" in [one["idea"] for one in proposals]
    turns = [one["turn"] for one in proposals if one["turn"]]
    assert turns and 1 not in turns  # it was cut short, and the agent was asked again
    check_agreement(repository, 15)
