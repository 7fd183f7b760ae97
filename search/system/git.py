"""Every git command of the search, through GitPython; objects.py reads and writes what is needed often.

The user's settings and hooks are neither used nor changed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import git

from search.core.types import GitError
from search.system.worktrees import remove_special_files, remove_tree, write_pointer

if TYPE_CHECKING:
    from search.system.objects import Objects

SETTINGS = (
    "core.filesRefLockTimeout=10000",  # milliseconds: a gc of the user's holds locks for a moment
    "core.packedRefsTimeout=10000",
    "core.fsync=objects,reference",  # a record is on the disk, whatever happens to the machine
    "log.showSignature=false",
    "gc.auto=0",  # a gc beside another corrupted repositories; the search never starts one
    "maintenance.auto=false",
    "core.hooksPath=/dev/null",
    "commit.gpgSign=false",
    "core.autocrlf=false",
    "i18n.commitEncoding=utf-8",
    "i18n.logOutputEncoding=utf-8",
    "core.quotePath=false",
    "advice.detachedHead=false",
)
LEAKING_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
    "GIT_CEILING_DIRECTORIES",
)
FULL_HASH = 40
NOWHERE = "0" * FULL_HASH
OLD_LOCK_SECONDS = 60.0  # packing takes a second or two
LOCK_SECONDS = 3.0  # git holds a ref's lock for milliseconds


def clean_environment() -> None:
    """Forgets the git variables of this process, which a hook or an alias may have set for another repository."""
    for name in LEAKING_VARIABLES:
        os.environ.pop(name, None)


class Repository:
    """The user's repository, or one worktree of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._git = git.Git(str(root))
        self._local = threading.local()  # libgit2's handles are for one thread each

    def run(
        self,
        *arguments: str,
        author: str = "search",
        stdin: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """One git command's output, without the last newline. Raises GitError with git's own words."""
        if stdin is not None:
            return os.fsdecode(self.pipe(os.fsencode(stdin), *arguments, author=author)).rstrip("\n")
        with self._errors(arguments):
            command = ["git", *self._settings, *arguments]
            variables = self._environment(author) | dict(environment or {})
            return str(self._git.execute(command, env=variables, strip_newline_in_stdout=True))

    def pipe(self, data: bytes, *arguments: str, author: str = "search") -> bytes:
        """What one git command makes of data. Raises as run does."""
        with self._errors(arguments):
            command = ["git", *self._settings, *arguments]
            process = self._git.execute(command, env=self._environment(author), as_process=True, istream=-1)
            output, errors = process.communicate(data)
            if process.returncode:
                raise git.GitCommandError(command, process.returncode, errors)
            return bytes(output)

    _settings = tuple(part for setting in SETTINGS for part in ("-c", setting))

    @staticmethod
    def _environment(author: str) -> dict[str, str]:
        identity = {"NAME": f"autoresearch {author}", "EMAIL": "autoresearch@localhost"}
        environment = {f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in identity.items()}
        return environment | {"GIT_TERMINAL_PROMPT": "0"}

    @staticmethod
    @contextmanager
    def _errors(arguments: tuple[str, ...]) -> Iterator[None]:
        """Turns what GitPython raises into GitError."""
        try:
            yield
        except git.GitCommandNotFound as error:
            raise GitError("git is not installed, or not on the PATH") from error
        except git.GitCommandError as error:
            words = " ".join(str(error.stderr or error).split())
            raise GitError(f"git {' '.join(arguments[:3])}: {words}") from error

    # --- reading ---

    def commit_of(self, name: str) -> str | None:
        """The full hash of the commit that a ref or hash names, or None."""
        try:
            return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except GitError:
            return None

    def file_at(self, commit: str, path: str) -> str:
        """A file's text at a commit."""
        text = self._objects().file_at(commit, path) if len(commit) == FULL_HASH else None
        if text is not None:
            return text
        return self.run("show", f"{commit}:{path}") + "\n"

    def has_file(self, commit: str, path: str) -> bool:
        """Whether a commit has a file of this path."""
        return bool(self.run("ls-tree", "--full-tree", commit, "--", path))

    def refs(self, prefix: str) -> dict[str, str]:
        """Full names of the refs below a prefix, and what they point to."""
        lines = self.run("for-each-ref", "--format=%(refname) %(objectname)", prefix).splitlines()
        return {name: commit for name, _, commit in (line.partition(" ") for line in lines)}

    def changed_files(self, *paths: str) -> list[str]:
        """Those of the paths with changes that are not committed."""
        lines = self.run("status", "--porcelain", "--untracked-files=all", "--", *paths).splitlines()
        return [line[3:] for line in lines]

    def difference(self, old: str, new: str, path: str) -> str:
        """What changed in a file from one commit to another, as a patch."""
        return self.run("diff", "--no-color", "--no-ext-diff", old, new, "--", path)

    def commits_named(self, names: Sequence[str]) -> list[str | None]:
        """The full hash that each name means here, None if it is no commit; by one process."""
        lines = self.run("cat-file", "--batch-check", stdin="".join(f"{name}\n" for name in names)).splitlines()
        words = [line.split() for line in lines if not line.startswith("error:")]
        return [found[0] if found[1:2] == ["commit"] else None for found in words]

    def time_of(self, commit: str) -> float | None:
        """When a commit was made, in seconds since the epoch; commit: its full hash."""
        return self._objects().time_of(commit)

    def parents_of(self, commit: str) -> list[str]:
        return self.run("rev-list", "--parents", "--max-count=1", commit).split()[1:]

    def message_of(self, commit: str) -> str:
        return self.run("show", "--no-patch", "--format=%B", commit).strip()

    # --- edits without a worktree ---

    def commit_edit(self, parent: str, path: str, text: str, message: str, author: str) -> str:
        """A commit that differs from its parent in one file at the top; its hash. No ref names it yet."""
        blob = self.run("hash-object", "-w", "--stdin", stdin=text)
        entries = self.run("ls-tree", parent).splitlines()
        others = [entry for entry in entries if entry.partition("\t")[2] != path]
        tree = self.run("mktree", stdin="\n".join([*others, f"100644 blob {blob}\t{path}"]) + "\n")
        return self.run("commit-tree", tree, "-p", parent, "-F", "-", stdin=message, author=author)

    def empty_commit(self, message: str) -> str:
        """A commit without files or parents; its hash. No ref names it yet."""
        return self.run("commit-tree", self.run("mktree", stdin=""), "-F", "-", stdin=message)

    def merged(self, base: str, ours: str, theirs: str) -> str | None:
        """The text `ours` with what changed from `base` to `theirs`; None if the two conflict."""
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, name) for name in ("ours", "base", "theirs")]
            for path, text in zip(paths, (ours, base, theirs), strict=True):
                path.write_text(text)
            try:
                return self.run("merge-file", "-p", "--quiet", *map(str, paths)) + "\n"
            except GitError:
                return None

    # --- refs and the journal ---

    def set_ref(self, name: str, commit: str, before: str | None = None) -> None:
        """Points a ref, by its full name, to a commit. Raises GitError if it does not point to `before`, '' for
        nowhere, if that is given."""
        expected = [] if before is None else [before or NOWHERE]
        self.run("update-ref", "-m", "autoresearch", name, commit, *expected)

    def delete_ref(self, name: str) -> None:
        self.run("update-ref", "-d", name)

    def remove_abandoned_locks(self, *patterns: str) -> None:
        """Removes what a killed git left locked; without, nothing could move these refs again.

        patterns: of lock files, as globs below git's folder; only of refs that nobody else writes now. A git that
        still runs is given LOCK_SECONDS to end.
        """
        self.remove_old_pack_lock()
        for lock in (lock for pattern in patterns for lock in self.common_folder().glob(pattern)):
            with suppress(FileNotFoundError):
                time.sleep(max(0.0, min(LOCK_SECONDS, lock.stat().st_mtime + LOCK_SECONDS - time.time())))
                lock.unlink()

    def remove_old_pack_lock(self) -> None:
        """Removes what a killed git pack-refs left locked; without, no ref could be deleted any more."""
        lock = self.common_folder() / "packed-refs.lock"
        with suppress(FileNotFoundError):
            if time.time() - lock.stat().st_mtime > OLD_LOCK_SECONDS:
                lock.unlink()

    def common_folder(self) -> Path:
        """git's own folder, which all worktrees share."""
        return Path(self.run("rev-parse", "--path-format=absolute", "--git-common-dir"))

    def _objects(self) -> Objects:
        if not hasattr(self._local, "objects"):
            from search.system.objects import Objects  # not every command needs it, and it takes its time

            self._local.objects = Objects(self.common_folder())
        found: Objects = self._local.objects
        return found

    def append_message(self, ref: str, message: str) -> str:
        """By Objects.append_message."""
        return self._objects().append_message(ref, message)

    def messages(self, ref: str) -> list[str]:
        """The messages of a chain of commits, oldest first; none if there is no such ref."""
        if self.commit_of(ref) is None:
            return []
        text = self.run("log", "--first-parent", "--reverse", "--format=%B%x00", ref)
        return [part.strip() for part in text.split("\0") if part.strip()]

    def pack(self, objects: bool) -> None:
        """Packs refs, and objects too if asked; removes no object. Nothing slows down with thousands of loose ones."""
        self.remove_old_pack_lock()
        self.run("pack-refs", "--all")
        if objects:
            self.run("repack", "-d", "-l", "-q", "--no-write-bitmap-index")

    # --- worktrees ---

    def export(self, commit: str, folder: Path) -> None:
        """A folder with a commit's files, as a repository of its own with one commit; made anew."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as aside:
            own_index = {"GIT_INDEX_FILE": str(Path(aside, "index"))}
            self.run("read-tree", commit, environment=own_index)
            self.run("checkout-index", "--all", f"--prefix={folder}/", environment=own_index)
        own = Repository(folder)
        own.run("init", "--quiet", "--initial-branch", "main")
        own.run("add", "--all", "--force")
        own.run("commit", "--quiet", "--no-verify", "--allow-empty", "-m", f"incumbent {commit}")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Adding worktrees in parallel fails in git itself: one at a time, over all processes of the search."""
        with (self.common_folder() / "autoresearch.lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def slot_worktree(self, path: Path, branch: str, commit: str) -> Repository:
        """The worktree at path, on the branch, at the commit, clean of all else; made anew if it is missing or broken.

        What stands in its `.git` is never believed: a trial may have written there, and git would follow it to the
        user's own checkout.
        """
        tree = Repository(path)
        folder = self._git_folder_of(path)
        if folder is not None and write_pointer(path, folder):
            try:
                tree.reset(folder, branch, commit)
                return tree
            except GitError:  # a trial can leave more than git can clean
                pass
        with self.lock():
            remove_tree(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.run("worktree", "prune")
            self.run("worktree", "add", "--force", "--force", "--detach", str(path), commit)
        folder = self._git_folder_of(path)
        if folder is None:
            raise GitError(f"git made no worktree at {path}")
        tree.reset(folder, branch, commit)
        return tree

    def _git_folder_of(self, path: Path) -> Path | None:
        """Where git keeps what belongs to the worktree at path, by the repository's own record; None if it has none."""
        wanted = os.path.realpath(path)
        for record in (self.common_folder() / "worktrees").glob("*/gitdir"):
            with suppress(OSError):
                if os.path.realpath(Path(record.read_text().rstrip("\n")).parent) == wanted:
                    return record.parent
        return None

    def reset(self, git_folder: Path, branch: str, commit: str) -> None:
        """Puts this worktree on the branch at the commit and removes everything else, ignored files too."""
        for leftover in ("index.lock", "HEAD.lock"):
            (git_folder / leftover).unlink(missing_ok=True)
        self.run("symbolic-ref", "HEAD", f"refs/heads/{branch}")
        self.run("reset", "--hard", "--quiet", commit)
        self.run("clean", "-ffdxq")
        remove_special_files(self.root)

    def hashes_of_files(self, paths: Sequence[str]) -> list[str]:
        """The blobs that these files of this worktree would be committed as, by its attributes (eol, filters)."""
        return self.run("hash-object", "--stdin-paths", stdin="".join(f"{path}\n" for path in paths)).splitlines()

    def commit_file(self, path: str, text: str, message: str, author: str) -> str:
        """Writes and commits one file in this worktree; the new commit's hash."""
        (self.root / path).write_text(text)
        self.run("add", "--", path)
        self.run("commit", "--quiet", "--no-verify", "--cleanup=verbatim", "-F", "-", author=author, stdin=message)
        head = self.commit_of("HEAD")
        assert head is not None
        return head


def find_repository(folder: Path) -> Repository:
    """The repository that holds a folder. Raises GitError if there is none or it has no commit."""
    try:
        repository = Repository(Path(Repository(folder).run("rev-parse", "--show-toplevel")))
    except GitError as error:
        if "dubious ownership" in str(error):
            raise GitError(
                f"{folder} belongs to another user, so git does not work in it: run "
                f"git config --global --add safe.directory {folder}, or clone the project as yourself"
            ) from error
        raise GitError(f"{folder} is not in a git repository: clone the project, or run git init and commit") from error
    if repository.commit_of("HEAD") is None:
        raise GitError(f"{repository.root} has no commit yet: commit what is to be searched first")
    return repository
