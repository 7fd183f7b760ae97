"""python -m search.track [TAG] --to trackio|wandb|mlflow: copies a search to where people track their work."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
from pathlib import Path

from search.cli import command, control
from search.core.paths import SearchPaths
from search.core.types import SearchError, UsageError
from search.system.git import Repository
from search.tracking.follow import Follower, follow
from search.tracking.trackers import PACKAGES, tracker_of

LOOK_SECONDS = 15.0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m search.track",
        description="Copies a search to Trackio, Weights & Biases or MLflow: its settings, every trial with its curve, "
        "every decision, the frontier and the picture of its progress. What is there already is not doubled. It writes "
        "to this machine alone, unless the tracker's own variables say otherwise (WANDB_MODE, MLFLOW_TRACKING_URI).",
        epilog=command.EXIT_CODES,
    )
    made.add_argument("search", nargs="?", metavar="TAG", help="the search (default: the newest)")
    made.add_argument("--to", choices=PACKAGES, required=True, help="its package must be installed")
    made.add_argument("--model", type=Path, metavar="DIR", help="a model of search.export's, to go along")
    made.add_argument("--beside", action="store_true", help=argparse.SUPPRESS)  # a search that runs, by search.launch
    return made


def track(options: argparse.Namespace) -> int:
    """The exit code. Raises SearchError."""
    if options.model is not None and not options.model.is_dir():
        raise UsageError(f"--model {options.model}: no such folder; python -m search.export writes one")
    repository = control.repository_here()
    tag = control.tag_of(repository, options.search)
    folder = SearchPaths.of(repository.root, tag).root
    if not (folder / "settings.json").is_file() and not options.beside:
        control.load_state(repository, tag)  # says what is wrong, if it is
        raise SearchError(f"{folder} has no records; python -m search.launch --resume {tag} writes them anew")
    tracker = tracker_of(options.to, tag, folder)
    follower = Follower(folder, Repository(repository.root), tracker, folder / f"tracked-{options.to}.txt")
    try:
        if options.beside:
            os.nice(10)  # trials come first
            out = sys.stdout
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # trackers are talkative
                follow(follower, is_over, lambda line: print(line, file=out, flush=True))
        else:
            count = follower.copy(options.model, is_last=True)
            print(f"{tag}: {count} trials that {options.to} had not; {tracker.where}")
    finally:
        tracker.close()
    return 0


def is_over() -> bool:
    """Waits a while; whether the search has closed standard input."""
    ready, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS)
    return bool(ready) and not sys.stdin.readline()


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return command.guarded("track", lambda: track(options))


if __name__ == "__main__":
    sys.exit(main())
