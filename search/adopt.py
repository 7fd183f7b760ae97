"""python -m search.adopt REPOSITORY: writes a task.toml and a space for a repository that was made for such a loop."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from search.cli import command
from search.cli.adoption import Adoption, look_at, set_decimals
from search.core.paths import temporary_folder
from search.core.types import UsageError
from search.system.files import write_text
from search.system.git import find_repository
from search.system.gpus import visible_gpus
from search.system.process import usable_cores
from search.task.declaration import FILE, folder_in_repository, load_task, parse_task
from search.trial.footer import scores_in, traceback_of
from search.trial.training import TrainingJob, limits_of, run_training, tell_by_constants

SPACE = "space.toml"


def adopt(options: argparse.Namespace) -> dict[str, Any]:
    """Looks, writes, and tries the baseline if that is asked for. Raises UsageError or SearchError."""
    folder = Path(options.repository).absolute()
    higher = True if options.maximize else False if options.minimize else None
    found = look_at(folder, options.edited, options.metric, higher)
    files = [folder / FILE, folder / SPACE]
    there = [path.name for path in files if path.exists()]
    if there and not options.force:
        raise UsageError(f"{folder}: {' and '.join(there)} exist; --force writes them anew")
    find_repository(folder)  # a search needs one; said now
    text = found.task_text
    parse_task(text, str(files[0]))
    write_text(files[0], text)
    write_text(files[1], found.space)
    shown: dict[str, Any] = {
        "task": str(files[0]),
        "space": str(files[1]),
        "found": [one.__dict__ for one in found.findings],
    }
    if options.try_it:
        shown["tried"] = tried(found)
        printed = shown["tried"].get("scores", {}).get(found.tables["metric"]["name"])
        if printed:
            set_decimals(found, printed)
            write_text(files[0], found.task_text)
    return shown


def tried(found: Adoption) -> dict[str, Any]:
    """Runs the baseline once, of the commit that is checked out, confined as a trial is."""
    file = found.folder / FILE
    repository = find_repository(found.folder)
    task = load_task(file, folder_in_repository(file))
    base = repository.commit_of("HEAD")
    assert base is not None
    gpus = visible_gpus()
    with tempfile.TemporaryDirectory(prefix="autoresearch-adopt-") as scratch:
        tree, log = Path(scratch, "tree"), Path(scratch, "run.log")
        repository.export(base, tree)
        job = TrainingJob(
            task=task,
            tree=tree,
            data=None,
            seed=0,
            max_train_seconds=task.usual_seconds,
            scratch=Path(scratch, "scratch"),
            temporary=temporary_folder(Path(scratch)),
            log=log,
            gpu=gpus[0] if gpus else "",
            threads=usable_cores(),
            limits=limits_of(task, task.usual_seconds, task.start_up_seconds),
            secret=[],
        )
        tell_by_constants(job)
        ran = run_training(job)
        if ran.reason:
            shutil.copy(log, found.folder / "adopt-try.log")
            return {
                "crash": ran.reason,
                "traceback": traceback_of(ran.text),
                "log": str(found.folder / "adopt-try.log"),
            }
        return {"scores": scores_in(task, ran.text, ran.footer), "footer": ran.footer}


def as_text(found: dict[str, Any]) -> str:
    """For people: a line for each thing that was inferred, and what to do next."""
    lines = [f"{one['what']:16} {one['value']}  ({one['source']})" for one in found["found"]]
    checks = [one for one in found["found"] if one["check"]]
    lines += ["", "Look at these:", *(f"- {one['what']}: {one['check']}" for one in checks)] if checks else []
    if "tried" in found:
        result = found["tried"]
        lines += ["", "The baseline, run once:"]
        if "crash" in result:
            lines += [f"crash: {result['crash']}; all that it printed: {result['log']}"]
        else:
            lines += [f"{name} {value}" for name, value in result["scores"].items()]
    lines += ["", f"Written: {found['task']}, {found['space']}"]
    lines.append(f"python -m search.launch --task {found['task']} --gpus auto")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.adopt",
        description="Looks at a repository that was made for a research loop (its train.py and what that imports, an "
        "old results.tsv, a run.log, its program.md), and writes a task.toml and a space.toml beside its train.py. It "
        "says what it inferred from what, and what a person should check. It changes nothing else.",
        epilog=command.EXIT_CODES,
    )
    parser.add_argument("repository", metavar="REPOSITORY", help="the folder that has the train.py")
    parser.add_argument("--edited", default="", metavar="FILE", help="what experiments edit (default train.py)")
    parser.add_argument("--metric", default="", metavar="NAME", help="what runs are compared by")
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument("--minimize", action="store_true", help="lower is better")
    direction.add_argument("--maximize", action="store_true", help="higher is better")
    parser.add_argument("--try", dest="try_it", action="store_true", help="run the baseline once, as a trial is run")
    parser.add_argument("--force", action="store_true", help="write the files anew if they are there")
    parser.add_argument("--json", action="store_true", help="one line of JSON on standard output, also if it fails")
    options = parser.parse_args(arguments)
    return command.run("adopt", options, lambda: adopt(options), as_text)


if __name__ == "__main__":
    sys.exit(main())
