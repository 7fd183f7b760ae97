"""Derives analysis_summary.json, analysis_summary.md and progress.png from any set of results.tsv files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from search.summary import History, summarise
from search.types import SearchError
from search.worktree import clean_environment, find_repository


def default_files() -> list[Path]:
    """./results.tsv, else the slots' files of the newest search. Raises SearchError where there is neither."""
    here = Path("results.tsv")
    if here.exists():
        return [here]
    merged = sorted(Path("runs").glob("*/results.tsv"), key=lambda path: path.stat().st_mtime)
    if not merged:
        raise SearchError("no results.tsv here and no search in runs/; name the files to summarise")
    return [merged[-1]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="summarize_results.py", description=__doc__)
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="results.tsv files (default ./results.tsv, else the newest search's)",
    )
    parser.add_argument("--out", type=Path, help="folder to write to (default: beside the first file)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options = parser.parse_args(arguments)
    clean_environment()
    try:
        files = options.files or default_files()
        folder = options.out or files[0].parent
        folder.mkdir(parents=True, exist_ok=True)
        try:
            repository = find_repository(files[0].absolute().parent)
        except SearchError:
            repository = None
        analysis = summarise([path.absolute() for path in files], folder, History(repository))
    except (SearchError, OSError) as error:
        print(f"summarize_results.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps(analysis) if options.json else (folder / "analysis_summary.md").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
