"""python summarize_results.py, also python -m search.summarize: derives the summaries from results.tsv files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from search.cli import command
from search.core.paths import SearchPaths
from search.core.types import SearchError
from search.records.results_tsv import render
from search.report.history import History
from search.report.other_loops.histories import is_ours, metric_of, read_other
from search.report.other_loops.summary import summarise_other
from search.report.summary import merged_rows, summarise
from search.system.files import write_text
from search.system.git import Repository, find_repository


def newest_search() -> Path:
    """The folder of the search in runs/ that wrote a row last. Raises SearchError if there is none."""
    written = sorted(Path("runs").glob("*/gpu*/results.tsv"), key=lambda path: path.stat().st_mtime)
    if not written:
        raise SearchError("no results.tsv here and no search in runs/; name the files to summarise")
    return written[-1].parent.parent


def files_of(search: Path) -> list[Path]:
    """The slots' files of a search's folder. Raises SearchError if it has none."""
    files = SearchPaths(search).slot_results()
    if not files:
        raise SearchError(f"{search}: no gpuN/results.tsv there; name a search's folder, or results.tsv files")
    return files


def repository_of(folder: Path) -> Repository | None:
    """The git repository that holds a folder, if one does: the rows' commits are looked up there."""
    try:
        return find_repository(folder)
    except SearchError:
        return None


def other(files: list[Path], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Summarises another loop's history. Raises SearchError if it cannot be read, or not without a flag."""
    if len(files) > 1:
        raise SearchError(f"{files[0]}: another loop's results.tsv; name one file at a time")
    history = read_other(files[0])
    metric = metric_of(history, options.metric, True if options.maximize else False if options.minimize else None)
    return summarise_other(history, metric, folder)


def summarized(options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """Writes the summaries: analysis_summary.json's content, and the folder. Raises SearchError or OSError."""
    files = options.files or [Path("results.tsv") if Path("results.tsv").exists() else newest_search()]
    search = files[0] if len(files) == 1 and files[0].is_dir() else None
    folder = options.out or search or files[0].parent
    if search:
        files = files_of(search)
    folder.mkdir(parents=True, exist_ok=True)
    files = [path.absolute() for path in files]
    history = History(repository_of(files[0].parent) or repository_of(Path.cwd()))
    history.load(files)
    task = history.task
    is_named = options.metric or options.minimize or options.maximize
    if is_named or not all(is_ours(file, task) for file in files):
        return other(files, folder, options), folder
    if search:
        write_text(folder / "results.tsv", render(merged_rows(files, history), task))
    return summarise(files, folder, history), folder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python summarize_results.py",
        description="Derives analysis_summary.json, analysis_summary.md and progress.png from results.tsv files: any "
        "set of this project's own, or one that another loop wrote, with whatever columns.",
        epilog=command.EXIT_CODES,
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="results.tsv files, or one search's folder, whose merged results.tsv is then written again too "
        "(default ./results.tsv, else the newest search)",
    )
    parser.add_argument("--out", type=Path, help="folder to write to (default: beside the first file)")
    parser.add_argument(
        "--metric",
        default="",
        metavar="NAME",
        help="of another loop's results.tsv, the column that decided (default: what was kept tells)",
    )
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument("--minimize", action="store_true", help="lower is better, in another loop's results.tsv")
    direction.add_argument("--maximize", action="store_true", help="higher is better, likewise")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON, one line, also if it fails")
    options = parser.parse_args(arguments)
    written: list[Path] = []

    def operation() -> dict[str, Any]:
        analysis, folder = summarized(options)
        written.append(folder)
        return analysis

    return command.run("summarize", options, operation, lambda _: (written[0] / "analysis_summary.md").read_text())


if __name__ == "__main__":
    sys.exit(main())
