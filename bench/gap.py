"""How long does a slot not train between two trials?

Runs a real search in one slot, and beside it, in turn, trials of the same program in the plain way: each in a new actor
that starts a cold `python train.py`. Both commit, confine, score and record as a search does. A gap is all the time
from one trial's beginning to the next one's but for the seconds of training: start-up, evaluation, what is recorded,
and the next commit. A slot's first gap, in which it imports, does not count. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import ray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from search.core.codec import decode, encode
from search.core.paths import SearchPaths
from search.core.types import Change, Experiment, Kind, Settings, Work
from search.system.process import usable_cores
from search.task.screening.demo_images import draw
from search.trial.run import SlotSetup, run_trial

ROOT = Path(__file__).resolve().parent.parent
SPACE = '[label_smoothing]\nkind = "float"\nlow = 0.0\nhigh = 0.3\nstep = 0.01\n'  # costs no trial more than another
BUSY_SECONDS = (30, 300)


@ray.remote(num_gpus=1, num_cpus=0)
class Once:
    """The plain way's actor: for one trial."""

    def run(self, setup: SlotSetup, work: Work) -> dict[str, Any]:
        return dict(encode(run_trial(setup, work)))


def searched(clone: Path, options: argparse.Namespace, dataset: Path, tag: str) -> list[dict[str, Any]]:
    """The trials of a real search. Raises SystemExit with its last words if it failed."""
    (clone / "gap.toml").write_text(SPACE)
    command = [sys.executable, "-m", "search.launch", "--gpus", "1", "--tag", tag, "--dataset", str(dataset)]
    command += ["--experiments", str(options.trials), "--max-train-seconds", str(options.seconds)]
    command += [
        "--space",
        "gap.toml",
        "--agent",
        "none",
        "--no-dashboard",
        "--no-page",
        "--confirm-seeds",
        "0",
        "--proof-share",
        "0",
    ]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench/gap.py: the search failed: {(done.stdout + done.stderr)[-2000:]}")
    lines = (clone / "runs" / tag / "trials.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def plainly(clone: Path, options: argparse.Namespace, tag: str, known: str) -> list[dict[str, Any]]:
    """The trials of the plain way. known: a search whose settings are taken."""
    settings = decode(Settings, json.loads(SearchPaths.of(clone, known).settings.read_text()))
    setup = SlotSetup(
        settings=replace(settings, tag=tag),
        repository=str(clone),
        run=str(clone / "runs" / tag),
        slot=0,
        gpu="",
        dataset=settings.dataset,
        seal=str(clone.parent / f"sealed-{tag}"),
        threads=usable_cores(),
    )
    found = []
    for number in range(1, options.trials + 1):
        change = (Change("label_smoothing", 0.05, round(0.05 + number / 100, 2)),)
        work = Work(Experiment(number, Kind.SWEEP, settings.base, change, f"label_smoothing {number}"), 0)
        actor = Once.remote()
        found.append(ray.get(actor.run.remote(setup, work)))
        ray.kill(actor)
    return found


def gaps_of(trials: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds between trainings. Raises SystemExit if a trial crashed."""
    crashed = [one["reason"] for one in trials if one["score"] is None]
    if crashed:
        raise SystemExit(f"bench/gap.py: a trial crashed: {crashed[0]}")
    in_order = sorted(trials, key=lambda one: one["began"])
    pairs = list(pairwise(in_order))[1:]
    return [after["began"] - before["began"] - before["speed"]["training_seconds"] for before, after in pairs]


def handovers_of(trials: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds from a trial's outcome to the next one's beginning."""
    pairs = list(pairwise(sorted(trials, key=lambda one: one["began"])))[1:]
    return [after["began"] - before["ended"] for before, after in pairs]


def medians(trials: Sequence[dict[str, Any]], what: str) -> float:
    """The median of a part of trials' time, but the first's, in seconds."""
    return statistics.median(one["speed"][what] for one in sorted(trials, key=lambda one: one["began"])[1:])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/gap.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=4, help="of each way and repetition (default 4; docs: 8)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of training (default 3)")
    parser.add_argument("--repetitions", type=int, default=1, help="of both ways, in turn (default 1; docs: 2)")
    parser.add_argument("--photos", type=int, default=300, help="of the drawn data set (default 300)")
    parser.add_argument("--image-size", type=int, default=64, help="pixels (default 64)")
    options = parser.parse_args()
    if options.trials < 3 or options.repetitions < 1:
        parser.error("at least 3 --trials and 1 of --repetitions")
    ours: list[float] = []
    plain: list[float] = []
    parts: dict[str, list[float]] = {"start_up_s": [], "start_up_plain_s": [], "evaluation_s": [], "handover_s": []}
    with tempfile.TemporaryDirectory() as folder:
        clone, dataset = Path(folder) / "clone", Path(folder) / "photos"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        draw(dataset, options.photos, image_size=options.image_size)
        for number in range(options.repetitions):
            found = searched(clone, options, dataset, f"ours{number}")
            ours += gaps_of(found)
            ray.init(num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
            beside = plainly(clone, options, f"plain{number}", f"ours{number}")
            ray.shutdown()
            plain += gaps_of(beside)
            parts["start_up_s"].append(medians(found, "start_up_seconds"))
            parts["evaluation_s"].append(medians(found, "evaluation_seconds"))
            parts["handover_s"].append(statistics.median(handovers_of(found)))
            parts["start_up_plain_s"].append(medians(beside, "start_up_seconds"))
            print(f"gaps, s: {[round(one, 2) for one in ours]}, plain {[round(one, 2) for one in plain]}", flush=True)
    gap, gap_plain = statistics.median(ours), statistics.median(plain)
    print(
        json.dumps(
            {
                "median_gap_s": round(gap, 2),
                "median_gap_plain_s": round(gap_plain, 2),
                "gap_ratio": round(gap / gap_plain, 3),
                **{name: round(statistics.median(values), 2) for name, values in parts.items()},
                **{f"busy_at_{seconds}_s": round(seconds / (seconds + gap), 4) for seconds in BUSY_SECONDS},
                "spread": {"ours": [round(min(ours), 2), round(max(ours), 2)],
                           "plain": [round(min(plain), 2), round(max(plain), 2)]},
                "trials": len(ours),
            }
        )
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
