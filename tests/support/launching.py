"""The whole product as a process: started, asked, looked at."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from search.system.guard import descendants
from search.system.process import is_alive
from tests.support.repositories import FAST_TRAIN, git

SLOW_TRAIN = FAST_TRAIN.replace("rng = np.random", "time.sleep(3)\nrng = np.random", 1)


RESERVE = "0"  # MB; machines that test have what they have


def command(demo, *arguments, space="spaces/fast.toml"):
    setup = ["--gpus", "4", "--dataset", str(demo), "--space", space, "--max-train-seconds", "5"]
    given = [] if "--resume" in arguments else setup
    return [
        sys.executable,
        "-m",
        "search.launch",
        *given,
        "--no-dashboard",
        "--no-page",
        "--disk-reserve",
        RESERVE,
        *arguments,
    ]


def launch(repository, demo, *arguments, code=0, **options):
    done = subprocess.run(
        command(demo, *arguments, **options), cwd=repository, capture_output=True, text=True, timeout=540, check=False
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


def begin(repository, demo, ready, *arguments, dashboard=False):
    wanted = command(demo, "--tag", "t", *arguments)
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
    while not ready():
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return driver, descendants(driver.pid)


def command_line(pid):
    """Of a process; empty if it has gone: a search's git commands come and go."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_until_dead(pids, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(is_alive, pids)):
        time.sleep(0.2)
    assert [pid for pid in pids if is_alive(pid)] == []


def terminate(driver):
    os.kill(driver.pid, signal.SIGTERM)


def agent(tmp_path, body):
    script = tmp_path / "agent.py"
    script.write_text(body)
    return shlex.join([sys.executable, str(script)])


def records(repository, name):
    path = repository / "runs/t" / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ask(repository, verb, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", f"search.{verb}", "--json", *arguments],
        cwd=repository, capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def edited(number):
    return SLOW_TRAIN.replace("logits = 4 *", f"logits = {number} *")


def settled(condition, seconds=120):
    """Waits until it is true once: what is seen of trials that come and go may not be there at a second look."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)
