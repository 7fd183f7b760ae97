"""What all the small commands share: --tag, --json, and errors as one line with an exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from search.core.types import SearchError, UsageError
from search.system.git import clean_environment

EXIT_CODES = "Exit codes: 0 done, 1 a known failure, 2 a wrong argument."


def parser(name: str, description: str, by_position: bool = False) -> argparse.ArgumentParser:
    """With --tag and --json. by_position: the search may be named without --tag too."""
    made = argparse.ArgumentParser(prog=f"python -m search.{name}", description=description, epilog=EXIT_CODES)
    made.add_argument("--tag", help="the search (default: the newest)")
    if by_position:
        found = "the search, in place of --tag"
        made.add_argument("tag", nargs="?", metavar="TAG", default=argparse.SUPPRESS, help=found)
    made.add_argument("--json", action="store_true", help="one line of JSON on standard output, also if it fails")
    return made


def guarded(name: str, work: Callable[[], int]) -> int:
    """Does the work of a command that prints by itself; the exit code, with one line for what is known to go wrong."""
    clean_environment()
    try:
        return work()
    except KeyboardInterrupt:
        return 130
    except (SearchError, OSError) as error:
        print(f"search.{name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def run(
    name: str, options: argparse.Namespace, operation: Callable[[], dict[str, Any]], as_text: Callable[[Any], str]
) -> int:
    """Does the operation and prints what it found; the exit code."""
    clean_environment()
    try:
        found = operation()
    except KeyboardInterrupt:
        return 130
    except (SearchError, OSError) as error:
        code = 2 if isinstance(error, UsageError) else 1
        print(f"search.{name}: {error}", file=sys.stderr)
        if options.json:
            print(json.dumps({"exit_code": code, "error": str(error)}))
        return code
    code = 1 if found.get("status") == "refused" and name == "propose" else 0
    try:
        print(json.dumps({"exit_code": code, **found}) if options.json else as_text(found), flush=True)
    except BrokenPipeError:  # whoever read it has seen enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
