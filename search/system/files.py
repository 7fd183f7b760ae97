"""Files that are there whole or not at all, and the ends of logs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

MB, GB = 10**6, 10**9
LOOK_SECONDS = 2.0


def write_aside(path: Path, write: Callable[[BinaryIO], object], synced: bool = False) -> None:
    """Writes a file under another name in its folder, which must be there, and moves it into place.

    synced: it is on the disk when this returns.
    """
    aside = path.with_name(f".{path.name}.partial")
    try:
        with aside.open("wb") as stream:
            write(stream)
            if synced:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, synced: bool = False) -> None:
    """Puts a text into place; leaves a file alone that holds it already."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda stream: stream.write(text.encode()), synced)


def write_json(path: Path, record: Any, synced: bool = True) -> None:
    """Puts a JSON value into place."""
    write_aside(path, lambda stream: stream.write(json.dumps(record).encode()), synced)


class DiskRoom:
    """Whether there is room for another trial on a disk.

    least: bytes that must be free. most: bytes that all of a search may take, None: as many as there are. taken: bytes
    that it takes, as far as somebody has told.
    """

    def __init__(self, path: Path, least: int = 0, most: int | None = None) -> None:
        self.path, self.least, self.most = path, least, most
        self.taken = 0
        self.is_short, self._looked = False, -LOOK_SECONDS

    def is_enough(self, announce: Callable[[str], None]) -> bool:
        """Looked at once in LOOK_SECONDS. announce: gets a line when there is none left, and when there is again."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return not self.is_short
        self._looked = time.monotonic()
        missing = self._missing(shutil.disk_usage(self.path).free)
        if missing and not self.is_short:
            announce(f"{missing}; search.list says what searches take")
        elif self.is_short and not missing:
            announce("there is room on the disk again: trials begin")
        self.is_short = bool(missing)
        return not self.is_short

    def _missing(self, free: int) -> str:
        if free < self.least:
            return (
                f"the disk of {self.path} has {free / MB:.0f} MB left: no trial begins until it has "
                f"{self.least / MB:.0f} MB"
            )
        if self.most is not None and self.taken >= self.most:
            return (
                f"the search takes {self.taken / GB:.2f} GB on the disk, of --disk-limit {self.most / GB:g}: no trial "
                "begins until it takes less, or is resumed with a higher one"
            )
        return ""


def wait_for_room(write: Callable[[], None], between: float = LOOK_SECONDS) -> None:
    """Does a write, again and again while the disk is full."""
    while True:
        try:
            return write()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            time.sleep(between)


def size_of(folder: Path) -> int:
    """Bytes that the files below a folder take on the disk; 0 if it is not there."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total


def append_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text)


def read_from(path: Path, start: int, most: int = -1) -> bytes:
    """What a file has gained after so many bytes, at most so many; b'' if it is not there."""
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(most)
    except OSError:
        return b""


def end_of(path: Path, most: int) -> str:
    """The last bytes of a file, as text; '' if it is not there."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(stream.seek(0, os.SEEK_END) - most, 0))
            return stream.read(most).decode(errors="replace")
    except OSError:
        return ""


class GrowingFile:
    """Reads what a file has gained since the last look."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path, self.offset, self._rest = path, offset, b""

    def gained(self, most: int = -1) -> bytes:
        found = read_from(self.path, self.offset, most)
        self.offset += len(found)
        return found

    def rest(self) -> str:
        """What stands behind the last finished line, as far as it was read."""
        return self._rest.decode(errors="replace")

    def take_rest(self) -> None:
        """The rest was a whole line after all."""
        self._rest = b""

    def lines(self) -> list[str]:
        """The lines that were finished since the last look."""
        *lines, self._rest = (self._rest + self.gained()).split(b"\n")
        return [line.decode(errors="replace") for line in lines]
