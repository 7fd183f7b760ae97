"""python -m search.status [TAG]: what a search is doing, seen from another shell."""

from __future__ import annotations

import io
import sys
from typing import Any

from search.cli import command
from search.cli.control import status


def as_text(shown: dict[str, Any]) -> str:
    """For a terminal, as wide as it is."""
    from rich.console import Console  # whoever asks for JSON need not wait for it

    from search.report.table import rendered

    console = Console(file=io.StringIO(), width=Console().width, force_terminal=sys.stdout.isatty())
    console.print(rendered(shown))
    return console.file.getvalue().rstrip("\n")  # type: ignore[attr-defined]


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser("status", "Shows what a search is doing.", by_position=True)
    options = parser.parse_args(arguments)
    return command.run("status", options, lambda: status(options.tag), as_text)


if __name__ == "__main__":
    sys.exit(main())
