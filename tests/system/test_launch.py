"""The whole product with Ray: python -m search.launch, from its options to its summary."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

import prepare
from search.core.events import SearchBegun
from search.core.paths import Names
from search.core.seeds import PROOF_SEEDS
from search.records import journal
from search.system.git import Repository
from tests.support.launching import check_agreement, command, launch, rows
from tests.support.repositories import FAST_TRAIN, git, make_repository
from tests.support.searches import settings_of


def test_a_search_from_start_to_summary(fast_repository, demo):
    done = launch(fast_repository, demo, "--tag", "t", "--experiments", "6", "--json")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["exit_code"] == 0
    assert summary["counts"]["experiments"] == 7
    assert "verdict" in summary
    check_agreement(fast_repository, 7)
    trees = git(fast_repository, "worktree", "list").splitlines()
    assert [f"[autoresearch/t-gpu{n}]" in "\n".join(trees) for n in range(4)] == [True] * 4
    assert git(fast_repository, "status", "--porcelain") == ""
    records = [json.loads(line) for line in (fast_repository / "runs/t/trials.jsonl").read_text().splitlines()]
    baseline = [record for record in records if record["experiment"] == 0 and record["seed"] < PROOF_SEEDS]
    assert sorted(record["slot"] for record in baseline) == [0, 1, 2, 3]
    assert sorted(record["seed"] for record in baseline) == [0, 1, 2, 3]
    for name in ("analysis_summary.json", "analysis_summary.md", "progress.png", "optuna.db"):
        assert (fast_repository / "runs/t" / name).stat().st_size > 100
    again = launch(fast_repository, demo, "--tag", "t", code=2)
    assert "--resume t" in again.stderr
    status = subprocess.run(
        [sys.executable, "-m", "search.status", "--json"],
        cwd=fast_repository,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(status.stdout)["counts"]["experiments"] == 7
    launch(fast_repository, demo, "--resume", "t", "--experiments", "8")
    check_agreement(fast_repository, 9)


@pytest.mark.full
def test_hopeless_trials_are_stopped_and_their_rows_say_so(tmp_path, demo):
    """Its loss tells its score: half of the trials after the first ten are below the middle of those before."""
    trains = """
for step in range(2, 40):
    print("step", step, "| loss", 1 + abs(np.log10(recipe.lr / 0.05)), flush=True)
    time.sleep(0.05)
"""
    train = FAST_TRAIN.replace("train, both =", f"{trains}train, both =", 1)
    repository = make_repository(tmp_path / "project", train)
    flags = ("--tag", "t", "--early-stop", "median", "--max-train-seconds", "2", "--confirm-seeds", "0")
    launch(repository, demo, *flags, "--experiments", "20")
    check_agreement(repository, 21)
    records = [json.loads(line) for line in (repository / "runs/t/trials.jsonl").read_text().splitlines()]
    stopped = {record["experiment"]: record for record in records if record["stopped"]}
    assert stopped and all(record["bin_acc" if "bin_acc" in record else "score"] is None for record in stopped.values())
    said = [row for row in rows(repository) if row[5].endswith(" s of 2)")]
    assert len(said) == len(stopped) and {(row[2], row[4]) for row in said} == {("0.000000", "discard")}
    assert f"{len(stopped)} of them stopped early" in (repository / "runs/t/analysis_summary.md").read_text()
    ended = [record["ended"] - record["began"] for record in records if not record["stopped"]]
    assert max(record["ended"] - record["began"] for record in stopped.values()) < max(ended)
    launch(repository, demo, "--resume", "t", "--experiments", "22")
    check_agreement(repository, 23)
    assert "--early-stop" in launch(repository, demo, "--resume", "t", "--early-stop", "asha", code=2).stderr


@pytest.mark.full
def test_a_crashing_experiment_leaves_its_slot_going(tmp_path, demo):
    # Three moves in four crash; of twelve experiments, none would be once in sixteen million searches.
    killed = "if recipe.width != 8 or recipe.lr > 0.01: os.kill(os.getpid(), 9)\n"
    train = FAST_TRAIN.replace("rng = np.random", f"{killed}rng = np.random", 1)
    repository = make_repository(tmp_path / "project", train)
    done = launch(repository, demo, "--tag", "t", "--experiments", "12", "--logs")
    assert "gpu0 step 1 | loss 1.0" in done.stdout
    found = rows(repository)
    crashed = [row for row in found if row[4] == "crash"]
    assert crashed
    assert all(row[1:4] == ["0.000000", "0.000000", "0.0"] and "killed by signal 9" in row[5] for row in crashed)
    assert len(found) == 13


@pytest.mark.full
def test_a_failing_baseline_ends_the_search_with_its_traceback(tmp_path, demo):
    repository = make_repository(
        tmp_path / "project", FAST_TRAIN.replace("recipe = Recipe()", "recipe = Recipe(lr=oops)")
    )
    done = launch(repository, demo, "--tag", "t", code=1)
    assert "the baseline failed" in done.stderr
    assert "NameError: name 'oops' is not defined" in done.stderr


@pytest.mark.full
def test_a_baseline_that_fails_on_two_slots_ends_the_search_at_once_though_others_are_busy(tmp_path, demo):
    body = "if options.seed >= 2: raise SystemExit('no good')\nif options.seed < 2: time.sleep(200)\n"
    repository = make_repository(
        tmp_path / "project", FAST_TRAIN.replace("rng = np.random", f"{body}rng = np.random", 1)
    )
    began = time.monotonic()
    done = subprocess.run(
        [*command(demo, "--tag", "t"), "--max-train-seconds", "250"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the baseline failed: exit code 1: no good" in done.stderr
    assert time.monotonic() - began < 100


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--gpus", "0"], 2, "--gpus 0"),
        pytest.param(["--experiments", "0"], 2, "--experiments 0", marks=pytest.mark.full),
        pytest.param(["--max-train-seconds", "-1"], 2, "--max-train-seconds -1", marks=pytest.mark.full),
        pytest.param(["--tag", "a b"], 2, "--tag 'a b'", marks=pytest.mark.full),
        pytest.param(["--confirm-seeds", "9"], 2, "--confirm-seeds 9: from 0 to 7", marks=pytest.mark.full),
        pytest.param(["--resume", "nothing"], 2, "no such search", marks=pytest.mark.full),
        (["--resume", "nothing", "--seed", "1"], 2, "leave out --seed"),
        pytest.param(["--space", "nothing.toml"], 2, "nothing.toml: cannot read", marks=pytest.mark.full),
        pytest.param(
            ["--space", "spaces/default.toml"],
            2,
            "axis backbone_lr: train.py's Recipe has no such field",
            marks=pytest.mark.full,
        ),
        (["--dataset", "/nowhere"], 1, "/nowhere: no such data set"),
    ],
)
def test_bad_input_is_one_clear_line(fast_repository, demo, arguments, code, words):
    done = launch(fast_repository, demo, *arguments, code=code)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert git(fast_repository, "for-each-ref", "refs/autoresearch", "refs/heads/autoresearch") == ""


def test_uncommitted_changes_are_told_and_a_dry_run_begins_nothing(fast_repository, demo):
    done = launch(fast_repository, demo, "--tag", "t", "--experiments", "3", "--dry-run")
    assert "would search t: 4 slots" in done.stdout
    assert not (fast_repository / "runs").exists()
    (fast_repository / "train.py").write_text("changed")
    assert "train.py: changed and not committed" in launch(fast_repository, demo, code=2).stderr


def begun(repository, demo, **more):
    """A search that has begun and did nothing yet."""
    settings = replace(settings_of(repository, demo), **more)
    journal.append(Repository(repository), Names("t"), SearchBegun(settings, 1.0))


def test_a_search_on_gpus_does_not_go_on_without_any_unless_somebody_asks(fast_repository, demo, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    begun(fast_repository, demo, on_gpus=True)
    refused = launch(fast_repository, demo, "--resume", "t", "--dry-run", code=1)
    assert "ran on GPUs, and this machine shows none now" in refused.stderr
    asked = launch(fast_repository, demo, "--resume", "t", "--gpus", "2", "--dry-run")
    assert "would go on, after 0 experiments, with t: 2 slots (logical: no GPU here)" in asked.stdout


def test_a_resume_goes_on_with_the_photos_that_it_began_with(fast_repository, demo, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    begun(fast_repository, copy)
    (copy / "class_0/new.png").write_bytes(next((copy / "class_1").iterdir()).read_bytes()[:99])
    done = launch(fast_repository, demo, "--resume", "t", "--dry-run")
    assert f"the data set {copy} has changed ({copy}/class_0/new.png: unreadable image" in done.stdout
    assert "t goes on with what it began with" in done.stdout and "(300 photos, 64 px)" in done.stdout
    named = launch(fast_repository, demo, "--resume", "t", "--dataset", str(copy), "--dry-run", code=1)
    assert "new.png: unreadable image" in named.stderr


@pytest.mark.full
def test_a_validation_part_without_infection_is_refused(fast_repository, demo, tmp_path):
    copy, data = tmp_path / "copy", prepare.load(demo)
    shutil.copytree(demo, copy)
    shas = {data.shas[index] for index in data.indices("validation") if data.labels[index] == 4}
    for photo in (copy / "class_4").iterdir():
        if hashlib.sha256(photo.read_bytes()).hexdigest() in shas:
            photo.unlink()
    refused = launch(fast_repository, copy, "--tag", "t", "--dry-run", code=1)
    assert "validation photos is infected" in refused.stderr and "--allow-degenerate" in refused.stderr
    launch(fast_repository, copy, "--tag", "t", "--dry-run", "--allow-degenerate")


@pytest.mark.full
def test_a_card_on_which_cuda_does_not_work_takes_no_trial(fast_repository, demo, tmp_path, monkeypatch):
    """The driver knows a card, torch finds none: as after a reboot without /dev/nvidia-uvm."""
    command = tmp_path / "bin/nvidia-smi"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\necho '0, GPU-12345678-9abc'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    done = launch(fast_repository, demo, "--tag", "t", "--gpus", "auto", code=1)
    assert "no GPU can be used: GPU-12345678-9abc: CUDA does not work there: " in done.stderr
    assert "Traceback" not in done.stderr and rows(fast_repository) == []
