"""What does a search on several machines cost its head, and how does that grow with the nodes?

Runs the true search, with trials that only wait, on so many Ray nodes on this one machine (each with an address of its
own, 127.0.0.N), and beside it the same search without a cluster. The head has no GPU, so every trial is away from home.
Trials wait longer the more slots there are, so that this machine's cores are as busy for every number of nodes. What
each process of the head takes is then told apart, by least squares, into what it takes in any case, for each node and
for each trial. The last line is one JSON object with the figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import prepare
from search.cluster import git_packs
from search.system.git import Repository
from search.system.guard import descendants

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ("task.toml", "prepare.py", "search", "spaces", ".gitignore")
PHOTOS = 300
HEAD = "127.0.0.2"
START_SECONDS = 90.0
AT_ONCE = 2  # nodes that start together: Ray gives each half a minute, and two cores are soon busy
SEARCH_SECONDS = 600.0
GIGABIT = 125e6  # bytes a second
PARTS = {
    "driver": "search.launch",
    "exchange": "ray::ArtifactExchange",
    "dispatcher": "ray::Dispatcher",
    "gcs": "gcs_server",
    "raylet": "raylet",
}
TICKS = os.sysconf("SC_CLK_TCK")
SPACE = '[width]\nkind = "int"\nlow = 1\nhigh = 1000000\nscale = "log"\nstep = 100\n'
WAITING = '''"""Waits, and then submits guesses."""
import argparse, time
from dataclasses import dataclass
import numpy as np
import prepare

@dataclass
class Recipe:
    width: int = 1000

parser = argparse.ArgumentParser()
for name in ("--dataset", "--seed", "--max-train-seconds"):
    parser.add_argument(name)
options = parser.parse_args()
recipe = Recipe()
data = prepare.begin_training(prepare.load(options.dataset))
began = time.monotonic()
for step in range(1, 1000000):
    print(f"step {10 * step} | epoch 1 | loss {1 / step:.4f} | {time.monotonic() - began:.1f} s", flush=True)
    time.sleep(min(0.5, max(began + WAIT - time.monotonic(), 0)))
    if time.monotonic() - began >= WAIT:
        break
photos = len(data.indices("validation")) + len(data.indices("test"))
probabilities = np.random.default_rng([int(options.seed), recipe.width]).dirichlet(np.ones(5), photos)
scorer = prepare._Scorer.of_this_trial()
scorer.ask({"event": "evaluating", "probe": 1.0})
scores = scorer.ask({"event": "submit", "shape": list(probabilities.shape)}, probabilities.astype("<f4").tobytes())
print("---")
print(f"mc_acc: {scores['mc_acc']:.6f}")
print(f"bin_acc: {scores['bin_acc']:.6f}")
print("train_seconds: 0.1")
print("train_stopped_budget: true")
print("peak_vram_mb: 0.0")
print("arch: none")
print("optimizer: none")
'''


def make_project(folder: Path, wait: float, first: str = "") -> None:
    """A repository of this project whose train.py waits; in comments it has the real one, so that it is as long.

    first: what train.py does before that.
    """
    folder.mkdir(parents=True)
    for name in PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    real = "".join(f"# {line}\n" for line in (ROOT / "train.py").read_text().splitlines())
    (folder / "train.py").write_text(
        WAITING.replace("WAIT", str(wait)).replace("recipe = Recipe()", f"{first}recipe = Recipe()") + real
    )
    (folder / "spaces" / "waiting.toml").write_text(SPACE)
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false")
    for command in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "begin")):
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)


def environment_of(work: Path, name: str) -> dict[str, str]:
    """What one machine's processes see: folders of its own, and a token of this bench's own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "AUTORESEARCH_"))}
    own = work / name
    (own / "home").mkdir(parents=True, exist_ok=True)
    mine = {"HOME": own / "home", "AUTORESEARCH_NODE": own / "node", "AUTORESEARCH_CACHE": own / "cache"}
    mine |= {"AUTORESEARCH_STATE": own / "state", "RAY_TMPDIR": work, "RAY_AUTH_TOKEN_PATH": work / "token"}
    return kept | {key: str(value) for key, value in mine.items()} | {"RAY_AUTH_MODE": "token"}


@contextmanager
def guarded(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a command; at the end, or when this process is killed, all that it started is ended."""
    guard = [sys.executable, "-I", "-S", str(ROOT / "search" / "system" / "guard.py")]
    process = subprocess.Popen([*guard, *command], stdin=subprocess.PIPE, start_new_session=True, **options)
    try:
        yield process
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait()


def ray_command(work: Path, name: str, *arguments: str) -> list[str]:
    """Starts one Ray node, and stays."""
    ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block", "--num-cpus=2"]
    # A folder each: nodes that start at once in one would find the same names free for their sockets.
    return [*ray, "--disable-usage-stats", f"--temp-dir={work / name / 'ray'}", *arguments]


def start_node(stack: ExitStack, work: Path, name: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Starts one Ray node; (its guard, its log)."""
    log = work / f"{name}.log"
    with log.open("wb") as stream:
        command, environment = ray_command(work, name, *arguments), environment_of(work, name)
        node = guarded(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, cwd=work)
        return stack.enter_context(node), log


def wait_for(text: str, node: subprocess.Popen[bytes], log: Path) -> str:
    """A node's log, once it has the text. Raises SystemExit if it does not come."""
    deadline = time.monotonic() + START_SECONDS
    while text not in (text_so_far := log.read_text(errors="replace")):
        if time.monotonic() > deadline or node.poll() is not None:
            raise SystemExit(f"{sys.argv[0]}: Ray did not start:\n{text_so_far[-2000:]}")
        time.sleep(0.2)
    return text_so_far


@dataclass
class Sample:
    """CPU seconds (ended children's too), memory in MB and open files, by part of the head; Ray's workers anywhere."""

    at: float
    cpu: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    workers: int = 0


def part_of(command: str) -> str:
    """Which part of the head runs this; '' for none."""
    words = command.split("\0")
    named = words[0] if words[0].startswith("ray::") else Path(words[0]).name
    if "guard.py" in command or "search.launch" in words:
        return "" if "guard.py" in command else "driver"
    return next((part for part, name in PARTS.items() if named.startswith(name)), "")


def look(head: Sequence[int], nodes: Sequence[int]) -> Sample:
    """A sample of what runs below these guards."""
    sample = Sample(time.time())
    for root in (*head, *nodes):
        for pid in descendants(root):
            folder = Path(f"/proc/{pid}")
            try:
                command = (folder / "cmdline").read_text(errors="replace")
                sample.workers += command.startswith("ray::")
                part = part_of(command) if root in head else ""
                if part:
                    stat = (folder / "stat").read_text().rpartition(")")[2].split()
                    sample.cpu[part] = sum(map(int, stat[11:15])) / TICKS
                    sample.memory_mb[part] = int(stat[21]) * resource.getpagesize() / 2**20
                    sample.files[part] = len(os.listdir(folder / "fd"))
            except OSError:
                continue
    return sample


@dataclass
class Ran:
    """One search. trials: lines of its trials.jsonl."""

    nodes: int
    wait: float
    trials: list[dict[str, Any]]
    traffic: dict[str, int]
    samples: list[Sample]
    load: float
    snapshot: int  # bytes of the first commit's pack, which every node fetches


def run_search(project: Path, work: Path, wait: float, arguments: Sequence[str], guards: Sequence[int]) -> Ran:
    """Runs one search to its end. guards: of the head and of the other nodes. Raises SystemExit if it fails."""
    command = [
        sys.executable, "-m", "search.launch", "--json", "--tag", "bench", "--dataset", str(work / "photos"),
        "--agent", "none", "--space", "spaces/waiting.toml", "--max-train-seconds", str(wait), "--confirm-seeds", "0",
        *arguments,
    ]  # fmt: skip
    samples: list[Sample] = []
    over = threading.Event()
    output = {"stdout": (project / "out").open("wb"), "stderr": (project / "err").open("wb")}
    with guarded(command, cwd=project, env=environment_of(work, "head"), **output) as search:

        def sample() -> None:
            while not over.wait(1.0):
                samples.append(look([search.pid, *guards[:1]], guards[1:]))

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            code = search.wait(timeout=SEARCH_SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            over.set()
            thread.join()
    trials = [json.loads(line) for line in (project / "runs" / "bench" / "trials.jsonl").read_text().splitlines()]
    wrong = [trial["reason"] for trial in trials if trial["score"] is None]
    if code or wrong:
        raise SystemExit(f"bench/cluster.py: exit code {code}, {wrong[:3]}:\n{(project / 'err').read_text()[-3000:]}")
    traffic = json.loads((project / "out").read_text().splitlines()[-1]).get("traffic", {})
    repository = Repository(project)
    snapshot = len(git_packs.snapshot(repository, str(repository.commit_of("main"))))
    return Ran(max(len(guards) - 1, 0), wait, trials, traffic, samples, os.getloadavg()[0], snapshot)


def search_away(work: Path, nodes: int, gpus: int, wait: float, experiments: int) -> Ran:
    """A search on so many nodes beside the head."""
    project = work / f"away{nodes}"
    make_project(project, wait)
    with ExitStack() as stack:
        head, log = start_node(
            stack, work, "head", "--head", f"--node-ip-address={HEAD}", "--port=0", "--num-gpus=0",
            "--include-dashboard=false",
        )  # fmt: skip
        address = wait_for("Ray runtime started", head, log).partition("--address='")[2].partition("'")[0]
        others: list[tuple[subprocess.Popen[bytes], Path]] = []
        for number in range(nodes):
            where = (f"--address={address}", f"--node-ip-address=127.0.0.{number + 3}")
            others.append(start_node(stack, work, f"node{number}", *where, f"--num-gpus={gpus}"))
            if number % AT_ONCE == AT_ONCE - 1 or number == nodes - 1:
                for node, log in others[-AT_ONCE:]:
                    wait_for("Ray runtime started", node, log)
        guards = [head.pid, *(guard.pid for guard, _ in others)]
        asked = ["--address", address, "--gpus", "auto", "--experiments", str(experiments)]
        return run_search(project, work, wait, asked, guards)


def search_here(work: Path, slots: int, wait: float, experiments: int) -> Ran:
    """The same search without a cluster."""
    project = work / f"here{slots}"
    make_project(project, wait)
    asked = ["--gpus", str(slots), "--no-dashboard", "--no-page", "--experiments", str(experiments)]
    return run_search(project, work, wait, asked, [])


# --- figures ---


def handovers(trials: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(end of a trial, beginning of the next one) of every two that followed each other in a slot."""
    slots = defaultdict(list)
    for trial in sorted(trials, key=lambda trial: trial["began"]):
        slots[trial["slot"]].append(trial)
    return [(a["ended"], b["began"]) for row in slots.values() for a, b in itertools.pairwise(row)]


def pace(ran: Ran) -> dict[str, float]:
    """Seconds between two trials of a slot, and of a trial beyond its waiting; without the first of each slot."""
    pairs = handovers(ran.trials)
    gaps, followed = [began - ended for ended, began in pairs], {began for _, began in pairs}
    beyond = [trial["ended"] - trial["began"] - ran.wait for trial in ran.trials if trial["began"] in followed]
    seconds = {"gap": np.median(gaps), "gap_p90": np.percentile(gaps, 90), "beyond_waiting": np.median(beyond)}
    return {name: round(float(value), 3) for name, value in seconds.items()}


def intervals(ran: Ran, part: str) -> list[tuple[float, float, float, float]]:
    """(seconds, nodes x seconds, trials handed over, CPU seconds) between samples while trials follow each other."""
    ended, began = np.array(handovers(ran.trials)).T
    during = [s for s in ran.samples if part in s.cpu and ended.min() - 1 < s.at < began.max() + 1]
    found = []
    for a, b in itertools.pairwise(during):
        handed = [((s.at - ended) / (began - ended)).clip(0, 1).sum() for s in (a, b)]
        found.append((b.at - a.at, (b.at - a.at) * ran.nodes, handed[1] - handed[0], b.cpu[part] - a.cpu[part]))
    return found


def cpu_line(rans: Sequence[Ran], part: str) -> dict[str, float]:
    """Cores that a part of the head takes in any case and for each node, and its CPU seconds for each trial.

    Least squares in which what comes out below nothing is left out: no part gives CPU time back.
    """
    table = np.array([row for ran in rans for row in intervals(ran, part)])
    columns = [0, 1, 2] if len({ran.nodes for ran in rans}) > 1 else [0, 2]
    found = np.zeros(3)
    while columns:
        solved = np.linalg.lstsq(table[:, columns], table[:, 3], rcond=None)[0]
        if solved.min() >= 0:
            found[columns] = solved
            break
        del columns[int(solved.argmin())]
    return dict(zip(("fixed", "per_node", "per_trial"), found.round(5).tolist(), strict=True))


def line(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """The straight line through measured points; flat if there is one."""
    slope, fixed = np.polyfit(x, y, 1) if len(set(x)) > 1 else (0.0, float(np.mean(y)))
    return {"fixed": round(float(fixed), 4), "slope": round(float(slope), 4)}


def peak(ran: Ran, what: str, part: str) -> float:
    return max((getattr(sample, what).get(part, 0) for sample in ran.samples), default=0)


def project_to(
    gpus: int,
    seconds: float,
    per_node: int,
    bytes_of: Mapping[str, float],
    cpu: Mapping[str, Mapping[str, float]],
    others: Mapping[str, tuple[Mapping[str, float], float]],
) -> dict[str, Any]:
    """What a head takes of what it has, for so many GPUs with trials of so many seconds, if every line goes on.

    per_node: GPUs of a node. bytes_of: a trial's, by its seconds. cpu: by cpu_line; a part has one core. others: the
    line of anything else by the nodes, and how much of it there is. Each grows with the GPUs above a fixed part, and is
    full at some number of them; the network is a gigabit's.
    """
    of_trial = bytes_of["fixed"] + max(bytes_of["slope"], 0) * seconds
    lines = {"network": (0.0, of_trial / seconds, GIGABIT)}
    for part, one in cpu.items():
        lines[f"cpu of {part}"] = (one["fixed"], one["per_node"] / per_node + one["per_trial"] / seconds, 1.0)
    for name, (one, limit) in others.items():
        lines[name] = (one["fixed"], max(one["slope"], 0) / per_node, limit)
    parts: dict[str, Any] = {}
    full: dict[str, int] = {}
    for name, (fixed, grows, limit) in lines.items():
        takes = fixed + grows * gpus
        parts[name] = {"takes": round(takes, 3), "share": round(takes / limit, 4)}
        if grows > 0:
            full[name] = parts[name]["full_at_gpus"] = round((limit - fixed) / grows)
    first = min(full, key=lambda name: full[name])
    return {"gpus": gpus, "trial_seconds": seconds, "breaks_first": first, "parts": parts}


def figures_of(away: Ran, here: Ran, gpus: int) -> dict[str, Any]:
    """What one number of nodes showed."""
    there, home = pace(away), pace(here)
    trials = away.traffic["trials"]
    over_the_wire = away.traffic["sent"] + away.traffic["received"] - away.nodes * away.snapshot
    return {
        "nodes": away.nodes,
        "slots": away.nodes * gpus,
        "trials": trials,
        "trial_seconds": away.wait,
        "load_average": round(away.load, 1),
        "away": there,
        "here": home,
        "seconds_added": round(there["gap"] + there["beyond_waiting"] - home["gap"] - home["beyond_waiting"], 3),
        "gap_added": round(there["gap"] - home["gap"], 3),
        "gap_added_p90": round(there["gap_p90"] - home["gap_p90"], 3),
        "bytes_per_trial": round(over_the_wire / trials),
        "bytes_once_per_node": away.snapshot,
        "memory_mb": {part: round(peak(away, "memory_mb", part)) for part in PARTS},
        "files": {part: peak(away, "files", part) for part in PARTS},
        "workers": max(sample.workers for sample in away.samples),
    }


def summary_of(rans: Sequence[Ran], sizes: Sequence[dict[str, Any]], gpus: int, photos: int) -> dict[str, Any]:
    """All figures, with the lines through them and what a thousand GPUs would make of these."""
    nodes = [ran.nodes for ran in rans]
    bytes_of = line([ran.wait for ran in rans], [size["bytes_per_trial"] for size in sizes])
    cpu = {part: cpu_line(rans, part) for part in PARTS}
    memory = line(nodes, [sum(size["memory_mb"].values()) for size in sizes])
    workers = line(nodes, [size["workers"] for size in sizes])
    most = float(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    others = {"memory": (memory, os.sysconf("SC_PHYS_PAGES") * resource.getpagesize() / 2**20)}
    for part in PARTS:
        others[f"files of {part}"] = (line(nodes, [size["files"][part] for size in sizes]), most)
    projected = project_to(1000, 300.0, gpus, bytes_of, cpu, others)
    projected["workers_on_all_nodes"] = round(workers["fixed"] + workers["slope"] * 1000 / gpus)
    return {
        "seconds_added": [size["seconds_added"] for size in sizes],
        "bytes_per_trial": [size["bytes_per_trial"] for size in sizes],
        "bytes_per_trial_by_its_seconds": bytes_of,
        "photo_bytes_once_per_node": photos,  # by their size: here all nodes see the head's files, and fetch none
        "cpu": cpu,
        "memory_mb": memory,
        "workers": workers,
        "sizes": sizes,
        "projected": projected,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/cluster.py", description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[2, 4], help="nodes (default 2 4; docs: 2 4 8)")
    parser.add_argument("--gpus-per-node", type=int, default=1, help="logical GPUs of a node (default 1)")
    parser.add_argument("--rounds", type=int, default=4, help="trials of each slot (default 4; docs: 8)")
    parser.add_argument("--wait", type=float, default=1.5, help="seconds of a trial, for each slot (default 1.5)")
    options = parser.parse_args()
    if min(options.nodes) < 1 or max(options.nodes) > 200 or options.rounds < 3:
        parser.error("--nodes from 1 to 200, and at least 3 --rounds")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rans, sizes = [], []
    try:
        with tempfile.TemporaryDirectory(prefix="arc", ignore_cleanup_errors=True) as folder:
            work = Path(folder)
            (work / "token").write_text(secrets.token_hex(32))
            from search.task.screening.demo_images import draw
            from search.task.screening.photos import photo_files

            draw(work / "photos", PHOTOS)
            files = [path for path, _ in photo_files(work / "photos", prepare.FIVE_CLASSES)]
            photos = sum((work / "photos" / path).stat().st_size for path in files)
            for nodes in sorted(set(options.nodes)):
                slots = nodes * options.gpus_per_node
                wait, experiments = options.wait * slots, slots * (options.rounds - 1) + 1
                away = search_away(work, nodes, options.gpus_per_node, wait, experiments)
                here = search_here(work, slots, wait, experiments)
                rans.append(away)
                sizes.append(figures_of(away, here, options.gpus_per_node))
                print(f"{nodes} nodes: {json.dumps(sizes[-1])}", flush=True)
            print(json.dumps(summary_of(rans, sizes, options.gpus_per_node, photos)))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
