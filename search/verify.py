"""python -m search.verify [TAG] --seeds N: runs what a search recommends, and its baseline, with fresh seeds."""

from __future__ import annotations

import sys

from search import launch
from search.cli.command import EXIT_CODES, parser
from search.cli.control import repository_here, tag_of
from search.core.types import SearchError, UsageError


def main(arguments: list[str] | None = None) -> int:
    made = parser(
        "verify",
        "Runs what a search recommends (its incumbent, where that is the baseline) and the baseline again, with so "
        "many fresh seeds each that nothing was chosen by, and says what they show. The search must not be running; "
        "it is the same as search.launch --resume TAG, with nothing new tried.",
        by_position=True,
    )
    made.epilog = EXIT_CODES.replace("2 a wrong argument", "2 a wrong argument, 130 interrupted")
    made.add_argument("--seeds", type=int, default=8, metavar="N", help="for each side, in all (default 8)")
    made.add_argument("--gpus", metavar="N|auto", help="slots (default: as many as the search had)")
    made.add_argument("--dataset", help="where the data set is now (default: where it was)")
    options = made.parse_args(arguments)
    try:
        if options.seeds < 1:
            raise UsageError(f"--seeds {options.seeds}: at least 1")
        tag = tag_of(repository_here(), options.tag)
    except SearchError as error:
        print(f"search.verify: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    wanted = ["--resume", tag, "--verify", str(options.seeds), "--agent", "none", "--no-dashboard"]
    for name in ("gpus", "dataset"):
        value = getattr(options, name)
        wanted += [f"--{name}", value] if value is not None else []
    return launch.main([*wanted, *(["--json"] if options.json else [])])


if __name__ == "__main__":
    sys.exit(main())
