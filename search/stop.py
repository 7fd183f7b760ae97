"""python -m search.stop: ends a running search."""

from __future__ import annotations

import sys

from search.cli import command
from search.cli.control import ask
from search.records.requests import Operation


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser(
        "stop",
        "Ends a running search: the trials that run are finished and recorded, then its summary is written. "
        "Go on later with python -m search.launch --resume TAG.",
        by_position=True,
    )
    parser.add_argument("--now", action="store_true", help="end the trials too, as Ctrl-C does; they run again later")
    options = parser.parse_args(arguments)
    operation = Operation.STOP_NOW if options.now else Operation.STOP
    as_text = "{tag}: ends; python -m search.status {tag}".format_map
    return command.run("stop", options, lambda: ask(operation, options.tag), as_text)


if __name__ == "__main__":
    sys.exit(main())
