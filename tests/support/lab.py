"""Several machine-like nodes on one Linux machine, for tests of what happens between machines.

Each node has namespaces of its own for network, processes, mounts, host name and IPC: its own address on a
bridge, its own process ids, /tmp, /dev/shm and home folder. The bridge lies in a namespace of the lab, so
nothing shows in the host's network. When the process that holds the lab ends, the nodes end with it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

PATIENCE = 2.0
TOOLS = ("unshare", "nsenter", "ip", "mount", "env", "cat")
# The first process of a node reads a pipe from the lab: when the lab is gone it ends, and with it the node.
# It ignores SIGCHLD, so the kernel reaps what is left to it.
INIT = "echo ready; exec env --ignore-signal=CHLD cat"
Command = str | Sequence[str | Path]


@dataclass(frozen=True)
class Process:
    """One process of a node; the ids of it and of its parent (0: outside) as the node sees them."""

    pid: int
    parent: int
    host_pid: int
    command: str


def _must(*command: str) -> str:
    """Run a set-up command; its error text is in the exception."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _hold(*unshare: str, script: str) -> tuple[subprocess.Popen[str], int]:
    """New namespaces kept by a process that runs `script` and then waits; with it its id on the host."""
    command = ["unshare", "--fork", "--kill-child=SIGKILL", *unshare, "sh", "-ec", f"{script}\n{INIT}"]
    pipe = subprocess.PIPE
    holder = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert holder.stdout
    if (line := holder.stdout.readline()) != "ready\n":
        holder.kill()
        raise RuntimeError(f"no namespaces: {line.strip()} {holder.communicate()[0].strip()}")
    return holder, _children(holder.pid)[0]


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Node:
    """One machine of the lab. Made by `Lab.node`."""

    def __init__(self, lab: Lab, name: str, number: int) -> None:
        self.lab, self.name, self.ip, self.port = lab, name, f"10.77.0.{number}", f"port{number}"
        self.folder = lab.folder / name
        self.home, self.tmp = self.folder / "home", self.folder / "tmp"
        self.up()

    def up(self) -> None:
        """Switch the machine on: at the start, or again after `kill` (same address and home, empty /tmp)."""
        shutil.rmtree(self.tmp, ignore_errors=True)
        steps = [
            f"hostname {shlex.quote(self.name)}",
            "mount -t tmpfs shm /dev/shm",
            f"mount --bind {shlex.quote(str(self.lab.hosts))} /etc/hosts",
        ]
        for path in (self.home, self.tmp):
            path.mkdir(parents=True, exist_ok=True)
        for path in (self.home, *self.lab.shared):  # /tmp is covered below: keep these visible at their paths
            if path.is_relative_to("/tmp"):
                inner = self.tmp / path.relative_to("/tmp")
                inner.mkdir(parents=True, exist_ok=True)
                steps.append(f"mount --bind {shlex.quote(str(path))} {shlex.quote(str(inner))}")
        self.tmp.chmod(0o1777)
        steps += [f"mount --rbind {shlex.quote(str(self.tmp))} /tmp", "cd /"]
        self._holder, self.init = _hold(
            "--net", "--pid", "--mount", "--uts", "--ipc", "--mount-proc", script="\n".join(steps)
        )
        self.lab.net("link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", str(self.init))
        self.lab.net("link", "set", self.port, "master", "bridge0", "up")
        enter = ("nsenter", f"--target={self.init}", "--net", "ip")
        _must(*enter, "link", "set", "lo", "up")
        _must(*enter, "addr", "add", f"{self.ip}/24", "dev", "eth0")
        _must(*enter, "link", "set", "eth0", "up")

    def _words(self, command: Command, env: Mapping[str, str] | None, cwd: Path | str | None) -> list[str]:
        """The words that run `command` (a string goes to bash) in the node, in a clean environment."""
        base = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "HOSTNAME": self.name,
            **(env or {}),
        }
        words = ["bash", "-c", command] if isinstance(command, str) else [str(word) for word in command]
        enter = [
            "nsenter",
            f"--target={self.init}",
            "--net",
            "--pid",
            "--mount",
            "--uts",
            "--ipc",
            f"--wdns={cwd or self.home}",
        ]
        return [*enter, "env", "-i", *(f"{key}={value}" for key, value in base.items()), *words]

    def start(
        self,
        command: Command,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        stdout: int | IO[Any] = subprocess.DEVNULL,
        stderr: int | IO[Any] = subprocess.STDOUT,
        stdin: int | IO[Any] = subprocess.DEVNULL,
    ) -> subprocess.Popen[str]:
        """Start a command. The Popen has its exit code; to signal the command itself use `signal`."""
        return subprocess.Popen(
            self._words(command, env, cwd), stdin=stdin, stdout=stdout, stderr=stderr, text=True, start_new_session=True
        )

    def run(
        self,
        command: Command,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 60,
        cwd: Path | str | None = None,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. When the time is up it is killed with its process group."""
        process = self.start(command, env, cwd, subprocess.PIPE, subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if check and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, out, err)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    @staticmethod
    def signal(process: subprocess.Popen[str], number: int) -> None:
        """Send a signal to what `start` started."""
        for pid in _children(process.pid) if process.poll() is None else []:
            os.kill(pid, number)

    def processes(self, having: str = "") -> list[Process]:
        """The node's living processes, without its first, whose command line has `having` in it."""
        space = os.readlink(f"/proc/{self.init}/ns/pid") if self.alive() else ""
        inside: dict[int, int] = {}
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or os.readlink(entry / "ns/pid") != space:
                    continue
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                lines = (entry / "status").read_text().splitlines()
            except OSError:
                continue  # it has just ended, or it is not ours to look at
            status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
            inside[int(entry.name)] = int(status["NSpid"][-1])
            if words and status["State"][0] not in "ZX":
                found.append((int(entry.name), int(status["PPid"][0]), words))
        rows = [Process(inside[pid], inside.get(parent, 0), pid, words) for pid, parent, words in found]
        return sorted((row for row in rows if row.pid > 1 and having in row.command), key=lambda row: row.pid)

    def alive(self) -> bool:
        """Whether the machine is on."""
        return self._holder.poll() is None

    def cut(self) -> None:
        """Pull the network cable: the node keeps its address and its loopback, but nothing goes in or out."""
        self.lab.net("link", "set", self.port, "down")

    def heal(self) -> None:
        """Plug the network cable in again."""
        self.lab.net("link", "set", self.port, "up")

    def kill(self) -> None:
        """Power off: every process of the node is killed at once, and it is off the network."""
        if self.alive():
            self.cut()  # a machine without power sends no last word, but killed processes close their sockets
            os.kill(self.init, signal.SIGKILL)
        self._holder.communicate()
        subprocess.run(
            ["nsenter", f"--target={self.lab.space}", "--net", "ip", "link", "del", self.port],
            capture_output=True,
            check=False,
        )  # the kernel removes it too, but later


class Lab:
    """The nodes and the network between them; a context manager. `folder` keeps the nodes' homes and /tmp.

    The nodes see the host's files, but for /tmp: folders of /tmp that they need are named in `shared`.
    """

    def __init__(self, folder: Path | str, shared: Sequence[Path | str] = ()) -> None:
        self.folder = Path(folder).resolve()
        self.shared = [Path(path).resolve() for path in shared]
        self.hosts = self.folder / "hosts"
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.hosts.write_text("127.0.0.1 localhost\n")
        self._holder, self.space = _hold("--net", script="")
        try:
            self.net("link", "add", "bridge0", "type", "bridge")
            self.net("link", "set", "bridge0", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def net(self, *words: str) -> str:
        """Run `ip` in the namespace of the bridge."""
        return _must("nsenter", f"--target={self.space}", "--net", "ip", *words)

    def node(self, name: str) -> Node:
        """The node of this name; it is made at the first call (10.77.0.1, 10.77.0.2, ... in order)."""
        if name not in self.nodes:
            number = len(self.nodes) + 1
            with self.hosts.open("a") as hosts:
                hosts.write(f"10.77.0.{number} {name}\n")
            self.nodes[name] = Node(self, name, number)
        return self.nodes[name]

    def close(self) -> None:
        """End every node and the network; the folder stays."""
        for node in self.nodes.values():
            node.kill()
        if self._holder.poll() is None:
            os.kill(self.space, signal.SIGKILL)
        self._holder.communicate()

    @staticmethod
    def available() -> str:
        """Why no lab can be made here, or ''."""
        if not sys.platform.startswith("linux") or os.geteuid():
            return "needs Linux and root"
        if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
            return f"needs {', '.join(missing)}"
        probe = (
            "mount -t tmpfs shm /dev/shm; ip link add bridge0 type bridge; "
            "ip link add port1 type veth peer name eth0; env --ignore-signal=CHLD true"
        )
        command = ["unshare", "--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--mount-proc"]
        done = subprocess.run([*command, "sh", "-ec", probe], capture_output=True, text=True, check=False)
        return f"no namespaces: {done.stderr.strip()}" if done.returncode else ""


def wait_for(check: Any, timeout: float = 30, every: float = 0.05) -> Any:
    """What `check()` gives once it is true; TimeoutError when it stays false for PATIENCE times as long as it may take
    where nothing else runs."""
    end = time.monotonic() + PATIENCE * timeout
    while not (value := check()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout} s")
        time.sleep(every)
    return value
