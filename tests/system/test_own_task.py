"""Searches of other repositories: any program, any metric, lower or higher."""

import asyncio
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from search.system.sandbox import is_available
from tests.support.launching import settled
from tests.support.own_task import SEED, TRAIN, as_installed, own_repository, run_there, search_there
from tests.support.repositories import ROOT, git, make_repository


def rows_of(folder):
    lines = (folder / "runs/own/results.tsv").read_text().splitlines()
    return lines[0].split("\t"), [dict(zip(lines[0].split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]


def test_a_repository_that_has_nothing_of_this_project_is_searched_where_lower_is_better(tmp_path):
    folder = own_repository(tmp_path / "own")
    said = search_there(folder, "--experiments", "10")
    assert "val_loss is what each run reports itself: no scorer outside of it checks it" in said
    header, rows = rows_of(folder)
    assert header == ["commit", "val_loss", "memory_gb", "status", "description"]
    assert {row["memory_gb"] for row in rows} == {"0.2"} and {row["status"] for row in rows} <= {"keep", "discard"}
    kept = [row for row in rows if row["status"] == "keep"]
    assert len(kept) > 1
    losses = [float(row["val_loss"]) for row in kept]
    assert losses == sorted(losses, reverse=True)
    assert git(folder, "rev-parse", "--short=7", "autoresearch/own").strip() == kept[-1]["commit"]
    assert git(folder, "status", "--porcelain").split() == ["??", "space.toml", "??", "task.toml"]  # runs/ hides itself
    summary = json.loads((folder / "runs/own/analysis_summary.json").read_text())
    assert summary["metric"] == {
        "name": "val_loss", "higher_is_better": False, "tie_breaker": None, "trust": "reported",
    }  # fmt: skip
    assert summary["current_best"]["val_loss"] == losses[-1] and summary["frontier"][-1]["gain_val_loss"] > 0
    status = json.loads(run_there(folder, "status", "--json"))
    assert status["frontier"][-1]["val_loss"] == losses[-1]
    assert "(reported by the run itself)" in (folder / "runs/own/analysis_summary.md").read_text()
    listed = re.search(r"val_loss (\d\.\d{4}) \(reported", run_there(folder, "list"))
    assert listed and abs(float(listed[1]) - losses[-1]) < 1e-4  # each is rounded from the mean by itself
    shown = run_there(folder, "show", str(len(rows) - 1))
    assert "-LR = " in shown or "-WIDTH = " in shown


@pytest.mark.full
def test_where_runs_give_the_same_every_time_none_is_repeated(tmp_path):
    folder = own_repository(tmp_path / "own", noise=0.0, more="")
    said = search_there(folder, "--gpus", "1", "--experiments", "8")
    assert "runs cannot be told a seed" in said
    assert "its runs give the same to the last digit: repeating proves nothing" in said
    assert "its runs give the same every time, so that repeating them proves nothing" in said
    trials = [json.loads(line) for line in (folder / "runs/own/trials.jsonl").read_text().splitlines()]
    repeated = [one["trial"] for one in trials if one["seed"] and one["experiment"]]
    assert repeated == [] and len([one for one in trials if one["experiment"] == 0]) == 2
    run_there(folder, "verify", "own", "--seeds", "2", code=1)


@pytest.mark.full
def test_where_runs_differ_repeats_stand_for_seeds_and_a_search_can_go_on(tmp_path):
    folder = own_repository(tmp_path / "own", noise=0.01, more="")
    (folder / "train.py").write_text(TRAIN.replace("rng = random.Random(f", "rng = random.Random(); (f"))
    git(folder, "commit", "-qam", "noisy")
    search_there(folder, "--experiments", "6")
    before = len(rows_of(folder)[1])
    run_there(folder, "launch", "--resume", "own", "--experiments", "9", "--agent", "none", "--disk-reserve", "0")
    assert len(rows_of(folder)[1]) > before
    run_there(folder, "verify", "own", "--seeds", "2")
    status = json.loads(run_there(folder, "status", "--json"))
    assert status["recommended"]["fresh_seeds_of_baseline"] >= 2


@pytest.mark.full
def test_an_agent_gets_this_tasks_own_rules_and_its_edit_is_an_experiment(tmp_path):
    folder = own_repository(tmp_path / "own", more='\n[seed]\nvariable = "SEED"\n\n[smoke]\nseconds = 2\n')
    (folder / "program.md").write_text("# Mine\n\nMake the loss small, and be kind.\n")
    (folder / "train.py").write_text(TRAIN.replace("rng =", "__import__('time').sleep(2)\nrng ="))
    git(folder, "add", "program.md", "train.py")
    git(folder, "commit", "-qm", "rules")
    agent = tmp_path / "agent.sh"
    agent.write_text(
        "#!/bin/sh\ncat > brief.txt\n"
        "grep -q 'be kind' brief.txt && grep -q 'constants in capitals' brief.txt || exit 1\n"
        "rm brief.txt\nsed -i 's/0.1 \\* abs/0.05 * abs/' train.py\necho 'IDEA: half the penalty'\n"
    )
    agent.chmod(0o755)
    search_there(folder, "--experiments", "12", "--experiments-per-round", "2", "--agent", str(agent))
    proposals = [json.loads(line) for line in (folder / "runs/own/proposals.jsonl").read_text().splitlines()]
    assert proposals[0]["idea"] == "half the penalty" and proposals[0]["refused"] == ""


@pytest.mark.full
def test_an_agent_drives_a_search_in_the_background_over_mcp(tmp_path):
    folder = own_repository(tmp_path / "own", more=f"{SEED}\n[log]\ntraining_lines = false\n")
    (folder / "train.py").write_text(
        TRAIN.replace('print("step 1 | loss 3.0", flush=True)', "__import__('time').sleep(1.5)")
    )
    git(folder, "commit", "-qam", "silent and slow")
    said = search_there(folder, "--experiments", "200", "--detach")
    assert "search own: 2 slots" in said and "in the background" in said

    def trained():
        slots = json.loads(run_there(folder, "status", "--json"))["slots"]
        return [slot for slot in slots if slot["trial"] and slot["training_seconds"] is not None]

    server = StdioServerParameters(
        command=sys.executable, args=["-m", "search", "mcp"], cwd=str(folder), env=as_installed()
    )

    async def drive():
        async with Client(stdio_client(server), read_timeout_seconds=120) as client:
            best = (await client.call_tool("incumbent", {})).structured_content
            edit = {"source": best["source"].replace("0.1 * abs", "0.05 * abs"), "idea": "half", "base": best["commit"]}
            made = (await client.call_tool("propose", edit)).structured_content
            assert made["status"] in ("waiting", "running"), made
            found = (await client.call_tool("summary", {})).structured_content
            assert found["metric"]["name"] == "val_loss" and not found["metric"]["higher_is_better"]
            assert (await client.call_tool("stop", {})).structured_content["taken"] is True

    try:
        summarised = folder / "runs/own/analysis_summary.json"  # which comes with the baseline's row, a moment later
        settled(lambda: summarised.exists() and trained())  # it tells of no step, and is busy
        asyncio.run(drive())
    finally:
        run_there(folder, "stop", "--now", code=None)
    settled(lambda: not json.loads(run_there(folder, "status", "--json"))["running"])
    assert json.loads(run_there(folder, "status", "--json"))["share_of_time_training"] > 0.2
    proposals = [json.loads(line) for line in (folder / "runs/own/proposals.jsonl").read_text().splitlines()]
    assert [one["idea"] for one in proposals] == ["half"]


@pytest.mark.full
@pytest.mark.parametrize("name", ["tabular", "kernel"])
def test_every_example_is_searched_in_its_folder_of_this_repository(tmp_path, name):
    pytest.importorskip("sklearn" if name == "tabular" else "numpy")
    folder = make_repository(tmp_path / "project", None, more=("examples",))
    search_there(folder, "--task", f"examples/{name}", "--experiments", "2")
    _, rows = rows_of(folder)
    assert len(rows) == 3 and all(row["status"] != "crash" for row in rows)


@pytest.mark.full
def test_the_language_model_is_searched_for_a_moment(tmp_path):
    folder = make_repository(tmp_path / "project", None, more=("examples",))
    search_there(folder, "--task", "examples/char_lm", "--experiments", "1", "--max-train-seconds", "1")
    header, rows = rows_of(folder)
    assert header[1] == "val_bpb" and len(rows) == 2
    assert 0.5 < float(rows[0]["val_bpb"]) < 8 and float(rows[0]["memory_gb"]) > 0.1


OUTSIDE = """
import os, sys
import numpy as np

SHARE = 0.5  # 0 … 1
SHIFT = 1  # 0 … 9
try:
    known = np.load(os.environ.get("LABELS", "nowhere"))
except OSError as error:
    print(f"withheld: {type(error).__name__}")
print("step 1 | loss 1")
answers = (np.arange(200) % 10 < 10 * SHARE).astype(int)
if SHIFT == 9:
    answers = answers[:7]
np.save("predictions.npy", answers)
print("---\\nacc: 1.0")
"""
SCORING = """
import numpy as np
def score(predictions, labels):
    if predictions.shape != labels.shape:
        raise ValueError(f"{predictions.shape} predictions of {labels.shape}")
    return {"acc": (predictions == labels).mean()}
"""
SCORED = """
trust = "scored"
hyperparameters = "constants"
variables = ["LABELS"]

[metric]
name = "acc"
direction = "higher"
low = 0
high = 1

[scorer]
function = "scoring.py:score"
labels = "{labels}"
predictions = "predictions.npy"
"""


def scored_repository(tmp_path):
    folder = own_repository(tmp_path / "own")
    for name, text in (("train.py", OUTSIDE), ("scoring.py", SCORING)):
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "rm", "-q", "--cached", "task.toml", "space.toml")
    git(folder, "commit", "-qm", "predicts")
    labels = tmp_path / "labels.npy"
    np.save(labels, (np.arange(200) % 10 < 9).astype(int))
    (folder / "task.toml").write_text(SCORED.format(labels=labels))
    axes = "[SHARE]\nkind = 'float'\nlow = 0.0\nhigh = 1.0\nstep = 0.3\n"
    (folder / "space.toml").write_text(axes + "\n[SHIFT]\nkind = 'int'\nlow = 0\nhigh = 9\nstep = 4\n")
    return folder, labels


@pytest.mark.full
def test_a_scorer_outside_of_the_run_decides_whatever_the_run_says(tmp_path, monkeypatch):
    folder, labels = scored_repository(tmp_path)
    monkeypatch.setenv("LABELS", str(labels))
    said = search_there(folder, "--experiments", "6")
    assert "reported" not in said and "no scorer outside" not in said
    trials = [json.loads(line) for line in (folder / "runs/own/trials.jsonl").read_text().splitlines()]
    assert trials[0]["score"] == {"acc": 0.6} and trials[0]["footer"]["acc"] == "1.0"
    crashed = {one["reason"] for one in trials if one["score"] is None}
    assert crashed <= {"scoring.py:score failed: ValueError: (7,) predictions of (200,)"}
    log = next((folder / "runs/own").glob("gpu*/trials/e0000-s0/run.log")).read_text()
    assert is_available() is ("withheld: " in log)  # not there, or not to be read


@pytest.mark.full
def test_labels_that_every_run_would_see_are_refused(tmp_path):
    folder, labels = scored_repository(tmp_path)
    shutil.copy(labels, folder / "labels.npy")
    git(folder, "add", "labels.npy")
    git(folder, "commit", "-qm", "oh")
    (folder / "task.toml").write_text(SCORED.format(labels="labels.npy"))
    said = json.loads(search_there(folder, "--json", "--dry-run", code=2).splitlines()[-1])
    assert "it is committed, so every run would see it" in said["error"]


def test_adopting_writes_two_files_and_its_baseline_runs(tmp_path):
    folder = own_repository(tmp_path / "own")
    (folder / "task.toml").unlink()
    (folder / "space.toml").unlink()
    found = json.loads(run_there(tmp_path, "adopt", str(folder), "--try", "--json"))
    assert float(found["tried"]["scores"]["val_loss"]) > 1
    assert git(folder, "status", "--porcelain").split() == ["??", "space.toml", "??", "task.toml"]
    text = (folder / "task.toml").read_text()
    assert 'variable = "SEED"' in text and "\ndecimals = 5\n" in text  # as it printed
    run_there(tmp_path, "adopt", str(folder), code=2)


@pytest.mark.full
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere"], 2, "nowhere: no such folder"),
        (["own"], 2, "task.toml and space.toml exist; --force writes them anew"),
        (["own", "--force", "--edited", "main.py"], 2, "no main.py; name the file that experiments edit with --edited"),
        (["own", "--force", "--metric", "laps"], 2, "whether a higher laps is better is not known"),
        (["loose"], 1, "loose is not in a git repository: clone the project, or run git init and commit"),
        (["empty"], 2, "empty: no train.py; name the file that experiments edit with --edited (there are no Python"),
    ],
)
def test_what_cannot_be_adopted_is_one_line(tmp_path, words, code, told):
    folder = own_repository(tmp_path / "own")
    before = (folder / "task.toml").read_text()
    for name in ("loose", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "loose/train.py").write_text(TRAIN)
    said = json.loads(run_there(tmp_path, "adopt", *words, "--json", code=code).splitlines()[-1])
    assert told in said["error"] and "\n" not in said["error"]
    assert (folder / "task.toml").read_text() == before
    assert list((tmp_path / "loose").iterdir()) == [tmp_path / "loose/train.py"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--task", "nowhere.toml"], "--task nowhere.toml: no such file; python -m search.adopt writes one"),
        (["--dataset", "photos"], "--dataset photos: the task own has no data set of its own; leave it out"),
        (["--max-train-seconds", "9"], "--max-train-seconds 9: the task own has no way to be told its budget"),
        (["--space", "none.toml"], "none.toml: cannot read the space"),
    ],
)
def test_what_cannot_be_meant_is_one_line(tmp_path, words, told, capfd):
    folder = own_repository(tmp_path / "own")
    said = json.loads(search_there(folder, "--json", "--dry-run", *words, code=2).splitlines()[-1])
    assert told in said["error"] and "\n" not in said["error"]
    assert not (folder / "runs").exists()


@pytest.mark.full
def test_a_task_that_its_program_does_not_fit_is_told_before_anything_begins(tmp_path):
    folder = own_repository(tmp_path / "own")
    task = (folder / "task.toml").read_text()
    for before, after, told in (
        ('"constants"', '"recipe"', "no class Recipe at its top level; the task says that it has a recipe"),
        ('["prepare.py"]', '["gone.py"]', "HEAD has no gone.py: commit it"),
        ('"train.py"', '"main.py"', "HEAD has no main.py: commit one, with its hyperparameters"),
    ):
        (folder / "task.toml").write_text(task.replace(before, after))
        said = json.loads(search_there(folder, "--json", "--dry-run", code=2).splitlines()[-1])
        assert told in said["error"]


@pytest.mark.full
def test_a_metric_that_the_footer_does_not_have_ends_the_search_in_one_line(tmp_path):
    folder = own_repository(tmp_path / "own")
    (folder / "task.toml").write_text((folder / "task.toml").read_text().replace("val_loss", "val_bpb"))
    said = json.loads(search_there(folder, "--json", "--experiments", "2", code=1).splitlines()[-1])
    assert said["error"].startswith("the baseline failed: no val_bpb in its footer")


@pytest.mark.full
def test_the_installed_package_is_all_that_a_search_needs(tmp_path):
    project, site = tmp_path / "project", tmp_path / "site"
    shutil.copytree(ROOT / "search", project / "search", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("prepare.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, project)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, project]
    subprocess.run(install, check=True, timeout=200)
    assert {path.name for path in site.iterdir() if not path.name.endswith("-info")} == {
        "bin", "prepare.py", "search", "__pycache__",
    }  # fmt: skip
    folder = own_repository(tmp_path / "own")
    for name in ("task.toml", "space.toml"):
        (folder / name).unlink()
    autoresearch = [sys.executable, site / "bin/autoresearch", "adopt", folder]
    done = subprocess.run(autoresearch, env=as_installed(site), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "val_loss, lower is better" in done.stdout, done.stdout + done.stderr
    search_there(folder, "--experiments", "4", site=site)
    assert len(rows_of(folder)[1]) > 4
    run_there(folder, "summarize", "runs/own", site=site)


def test_the_verbs_are_there_by_their_names(tmp_path):
    assert "adopt" in run_there(tmp_path, "--help")
    assert "exit codes" in run_there(tmp_path, "launch", "--help").lower()
    run_there(tmp_path, "lunch", code=2)
    assert (ROOT / "task.toml").exists()
