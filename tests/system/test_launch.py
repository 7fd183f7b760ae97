"""The whole product with Ray: python -m search.launch, interrupted, killed and resumed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.system.guard import descendants
from search.system.process import is_alive
from tests.conftest import FAST_TRAIN, git, make_repository

SLOW_TRAIN = FAST_TRAIN.replace("rng = np.random", "time.sleep(3)\nrng = np.random", 1)


def command(demo, *arguments, space="spaces/fast.toml"):
    setup = ["--gpus", "4", "--dataset", str(demo), "--space", space, "--max-train-seconds", "5"]
    given = [] if "--resume" in arguments else setup
    return [sys.executable, "-m", "search.launch", *given, "--no-dashboard", *arguments]


def launch(repository, demo, *arguments, code=0, **options):
    done = subprocess.run(
        command(demo, *arguments, **options), cwd=repository, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def rows(repository, tag="t"):
    return [line.split("\t") for line in (repository / f"runs/{tag}/results.tsv").read_text().splitlines()[1:]]


def check_agreement(repository, count):
    """No row twice, none missing; the branch stands at the last kept row; every row is in its slot's file."""
    found = rows(repository)
    assert len(found) == count
    kept = [row for row in found if row[4] == "keep"]
    assert git(repository, "rev-parse", "--short=7", "autoresearch/t").strip() == kept[-1][0]
    slots = [line for path in repository.glob("runs/t/gpu*/results.tsv") for line in path.read_text().splitlines()[1:]]
    assert sorted(slots) == sorted("\t".join(row) for row in found)
    best = None
    for row in found:
        score = (float(row[2]), float(row[1]))
        assert row[4] != "keep" or best is None or score > best
        best = score if row[4] == "keep" else best


def test_a_search_from_start_to_summary(fast_repository, demo):
    done = launch(fast_repository, demo, "--tag", "t", "--experiments", "6", "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["exit_code"] == 0
    assert told["counts"]["experiments"] == 7
    assert "verdict" in told
    check_agreement(fast_repository, 7)
    trees = git(fast_repository, "worktree", "list").splitlines()
    assert [f"[autoresearch/t-gpu{n}]" in "\n".join(trees) for n in range(4)] == [True] * 4
    assert git(fast_repository, "status", "--porcelain") == ""
    records = [json.loads(line) for line in (fast_repository / "runs/t/trials.jsonl").read_text().splitlines()]
    baseline = [record for record in records if record["experiment"] == 0]
    assert sorted((record["slot"], record["seed"]) for record in baseline) == sorted(
        (r["slot"], r["seed"]) for r in baseline
    )
    assert {record["slot"] for record in baseline} == {0, 1, 2, 3}
    assert {record["seed"] for record in baseline} == {0, 1, 2, 3}
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


def begin(repository, demo, ready, dashboard=False):
    wanted = command(demo, "--tag", "t")
    if dashboard:
        wanted.remove("--no-dashboard")
    driver = subprocess.Popen(
        wanted,
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not ready():
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.1)
    assert ready()
    return driver, descendants(driver.pid)


def wait_until_dead(pids, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(is_alive, pids)):
        time.sleep(0.2)
    assert [pid for pid in pids if is_alive(pid)] == []


def ctrl_c(driver):
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to everything in the foreground, Ray's processes too


def terminate(driver):
    os.kill(driver.pid, signal.SIGTERM)


@pytest.mark.full
@pytest.mark.parametrize("end", [ctrl_c, terminate])
def test_ctrl_c_writes_everything_and_leaves_nothing_running(tmp_path, demo, end):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    results = repository / "runs/t/results.tsv"
    driver, below = begin(repository, demo, lambda: results.exists() and len(results.read_text().splitlines()) >= 3)
    end(driver)
    output = driver.communicate(timeout=60)[0]
    assert driver.returncode == 130, output
    assert "--resume t" in output
    assert "verdict" in output
    wait_until_dead(below)
    check_agreement(repository, len(rows(repository)))
    before = len(rows(repository))
    launch(repository, demo, "--resume", "t", "--experiments", str(before + 3))
    check_agreement(repository, before + 4)


@pytest.mark.full
@pytest.mark.parametrize("least", [3, 1, 6])
def test_kill_9_of_the_driver_loses_nothing(tmp_path, demo, least):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    results = repository / "runs/t/results.tsv"
    driver, below = begin(repository, demo, lambda: results.exists() and len(results.read_text().splitlines()) >= least)
    below = sorted({*below, *descendants(driver.pid)})
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    wait_until_dead(below)
    finished = {path.parent.name for path in repository.glob("runs/t/gpu*/trials/*/outcome.json")}
    launch(repository, demo, "--resume", "t", "--experiments", "9")
    check_agreement(repository, 10)
    trials = [json.loads(line)["trial"] for line in (repository / "runs/t/trials.jsonl").read_text().splitlines()]
    assert finished <= set(trials)
    assert len(set(trials)) == len(trials)


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
def test_a_failing_baseline_ends_the_search_at_once_though_other_slots_are_busy(tmp_path, demo):
    body = "if options.seed == 2: raise SystemExit('no good')\nif options.seed != 2: time.sleep(200)\n"
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


@pytest.mark.full
def test_the_dashboard_names_slots_and_has_the_gauges(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    results = repository / "runs/t/results.tsv"
    driver, below = begin(
        repository, demo, lambda: results.exists() and len(results.read_text().splitlines()) >= 3, dashboard=True
    )
    lines = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in below if is_alive(pid)).decode()
    own = re.search(r"--gcs-address=([\d.]+:\d+)", lines)[1]  # other searches may run on this machine
    look = """
import json, ray, time, urllib.request
ray.init(address="auto", log_to_driver=False)
from ray.util.state import list_actors
names = sorted(actor.repr_name for actor in list_actors(detail=True) if actor.class_name == "Slot")
node = ray.nodes()[0]
address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
for _ in range(40):  # Ray sends metrics on every few seconds
    metrics = urllib.request.urlopen(address).read().decode()
    gauges = sorted({line.split("{")[0] for line in metrics.splitlines() if line.startswith("ray_autoresearch")})
    if len(gauges) == 3:
        break
    time.sleep(1)
print(json.dumps([names, gauges]))
"""
    which = {**os.environ, "RAY_ADDRESS": own, "RAY_AUTH_MODE": "token"}
    asked = [sys.executable, "-c", look]
    found = subprocess.run(asked, env=which, capture_output=True, text=True, timeout=60, check=False)
    terminate(driver)
    output = driver.communicate(timeout=60)[0]
    assert found.returncode == 0, found.stderr
    names, gauges = json.loads(found.stdout.splitlines()[-1])
    assert names == [f"gpu{n} (t)" for n in range(4)]
    assert gauges == [
        "ray_autoresearch_best_bin_acc",
        "ray_autoresearch_experiments",
        "ray_autoresearch_training_share",
    ]
    assert "Ray dashboard http://" in output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--gpus", "0"], 2, "--gpus 0"),
        (["--experiments", "0"], 2, "--experiments 0"),
        (["--max-train-seconds", "-1"], 2, "--max-train-seconds -1"),
        (["--tag", "a b"], 2, "--tag 'a b'"),
        (["--confirm-seeds", "9"], 2, "--confirm-seeds 9: from 0 to 7"),
        (["--resume", "nothing"], 2, "no such search"),
        (["--resume", "nothing", "--seed", "1"], 2, "leave out --seed"),
        (["--space", "nothing.toml"], 2, "nothing.toml: cannot read"),
        (["--space", "spaces/default.toml"], 2, "axis backbone_lr: train.py's Recipe has no such field"),
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
