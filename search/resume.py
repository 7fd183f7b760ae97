"""python -m search.resume: a paused search begins trials again."""

from __future__ import annotations

import sys

from search.cli import command
from search.cli.control import ask
from search.records.requests import Operation


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser(
        "resume",
        "A paused search begins trials again. One that has ended: python -m search.launch --resume TAG.",
        by_position=True,
    )
    options = parser.parse_args(arguments)
    return command.run("resume", options, lambda: ask(Operation.RESUME, options.tag), "{tag}: goes on".format_map)


if __name__ == "__main__":
    sys.exit(main())
