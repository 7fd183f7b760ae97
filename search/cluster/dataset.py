"""The data set on a node: found by its fingerprint, or fetched from the driver's machine, once, and decoded."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import prepare
from search.cluster.exchange import ArtifactExchange
from search.core.types import SearchError
from search.system.files import write_aside

BATCH_BYTES = 32 * 2**20  # fetched at a time


def find_or_fetch(
    dataset: str, fingerprint: str, aside: Path, exchange: ArtifactExchange, is_over: Callable[[], bool] = lambda: False
) -> str:
    """Makes this node's decoded cache hold the data set; its folder here, or '' if only the cache is.

    dataset: where the driver's machine has it. aside: for photos on their way; what a killed fetch has left there is
    used. is_over: whether nobody needs it any more. Raises SearchError if what came is not what the search began
    with.
    """
    root = prepare.cache_root()
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{fingerprint}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # once per node, however many searches ask
        if _is_here(Path(dataset), fingerprint):
            return dataset
        if prepare.cached(fingerprint) is not None:
            return ""
        try:
            fetch(aside, exchange, is_over)
            found = prepare.load(aside).fingerprint
        except prepare.DataError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise SearchError(str(error)) from error
        except (SearchError, OSError):
            shutil.rmtree(aside, ignore_errors=True)
            raise
        shutil.rmtree(aside)  # the photos of patients lie on no machine longer than they must
        if found != fingerprint:
            raise SearchError(f"the data set came as {found[:12]}, and not as {fingerprint[:12]}")
        return ""


def _is_here(dataset: Path, fingerprint: str) -> bool:
    if not dataset.is_dir():
        return False
    try:
        return prepare.load(dataset).fingerprint == fingerprint
    except (prepare.DataError, OSError):
        return False


def fetch(folder: Path, exchange: ArtifactExchange, is_over: Callable[[], bool]) -> None:
    """Copies the data set's files from the driver's machine. Raises SearchError if it is over before its end."""
    wanted = [(path, size) for path, size in exchange.images() if not _has(folder / path, size)]
    for batch in batches(wanted):
        if is_over():
            raise SearchError("the search has ended")
        for path, content in zip(batch, exchange.image_bytes(batch), strict=True):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            write_aside(target, lambda stream, content=content: stream.write(content))  # type: ignore[misc]


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def batches(files: list[tuple[str, int]], most: int = BATCH_BYTES) -> Iterator[list[str]]:
    """The paths in groups of at most so many bytes; a larger file alone."""
    batch: list[str] = []
    held = 0
    for path, size in files:
        if batch and held + size > most:
            yield batch
            batch, held = [], 0
        batch.append(path)
        held += size
    if batch:
        yield batch
