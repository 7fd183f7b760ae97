"""python -m search.audit [TAG]: opens the sealed test results of a search, once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.cli import command
from search.cli.control import repository_here, tag_of
from search.core.types import UsageError
from search.driver.coordinator import Coordinator
from search.records.journal import load_state
from search.trial import sealed


def audit(tag: str | None, dataset: Path | None, announce: Callable[[str], None]) -> dict[str, Any]:
    """Opens the test results of a search, or says again what was opened before. Raises UsageError or SearchError."""
    repository = repository_here()
    tag = tag_of(repository, tag)
    state = load_state(repository, tag)
    if not state.settings.task.room:
        raise UsageError(f"{tag}: its runs report their scores themselves; there is no test part that could be opened")
    from search.cli.datasets import data_of_search
    from search.report.test_set import opened
    from search.trial.scorer import Labels

    if state.audit is not None:
        announce("the test photos were opened before; this is what was found then")
        return {"tag": tag, **state.audit}
    coordinator = Coordinator(repository, tag, announce)
    try:
        coordinator.restore(mirrored=False)
        settings = coordinator.settings
        place = Path(dataset or settings.dataset).absolute()
        data, notes = data_of_search(settings, place, was_named=dataset is not None)
        for note in notes:
            announce(note)
        found = opened(coordinator.state, sealed.folder_of(settings), Labels.of(data))
        coordinator.record_audit(found)
        coordinator.refresh_view()
        coordinator.write_view()
        return {"tag": tag, **found}
    finally:
        coordinator.close()


def in_words(found: dict[str, Any]) -> str:
    from search.report.test_set import as_text

    return as_text(found)


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser(
        "audit",
        "Opens the sealed test results of a search, for its incumbent and its baseline, and records that they are "
        "spent. Do it once, when the search is over; it must not be running.",
        by_position=True,
    )
    parser.add_argument("--dataset", type=Path, help="where the data set is now (default: where it was)")
    options = parser.parse_args(arguments)

    def operation() -> dict[str, Any]:
        return audit(options.tag, options.dataset, lambda line: print(line, file=sys.stderr))

    return command.run("audit", options, operation, in_words)


if __name__ == "__main__":
    sys.exit(main())
