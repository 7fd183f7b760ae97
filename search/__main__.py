"""python -m search VERB, and the command autoresearch: the commands by their names."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

VERBS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help"):
        print(f"usage: autoresearch VERB …\n\nVerbs: {', '.join(VERBS)}. Each takes --help.")
        return 0 if given else 2
    verb, rest = given[0], given[1:]
    if verb not in VERBS:
        print(f"autoresearch: {verb}: no such verb; there are {', '.join(VERBS)}", file=sys.stderr)
        return 2
    code = int(import_module(f"search.{verb}").main(rest))
    if verb in ("launch", "verify"):  # what Ray does at an interpreter's end can wait for a head that has died
        from search.cli.session import leave

        leave(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
