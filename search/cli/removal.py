"""All that a search has left, in git, on the disk and outside the repository: listed, and removed."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.cli.control import status
from search.core.paths import BESIDE_A_TAG, Names, SearchPaths
from search.core.types import GitError, SearchError, Settings, UsageError, short
from search.records.journal import TAG, load_settings, searches
from search.system.files import size_of
from search.system.git import Repository
from search.system.worktrees import remove_tree
from search.trial import sealed

OF_A_SLOT = re.compile(rf"refs/heads/autoresearch/(.+?)({BESIDE_A_TAG})?$")
YOURS = "-yours-"


@dataclass(frozen=True)
class Remains:
    """What there is of a search, also of one that is half deleted.

    branches, refs: full names. kept: branches with commits of the user's, which stay. folders: what lies in the
    repository's runs/ and outside of it. The journal is the last of the refs: it says that there is a search.
    """

    tag: str
    branches: list[str]
    refs: list[str]
    kept: list[str]
    folders: list[Path]

    @property
    def is_empty(self) -> bool:
        return not (self.branches or self.refs or any(folder.exists() for folder in self.folders))

    def in_words(self) -> str:
        """What will be removed, a line each."""
        lines = [f"- branch {ref.removeprefix('refs/heads/')}" for ref in self.branches]
        lines += [f"- {len(self.refs)} refs below {Names(self.tag).refs}/"] if self.refs else []
        lines += [f"- {folder} ({in_megabytes(size_of(folder))})" for folder in self.folders if folder.exists()]
        lines += [f"What stays: branch {ref.removeprefix('refs/heads/')}, with a commit of yours" for ref in self.kept]
        return "\n".join(lines)


def remains_of(repository: Repository, tag: str) -> Remains:
    """Raises UsageError if there is nothing of this name."""
    if not TAG.fullmatch(tag):
        raise UsageError(f"{tag!r}: no name of a search")
    names, paths = Names(tag), SearchPaths.of(repository.root, tag)
    heads = [ref for ref in repository.refs("refs/heads/autoresearch/") if _tag_of(ref) == tag]
    folders = [paths.root, *(slot.temporary for slot in paths.slots())] if paths.lock.exists() else []
    settings = settings_of(repository, tag)
    if settings is not None:
        folders.append(sealed.folder_of(settings))
    found = Remains(
        tag,
        [ref for ref in heads if YOURS not in ref],
        sorted(repository.refs(names.refs + "/"), key=lambda ref: ref == names.journal),
        [ref for ref in heads if YOURS in ref],
        folders,
    )
    if found.is_empty:
        there = ", ".join(searches(repository)) or "none"
        raise UsageError(f"{tag}: no such search; there are {there}")
    return found


def _tag_of(ref: str) -> str:
    found = OF_A_SLOT.match(ref)
    return found[1] if found else ""


def settings_of(repository: Repository, tag: str) -> Settings | None:
    """None if its journal is gone, or of another version of this program."""
    with suppress(SearchError):
        return load_settings(repository, tag)[0]
    return None


def remove(repository: Repository, found: Remains, best: str = "") -> None:
    """Removes all of it, in an order that can be taken up again after a kill. best: a branch to keep the incumbent by.

    Raises SearchError if the search runs, or somebody has one of its branches checked out.
    """
    names, paths = Names(found.tag), SearchPaths.of(repository.root, found.tag)
    with stopped(paths, found.tag):
        _remove(repository, found, names, paths, best)


@contextmanager
def stopped(paths: SearchPaths, tag: str) -> Iterator[None]:
    """While within, no driver can begin. Raises SearchError if one runs."""
    with ExitStack() as held:
        if paths.lock.exists():
            stream = held.enter_context(paths.lock.open("r"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SearchError(f"{tag} runs; end it first: python -m search.stop {tag}") from error
        yield


def _remove(repository: Repository, found: Remains, names: Names, paths: SearchPaths, best: str) -> None:
    elsewhere = checked_out(repository, paths.root)
    taken = [ref for ref in found.branches if ref in elsewhere]
    if taken:
        branch = taken[0].removeprefix("refs/heads/")
        raise SearchError(f"branch {branch} is checked out in {elsewhere[taken[0]]}: check out another one there first")
    if best:
        keep_best(repository, names, best)
    for slot in paths.slots():
        remove_tree(slot.tree)
    repository.run("worktree", "prune")
    for ref in found.branches:
        repository.delete_ref(ref)
    for folder in found.folders:
        if folder != paths.root:
            remove_tree(folder)
    if paths.root in found.folders:
        for entry in paths.root.iterdir():
            if entry != paths.lock:  # which says that the folder is a search's
                remove_tree(entry)
    for ref in found.refs:
        repository.delete_ref(ref)
    if paths.root in found.folders:
        remove_tree(paths.root)


def keep_best(repository: Repository, names: Names, best: str) -> None:
    """A branch of the user's at the incumbent. Raises UsageError if there is none, or the name means something else."""
    commit = repository.commit_of(names.incumbent_ref)
    if commit is None:
        raise UsageError(f"--keep-best {best}: {names.tag} has no best commit")
    there = repository.commit_of(f"refs/heads/{best}")
    if there not in (None, commit):
        raise UsageError(f"--keep-best {best}: a branch of this name exists, at {short(there or '')}; name another")
    try:
        repository.run("branch", "--no-track", "--force", "--end-of-options", best, commit)
    except GitError as error:
        raise UsageError(f"--keep-best {best}: {error}") from error


def checked_out(repository: Repository, within: Path) -> dict[str, str]:
    """branch -> the folder of the worktree that has it, but for those within the search's own folder."""
    found, folder = {}, ""
    for line in repository.run("worktree", "list", "--porcelain").splitlines():
        word, _, rest = line.partition(" ")
        folder = rest if word == "worktree" else folder
        if word == "branch" and not Path(folder).is_relative_to(os.path.realpath(within)):
            found[rest] = folder
    return found


def listed(repository: Repository) -> list[dict[str, Any]]:
    """Every search, as JSON: the one that did something last first; then those of which only a part is left."""
    tags = searches(repository)
    folders = [lock.parent.name for lock in sorted((repository.root / "runs").glob("*/.lock"))]
    heads = [_tag_of(ref) for ref in repository.refs("refs/heads/autoresearch/") if YOURS not in ref]
    halves = [tag for tag in dict.fromkeys([*folders, *heads]) if tag and tag not in tags]
    return [*(_whole(repository, tag) for tag in tags), *(_half(repository, tag) for tag in halves)]


def _whole(repository: Repository, tag: str) -> dict[str, Any]:
    try:
        shown = status(tag)
        state = "running" if shown["running"] else "ended"
        best = shown["frontier"][-1] if shown["frontier"] else {}
        about = {"experiments": shown["counts"]["experiments"], "kept": shown["counts"]["keep"]}
        about |= {"best": best.get("commit"), "score_in_words": best.get("score_in_words")}
        about |= {shown["metric"]: best.get(shown["metric"])}
    except SearchError as error:
        state, about = "unreadable", {"error": str(error)}
    return {"tag": tag, "state": state, **about, **_sizes(repository, tag)}


def _half(repository: Repository, tag: str) -> dict[str, Any]:
    return {"tag": tag, "state": "half deleted", **_sizes(repository, tag)}


def _sizes(repository: Repository, tag: str) -> dict[str, int]:
    """Bytes on the disk, in git beyond the commit that it began with, and outside the repository."""
    root, settings = SearchPaths.of(repository.root, tag).root, settings_of(repository, tag)
    in_git = 0
    with suppress(GitError, ValueError):
        above = ["--not", settings.base] if settings else []
        counted = repository.run("rev-list", "--disk-usage", "--objects", f"--glob={Names(tag).refs}/*", *above)
        in_git = int(counted or 0)
    outside = size_of(sealed.folder_of(settings)) if settings else 0
    return {"bytes_on_disk": size_of(root), "bytes_in_git": in_git, "bytes_outside": outside}


def in_megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
