"""The one command: python -m search.launch --gpus 4. Arguments, signals and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import prepare
from search.coordinator import Coordinator
from search.gpus import LOGICAL_SLOTS, visible_gpus
from search.plan import Limit
from search.process import is_alive, watch_over_this_process
from search.recipe import read_recipe
from search.scoring import majority_share
from search.space import check_space, load_space, parse_space
from search.tags import check_exists, check_tag
from search.types import SearchError, Settings, UsageError
from search.worktree import Repository, clean_environment, find_repository

DEFAULT_ROUND = 12  # experiments between two turns of the agent
LIVE_SECONDS = 1.0
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m search.launch",
        description="Searches for a better train.py: the baseline first, then experiments around the best, one trial "
        "per GPU at a time, until a limit or Ctrl-C. Without a limit it goes on until it is interrupted.",
    )
    made.add_argument(
        "--gpus",
        metavar="N|auto",
        help="slots: one per GPU (auto, the default: all, or four logical ones where there is none; on a resume as "
        "many as before)",
    )
    made.add_argument("--tag", help="name of the search (default: today's date, as in nov23)")
    made.add_argument("--resume", metavar="TAG", help="go on with a search, as it was set up")
    made.add_argument("--dataset", type=Path, help="data set folder (default ./dataset)")
    made.add_argument(
        "--space",
        type=Path,
        help="axes that may vary (default spaces/default.toml)",
    )
    made.add_argument("--rounds", type=int, help="end after so many rounds")
    made.add_argument(
        "--experiments-per-round",
        type=int,
        default=DEFAULT_ROUND,
        metavar="N",
        help=f"experiments between two turns of the agent (default {DEFAULT_ROUND})",
    )
    made.add_argument(
        "--experiments",
        type=int,
        metavar="N",
        help="end after so many experiments; the baseline is not counted, over a resume all others are",
    )
    made.add_argument(
        "--max-train-seconds",
        type=float,
        metavar="S",
        help=f"training budget of a trial, in seconds (default {prepare.TIME_BUDGET})",
    )
    made.add_argument("--seed", type=int, help="of the search's choices and the trials (default 0)")
    made.add_argument("--address", help="join the Ray cluster at this address, instead of starting Ray here")
    made.add_argument("--no-dashboard", action="store_true", help="start Ray without its dashboard")
    made.add_argument("--logs", action="store_true", help="print the trials' own output too")
    made.add_argument("--dry-run", action="store_true", help="check everything, say what would run, and stop")
    made.add_argument(
        "--json",
        action="store_true",
        help="end with one line of JSON on standard output; all else goes to standard error",
    )
    return made


FIXED = {
    "dataset": Path("dataset"),
    "space": Path("spaces/default.toml"),
    "seed": 0,
    "max_train_seconds": float(prepare.TIME_BUDGET),
    "tag": None,
}  # what a search keeps for life, with the defaults


def settle(options: argparse.Namespace) -> None:
    """Fills in a fresh search's defaults. Raises UsageError for numbers that mean nothing, and for what a resume cannot
    change."""
    if options.resume:
        given = [f"--{name.replace('_', '-')}" for name in FIXED if getattr(options, name) is not None]
        if given:
            raise UsageError(f"--resume {options.resume} goes on as it was set up: leave out {', '.join(given)}")
    for name, value in FIXED.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name in ("rounds", "experiments_per_round", "experiments"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value}: at least 1")
    if not 0 < options.max_train_seconds < float("inf"):
        raise UsageError(f"--max-train-seconds {options.max_train_seconds:g}: more than 0, and finite")
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}: at least 0")


def slot_count(asked: str, gpus: list[str]) -> int:
    """How many slots `--gpus` means where these GPUs are visible. Raises UsageError for more than there are."""
    if asked == "auto":
        return len(gpus) or LOGICAL_SLOTS
    if not asked.isdigit() or int(asked) < 1:
        raise UsageError(f"--gpus {asked}: a number of at least 1, or auto")
    if gpus and int(asked) > len(gpus):
        raise UsageError(f"--gpus {asked}: this machine shows {len(gpus)}; use --gpus {len(gpus)} or --gpus auto")
    return int(asked)


def limit_of(options: argparse.Namespace) -> Limit:
    limits = [options.experiments, options.rounds and options.rounds * options.experiments_per_round]
    return Limit(min((limit for limit in limits if limit), default=None))


def fresh_settings(options: argparse.Namespace, repository: Repository, slots: int) -> tuple[Settings, prepare.Data]:
    """What a fresh search is started with, after every check. Raises UsageError or SearchError."""
    tag = options.tag or time.strftime("%b%d").lower()
    check_tag(repository, tag)
    folder = repository.root / "runs" / tag
    if folder.exists() and any(path.name != ".lock" for path in folder.iterdir()):
        raise UsageError(f"{folder}: holds files of another search; move it away, or name another with --tag")
    changed = repository.changed_files("train.py", "prepare.py")
    if changed:
        raise UsageError(
            f"{', '.join(changed)}: changed and not committed; the search starts from HEAD, so commit or stash it first"
        )
    base = repository.commit_of("HEAD")
    assert base is not None
    try:
        recipe = read_recipe(repository.file_at(base, "train.py"))
    except SearchError as error:
        raise UsageError(f"train.py at HEAD: {error}") from error
    file = options.space if options.space.is_absolute() or options.space.exists() else repository.root / options.space
    space = load_space(file)
    check_space(space, recipe)
    dataset = Path(os.path.abspath(options.dataset))
    data = load_data(dataset)
    return Settings(
        tag=tag,
        base=base,
        dataset=str(dataset),
        fingerprint=data.fingerprint,
        image_size=data.image_size,
        majority_bin_acc=majority_share(data),
        space=file.read_text(),
        space_name=str(options.space),
        seed=options.seed,
        max_train_seconds=options.max_train_seconds,
        slots=slots,
        created=time.time(),
    ), data


def load_data(dataset: Path) -> prepare.Data:
    """The decoded data set. Raises SearchError where it cannot be used for a search."""
    try:
        data = prepare.load(dataset)
    except prepare.DataError as error:
        raise SearchError(str(error)) from error
    for part in prepare.PARTS:
        if not len(data.indices(part)):
            raise SearchError(f"{dataset}: too few photos: the {part} part is empty")
    return data


class Signals:
    """Ctrl-C and SIGTERM end the search, but never between the lines that record something."""

    def __init__(self) -> None:
        self.recording, self.asked = False, False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            return  # already ending; a second Ctrl-C must not cut the records short
        self.asked = True
        if not self.recording:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A signal within takes effect at its end."""
        if self.recording:
            yield
            return
        self.recording = True
        try:
            yield
        finally:
            self.recording = False
            if self.asked:
                raise KeyboardInterrupt


def guards_alive(coordinator: Coordinator) -> list[int]:
    """The process ids of this search's trials that still run."""
    found = []
    for slot in coordinator.paths.slots():
        for running in slot.trials.glob("*/running.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                found.append(int(json.loads(running.read_text())["pid"]))
    return [pid for pid in found if is_alive(pid) and is_guard(pid)]


def is_guard(pid: int) -> bool:
    """Whether this process is one of ours, not another one that got the same id."""
    try:
        return b"guard.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def end_trials(coordinator: Coordinator, patience: float = 10.0) -> None:
    """Waits until the trials have ended with their workers; ends those that have not."""
    deadline = time.monotonic() + patience
    while (alive := guards_alive(coordinator)) and time.monotonic() < deadline:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)


def search(options: argparse.Namespace, signals: Signals, say: Any) -> tuple[int, dict[str, Any]]:
    """Runs or resumes a search: (exit code, summary)."""
    settle(options)
    repository = find_repository(Path(__file__).resolve().parent.parent)
    gpus = [] if options.address else visible_gpus()
    if options.resume:
        check_exists(repository, options.resume)
        tag, settings = options.resume, None
    else:
        slots = slot_count(options.gpus or "auto", gpus)
        settings, data = fresh_settings(options, repository, slots)
        tag = settings.tag
        if options.dry_run:
            axes = parse_space(settings.space, settings.space_name).axes
            limit = limit_of(options).experiments
            say(
                f"would search {tag}: {slots} slots{'' if gpus else ' (logical: no GPU here)'}, "
                f"{settings.max_train_seconds:g} s a trial, {limit or 'endless'} experiments, {len(axes)} axes of "
                f"{settings.space_name}, data set {settings.dataset} ({len(data.labels)} photos, {data.image_size} px)"
            )
            return 0, {"tag": tag, "dry_run": True, "slots": slots, "experiments": limit}
    coordinator = Coordinator(repository, tag, say)
    try:
        with signals.held():
            if settings is not None:
                coordinator.begin(settings)
            else:
                coordinator.resume()
        settings = coordinator.settings
        slots = slot_count(options.gpus or str(settings.slots), gpus)
        data = load_data(Path(settings.dataset))
        if data.fingerprint != settings.fingerprint:
            raise SearchError(
                f"the data set {settings.dataset} is not the one that search {tag} began with; "
                "bring that one back, or start a fresh search"
            )
        coordinator.limit = limit_of(options)
        if options.dry_run:
            say(f"would go on with {tag}: {len(coordinator.state.decisions)} experiments so far")
            return 0, {"tag": tag, "dry_run": True}
        return run(options, coordinator, signals, slots, gpus, data, say)
    finally:
        coordinator.close()


def run(
    options: argparse.Namespace,
    coordinator: Coordinator,
    signals: Signals,
    slots: int,
    gpus: list[str],
    data: prepare.Data,
    say: Any,
) -> tuple[int, dict[str, Any]]:
    """The search itself, between its checks and its summary."""
    import ray

    from search.engine import Tickets, gpu_ids_of_ray, run_search, start_ray
    from search.report import Reporter

    settings = coordinator.settings
    setup = {
        "repository": str(coordinator.repository.root),
        "run": str(coordinator.paths.root),
        "tag": settings.tag,
        "dataset": settings.dataset,
        "fingerprint": settings.fingerprint,
        "max_train_seconds": settings.max_train_seconds,
        "threads": max((os.cpu_count() or 1) // slots, 1),
    }
    code, failure = 0, None
    reporter = Reporter(coordinator, follow_logs=options.logs, to_stderr=options.json)
    watcher = watch_over_this_process()
    try:
        dashboard = reporter.dashboard = start_ray(slots, options.address, not options.no_dashboard)
        say(
            f"search {settings.tag}: {slots} slots{'' if gpus else ' (logical: no GPU here)'}, "
            f"{settings.max_train_seconds:g} s a trial; runs/{settings.tag}; "
            f"python -m search.status {settings.tag}" + (f"; Ray dashboard {dashboard}" if dashboard else "")
        )
        tickets = Tickets(coordinator, setup, gpu_ids_of_ray(slots, gpus), signals.held)
        with reporter:
            run_search(tickets, coordinator.paths.ray)
    except KeyboardInterrupt:
        code = INTERRUPTED
        say(f"interrupted: ending the trials; go on later with python -m search.launch --resume {settings.tag}")
    except SearchError as error:
        code, failure = 1, error
    finally:
        signals.asked = True  # from here on nothing is cut short
        ray.shutdown()
        end_trials(coordinator)
        coordinator.settle_worktrees()
        summary = reporter.finish()
        assert watcher.stdin
        watcher.stdin.close()
    if failure is not None:
        say(f"error: {failure}")
    return code, summary


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, runs the search, and turns every ending into an exit code."""
    options = parser().parse_args(arguments)
    clean_environment()
    signals = Signals()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signals)

    def say(line: str) -> None:
        print(line, file=sys.stderr if options.json else sys.stdout, flush=True)

    summary: dict[str, Any] = {}
    try:
        code, summary = search(options, signals, say)
    except UsageError as error:
        print(f"search.launch: {error}", file=sys.stderr)
        code, summary = 2, {"error": str(error)}
    except SearchError as error:
        print(f"search.launch: {error}", file=sys.stderr)
        code, summary = 1, {"error": str(error)}
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        traceback.print_exc()
        print(f"search.launch: this is a bug: {type(error).__name__}: {error}", file=sys.stderr)
        code, summary = 3, {"error": str(error)}
    if options.json:
        print(json.dumps({"exit_code": code, **summary}))
    return code


if __name__ == "__main__":
    sys.exit(main())
