"""The one command: python -m search.launch --gpus 4."""

from __future__ import annotations

import sys

from search.system.signals import Signals


def main(arguments: list[str] | None = None) -> int:
    """Runs a search; its exit code."""
    signals = Signals()
    signals.install()
    try:
        with signals.held():  # importing takes seconds, and some of what is imported swallows an interrupt
            from search.cli.session import INTERRUPTED, run_command
    except KeyboardInterrupt:
        return INTERRUPTED
    return run_command(sys.argv[1:] if arguments is None else arguments, signals)


if __name__ == "__main__":
    code = main()
    from search.cli.session import leave

    leave(code)
