"""What a search takes on the disk: logs of what has ended are cut and compressed, and all of it is added up."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from search.core.paths import SearchPaths
from search.system.files import end_of, read_from, size_of, write_aside

KEPT_HEAD, KEPT_TAIL = 2**18, 3 * 2**18  # bytes of a longer log, of its beginning and its end
COMPRESSED_FROM = 2**16  # bytes; a shorter log stays as it is
LAST_BYTES = 2**16  # that the last lines are looked for in
RESTED_SECONDS = 120.0  # since a trial's log last grew; until then somebody may follow it


def packed(log: Path) -> Path:
    """Where a log is once it is compressed."""
    return log.with_name(log.name + ".gz")


def present(log: Path) -> Path:
    """Where a log is now, compressed or not."""
    return packed(log) if packed(log).exists() and not log.exists() else log


def pack_log(log: Path) -> None:
    """Cuts the middle out of a long log and compresses it; a short one stays. Dying meanwhile loses neither."""
    with suppress(FileNotFoundError):
        size = log.stat().st_size
        if size < COMPRESSED_FROM:
            return
        head, tail = read_from(log, 0, KEPT_HEAD), b""
        if size > KEPT_HEAD:
            tail = read_from(log, max(size - KEPT_TAIL, KEPT_HEAD))
        left_out = size - len(head) - len(tail)
        between = f"\n… {left_out} bytes are left out here …\n".encode() if left_out else b""

        def write(stream: object) -> None:
            with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) as compressed:  # type: ignore[call-overload]
                compressed.write(head + between + tail)

        write_aside(packed(log), write)
        log.unlink()


def end_of_log(log: Path, most: int) -> str:
    """The last bytes of a log, compressed or not, as text; '' if it is gone."""
    if log.exists():
        return end_of(log, most)
    try:
        return gzip.decompress(packed(log).read_bytes())[-most:].decode(errors="replace")
    except (OSError, EOFError):
        return ""


def last_lines(log: Path, lines: int) -> str:
    """So many last lines of a log, compressed or not; '' if it is gone."""
    return "\n".join(end_of_log(log, LAST_BYTES).splitlines()[-lines:])


def take_stock(paths: SearchPaths, elsewhere: Iterable[Path]) -> int:
    """The bytes that a search takes on the disk, with its logs packed. elsewhere: its folders outside of its own."""
    rested = time.time() - RESTED_SECONDS
    for slot in paths.slots():
        for log in slot.root.glob("trials/*/run.log"):
            with suppress(FileNotFoundError):
                stat, has_ended = log.stat(), (log.parent / "outcome.json").exists()
                if has_ended and stat.st_size >= COMPRESSED_FROM and stat.st_mtime < rested:
                    pack_log(log)
    return sum(map(size_of, [paths.root, *elsewhere]))
