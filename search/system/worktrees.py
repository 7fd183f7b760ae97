"""Folders that trials and agents write in, as they may have left them. No git command here."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path


def write_pointer(path: Path, git_folder: Path) -> bool:
    """Makes a worktree's `.git` the file that git itself wrote there; False if there is no folder to write in."""
    pointer, text = path / ".git", f"gitdir: {git_folder}\n"
    if path.is_symlink() or not path.is_dir():
        return False
    if pointer.is_symlink() or not pointer.is_file() or pointer.read_text(errors="replace") != text:
        remove_tree(pointer)
        pointer.write_text(text)
    return True


def remove_tree(path: Path) -> None:
    """Removes a file, a link or a folder with all that it holds, also what its owner has closed to himself."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        path.unlink()
        return
    with suppress(OSError):
        shutil.rmtree(path)
        return
    with suppress(OSError):
        os.chmod(path, stat.S_IRWXU)
    for folder, folders, _ in os.walk(path):
        for name in folders:
            with suppress(OSError, NotImplementedError):
                inner = Path(folder, name)
                if not inner.is_symlink():
                    inner.chmod(stat.S_IRWXU)
    shutil.rmtree(path, ignore_errors=True)


def made_anew(folder: Path) -> Path:
    """An empty folder, in one that its owner alone may look into. Raises OSError if somebody else owns that."""
    remove_tree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.parent.is_symlink() or folder.parent.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{folder.parent} belongs to somebody else: name another folder for temporary files with TMPDIR"
        )
    folder.mkdir()
    return folder


def remove_special_files(root: Path) -> None:
    """Removes pipes, sockets and devices, which `git clean` does not see."""
    for folder, folders, names in os.walk(root):
        if folder == str(root) and ".git" in folders:
            folders.remove(".git")
        for name in names:
            path = os.path.join(folder, name)
            with suppress(FileNotFoundError):
                kind = os.lstat(path).st_mode
                if not stat.S_ISREG(kind) and not stat.S_ISLNK(kind):
                    os.unlink(path)
