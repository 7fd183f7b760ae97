"""python -m search.pause: a running search begins no new trial until search.resume."""

from __future__ import annotations

import sys

from search.cli import command
from search.cli.control import ask
from search.records.requests import Operation


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser(
        "pause",
        "A running search begins no new trial, and asks no agent, until search.resume. Trials that run go on.",
        by_position=True,
    )
    options = parser.parse_args(arguments)
    as_text = "{tag}: paused; python -m search.resume {tag}".format_map
    return command.run("pause", options, lambda: ask(Operation.PAUSE, options.tag), as_text)


if __name__ == "__main__":
    sys.exit(main())
