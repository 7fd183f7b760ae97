"""Opens the sealed test results of a search, once: python -m search.audit TAG."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.cli.preflight import load_data
from search.core.paths import PROJECT
from search.core.types import SearchError, UsageError
from search.driver.coordinator import Coordinator
from search.records.journal import load_state
from search.report.test_set import opened, told
from search.system.git import clean_environment, find_repository
from search.trial import sealed
from search.trial.scorer import Labels


def audit(tag: str, dataset: Path | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Opens the test results of a search, or tells again what was opened before. Raises UsageError or SearchError."""
    repository = find_repository(PROJECT)
    state = load_state(repository, tag)
    if state.audit is not None:
        say("the test photos were opened before; this is what was found then")
        return state.audit
    coordinator = Coordinator(repository, tag, say)
    try:
        coordinator.restore()
        settings = coordinator.settings
        data = load_data(Path(dataset or settings.dataset).absolute())
        if data.fingerprint != settings.fingerprint:
            raise SearchError(f"{dataset or settings.dataset} is not the data set that search {tag} began with")
        found = opened(coordinator.state, sealed.folder_of(settings), Labels.of(data))
        coordinator.record_audit(found)
        return found
    finally:
        coordinator.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.audit",
        description="Opens the sealed test results of a search, for its incumbent and its baseline, and records that "
        "they are spent. Do it once, when the search is over.",
    )
    parser.add_argument("tag", help="the search; it must not be running")
    parser.add_argument("--dataset", type=Path, help="where the data set is now (default: where it was)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(arguments)
    clean_environment()
    try:
        found = audit(options.tag, options.dataset, lambda line: print(line, file=sys.stderr))
    except (SearchError, OSError) as error:
        print(f"search.audit: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(json.dumps(found) if options.json else told(options.tag, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
