"""Does a search lose anything, whatever dies? Kills parts of a real one at random, again and again, and looks.

A search with trials that wait a second, and an agent that edits after every few, runs on four logical slots: of this
machine, or, with --cluster, of two Ray nodes on it, each with an address of its own. After every kill it is seen
whether what must end has ended, and whether the driver still lives; if it does not, the search is resumed. A node that
was killed comes back. At last the search runs to its end undisturbed, and then: every trial that ever left an outcome
is recorded, once; every experiment has one row; branch, rows and frontier name the same incumbent; nothing of the
search runs any more; no traceback was shown. On a cluster, a trial of a node that was lost is not lost if it ran again.

tests/edge/driver/test_resume.py kills the driver between any two of its writes. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import prepare
from bench.cluster import environment_of, make_project, ray_command, wait_for
from search.core.types import GUARD_KILLED, STOOD_STILL
from search.system.files import end_of
from search.system.guard import descendants, processes, started_at
from search.system.process import is_alive
from search.task.screening.demo_images import draw
from tests.support.clusters import QUICK_HEAD

TAG = "chaos"
WAIT = 1.0  # seconds of a trial
PHOTOS = 300
UP_SECONDS = 120.0
END_SECONDS = 60.0  # a driver that was asked to end has done so within
ORPHAN_SECONDS = 25.0  # what a killed driver leaves behind ends within
FROZEN_SECONDS = 4.0
ENDINGS = {0, 1, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}  # of a driver that was disturbed


HEAD, PORT = "127.0.0.2", 6390
SLOTS = 4
ACTORS = ("ray::SlotActor", "ray::Dispatcher", "ray::ArtifactExchange", "ray::NodeManager")
AGENT = """
import random, re, sys, time
sys.stdin.read()
time.sleep(2)
text = open("train.py").read()
open("train.py", "w").write(re.sub(r"np.ones\\(5\\).*?, photos", f"np.ones(5) * {random.random():.6f}, photos", text))
print("IDEA: other guesses")
"""
# As a data loader's worker, but in a session of its own.
GRANDCHILD = """import subprocess, sys
code = ["-c", "import time; time.sleep(600)", "grandchild"]
subprocess.Popen([sys.executable, *code], start_new_session=True)
"""


@dataclass
class Node:
    """One Ray node of the cluster. work: the folder in which each node has one of its name. process: `ray start`; what
    it starts is below it."""

    name: str
    arguments: list[str]
    work: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.work / f"{self.name}.log"

    def start(self) -> None:
        command = ray_command(self.work, self.name, f"--num-gpus={SLOTS // 2}", *self.arguments)
        environment = environment_of(self.work, self.name) | QUICK_HEAD
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, cwd=self.work,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        wait_for("Ray runtime started", self.process, self.log)

    def pids(self) -> list[int]:
        """Its processes, the node's own and those of the search: its folder is in the environment of each, but for
        trials and what guards them, which are below others."""
        mine, found = str(self.work / self.name / "node").encode(), []
        for pid in processes():
            with contextlib.suppress(OSError):
                if b"AUTORESEARCH_NODE=" + mine in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
        return list({*found, *(below for pid in found for below in descendants(pid))})

    def kill(self) -> None:
        """As if the machine had lost its power."""
        kill_all(self.pids())
        if self.process is not None:
            self.process.wait()


@dataclass
class Chaos:
    """The search, and what was seen of it. nodes: of the cluster, the head first; none without one. environment: of the
    driver. left: trials that left an outcome."""

    folder: Path
    photos: Path
    rng: random.Random
    agent: Path
    environment: dict[str, str]
    nodes: list[Node] = field(default_factory=list)
    driver: subprocess.Popen[bytes] | None = None
    below: dict[int, str] = field(default_factory=dict)  # process id -> when it began
    left: set[str] = field(default_factory=set)
    orphans: int = 0
    violations: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def run(self) -> Path:
        return self.folder / "runs" / TAG

    @property
    def log(self) -> Path:
        return self.folder.parent / "output.log"

    def start(self, *limits: str) -> None:
        """Begins the search, or goes on with it, and waits until trials run."""
        known = subprocess.run(["git", "rev-parse", "-q", "--verify", f"refs/autoresearch/{TAG}/journal"],
                               cwd=self.folder, capture_output=True, check=False)  # fmt: skip
        setup = ["--dataset", self.photos, "--space", "spaces/waiting.toml", "--max-train-seconds", "5"]
        begin = ["--resume", TAG] if known.returncode == 0 else ["--tag", TAG, *setup]
        slots = ["--address", f"{HEAD}:{PORT}"] if self.nodes else ["--gpus", str(SLOTS), "--no-dashboard", "--no-page"]
        thinks = ["--agent", shlex.join([sys.executable, str(self.agent)]), "--experiments-per-round", "6"]
        command = [sys.executable, "-m", "search.launch", *map(str, begin), *slots, *thinks, *limits]
        began = time.time()
        with self.log.open("ab") as output:
            self.driver = subprocess.Popen(
                command, cwd=self.folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                start_new_session=True, env=self.environment,
            )  # fmt: skip
        deadline = time.monotonic() + UP_SECONDS
        while self.driver.poll() is None and not self.running(since=began) and time.monotonic() < deadline:
            time.sleep(0.1)

    def running(self, since: float) -> bool:
        """Whether a trial runs that began since then; a killed driver leaves the files of others."""
        elsewhere = "node/searches/*/run/gpu*/trials/*/running.json"
        away = [path for node in self.nodes[1:] for path in (node.work / node.name).glob(elsewhere)]
        for path in [*self.run.glob("gpu*/trials/*/running.json"), *away]:
            with contextlib.suppress(OSError):
                if path.stat().st_mtime > since:
                    return True
        return False

    def look(self) -> None:
        """Notes what runs, and which trials have left an outcome."""
        if self.driver is not None:
            self.below |= {pid: started_at(pid) for pid in descendants(self.driver.pid)}
            on_nodes = {pid for node in self.nodes for pid in node.pids()}
            self.below |= {pid: started_at(pid) for pid in on_nodes if self.is_of_search(pid)}
        self.left |= {path.parent.name for path in self.run.glob("gpu*/trials/*/outcome.json")}

    def is_of_search(self, pid: int) -> bool:
        """Whether a process of a node is the search's, and not Ray's own."""
        command = command_of(pid)
        return any(word in command for word in ("train.py", "grandchild")) or command.startswith(ACTORS)

    def with_words(self, *words: str) -> list[int]:
        """The search's processes whose command line has all of these."""
        alive = [pid for pid in self.below if is_alive(pid)]
        return [pid for pid in alive if all(word in command_of(pid) for word in words)]

    def kill_one(self, *words: str) -> bool:
        """Kills one process of the search at random; False if there is none."""
        self.look()
        found = self.with_words(*words)
        if found:
            kill_all([self.rng.choice(found)])
        return bool(found)

    def signal_driver(self, *numbers: int) -> bool:
        assert self.driver is not None
        self.look()
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.driver.pid, number)
            time.sleep(self.rng.uniform(0.0, 0.5))
        return True

    def freeze_driver(self) -> bool:
        self.signal_driver(signal.SIGSTOP)
        time.sleep(FROZEN_SECONDS)
        return self.signal_driver(signal.SIGCONT)

    def kill_everything(self) -> bool:
        assert self.driver is not None
        self.look()
        kill_all([self.driver.pid, *self.below])
        for node in self.nodes:
            node.kill()
        for node in self.nodes:
            node.start()
        return True

    def lose_node(self) -> bool:
        """Kills a node that is not the driver's; it comes back a moment later."""
        self.look()
        node = self.rng.choice(self.nodes[1:])
        node.kill()
        time.sleep(self.rng.uniform(0.0, 12.0))
        node.start()
        return True

    def after(self, name: str) -> None:
        """Sees what became of the search, and that what its driver had started has ended if the driver has."""
        assert self.driver is not None
        must_end = name in ("driver killed", "driver: SIGTERM", "driver: SIGINT", "driver: SIGINT twice", "everything")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.driver.wait(END_SECONDS if must_end else 2.0)
        if self.driver.poll() is None:
            if must_end:
                self.violations.append(f"{name}: the driver did not end within {END_SECONDS:.0f} s{self.stacks()}")
                self.kill_everything()
                self.driver.wait()
            else:
                return
        if self.driver.returncode not in ENDINGS:
            self.violations.append(f"{name}: exit code {self.driver.returncode}: {end_of(self.log, 3000)}")
        deadline = time.monotonic() + ORPHAN_SECONDS
        while (alive := self.still_alive()) and time.monotonic() < deadline:
            time.sleep(0.2)
        for pid in alive:
            self.orphans += 1
            self.violations.append(f"{name}: process {pid} lives on: {command_of(pid) or '(it has gone meanwhile)'}")
        kill_all(alive)
        self.look()
        self.below.clear()
        self.driver = None

    def stacks(self) -> str:
        """Where the driver's threads are; it ends by that."""
        assert self.driver is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.driver.pid, signal.SIGABRT)
        time.sleep(2.0)
        return ": " + end_of(self.log, 6000)

    def still_alive(self) -> list[int]:
        return [pid for pid, began in self.below.items() if is_alive(pid) and began and began == started_at(pid)]

    def ran_again(self, trial: str, recorded: Sequence[str]) -> bool:
        """Whether what a trial left says nothing of its experiment, and another attempt at it is recorded."""
        (path,) = self.run.glob(f"gpu*/trials/{trial}/outcome.json")
        says_nothing = json.loads(path.read_text())["reason"].startswith((GUARD_KILLED, STOOD_STILL))
        first = trial.partition("-a")[0]
        return says_nothing and any(one.partition("-a")[0] == first for one in recorded)

    def check_records(self) -> tuple[int, int]:
        """(trials that were lost, rows and records that are there twice), once the search is over."""
        trials = [json.loads(line)["trial"] for line in (self.run / "trials.jsonl").read_text().splitlines()]
        rows = [line.split("\t") for line in (self.run / "results.tsv").read_text().splitlines()[1:]]
        decisions = (self.run / "decisions.jsonl").read_text().splitlines()
        experiments = [json.loads(line)["experiment"] for line in decisions]
        self.look()
        lost = {trial for trial in self.left - set(trials) if not self.ran_again(trial, trials)}
        twice = len(trials) - len(set(trials)) + len(rows) - len(set(experiments))
        self.violations += [f"{trial} left an outcome and is not recorded" for trial in sorted(lost)]
        if twice:
            self.violations.append(f"{twice} records or rows too many")
        kept = [row[0] for row in rows if row[4] == "keep"]
        branch = subprocess.run(["git", "rev-parse", "--short=7", f"autoresearch/{TAG}"],
                                cwd=self.folder, capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
        frontier = json.loads((self.run / "analysis_summary.json").read_text())["frontier"]
        if not kept[-1:] == [branch] == [frontier[-1]["commit"]]:
            self.violations.append(f"branch {branch}, rows {kept[-1:]}, frontier {frontier[-1]['commit']}")
        output = self.log.read_text(errors="replace")
        for word in ("Traceback", "this is a bug"):
            if word in output:
                self.violations.append(f"the output has {word!r}: {output[output.index(word) :][:500]}")
        return len(lost), twice


def command_of(pid: int) -> str:
    """The beginning of a process's command line; '' if it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:2000]
    except OSError:
        return ""


def kill_all(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def deeds(chaos: Chaos) -> dict[str, Callable[[], bool]]:
    """What can happen, by name; each is False where there was nothing to do it to."""
    of_ray: dict[str, Callable[[], bool]] = {
        "the raylet": lambda: chaos.kill_one("raylet/raylet"),
        "Ray's head": lambda: chaos.kill_one("gcs_server"),
    }
    if chaos.nodes:
        of_ray = {"a node": chaos.lose_node, "a node's manager": lambda: chaos.kill_one("ray::NodeManager")}
    return of_ray | {
        "driver killed": lambda: chaos.signal_driver(signal.SIGKILL),
        "driver: SIGTERM": lambda: chaos.signal_driver(signal.SIGTERM),
        "driver: SIGINT": lambda: chaos.signal_driver(signal.SIGINT),
        "driver: SIGINT twice": lambda: chaos.signal_driver(signal.SIGINT, signal.SIGINT),
        "driver: SIGHUP": lambda: chaos.signal_driver(signal.SIGHUP),
        "driver stopped for a while": chaos.freeze_driver,
        "a slot's worker": lambda: chaos.kill_one("ray::SlotActor"),
        "the dispatcher": lambda: chaos.kill_one("ray::Dispatcher"),
        "a trial": lambda: chaos.kill_one("train.py", "--dataset"),
        "a trial's child": lambda: chaos.kill_one("grandchild"),
        "a guard": lambda: chaos.kill_one("guard.py", "train.py"),
        "an agent": lambda: chaos.kill_one(chaos.agent.name),
        "everything": chaos.kill_everything,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/chaos.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=6, help="(default 6; docs: 150, and 50 with --cluster)")
    parser.add_argument("--cluster", action="store_true", help="on two Ray nodes, which are killed too")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed, and when (default 0)")
    options = parser.parse_args()
    if options.kills < 1:
        parser.error(f"--kills {options.kills}: at least 1")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        environment = environment_of(work, "head")
        os.environ |= {name: environment[name] for name in ("AUTORESEARCH_CACHE", "AUTORESEARCH_STATE")}
        (work / "token").write_text(secrets.token_hex(32))
        draw(work / "photos", PHOTOS)
        prepare.load(work / "photos")
        make_project(work / "project", WAIT, GRANDCHILD)
        agent = work / "agent.py"
        agent.write_text(AGENT)
        head = ["--head", f"--node-ip-address={HEAD}", f"--port={PORT}", "--include-dashboard=false"]
        away = [f"--address={HEAD}:{PORT}", "--node-ip-address=127.0.0.3"]
        nodes = [Node("head", head, work), Node("node1", away, work)] if options.cluster else []
        rng = random.Random(options.seed)
        if not nodes:
            del environment["RAY_AUTH_MODE"], environment["RAY_AUTH_TOKEN_PATH"]  # launch begins a Ray of its own
        environment["PYTHONFAULTHANDLER"] = "1"  # where a driver that crashes or hangs was
        chaos = Chaos(work / "project", work / "photos", rng, agent, environment, nodes)
        possible = deeds(chaos)
        try:
            for node in nodes:
                node.start()
            while sum(chaos.kills.values()) < options.kills:
                if chaos.driver is None:
                    chaos.start()
                time.sleep(chaos.rng.uniform(0.0, 3.0))
                name = chaos.rng.choice(sorted(possible))
                if possible[name]():
                    chaos.kills[name] += 1
                    print(f"{sum(chaos.kills.values()):4} {name}", flush=True)
                chaos.after(name)
            if chaos.driver is not None:
                chaos.signal_driver(signal.SIGINT)
                chaos.after("driver: SIGINT")
            done = len((chaos.run / "results.tsv").read_text().splitlines()) + 4
            chaos.start("--experiments", str(done))
            assert chaos.driver is not None
            if chaos.driver.wait(600):
                chaos.violations.append(f"the last session ended with exit code {chaos.driver.returncode}")
            lost, twice = chaos.check_records()
        finally:
            if chaos.driver is not None and chaos.driver.poll() is None:
                chaos.look()
                kill_all([chaos.driver.pid, *chaos.below])
            for node in nodes:
                node.kill()
    for violation in chaos.violations:
        print(f"violation: {violation}")
    print(
        json.dumps(
            {
                "kills": sum(chaos.kills.values()),
                "violations": len(chaos.violations),
                "orphans": chaos.orphans,
                "lost_trials": lost,
                "duplicate_rows": twice,
                "seed": options.seed,
                "cluster": options.cluster,
                "seconds": round(time.monotonic() - began, 1),
                "of_each": dict(sorted(chaos.kills.items())),
            }
        )
    )
    return 1 if chaos.violations else 0


if __name__ == "__main__":
    sys.exit(main())
