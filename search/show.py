"""python -m search.show EXPERIMENT: its diff, its trials and their metrics, the end of its log."""

from __future__ import annotations

import sys
from typing import Any

from search.cli import command
from search.cli.control import show


def score_text(score: dict[str, float], decimals: dict[str, int]) -> str:
    return ", ".join(f"{name} {value:.{decimals[name]}f}" for name, value in score.items())


def as_text(found: dict[str, Any]) -> str:
    """For people."""
    lines = []
    if "proposal" in found:
        lines.append(f"proposal {found['proposal']} by {found['author']}: {found['idea']}")
    if "kind" in found:
        lines.append(f"experiment {found['experiment']} ({found['kind']}): {found['description']}")
    lines += [f"why it was tried: {found['why']}"] if found.get("why") else []
    lines.append(f"{found['status']}" + (f": {found['reason']}" if found["reason"] else ""))
    for name in ("score", "incumbent_score"):
        if found.get(name):
            lines.append(f"{name.replace('_', ' ')}: {score_text(found[name], found['decimals'])}")
    if found.get("metrics"):
        lines.append("metrics: " + ", ".join(f"{key} {value:.4f}" for key, value in found["metrics"].items()))
    for trial in found.get("trials", []):
        result = score_text(trial["score"], found["decimals"]) if trial["score"] else f"crash: {trial['crash']}"
        lines.append(f"{trial['trial']} on gpu{trial['slot']}: {result}  {trial['log']}")
        lines += [f"  why: {trial['why']}"] if trial["why"] else []
        lines += [f"  marked: {mark}" for mark in trial["violations"]]
    if found.get("diff"):
        lines += ["", found["diff"]]
    if found.get("log_tail"):
        lines += ["", "the end of its log:", found["log_tail"]]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = command.parser("show", "Shows an experiment: its diff, its trials and metrics, the end of its log.")
    parser.add_argument("experiment", help="its number or commit; or a proposal, as p3")
    options = parser.parse_args(arguments)
    return command.run("show", options, lambda: show(options.experiment, options.tag), as_text)


if __name__ == "__main__":
    sys.exit(main())
