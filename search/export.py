"""python -m search.export [TAG] --out DIR: takes a model home, as ONNX too, with a threshold and a card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from search.cli import command
from search.cli.control import repository_here, tag_of
from search.core.paths import SearchPaths
from search.core.types import UsageError
from search.records import journal
from search.report.search_records import SearchRecords


def export(options: Any) -> dict[str, Any]:
    """Raises UsageError or SearchError."""
    repository = repository_here()
    tag = tag_of(repository, options.tag)
    records = SearchRecords(SearchPaths.of(repository.root, tag).root)
    records.read_journal(repository)
    settings = records.settings
    if settings is None:
        raise journal.no_such_search(repository, tag)
    if not settings.task.room:
        raise UsageError(f"{tag}: its runs report their scores themselves; there is no model that could be exported")
    from search.cli.datasets import data_of_search
    from search.model.bundle import Request
    from search.model.bundle import export as write

    place = Path(options.dataset or settings.dataset).absolute()
    request = Request(options.out, place, options.sensitivity, options.commit, options.seed, options.ensemble)
    request.check()
    data, notes = data_of_search(settings, place, was_named=options.dataset is not None)
    for note in notes:
        print(note, file=sys.stderr)
    about = write(repository, records, data, request, lambda line: print(line, file=sys.stderr))
    return {"tag": tag, "out": str(options.out), **about}


def as_text(found: dict[str, Any]) -> str:
    at = found["validation"]["at_threshold"]
    rates = ", ".join(
        f"{name} {at[name][0]:.3f} ({at[name][1]:.3f} to {at[name][2]:.3f})" if at[name] else f"{name} unknown"
        for name in ("sensitivity", "specificity")
    )
    lines = [f"{found['out']}: {found['commit'][:7]}, seeds {', '.join(map(str, found['seeds']))}"]
    lines += [] if found["recommended"] else ["it is not what the search recommends"]
    lines += [f"flags from a risk of {found['threshold']:.4f} on: on validation photos {rates}"]
    lines += [f"no model.onnx: {found['no_onnx']}"] if found["no_onnx"] else []
    lines += [f"python -m search.predict {found['out']} PHOTO…"] if not found["no_onnx"] else []
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser(
        "export",
        "Writes the model that a search recommends into a folder: weights, train.py, an ONNX file that takes photos of "
        "any size, a threshold, a calibration, a model card, and a program that needs onnxruntime alone. It trains "
        "nothing.",
        by_position=True,
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a folder that is not there, or is empty"
    )
    parser.add_argument("--commit", metavar="C", help="another experiment's, whose weights are kept")
    parser.add_argument(
        "--sensitivity", type=float, default=0.95, metavar="S",
        help="share of the positive validation photos that the threshold flags (default 0.95)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, help="whose weights (default: the first that ran; no score chooses it)")
    parser.add_argument("--ensemble", action="store_true", help="the mean of the probabilities of its seeds, at most 8")
    parser.add_argument("--dataset", type=Path, help="where the data set is now (default: where it was)")
    options = parser.parse_args(arguments)
    return command.run("export", options, lambda: export(options), as_text)


if __name__ == "__main__":
    sys.exit(main())
