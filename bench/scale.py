"""What a search costs itself as its history grows: choosing, deciding, recording, status, resuming and summaries.

Drives the true plan, decisions, state, journal, ledgers and summaries, in a repository made for it, with trials that
take no time. Each history is a journal as a search would have left it, made up of the same events; then every step of
further trials is timed. The last line is one JSON object; times are medians.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import threadpoolctl

from search.core.events import (
    Decided,
    Event,
    ExperimentPlanned,
    SearchBegun,
    TrialEnded,
    TrialStarted,
    title_of,
    to_line,
)
from search.core.paths import Names
from search.core.task import Score
from search.core.types import Change, Decision, Experiment, Kind, Outcome, SearchError, Settings, Status, Work
from search.decide.plan import Limit, Pause
from search.driver.coordinator import Coordinator
from search.records.results_tsv import header_of
from search.system.git import Repository
from search.task.declaration import load_task

ROOT = Path(__file__).resolve().parent.parent
TASK = load_task(ROOT / "task.toml")
NOISE = 0.02  # standard deviation of a made-up trial
GAIN_SHARE = 0.03  # of experiments in a made-up history that are kept
TRIAL_SECONDS = 300.0  # in virtual time
IMAGES = 400
SPACE = "".join(f'[axis{n}]\nkind = "float"\nlow = 1e-4\nhigh = 1.0\nscale = "log"\nstep = 4\n\n' for n in range(8))
TRAIN = "class Recipe:\n" + "".join(f"    axis{n}: float = 0.01\n" for n in range(8)) + "\nprint('trained')\n"


def settings_of(base: str, slots: int) -> Settings:
    return Settings(
        tag="scale", task=TASK, base=base, dataset="", fingerprint="", image_size=64, majority_score=0.9, space=SPACE,
        space_name="scale.toml", seed=0, max_train_seconds=TRIAL_SECONDS, slots=slots, created=0.0,
        validation_images=IMAGES, validation_groups=(),
        confirm_seeds=1, allow_degenerate=False, agent="none", gpu_dollars_per_hour=None,
        most_slots=None, gpu_model="", on_gpus=False, proof_share=0.1,
    )  # fmt: skip


def outcome_of(work: Work, slot: int, commit: str, truth: float, rng: random.Random, now: float) -> Outcome:
    """As large as a real one, with a made-up score."""
    score = Score(min(max(truth + rng.gauss(0, NOISE), 0.0), 1.0), 0.6)
    rates = {name: [0.9, 0.85, 0.95] for name in ("sensitivity", "specificity", "auroc", "average_precision")}
    metrics = {"photos": IMAGES, "infected": 30, "flagged": 0.1, "confusion": [[10] * 5] * 5, **rates}
    footer = {"mc_acc": "0.6", "bin_acc": "0.9", "train_seconds": "300.0", "peak_vram_mb": "900.0", "arch": "lite"}
    speed = {"training_seconds": 300.0, "evaluation_seconds": 2.0, "probe": 100.0, "steps": 4000.0}
    return Outcome(
        work.trial_id, work.experiment.number, work.seed, slot, commit, score, memory_mb=900.0, began=now,
        ended=now + TRIAL_SECONDS, footer=footer, metrics=metrics, correct="ff" * (IMAGES // 8), speed=speed,
        machine="card", code_size=1000,
    )  # fmt: skip


def history(base: str, experiments: int, slots: int, rng: random.Random) -> Iterator[Event]:
    """The events of a search with so many decided experiments: one in ten is run with further seeds."""
    settings, now = settings_of(base, slots), 0.0
    yield SearchBegun(settings)
    incumbent, level, point = base, 0.90, {f"axis{n}": 0.01 for n in range(8)}
    for number in range(experiments + 1):
        now += TRIAL_SECONDS / slots
        axis = rng.choice(list(point))
        change = Change(axis, point[axis], round(10 ** rng.uniform(-4, 0), 6))
        kind = Kind.SWEEP if number else Kind.BASELINE
        changes = (change,) if number else ()
        experiment = Experiment(number, kind, incumbent, changes, str(change) if number else "baseline")
        yield ExperimentPlanned(experiment, now)
        commit = base if number == 0 else f"{rng.getrandbits(160):040x}"
        kept = number == 0 or rng.random() < GAIN_SHARE
        truth = level + (0.001 if kept and number else -0.005)
        seeds = slots if number == 0 else 3 if kept or rng.random() < 0.1 else 1
        scores = []
        for seed in range(seeds):
            work = Work(experiment, seed, commit=commit if seed else "")
            yield TrialStarted(number, seed, number % slots, commit=work.commit, at=now)
            made = outcome_of(work, number % slots, commit, truth, rng, now)
            scores.append(made.score)
            yield TrialEnded(made, now + TRIAL_SECONDS)
        mean = Score(sum(s.primary for s in scores if s) / seeds, 0.6)
        status = Status.KEEP if kept else Status.DISCARD
        yield Decided(
            Decision(
                number,
                status,
                "bin_acc -0.004000",
                commit,
                number % slots,
                mean,
                0.9,
                experiment.description,
                incumbent,
                mean,
                changes,
                tuple(range(seeds)),
                now,
                probability=0.4,
                estimate=level,
            ),
            now + TRIAL_SECONDS,
        )
        if kept:
            incumbent, level = commit, truth
            point = {**point, axis: change.new} if number else point


def write_journal(repository: Repository, events: Iterator[Event]) -> int:
    """Writes a journal as journal.append would, by git's own bulk import; how many records."""
    lines, count = [], 0
    for event in events:
        message = f"{title_of(event)}\n\n{to_line(event)}".encode()
        lines.append(
            b"commit %s\ncommitter autoresearch <autoresearch@localhost> 0 +0000\ndata %d\n%s\n"
            % (Names("scale").journal.encode(), len(message), message)
        )
        count += 1
    subprocess.run(["git", "fast-import", "--quiet", "--force"], cwd=repository.root, input=b"".join(lines), check=True)
    return count


@dataclass
class Timer:
    """Seconds by the name of what took them."""

    seen: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = call()
        self.seen.setdefault(name, []).append(time.perf_counter() - began)
        return result

    def wrap(self, owner: Any, method: str, name: str) -> None:
        """Times every call of a method from here on."""
        real = getattr(owner, method)
        setattr(owner, method, lambda *given, **named: self.time(name, lambda: real(*given, **named)))

    def milliseconds(self, name: str) -> float:
        return round(1000 * median(self.seen[name]), 2) if self.seen.get(name) else 0.0


class Trials:
    """Slots whose trials take no time, on a coordinator without Ray."""

    def __init__(self, coordinator: Coordinator, slots: int, seed: int) -> None:
        self.coordinator, self.slots, self.rng = coordinator, slots, random.Random(seed)
        for slot in range(slots):
            coordinator.enrol(slot, "here", str(slot), model="card")

    def outcome(self, work: Work, slot: int, now: float) -> Outcome:
        state = self.coordinator.state
        commit = work.commit or f"{self.rng.getrandbits(160):040x}"
        incumbent = state.incumbent
        truth = (incumbent.score.primary if incumbent and incumbent.score else 0.9) - 0.005
        return outcome_of(work, slot, commit, truth, self.rng, now)


def measured(folder: Path, length: int, slots: int, trials: int) -> dict[str, float]:
    """The figures of a history of so many experiments."""
    repository = new_repository(folder)
    base = repository.commit_of("HEAD")
    assert base is not None
    write_journal(repository, history(base, length, slots, random.Random(length)))
    coordinator, timer = Coordinator(repository, "scale", lambda line: None), Timer()
    try:
        began = time.perf_counter()
        serve_sources(coordinator, base)
        coordinator.resume()
        resume = time.perf_counter() - began
        gc.freeze()  # as the launch does
        coordinator.limit = Limit(None)
        driver = Trials(coordinator, slots, 1)
        timer.wrap(coordinator.loop.suggestions, "suggest", "suggest")
        timer.wrap(coordinator.loop, "record", "record")
        for turn in range(trials):
            slot = turn % slots
            records, suggested = len(timer.seen.get("record", ())), len(timer.seen.get("suggest", ()))
            work = timer.time("plan", lambda slot=slot: coordinator.next_work(slot))
            inner = sum(timer.seen["record"][records:]) + sum(timer.seen.get("suggest", ())[suggested:])
            if isinstance(work, Pause):
                raise SearchError(f"nothing to do: {work}")
            timer.seen["plan"][-1] -= inner
            made = driver.outcome(work, slot, time.time())
            records = len(timer.seen["record"])
            timer.time("decide", lambda made=made: coordinator.record(made))
            timer.seen["decide"][-1] -= sum(timer.seen["record"][records:])
        coordinator.refresh_view()
        coordinator.write_view()
    finally:
        coordinator.close()
    status = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "search.status", "--json"], cwd=repository.root, check=True, capture_output=True
        )
        status.append(time.perf_counter() - began)
    return {
        "decision_ms": round(timer.milliseconds("plan") + timer.milliseconds("decide"), 2),
        "suggest_ms": timer.milliseconds("suggest"),
        "record_ms": timer.milliseconds("record"),
        "status_s": round(median(status), 3),
        "resume_s": round(resume, 2),
    }


def busy_share(folder: Path, slots: int, experiments: int) -> float:
    """The share of the slots' time that trains, with trials of TRIAL_SECONDS of virtual time and one driver whose own
    time is what it really takes."""
    repository = new_repository(folder)
    base = repository.commit_of("HEAD")
    assert base is not None
    coordinator = Coordinator(repository, "scale", lambda line: None)
    serve_sources(coordinator, base)
    try:
        coordinator.begin(settings_of(base, slots))
        coordinator.limit = Limit(experiments)
        driver = Trials(coordinator, slots, 2)
        clock, trained = 0.0, 0.0  # of the driver, in virtual seconds
        ends: list[tuple[float, int, Work]] = []
        idle = list(range(slots))
        while True:
            began = time.perf_counter()
            still = []
            for slot in idle:
                work = coordinator.next_work(slot)
                now = clock + time.perf_counter() - began
                if isinstance(work, Work):
                    heapq.heappush(ends, (now + TRIAL_SECONDS, slot, work))
                    trained += TRIAL_SECONDS
                else:
                    still.append(slot)
            clock += time.perf_counter() - began
            if not ends:
                break
            end, slot, work = heapq.heappop(ends)
            clock = max(clock, end)
            began = time.perf_counter()
            coordinator.record(driver.outcome(work, slot, clock))
            clock += time.perf_counter() - began
            idle = [*still, slot]
            if coordinator.limit.reached(coordinator.state):  # the end, when slots run out of work, is no part of it
                break
        return round(min(trained_by(clock, trained, ends) / (clock * slots), 1.0), 4)
    finally:
        coordinator.close()


def trained_by(clock: float, trained: float, ends: list[tuple[float, int, Work]]) -> float:
    """Of what was begun, the seconds that lie before the clock."""
    return trained - sum(max(end - clock, 0.0) for end, _, _ in ends)


def summarise_seconds(folder: Path, rows: int) -> float:
    """How long summarize_results.py takes for so many rows, its start included."""
    rng = random.Random(rows)
    best, lines = 0.80, [header_of(TASK)]
    for number in range(rows):
        kept = number == 0 or rng.random() < 0.002
        best += 0.0005 if kept and number else 0.0
        score = best if kept else max(best - abs(rng.gauss(0.01, NOISE)), 0.0)
        status = "keep" if kept else "crash" if rng.random() < 0.05 else "discard"
        numbers = "0.000000\t0.000000\t0.0" if status == "crash" else f"0.600000\t{score:.6f}\t0.9"
        lines.append(f"{rng.getrandbits(28):07x}\t{numbers}\t{status}\taxis{number % 8} {number}")
    folder.mkdir(parents=True)
    (folder / "results.tsv").write_text("\n".join(lines) + "\n")
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, str(ROOT / "summarize_results.py"), "results.tsv"], cwd=folder, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return round(time.perf_counter() - began, 2)


def serve_sources(coordinator: Coordinator, base: str) -> None:
    """Made-up commits have a made-up train.py: the base's, with the changes that lead to them."""
    git, texts = coordinator.repository, {base: TRAIN}

    def file_at(commit: str, path: str) -> str:
        state = getattr(coordinator, "state", None)
        for decision in [] if state is None else state.kept[len(texts) - 1 :]:
            experiment = state.experiments[decision.experiment]
            text = texts.get(experiment.parent, TRAIN)
            for change in experiment.changes:
                text = re.sub(rf"    {change.axis}: float = .*", f"    {change.axis}: float = {change.new}", text)
            texts[decision.commit] = text
        return texts.get(commit, TRAIN)

    git.file_at = file_at  # type: ignore[method-assign]
    git.set_ref = lambda *_: None  # type: ignore[method-assign]  # made-up commits have no objects


def new_repository(folder: Path) -> Repository:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "search", folder / "search", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prepare.py", folder)
    shutil.copy(ROOT / "task.toml", folder)
    (folder / "train.py").write_text(TRAIN)
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for command in (["init", "-q"], ["add", "train.py"], [*who, "commit", "-qm", "begin"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return Repository(folder)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/scale.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[100, 1000], metavar="N",
        help="experiments in the history (default 100 1000; docs: 100 1000 10000 100000)",
    )  # fmt: skip
    parser.add_argument(
        "--slots", type=int, nargs="+", default=[4, 64], metavar="N", help="slots (default 4 64; docs: 4 64 256)"
    )
    parser.add_argument("--trials", type=int, default=60, help="that are timed at each length (default 60)")
    parser.add_argument(
        "--busy-experiments", type=int, default=6, metavar="N",
        help="experiments for each slot when the busy share is measured (default 6)",
    )  # fmt: skip
    parser.add_argument("--rows", type=int, default=100_000, help="of the table that is summarised (default 100000)")
    options = parser.parse_args()
    if min(*options.lengths, *options.slots, options.trials, options.busy_experiments, options.rows) < 1:
        parser.error("every number is at least 1")
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")  # as the driver does
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        for length in options.lengths:
            gc.collect()
            found = measured(Path(folder) / f"n{length}", length, options.slots[0], options.trials)
            for name, value in found.items():
                figures.setdefault(name, {})[str(length)] = value
            print(f"{length} experiments: " + ", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
        busy = {}
        for slots in options.slots:
            share = busy_share(Path(folder) / f"busy{slots}", slots, slots * options.busy_experiments)
            busy[str(slots)] = share
            print(f"{slots} slots: busy {share:.4f}", flush=True)
        seconds = summarise_seconds(Path(folder) / "rows", options.rows)
        print(f"summarize_results.py, {options.rows} rows: {seconds} s", flush=True)
    key = f"summarize_{options.rows // 1000}k_s"
    print(json.dumps({**figures, "busy": busy, key: seconds, "slots": options.slots[0], "trials": options.trials}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
