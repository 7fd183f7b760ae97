"""A machine that stands still, has no port or no file handle left: one line, and a search that goes on or says why."""

import os
import resource
import signal
import socket
import subprocess
import time

import pytest

from search.system.guard import descendants
from tests.support.launching import SLOW_TRAIN, begin, command, launch, rows, settled, terminate, wait_until_dead
from tests.support.repositories import make_repository

STILL_SECONDS = 75.0  # longer than Ray waits for the heartbeat of a node
DASHBOARD = 8265


def send(number, pids):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


@pytest.mark.full
def test_a_machine_that_stood_still_goes_on_where_it_was(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    results = repository / "runs/t/results.tsv"
    driver, _ = begin(repository, demo, lambda: results.exists() and len(rows(repository)) >= 2)
    everything = [driver.pid, *descendants(driver.pid)]
    send(signal.SIGSTOP, everything)
    before = len(rows(repository))
    time.sleep(STILL_SECONDS)
    send(signal.SIGCONT, everything)
    settled(lambda: len(rows(repository)) >= before + 4 or driver.poll() is not None)
    assert driver.poll() is None, driver.communicate()[0]
    below = descendants(driver.pid)
    terminate(driver)
    said = driver.communicate(timeout=60)[0]
    wait_until_dead(below)
    assert "Traceback" not in said and "crash" not in {row[4] for row in rows(repository)}, said


@pytest.mark.full
def test_a_dashboard_whose_port_is_taken_takes_another(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    with socket.create_server(("127.0.0.1", DASHBOARD)):
        wanted = [word for word in command(demo, "--tag", "t", "--experiments", "2") if word != "--no-dashboard"]
        done = subprocess.run(wanted, cwd=repository, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ray dashboard http://127.0.0.1:" in done.stdout and f":{DASHBOARD}" not in done.stdout
    assert len(rows(repository)) == 3


@pytest.mark.full
def test_too_few_file_handles_are_one_line(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))  # noqa: E731
    wanted = command(demo, "--tag", "t", "--experiments", "2")
    done = subprocess.run(
        wanted, cwd=repository, capture_output=True, text=True, timeout=250, check=False, preexec_fn=few
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "ulimit -Hn" in done.stderr, done.stderr
    launch(repository, demo, "--tag", "t2", "--experiments", "1")  # nothing is left in its way
