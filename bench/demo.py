"""Does `make demo` show what it is there to show? Runs it with one seed after another, as a newcomer would.

In a fresh clone of HEAD with an environment of its own. Of every seed: how long it took, how many experiments raced
(ran with further seeds before they were decided), how many were kept with more than one seed, and whether fresh seeds
showed that what is recommended is better than the baseline. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def spin() -> None:
    """Keeps one core busy."""
    while True:
        pass


def made(clone: Path, *arguments: str) -> float:
    """Seconds that `make` took. Raises SystemExit with its last words if it failed."""
    began = time.monotonic()
    done = subprocess.run(["make", *arguments], cwd=clone, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench/demo.py: make {' '.join(arguments)} failed: {(done.stdout + done.stderr)[-2000:]}")
    return time.monotonic() - began


def shown(folder: Path) -> dict[str, Any]:
    """What a search's files say that it showed."""
    decisions = [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]
    recommended = json.loads((folder / "analysis_summary.json").read_text())["recommended"]
    tried = [one for one in decisions if one["experiment"]]
    several = [one for one in tried if len(one["seeds"]) > 1]
    return {
        "experiments": len(tried),
        "raced": len(several),
        "kept_confirmed": sum(one["status"] == "keep" for one in several),
        "proved": recommended["shown_better"],
        "words": recommended["words"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/demo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1, help="demos, one after another (default 1; docs: 10)")
    parser.add_argument("--first", type=int, default=0, help="the first one's seed (default 0)")
    parser.add_argument("--busy", type=int, default=0, help="cores to keep busy meanwhile (default 0)")
    options = parser.parse_args()
    if options.seeds < 1 or options.busy < 0:
        parser.error("at least one of --seeds, and --busy 0 or more")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        install = made(clone, "install")
        print(f"installed in {install:.0f} s", flush=True)
        busy = [multiprocessing.Process(target=spin, daemon=True) for _ in range(options.busy)]
        for one in busy:
            one.start()
        found: list[dict[str, Any]] = []
        for seed in range(options.first, options.first + options.seeds):
            before = {path.name for path in (clone / "runs").glob("demo-*")}
            seconds = made(clone, "demo", f"SEED={seed}")
            (new,) = [path for path in (clone / "runs").glob("demo-*") if path.name not in before]
            found.append({"seconds": seconds, **shown(new)})
            one = found[-1]
            print(
                f"seed {seed}: {seconds:.0f} s, {one['experiments']} experiments, {one['raced']} raced, "
                f"{one['kept_confirmed']} kept with more than one seed: {one['words']}",
                flush=True,
            )
        for process in busy:
            process.kill()
    print(
        json.dumps(
            {
                "seeds": options.seeds,
                "busy_cores": options.busy,
                "install_seconds": round(install, 1),
                "seconds_median": round(median(one["seconds"] for one in found), 1),
                "seconds_most": round(max(one["seconds"] for one in found), 1),
                "with_a_race": sum(one["raced"] > 0 for one in found),
                "with_a_confirmed_keep": sum(one["kept_confirmed"] > 0 for one in found),
                "with_a_proof": sum(one["proved"] for one in found),
                "with_all_three": sum(
                    one["raced"] > 0 and one["kept_confirmed"] > 0 and one["proved"] for one in found
                ),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
