"""Runs a command that can touch only the files it is given: Linux's Landlock, if the kernel has it.

landlock.py RULES COMMAND …   RULES is a file of JSON, {"read": [paths], "write": [paths], "network": bool}.

What it starts, and all that comes of it, can read and run what is below the read paths, also change what is below the
write paths, can signal or trace no process outside, and, without network, open no TCP connection. Standard library
only, so that it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

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
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READ = EXECUTE | READ_FILE | READ_DIR


def version() -> int:
    """Of the kernel's Landlock; 0 if there is none."""
    if sys.platform != "linux":
        return 0
    return max(ctypes.CDLL(None, use_errno=True).syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG), 0)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def restrict(read: list[str], write: list[str], network: bool = False) -> None:
    """Confines this process, for good. network: TCP stays open. Raises OSError if the kernel refuses."""
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


def main(arguments: list[str]) -> None:
    with open(arguments[0], encoding="utf-8") as stream:
        rules = json.load(stream)
    try:
        restrict(rules["read"], rules["write"], rules.get("network", False))
    except OSError as error:
        print(f"it could not be confined: {error}", file=sys.stderr)
        sys.exit(FAILED)
    os.execvp(arguments[1], arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
