"""Whether a worktree is the search's own but for what experiments edit. Files are hashed: git's index can lie."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from search.system.git import Repository

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


Files = Mapping[str, tuple[str, str]]  # path -> (mode, hash of the blob)


def expected(base: Files, commit: Files, edited: str) -> dict[str, tuple[str, str]]:
    """What a worktree must hold: of the commit the file that experiments edit, and the base's everything else."""
    return {**base, **({edited: commit[edited]} if edited in commit else {})}


def other_changes(base: Files, commit: Files, edited: str) -> list[str]:
    """Files other than the edited one in which a commit differs from the base."""
    return sorted(map(printable, (p for p in {*base, *commit} - {edited} if base.get(p) != commit.get(p))))


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


def as_checked_out(tree: Repository, wanted: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """What a worktree must hold where git writes some files otherwise than it stores them (eol, LFS, other filters).

    To be called right after the worktree was reset, when nothing but git has written there.
    """
    otherwise = [path for path in changed(tree.root, wanted) if wanted[path][0] != SYMLINK and "\n" not in path]
    otherwise = [path for path in otherwise if _blob(tree.root / path, wanted[path][0])]
    found = dict(wanted)
    if otherwise:
        for path, blob in zip(otherwise, tree.hashes_of_files(otherwise), strict=True):
            mode = wanted[path][0]
            if blob == wanted[path][1]:
                found[path] = (mode, _blob(tree.root / path, mode))
    return found


def as_written(tree: Path, files: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """These files of a folder that was just made from a commit, with the hashes of what lies there now."""
    return {path: (mode, _blob(tree / path, mode)) for path, (mode, _) in files.items() if mode != SUBMODULE}


def printable(path: str) -> str:
    """A file's name as text that can be written anywhere; a name need not be text."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _blob(path: Path, mode: str) -> str:
    """git's hash of a file as it lies on the disk; empty if it is not there, or no such file."""
    try:
        kind = os.lstat(path).st_mode
        if not (stat.S_ISLNK(kind) if mode == SYMLINK else stat.S_ISREG(kind)):  # to read a pipe would never end
            return ""
        content = os.fsencode(os.readlink(path)) if mode == SYMLINK else path.read_bytes()
    except OSError:
        return ""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
