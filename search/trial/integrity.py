"""Whether a worktree is the search's own but for train.py. Files are hashed, since git's index can be made to lie."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from search.system.git import Repository

EDITED = "train.py"  # the only file that experiments edit
SYMLINK, SUBMODULE = "120000", "160000"


def files_of(repository: Repository, commit: str) -> dict[str, tuple[str, str]]:
    """path -> (mode, hash of the blob) of every file of a commit."""
    lines = repository.run("ls-tree", "-r", "-z", commit).split("\0")
    found = {}
    for line in filter(None, lines):
        about, _, path = line.partition("\t")
        mode, _, blob = about.split(" ")
        found[path] = (mode, blob)
    return found


def expected(base: Mapping[str, tuple[str, str]], commit: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """What a worktree must hold: the commit's train.py, and the base's everything else."""
    return {**base, **({EDITED: commit[EDITED]} if EDITED in commit else {})}


def other_changes(base: Mapping[str, tuple[str, str]], commit: Mapping[str, tuple[str, str]]) -> list[str]:
    """Files other than train.py in which a commit differs from the base."""
    return sorted(path for path in {*base, *commit} - {EDITED} if base.get(path) != commit.get(path))


def strays(tree: Path, wanted: Mapping[str, tuple[str, str]]) -> list[str]:
    """Files in a worktree that should not be there, as before a trial none may."""
    found = []
    for folder, folders, names in os.walk(tree):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in [*names, *links]:
            path = Path(folder, name).relative_to(tree).as_posix()
            if path not in wanted and path != ".git":
                found.append(path)
    return sorted(found)


def changed(tree: Path, wanted: Mapping[str, tuple[str, str]]) -> list[str]:
    """Files of a worktree that are gone, or not as they must be."""
    return sorted(
        path for path, (mode, blob) in wanted.items() if mode != SUBMODULE and _blob(tree / path, mode) != blob
    )


def _blob(path: Path, mode: str) -> str:
    """git's hash of a file as it lies on the disk; empty if it is not there, or no such file."""
    try:
        if (mode == SYMLINK) != path.is_symlink():
            return ""
        content = os.readlink(path).encode() if mode == SYMLINK else path.read_bytes()
    except OSError:
        return ""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
