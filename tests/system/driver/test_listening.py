"""A search on one machine is nobody else's to talk to."""

import ipaddress
import os
from contextlib import suppress
from pathlib import Path

import pytest

from search.system.guard import descendants
from tests.support.launching import SLOW_TRAIN, begin, terminate, wait_until_dead
from tests.support.repositories import make_repository

LISTENS = "0A"


def address_of(words):
    """An address of /proc/net/tcp or tcp6: the kernel's words, each in the machine's byte order."""
    raw = b"".join(bytes.fromhex(words[n : n + 8])[::-1] for n in range(0, len(words), 8))
    found = ipaddress.ip_address(raw)
    return getattr(found, "ipv4_mapped", None) or found


def listening(pids):
    """(address, port) of every TCP socket that one of these processes listens at."""
    inodes = set()
    for pid in pids:
        with suppress(OSError):  # it has gone meanwhile: a search's git commands come and go
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):  # it has closed that file
                    inodes.add(os.readlink(f"/proc/{pid}/fd/{name}").removeprefix("socket:[").removesuffix("]"))
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    mine = [line[1].split(":") for line in lines if line[3] == LISTENS and line[9] in inodes]
    return {(address_of(words), int(port, 16)) for words, port in mine}


@pytest.mark.full
def test_on_one_machine_everything_listens_on_loopback_alone(tmp_path, demo):
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    results = repository / "runs/t/results.tsv"
    driver, _ = begin(repository, demo, lambda: results.exists() and "keep" in results.read_text(), dashboard=True)
    try:
        below = descendants(driver.pid)
        found = listening(below)
        assert len(found) > 5  # Ray's processes do listen
        assert [place for place in found if not place[0].is_loopback] == []
    finally:
        terminate(driver)
        driver.communicate(timeout=60)
        wait_until_dead(below)
