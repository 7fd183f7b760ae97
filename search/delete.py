"""python -m search.delete TAG: removes a search, and all that it has left."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from search.cli import command
from search.cli.control import repository_here
from search.cli.removal import remains_of, remove
from search.core.types import SearchError, UsageError


def delete(tag: str, best: str, is_sure: bool) -> dict[str, Any]:
    """Raises UsageError or SearchError; removes nothing before somebody has said yes."""
    repository = repository_here()
    found = remains_of(repository, tag)
    if not is_sure:
        if not sys.stdin.isatty():
            raise UsageError(f"--yes is needed where nobody can be asked; this would be removed:\n{found.in_words()}")
        print(f"This will be removed, for good:\n{found.in_words()}", file=sys.stderr)
        print(f"Type {tag} to remove it: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() != tag:
            raise SearchError("nothing was removed")
    remove(repository, found, best)
    return {"tag": tag, "removed": True, "kept_best_as": best or None, "removed_in_words": found.in_words()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.delete",
        description="Removes a search that does not run: its worktrees, branches, refs, runs/TAG and sealed results, "
        "and nothing else; also what is left of one that is half deleted. The decoded photos stay: other searches may "
        "use them.",
        epilog=command.EXIT_CODES,
    )
    parser.add_argument("tag", metavar="TAG")
    parser.add_argument("--keep-best", default="", metavar="BRANCH", help="keep the incumbent as a branch of this name")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="one line of JSON on standard output, also if it fails")
    options = parser.parse_args(arguments)
    return command.run(
        "delete",
        options,
        lambda: delete(options.tag, options.keep_best, options.yes),
        lambda found: f"removed:\n{found['removed_in_words']}",
    )


if __name__ == "__main__":
    sys.exit(main())
