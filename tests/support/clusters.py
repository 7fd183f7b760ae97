"""Nodes of a lab that run Ray, with a search on them."""

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from search.task.screening.demo_images import draw
from tests.support.lab import Lab, wait_for
from tests.support.launching import SLOW_TRAIN, check_agreement, rows
from tests.support.repositories import ROOT, git, make_repository

SHARED = [ROOT, Path(sys.prefix)]  # nodes have a /tmp of their own, and the project may lie in this machine's
TOKEN = "0123456789abcdef" * 4
# Found dead in ten seconds instead of sixty, so that tests do not wait; see docs/cluster.md.
QUICK_HEAD = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}


class Cluster:
    """Nodes of a lab that run Ray; the first is the head, with the repository and the photos."""

    def __init__(self, lab, train, gpus):
        self.lab, self.gpus, self.raylets = lab, gpus, {}
        self.nodes = {name: lab.node(name) for name in gpus}
        self.head = next(iter(self.nodes.values()))
        self.repository = make_repository(self.head.home / "project", train)
        self.photos = self.head.home / "photos"
        draw(self.photos, 300)
        for name, node in self.nodes.items():
            (node.home / ".ray").mkdir()
            (node.home / ".ray/auth_token").write_text(TOKEN)
            self.start_ray(name)

    def start_ray(self, name, **environment):
        node = self.nodes[name]
        what = (
            ["--head", "--port=6379", "--include-dashboard=false"]
            if node is self.head
            else [f"--address={self.head.ip}:6379"]
        )
        log = node.folder / "ray.log"
        command = [
            "ray", "start", *what, f"--node-ip-address={node.ip}", f"--num-gpus={self.gpus[name]}", "--num-cpus=2",
            "--disable-usage-stats", "--object-store-memory=100000000", "--block",
        ]  # fmt: skip
        quick = QUICK_HEAD if node is self.head else {}
        process = node.start(command, env={"RAY_AUTH_MODE": "token"} | quick | environment, stdout=log.open("w"))
        wait_for(lambda: "Ray runtime started" in log.read_text() or process.poll() is not None, 90)
        assert process.poll() is None, log.read_text()
        self.raylets[name] = process

    def command(self, *arguments):
        setup = ["--dataset", self.photos, "--space", "spaces/fast.toml", "--max-train-seconds", "5"]
        setup += ["--confirm-seeds", "0", "--tag", "t", "--agent", "none"]
        given = [] if "--resume" in arguments else setup
        return [sys.executable, "-m", "search.launch", "--address", "auto", *given, *arguments]

    @contextmanager
    def driver(self, *arguments):
        """A search that runs, with its output in a file; ended at the end."""
        log = self.head.folder / "driver.log"
        driver = self.head.start(
            self.command(*arguments), cwd=self.repository, env={"RAY_AUTH_MODE": "token"}, stdout=log.open("w")
        )
        driver.log = log
        try:
            yield driver
        finally:
            if driver.poll() is None:
                self.head.signal(driver, signal.SIGKILL)
            driver.wait()

    def launch(self, *arguments, code=0):
        done = self.head.run(self.command(*arguments), cwd=self.repository, env={"RAY_AUTH_MODE": "token"}, timeout=540)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def ends(self, driver, code=0, seconds=400):
        try:
            driver.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(driver.log.read_text()) from None
        assert driver.returncode == code, driver.log.read_text()
        return driver.log.read_text()

    def status(self):
        done = self.head.run(
            [sys.executable, "-m", "search.status", "--json"], cwd=self.repository, check=True, timeout=60
        )
        return json.loads(done.stdout)

    def outcomes(self):
        try:
            lines = (self.repository / "runs/t/trials.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def files_of_search(self, name):
        """What of a search lies on a node: its folders there."""
        return list(self.nodes[name].home.glob(".local/state/autoresearch/nodes/*/searches/*"))

    def check(self, experiments, driver_died=False):
        """Everything agrees, and nothing is left: no process and no worktree but on the driver's machine. A driver that
        dies between a commit and its ref leaves a commit that nothing names: nothing is lost by it."""
        check_agreement(self.repository, experiments + 1)
        trials = [outcome["trial"] for outcome in self.outcomes()]
        runs = [(outcome["experiment"], outcome["seed"]) for outcome in self.outcomes()]
        assert len(set(trials)) == len(trials) and len(set(runs)) == len(runs)
        assert [row for row in rows(self.repository) if row[4] == "crash"] == []
        refs = git(self.repository, "for-each-ref", "--format=%(refname) %(objectname)", "refs/autoresearch/t/trials")
        commits = dict(line.removeprefix("refs/autoresearch/t/trials/").split() for line in refs.splitlines())
        for outcome in self.outcomes():
            assert commits[outcome["trial"]] == outcome["commit"]
            folder = self.repository / f"runs/t/gpu{outcome['slot']}/trials/{outcome['trial']}"
            assert "step 1" in (folder / "run.log").read_text()
            assert not (folder / "running.json").exists()
        incumbent = git(self.repository, "rev-parse", "autoresearch/t")
        for slot in {outcome["slot"] for outcome in self.outcomes()}:
            assert git(self.repository, "rev-parse", f"autoresearch/t-gpu{slot}") == incumbent
        dangling = "--no-dangling" if driver_died else "--dangling"
        assert git(self.repository, "fsck", "--connectivity-only", dangling) == ""
        for name, node in self.nodes.items():
            assert node.processes("train.py") == [], name
            wait_for(lambda node=node: not node.processes("guard.py"), 10)  # the driver's watcher has its grace
            if node is not self.head:
                assert self.files_of_search(name) == [], name


@contextmanager
def cluster_of(tmp_path, train=SLOW_TRAIN, **gpus):
    with Lab(tmp_path / "lab", shared=SHARED) as lab:
        yield Cluster(lab, train, gpus)


def training_on(cluster, name):
    """Trials that train on a node now, by the node's own files."""
    found = []
    for path in cluster.nodes[name].home.glob(".local/state/autoresearch/nodes/*/searches/*/run/gpu*/trials/*"):
        try:
            if json.loads((path / "running.json").read_text())["training_since"]:
                found.append(path.name)
        except (OSError, ValueError):
            continue
    return found
