"""python -m search.list: every search of this repository, and what it takes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from search.cli import command
from search.cli.control import repository_here
from search.cli.removal import in_megabytes, listed


def as_text(found: dict[str, Any]) -> str:
    """A line for each search."""
    if not found["searches"]:
        return "no search in this repository yet; begin one: python -m search.launch --gpus 4"
    lines = []
    for one in found["searches"]:
        best = f"best {one['best']} {one['score_in_words']}" if one.get("best") else "no best yet"
        rows = f"{one['experiments']} experiments, {one['kept']} kept, {best}" if "experiments" in one else ""
        places = (("bytes_on_disk", "on disk"), ("bytes_in_git", "in git"), ("bytes_outside", "outside"))
        sizes = ", ".join(f"{in_megabytes(one[size])} {words}" for size, words in places)
        lines.append(f"{one['tag']}: {one['state']}; {rows or one.get('error', 'no journal')}; {sizes}")
    lines += ["", "python -m search.delete TAG removes one."]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.list",
        description="Lists every search of this repository, also half-deleted ones: its state, rows, best commit, and "
        "its size on the disk, in git, and outside the repository.",
        epilog=command.EXIT_CODES,
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON on standard output, also if it fails")
    options = parser.parse_args(arguments)
    return command.run("list", options, lambda: {"searches": listed(repository_here())}, as_text)


if __name__ == "__main__":
    sys.exit(main())
