"""The folder of a worktree, as what ran in it may have left it. No git command here."""

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
