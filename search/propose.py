"""python -m search.propose: hands an edited train.py to a search."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from search.cli import command
from search.cli.control import propose
from search.core.types import UsageError


def read(path: str) -> str:
    """The file, or standard input for '-'. Raises UsageError if it cannot be read."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--file {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--file {path}: is no text in UTF-8") from error


def as_text(found: dict[str, Any]) -> str:
    if found["status"] == "queued":
        return f"{found['tag']} does not run: the edit waits in git; python -m search.launch --resume {found['tag']}"
    if found["status"] == "checking":
        return f"{found['tag']}: the edit is being checked; python -m search.status {found['tag']}"
    if found["status"] == "refused":
        return f"proposal {found['proposal']} is refused: {found['reason']}"
    where = f"is experiment {found['experiment']}" if found["experiment"] else "waits for a free slot"
    return f"proposal {found['proposal']} {where}; python -m search.show p{found['proposal']}"


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser(
        "propose",
        "Hands an edited train.py to a search. It is checked (it parses, its recipe can be read, it was not tried "
        "before, it trains for a few seconds on the CPU), and then it is an experiment like any other.",
    )
    parser.add_argument("--file", required=True, metavar="TRAIN.PY", help="the edited train.py; - for standard input")
    parser.add_argument("--idea", required=True, help="what it tries, in a few words: its name from then on")
    parser.add_argument(
        "--base",
        metavar="COMMIT",
        help="the commit that it was edited from (default: the incumbent, as it is now)",
    )
    parser.add_argument(
        "--wait", type=float, default=180.0, metavar="S", help="seconds to wait for the checks (default 180; 0: do not)"
    )
    options = parser.parse_args(arguments)

    def operation() -> dict[str, Any]:
        return propose(read(options.file), options.idea, options.tag, options.base, options.wait)

    return command.run("propose", options, operation, as_text)


if __name__ == "__main__":
    sys.exit(main())
