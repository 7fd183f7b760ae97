"""What a trial may touch: decided here, enforced by confine.py."""

from __future__ import annotations

import functools
import glob
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from search.system.confine import GPU_DEVICES, version

CONFINE = Path(__file__).with_name("confine.py")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/nix/store", "/proc", "/sys")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/shm")
OWN_THREADS = "/proc/self/task"  # CUDA names its threads there, and does not start if it may not
GPUS = (*(f"{device}*" for device in GPU_DEVICES), "/tmp/nvidia-mps")
PRIVATE = ("/tmp", "/dev/shm", "/run", "/var/run")  # what lasts there, and the sockets of this machine's services


def is_available() -> bool:
    """Whether this machine's kernel can confine trials."""
    return version() > 0


@functools.cache
def why_not_isolated() -> str:
    """Why trials cannot have namespaces of their own on this machine; '' if they can."""
    if not is_available():
        return "this kernel has no Landlock"
    try:
        tried = subprocess.run(
            [sys.executable, "-I", "-S", str(CONFINE), "--can-isolate"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return tried.stderr.strip() or f"exit code {tried.returncode}" if tried.returncode else ""


def confined(
    command: Sequence[str],
    read: Iterable[Path],
    write: Iterable[Path],
    secret: Iterable[Path],
    rules: Path,
    isolated: bool = True,
) -> list[str]:
    """The command that runs a command confined. rules: where write_rules puts what is granted."""
    write_rules(read, write, secret, rules, isolated)
    return by_rules(command, rules)


def write_rules(
    read: Iterable[Path], write: Iterable[Path], secret: Iterable[Path], rules: Path, isolated: bool = True
) -> None:
    """Writes a file of what a run may touch: these files, the system's and the interpreter's.

    secret: what is not granted even if it lies below a system folder. It is a file, since on a full /tmp it is longer
    than a command line may be. isolated: in namespaces of its own, if this machine can.
    """
    hidden = [Path(os.path.realpath(path)) for path in secret]
    system = [granted for path in system_paths(os.environ) for granted in without(path, hidden)]
    gpus = [path for pattern in GPUS for path in glob.glob(pattern)]
    granted_here = {
        "read": list(map(str, [*system, *read])),
        "write": [*map(str, write), *DEVICES, OWN_THREADS, *gpus],
        "private": list(PRIVATE) if isolated and not why_not_isolated() else [],
    }
    rules.write_text(json.dumps(granted_here))


def by_rules(command: Sequence[str], rules: Path) -> list[str]:
    """The command that runs a command confined by a file of rules."""
    return [sys.executable, "-I", "-S", str(CONFINE), str(rules), *command]


def confined_agent(
    command: Sequence[str],
    read: Iterable[Path],
    write: Iterable[Path],
    kept: Iterable[Path],
    secret: Iterable[Path],
    rules: Path,
) -> list[str]:
    """The command that runs an agent: with the network, without a GPU, and without what would make a score.

    read: what it may read though it lies within what is secret. write: its own folders; it may also write to the home
    folder and the one for temporary files, where tools keep their sessions. kept: what it must not change. secret: what
    it must not read either. rules: as for confined.
    """
    hidden = [Path(os.path.realpath(path)) for path in secret]
    closed = [*hidden, *(Path(os.path.realpath(path)) for path in kept)]
    open_to_all = without(Path("/"), [*hidden, *(Path(path) for pattern in GPUS for path in glob.glob(pattern))])
    own = [granted for path in (Path.home(), Path(tempfile.gettempdir())) for granted in without(path, closed)]
    granted_here = {
        "read": [str(path) for path in (*open_to_all, *read)],
        "write": [*map(str, (*write, *own)), *DEVICES],
        "network": True,
    }
    rules.write_text(json.dumps(granted_here))
    return by_rules(command, rules)


def system_paths(environment: Mapping[str, str]) -> list[Path]:
    """What programs on this machine read: the system, the interpreter, libraries, pretrained weights."""
    named = [*environment.get("LD_LIBRARY_PATH", "").split(os.pathsep), environment.get("CUDA_HOME", "")]
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    weights = Path(environment.get("TORCH_HOME") or cache / "torch")
    own = [sys.prefix, sys.base_prefix, *(path for path in named if path)]
    return [*map(Path, SYSTEM), *map(Path, own), weights]


def without(path: Path, hidden: Sequence[Path]) -> list[Path]:
    """The path, or where something hidden lies within it, those of its entries that hold nothing hidden."""
    above = {parent for one in hidden for parent in one.parents}
    return _without(path, set(hidden), above)


def _without(path: Path, hidden: Set[Path], above: Set[Path]) -> list[Path]:
    """above: every folder that holds something hidden, at any depth."""
    real = Path(os.path.realpath(path))
    if real in hidden or not hidden.isdisjoint(real.parents):
        return []
    if real not in above:
        return [path]
    try:
        return [granted for entry in sorted(real.iterdir()) for granted in _without(entry, hidden, above)]
    except OSError:
        return []
