"""A search that is interrupted, killed and resumed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.system.guard import descendants
from tests.support.launching import (
    SLOW_TRAIN,
    begin,
    check_agreement,
    command_line,
    launch,
    rows,
    terminate,
    wait_until_dead,
)
from tests.support.repositories import ROOT, make_repository


def ctrl_c(driver):
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to everything in the foreground, Ray's processes too


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
    launch(repository, demo, "--resume", "t", "--experiments", str(before + 7))  # some were under way
    check_agreement(repository, before + 8)


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
    launch(repository, demo, "--resume", "t", "--experiments", "12")
    check_agreement(repository, 13)
    trials = [json.loads(line)["trial"] for line in (repository / "runs/t/trials.jsonl").read_text().splitlines()]
    assert finished <= set(trials)
    assert len(set(trials)) == len(trials)


@pytest.mark.full
def test_a_search_whose_ray_has_lost_its_head_ends_at_once_and_goes_on_later(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    results = repository / "runs/t/results.tsv"
    driver, _ = begin(repository, demo, lambda: results.exists() and len(rows(repository)) >= 2)
    below = descendants(driver.pid)
    (head,) = [pid for pid in below if b"gcs_server" in command_line(pid)]
    os.kill(head, signal.SIGKILL)
    said = driver.communicate(timeout=30)[0]  # Ray itself would wait for a minute
    assert driver.returncode == 1 and "--resume t" in said and "Traceback" not in said, said
    wait_until_dead(below)
    before = len(rows(repository))
    launch(repository, demo, "--resume", "t", "--experiments", str(before + 7))  # some were under way
    check_agreement(repository, before + 8)
    assert "crash" not in {row[4] for row in rows(repository)}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_it_starts_is_no_traceback(tmp_path, end):
    command = [sys.executable, "-m", "search.launch", "--dataset", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        while "_multiarray_umath" not in Path(f"/proc/{driver.pid}/maps").read_text():  # numpy is there, not all else
            assert driver.poll() is None
        driver.send_signal(end)
        said = driver.communicate(timeout=60)[0]
    assert (driver.returncode, said) == (130, "")
