"""Files, and a disk without room."""

import errno
from types import SimpleNamespace

import pytest

from search.system import files
from search.system.files import DiskRoom, wait_for_room


def test_a_lack_of_room_is_said_once_and_so_is_its_end(tmp_path, monkeypatch):
    said, free = [], [10**9]
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: SimpleNamespace(free=free[0]))
    monkeypatch.setattr(files, "LOOK_SECONDS", 0.0)
    room = DiskRoom(tmp_path, 500 * 10**6)
    assert room.is_enough(said.append) and said == []
    free[0] = 10**6
    assert [room.is_enough(said.append) for _ in range(3)] == [False] * 3
    assert len(said) == 1 and "has 1 MB left: no trial begins until it has 500 MB" in said[0]
    free[0] = 10**9
    assert [room.is_enough(said.append) for _ in range(3)] == [True] * 3
    assert len(said) == 2 and "room on the disk again" in said[1]


def test_what_the_search_itself_takes_has_a_bound_too(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(files, "LOOK_SECONDS", 0.0)
    room = DiskRoom(tmp_path, most=2 * 10**9)
    room.taken = 2 * 10**9 - 1
    assert room.is_enough(said.append) and said == []
    room.taken += 1
    assert [room.is_enough(said.append) for _ in range(2)] == [False] * 2
    assert len(said) == 1 and "takes 2.00 GB on the disk, of --disk-limit 2:" in said[0]
    room.taken = 0
    assert room.is_enough(said.append)


def test_a_write_waits_for_room_and_for_nothing_else():
    tries = []

    def write():
        tries.append(None)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    wait_for_room(write, between=0.0)
    assert len(tries) == 3

    def forbidden():
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        wait_for_room(forbidden, between=0.0)
