"""A disk that is full pauses a search, and nothing is lost."""

import json
import os
import shutil
import subprocess
import time

import pytest

from tests.support.launching import (
    SLOW_TRAIN,
    begin,
    check_agreement,
    launch,
    records,
    rows,
    settled,
    terminate,
    wait_until_dead,
)
from tests.support.repositories import make_repository

SIZE = 64 * 2**20


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "small", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no disk can be mounted here: needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def at_rest(repository):
    """No trial runs, those that had begun are in the journal, and the rows that follow from them have come too."""

    def found():
        trials = [path for path in repository.glob("runs/t/gpu*/trials/*") if path.is_dir()]
        running = {path.name for path in trials if (path / "running.json").exists()}
        ended = {path.name for path in trials if (path / "outcome.json").exists()}
        return running | ended - {one["trial"] for one in records(repository, "trials.jsonl")}, results_of(repository)

    before = found()
    time.sleep(3)
    return found() == before and not before[0]


def results_of(repository):
    """The text of results.tsv; '' as long as there is none."""
    path = repository / "runs/t/results.tsv"
    return path.read_text() if path.exists() else ""


@pytest.mark.full
def test_a_full_disk_pauses_a_search_and_it_goes_on_when_there_is_room(small_disk, demo, monkeypatch):
    repository = make_repository(small_disk / "project", SLOW_TRAIN)
    monkeypatch.setattr("tests.support.launching.RESERVE", "8")
    results = repository / "runs/t/results.tsv"
    driver, below = begin(repository, demo, lambda: results.exists() and len(rows(repository)) >= 2)
    filler = small_disk / "filler"
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(small_disk).free - 4 * 2**20)
    settled(lambda: at_rest(repository))
    before = len(rows(repository))
    time.sleep(6)
    assert len(rows(repository)) == before and driver.poll() is None
    filler.unlink()
    settled(lambda: len(rows(repository)) >= before + 3)
    terminate(driver)
    said = driver.communicate(timeout=60)[0]
    wait_until_dead(below)
    assert said.count("no trial begins until it has 8 MB") == 1 and said.count("room on the disk again") == 1
    assert "Traceback" not in said and "crash" not in {row[4] for row in rows(repository)}
    done = len(rows(repository))
    launch(repository, demo, "--resume", "t", "--experiments", str(done + 7), "--disk-reserve", "1")
    check_agreement(repository, done + 8)


@pytest.mark.full
def test_a_disk_that_cannot_be_written_is_one_line(small_disk, demo):
    repository = make_repository(small_disk / "project", SLOW_TRAIN)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = launch(repository, demo, "--tag", "t", code=1)
    assert "Read-only file system" in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.full
def test_a_search_that_takes_more_than_it_may_waits_until_it_may_take_more(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    view = repository / "runs/t/view.json"
    driver, below = begin(repository, demo, view.exists, "--disk-limit", "0.00001")
    settled(lambda: json.loads(view.read_text())["view"]["waits_for_room"])
    settled(lambda: at_rest(repository))
    before = results_of(repository)
    time.sleep(6)
    assert results_of(repository) == before and driver.poll() is None
    terminate(driver)
    said = driver.communicate(timeout=60)[0]
    wait_until_dead(below)
    assert said.count("GB on the disk, of --disk-limit 1e-05") == 1 and "at most 1e-05 GB" in said
    assert "Traceback" not in said
    done = len(before.splitlines()[1:])
    launch(repository, demo, "--resume", "t", "--experiments", str(done + 7))
    check_agreement(repository, done + 8)
