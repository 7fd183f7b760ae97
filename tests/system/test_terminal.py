"""A search outlives the terminal that it was started in, and whoever reads what it prints."""

import os
import shlex
import signal
import subprocess

import pytest

from search.system.process import is_alive
from tests.support.launching import SLOW_TRAIN, check_agreement, command, launch, settled, wait_until_dead
from tests.support.repositories import make_repository


@pytest.mark.full
def test_a_search_in_the_background_outlives_a_hang_up(fast_repository, demo, monkeypatch):
    repository = fast_repository
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # as on a machine without GPUs, or where they are not to be used
    wanted = command(demo, "--tag", "t", "--experiments", "5", "--det")  # as argparse takes it
    started = subprocess.run(wanted, cwd=repository, capture_output=True, text=True, timeout=120, check=False)
    assert started.returncode == 0, started.stdout + started.stderr
    assert "search t: 4 slots" in started.stdout
    assert "python -m search.status t shows it, python -m search.stop t ends it" in started.stdout
    pid = int(started.stdout.partition("as process ")[2].partition(";")[0])
    assert os.getpgid(pid) == pid  # not in the terminal's
    os.killpg(pid, signal.SIGHUP)
    settled(lambda: not is_alive(pid))
    check_agreement(repository, 6)
    assert "verdict" in (repository / "runs/t/launch.log").read_text()
    again = launch(repository, demo, "--tag", "t", "--detach", code=2)
    assert "a search of this name exists" in again.stderr and "in the background" not in again.stdout


@pytest.mark.full
def test_nobody_need_read_what_it_prints(fast_repository, demo):
    wanted = shlex.join(command(demo, "--tag", "t", "--experiments", "5"))
    shell = ["bash", "-c", f"set -o pipefail; {wanted} 2>&1 | head -n 1"]
    done = subprocess.run(shell, cwd=fast_repository, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stdout + done.stderr
    check_agreement(fast_repository, 6)


@pytest.mark.full
def test_a_terminal_that_is_closed_takes_no_search_with_it(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    ours, theirs = os.openpty()
    driver = subprocess.Popen(
        command(demo, "--tag", "t", "--experiments", "4"),
        cwd=repository, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    settled((repository / "runs/t/results.tsv").exists)
    os.close(ours)
    os.killpg(driver.pid, signal.SIGHUP)
    assert driver.wait(timeout=120) == 0
    wait_until_dead([driver.pid])
    check_agreement(repository, 5)
