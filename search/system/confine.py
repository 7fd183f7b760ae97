"""Runs a command that can touch only the files it is given, by Linux's namespaces and Landlock.

confine.py RULES COMMAND …   RULES is a file of JSON, {"read": [paths], "write": [paths], "network": bool,
                             "private": [paths]}.
confine.py --can-isolate     exit code 0 if this user may make namespaces, else 1 and why.

What it starts, and all that comes of it, can read and run what is below the read paths, also change what is below the
write paths, can signal or trace no process outside, and, without network, open no TCP connection. With private paths it
has namespaces of its own: no network at all, no shared memory of others, and, in place of each of these folders, an
empty one in memory, in which only the read and write paths are as they were. Standard library only, so that it starts
in milliseconds.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls; the same on every architecture
VERSION_FLAG = 1
PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
RIGHTS_OF_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
NETWORK = 0b11  # bind and connect by TCP
SCOPES = 0b11  # abstract sockets, signals
FAILED = 125  # exit code
GPU_DEVICES = ("/dev/nvidia", "/dev/nvhost", "/dev/nvmap", "/dev/dri", "/dev/kfd", "/dev/dxg")  # how they begin
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READ = EXECUTE | READ_FILE | READ_DIR
NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_NETWORK = 0x00020000, 0x08000000, 0x10000000, 0x40000000  # of unshare(2)
NO_SUID, NO_DEVICES, BIND, RECURSIVE, RECEIVE_ONLY = 1 << 1, 1 << 2, 1 << 12, 1 << 14, 1 << 19  # of mount(2)


def version() -> int:
    """Of the kernel's Landlock; 0 if there is none."""
    if sys.platform != "linux":
        return 0
    return max(ctypes.CDLL(None, use_errno=True).syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG), 0)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def isolate(private: list[str], kept: list[str]) -> None:
    """Gives this process, which must have one thread, namespaces of its own, for good: without a network, with its own
    shared memory, and with an empty folder in memory in place of each private one, in which what is kept stays.

    Raises OSError if the kernel, or this machine's settings, refuse.
    """
    here, user, group = os.getcwd(), os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
        words = [word.encode() for word in (source, target, kind)]
        _checked(libc.mount(*words, ctypes.c_ulong(flags), options.encode()), f"mount of {target}")

    # Root needs no user namespace, and would lose the right to other users' files in one.
    flags = NEW_MOUNTS | NEW_IPC | NEW_NETWORK | (NEW_USER if user else 0)
    _checked(libc.unshare(flags), "namespaces")
    if user:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            Path("/proc/self", name).write_text(text)
    mount("none", "/", "", RECURSIVE | RECEIVE_ONLY)  # nothing that is mounted here is seen outside
    for folder in {os.path.realpath(path) for path in private if os.path.isdir(path)}:
        spelled = {way for path in kept for way in (os.path.abspath(path), os.path.realpath(path))}
        within = sorted(path for path in spelled if path.startswith(folder + os.sep) and os.path.exists(path))
        opened = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in within}
        mount("none", folder, "tmpfs", NO_SUID | NO_DEVICES, "mode=1777")
        for path, descriptor in opened.items():
            if not os.path.exists(path):  # with the folder that it lies in, which is kept too
                _mount_point(path, os.path.isdir(f"/proc/self/fd/{descriptor}"))
                mount(f"/proc/self/fd/{descriptor}", path, "", BIND | RECURSIVE)
            os.close(descriptor)
    os.chdir(here)  # which may lie below what was covered


def _mount_point(path: str, is_folder: bool) -> None:
    os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
    if not is_folder:
        Path(path).touch()


def restrict(read: list[str], write: list[str], network: bool = False) -> None:
    """Confines this process, for good, by Landlock. network: TCP stays open. Raises OSError if the kernel refuses."""
    libc, known = ctypes.CDLL(None, use_errno=True), version()
    rights = RIGHTS_OF_VERSION[min(known, max(RIGHTS_OF_VERSION))]
    attributes = (ctypes.c_uint64 * 3)(
        rights, NETWORK if known >= 4 and not network else 0, SCOPES if known >= 6 else 0
    )
    size = ctypes.c_size_t(24 if known >= 6 else 16 if known >= 4 else 8)
    ruleset = _checked(libc.syscall(CREATE_RULESET, attributes, size, 0), "Landlock")

    class PathBeneath(ctypes.Structure):
        _pack_ = 1
        _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]

    for paths, allowed in ((read, READ), (write, rights)):
        for path in paths:
            try:
                parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue  # not on this machine
            given = allowed & rights & (-1 if os.path.isdir(path) else OF_A_FILE)
            rule = PathBeneath(given, parent)
            _checked(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(rule), 0), f"Landlock, {path}")
            os.close(parent)
    _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _checked(libc.syscall(RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def can_isolate() -> int:
    """The exit code of --can-isolate."""
    os.chdir("/")  # the folder that this began in may be below one that is covered, and would be looked for in vain
    try:
        isolate(["/dev/shm", "/tmp"], [])
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def confine(file: str) -> None:
    """Confines this process, for good, by a file of rules. Ends it with FAILED if that cannot be done."""
    with open(file, encoding="utf-8") as stream:
        rules = json.load(stream)
    private = rules.get("private", [])
    try:
        if private:
            isolate(private, [*rules["read"], *rules["write"]])
        restrict(rules["read"], rules["write"], rules.get("network", False))
    except OSError as error:
        print(f"it could not be confined: {error}", file=sys.stderr)
        sys.exit(FAILED)


def main(arguments: list[str]) -> None:
    if arguments == ["--can-isolate"]:
        sys.exit(can_isolate())
    confine(arguments[0])
    os.execvp(arguments[1], arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
