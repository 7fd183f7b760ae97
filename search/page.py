"""python -m search.page [TAG]: a search as a page in the browser, live or afterwards, or as one file to send."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from search.cli import command, control
from search.cli.shown_options import Place, add_place
from search.core.paths import SearchPaths
from search.core.types import SearchError, UsageError
from search.records.requests import Operation
from search.system.git import Repository
from search.web.pages.source import PageSource
from search.web.serve import ADDRESS_FILE, Lines, address_left, serve

OPERATIONS = (Operation.PAUSE, Operation.RESUME, Operation.STOP)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m search.page",
        description="Serves a search's page: progress, slots, experiments, lineage, axes, proposals. For this machine "
        "alone, unless --host says otherwise, and for whoever has the address that it prints. A search that runs "
        "serves its own page: its address is printed then, and nothing new is begun.",
        epilog=command.EXIT_CODES,
    )
    made.add_argument("search", nargs="?", metavar="TAG", help="the search (default: the newest)")
    made.add_argument("--runs", type=Path, metavar="DIR", help="a copied runs folder, in place of this repository's")
    made.add_argument("--export", type=Path, metavar="FILE", help="write one file to send, without photos, and end")
    add_place(made)
    made.add_argument("--beside", action="store_true", help=argparse.SUPPRESS)  # a search that runs, by search.launch
    made.add_argument("--no-page", action="store_true", help=argparse.SUPPRESS)  # beside: notices and report alone
    return made


def source_of(options: argparse.Namespace) -> PageSource:
    """Raises UsageError if there is no such search, or none at all."""
    if options.runs is not None:
        return PageSource(folder_in(options.runs, options.search))
    try:
        repository = control.repository_here()
    except SearchError:
        if not Path("runs").is_dir():
            raise
        return PageSource(folder_in(Path("runs"), options.search))  # copied, without the repository
    tag = control.tag_of(repository, options.search)
    folder = SearchPaths.of(repository.root, tag).root
    if not options.beside and not (folder / "settings.json").is_file():
        control.load_state(repository, tag)  # says what is wrong, if it is
    return PageSource(folder, Repository(repository.root))


def folder_in(runs: Path, tag: str | None) -> Path:
    """A search's folder in a runs folder, the newest unless one is named. Raises UsageError if it is not there."""
    there = sorted(
        (path.parent for path in runs.glob("*/settings.json")),
        key=lambda folder: (folder / "settings.json").stat().st_mtime,
    )
    if tag is None and there:
        return there[-1].absolute()
    found = [folder for folder in there if folder.name == tag]
    if not found:
        names = ", ".join(folder.name for folder in there) or "none"
        raise UsageError(f"{runs}: there is no search {tag or 'at all'} in it; there are: {names}")
    return found[0].absolute()


def page(options: argparse.Namespace) -> int:
    """Serves or exports it; the exit code. Raises SearchError."""
    place = Place.taken_from(vars(options))
    source = source_of(options)
    if options.export is not None:
        from search.web.export import export

        size = export(source, options.export)
        print(f"{options.export}: {size / 1e6:.2f} MB")
        return 0
    if options.beside:
        from search.web.beside import accompany

        os.nice(10)  # trials come first
        return accompany(source, None if options.no_page else partial(serve_it, options, place, source))
    running = address_left(source.folder / ADDRESS_FILE)
    if running and place == Place() and not options.photos:
        print(running, flush=True)
        return 0
    serve_it(options, place, source, None)
    return 0


def serve_it(options: argparse.Namespace, place: Place, source: PageSource, until: Lines | None) -> None:
    from search.web.site import Site

    tag = source.tag

    def ask(operation: str) -> object:
        if operation not in map(str, OPERATIONS):
            raise UsageError(f"{operation}: no such request")
        return control.ask(Operation(operation), tag)

    def propose(text: str, idea: str) -> object:
        return control.propose(text, idea, tag)

    with_git = source.repository is not None
    site = Site(source, options.photos, ask if with_git else None, propose if with_git else None)
    told = [] if until is not None else [f"the page of {tag}; Ctrl-C ends it"]
    serve(site, place, partial(print, flush=True), until, told)


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return command.guarded("page", lambda: page(options))


if __name__ == "__main__":
    sys.exit(main())
