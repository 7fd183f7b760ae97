"""The brief: one file for a small context, that a model can act on. Pure but for the diffs that it asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from search.core.state import State
from search.core.task import Hyperparameters, Task
from search.core.types import Decision, Kind, Outcome, Proposal, Status, short
from search.report.proposals import fate_of

LONGEST = 24_000  # characters, some six thousand tokens
LONGEST_DIFF = 1_800
LONGEST_TRACEBACK = 900
LONGEST_NOTES = 3_000
MOST_PROPOSALS = 14
MOST_DIFFS = 6
MOST_CRASHES = 3
MOST_PARTS = 12
PLATEAU = 24  # experiments without a kept one, from which something further away is asked for
HUNK = re.compile(r"^@@[^@]*@@ *(?:async )?(?:def|class) (\w+)", re.MULTILINE)
CUT = "\n… (cut)"


@dataclass(frozen=True)
class Facts:
    """What a brief is written from: taken from the state at once, since the search goes on meanwhile."""

    tag: str
    task: Task
    incumbent: Decision
    seeds: int
    noise: float | None
    images: int
    majority: float | None
    max_train_seconds: float
    axes: tuple[str, ...]
    proposals: tuple[tuple[Proposal, Decision | None], ...]  # newest first
    near: tuple[Decision, ...]  # discarded or kept edits, nearest to the incumbent first
    crashes: tuple[tuple[Decision, Outcome], ...]
    parents: dict[int, str]  # experiment -> the commit that it edits
    losses: dict[int, tuple[float, ...]]  # experiment -> the training losses of its first seed
    since_kept: int  # experiments since the last that was kept
    hints: tuple[str, ...] = ()  # of the summary
    least_sensitivity: float | None = None


def facts_of(state: State, noise: float | None, axes: Sequence[str], hints: Sequence[str] = ()) -> Facts:
    """What the next brief is about. The baseline must have been decided."""
    incumbent = state.incumbent
    assert incumbent is not None and incumbent.score is not None
    verdicts = state.verdicts
    proposals = []
    for proposal in reversed(state.proposals[-MOST_PROPOSALS:]):
        experiment = state.experiment_of(proposal.number)
        proposals.append((proposal, verdicts.get(experiment.number) if experiment else None))
    lost = [one for one in verdicts.values() if one.status is Status.DISCARD and one.score]
    edits = [one for one in lost if state.experiments[one.experiment].kind is Kind.PROPOSAL]
    sweeps = [one for one in lost if state.experiments[one.experiment].kind is not Kind.PROPOSAL]
    near = [*sorted(edits, key=_rank), *sorted(sweeps, key=_rank)[:MOST_DIFFS]]
    shown = {one.experiment for one in (incumbent, *near, *(decision for _, decision in proposals if decision))}
    crashes = [(one, _crash_of(state, one)) for one in verdicts.values() if one.status is Status.CRASH]
    return Facts(
        tag=state.settings.tag,
        task=state.settings.task,
        incumbent=incumbent,
        seeds=len([outcome for outcome in state.outcomes_of(incumbent.experiment) if outcome.score]),
        noise=noise,
        images=state.settings.validation_images,
        majority=state.settings.majority_score,
        max_train_seconds=state.settings.max_train_seconds,
        axes=tuple(axes),
        proposals=tuple(proposals),
        near=tuple(near),
        crashes=tuple(reversed(crashes[-MOST_CRASHES:])),
        parents={number: state.experiments[number].parent for number in shown},
        losses={number: min(state.outcomes_of(number), key=lambda one: one.seed).losses for number in shown},
        since_kept=since_kept(verdicts),
        hints=tuple(hints),
        least_sensitivity=state.settings.least_sensitivity,
    )


def since_kept(verdicts: Mapping[int, Decision]) -> int:
    """How many experiments were decided since the last that is kept."""
    order = list(verdicts.values())
    return next((place for place, one in enumerate(reversed(order)) if one.status is Status.KEEP), len(order))


def _rank(decision: Decision) -> tuple[float, float]:
    assert decision.score is not None
    return (-decision.score.primary, -decision.score.secondary)


def _crash_of(state: State, decision: Decision) -> Outcome:
    return next(outcome for outcome in state.outcomes_of(decision.experiment) if outcome.crashed)


def written(facts: Facts, rules: str, notes: str, difference: Callable[[str, str], str], paths: dict[str, str]) -> str:
    """The brief, at most LONGEST characters; what matters least is cut first.

    rules: of program.md. notes: a person's. difference: of train.py between two commits. paths: what lies where, by
    what it is.
    """
    difference = cache(difference)
    sections = [
        ("Rules", rules, 4_000),
        ("Notes from the person who runs this search", notes.strip(), LONGEST_NOTES),
        ("Where the search stands", standing(facts, paths), 2_500),
        ("What the summary says", "\n".join(f"- {hint}" for hint in facts.hints), 2_000),
        ("What is wanted now", wanted(facts, paths), 2_600),
        (
            f"What was tried, by the part of {facts.task.edited_path} that it changed",
            parts_section(facts, difference),
            1_500,
        ),
        ("The last proposals, newest first, and what became of them", proposals_section(facts), 3_500),
        ("Crashes", crashes_section(facts), 2_500),
        ("Tried and not kept: do not propose these again", diffs_section(facts, difference), LONGEST),
    ]
    text = f"# Brief: the search {facts.tag} wants one better idea for {facts.task.edited_path}\n"
    for title, body, most in sections:
        room = min(most, LONGEST - len(text) - len(title) - 10)
        if body.strip() and room > 200:
            text += f"\n## {title}\n\n{cut(body.strip(), room)}\n"
    return text


BEGIN = """\
Make one idea real, by editing `{edited}` in this folder, and nothing else. It will be run and scored as it is."""

OF_A_RECIPE = """\
- Change the architecture, the loss, the augmentation or the training loop. Optuna moves the recipe's numbers by itself,
  so do not only change those. A new number worth searching becomes a recipe field with its range in the comment beside
  it, as in `mixup: float = 0.2  # alpha; 0 … 1`; it is then searched too."""

OF_CONSTANTS = """\
- Change how it works. Optuna moves the constants in capitals at its top level by itself, so do not only change those. A
  new number worth searching becomes such a constant, with its range in the comment beside it, as in
  `MIXUP = 0.2  # alpha; 0 … 1`; it is then searched too."""

OF_A_SCORER = """\
- Keep what `train()` takes and returns, and the calls of `prepare.run()`, `prepare.begin_training()` and
  `prepare.evaluate()`, as they are. The budget's clock runs from `begin_training()` to `evaluate()`: what needs no
  {item}, such as compiling, belongs before."""

OF_A_REPORT = """\
- Keep how it measures and prints {metric} as it is: an edit that changes what is measured is worth nothing."""

END = """\
- Taking something out, with a result as good, is as welcome as adding something.{check}
- End with an answer whose first line is `IDEA: ` and the idea in a few words. That line is its name from then on."""


FURTHER = """\
The search is on a plateau: {count} experiments since the last that was kept. Do not refine what is there. Propose
something further away: another architecture, another loss, another way to use the data, or the removal of a whole
part."""


def wanted(facts: Facts, paths: dict[str, str]) -> str:
    """What the agent is asked for; on a plateau, something further away."""
    task, check = facts.task, paths["check"]
    parts = [
        BEGIN,
        OF_A_RECIPE if task.hyperparameters is Hyperparameters.RECIPE else OF_CONSTANTS,
        OF_A_SCORER if task.room else OF_A_REPORT,
        END,
    ]
    check = f"\n- Check it if you can: `{check}` takes half a minute on the CPU." if check else ""
    text = "\n".join(parts).format(
        edited=task.edited_path, item=task.item or "data", metric=task.metric.name, check=check
    )
    return f"{FURTHER.format(count=facts.since_kept)}\n\n{text}" if facts.since_kept >= PLATEAU else text


def losses_text(losses: Sequence[float]) -> str:
    """A loss curve in a few numbers; '' if it is not known."""
    return f"training loss {' '.join(f'{loss:.3g}' for loss in losses)}" if losses else ""


def parts_section(facts: Facts, difference: Callable[[str, str], str]) -> str:
    """Edits that were decided, by the functions and classes that they changed, with the best gap to the incumbent."""
    assert facts.incumbent.score is not None
    groups: dict[str, list[tuple[str, float | None]]] = {}
    for _, decision in facts.proposals:
        if decision is None:
            continue
        gap = decision.score.primary - facts.incumbent.score.primary if decision.score else None
        patch = difference(facts.parents[decision.experiment], decision.commit)
        for part in dict.fromkeys(HUNK.findall(patch)) or ("the top level",):
            groups.setdefault(part, []).append((str(decision.status), gap))
    lines = []
    for part, tries in sorted(groups.items(), key=lambda group: -len(group[1]))[:MOST_PARTS]:
        kept, gaps = sum(status == Status.KEEP for status, _ in tries), [gap for _, gap in tries if gap is not None]
        best = f"nearest {facts.task.metric.gain(max(gaps))} to the incumbent" if gaps else "all crashed"
        lines.append(f"- {part}: {len(tries)} edits, {kept} kept, {best}")
    return "\n".join(lines)


def standing(facts: Facts, paths: dict[str, str]) -> str:
    score, metrics = facts.incumbent.score, facts.incumbent.metrics
    assert score is not None
    task, metric, side = facts.task, facts.task.metric, facts.task.tie_breaker
    rates = "".join(f", {name} {metrics[name]:.3f}" for name in task.shown_rates if name in metrics)
    noise, deviation = "", f"standard deviation of {metric.name}"
    if facts.noise:
        known = f"{facts.noise:.{metric.shown_digits}f}"
        noise = f"Runs of one {task.edited_path} with other seeds differ by {known} ({deviation}). "
    photo = f"One of the {facts.images} validation {task.items} is worth {1 / max(facts.images, 1):.4f}."
    better = "higher" if metric.higher_is_better else "lower"
    first = f"{metric.name} ({metric.meaning or f'{better} is better'}) comes first"
    second = f", {side.name} ({side.meaning}) second" if side else ""
    majority = (
        ""
        if facts.majority is None
        else (f"; always giving the majority's answer has {metric.name} {facts.majority:.{metric.shown_digits}f}")
    )
    lines = [
        f"- The incumbent, `{short(facts.incumbent.commit)}` ({facts.incumbent.description}), is the "
        f"`{task.edited_path}` here: {', '.join(task.shown_each(score))}{rates}{task.by_own_word}, over "
        f"{facts.seeds} seeds.",
        f"- {first}{second}{majority}.",
        f"- A run trains for {facts.max_train_seconds:g} s. {noise}{photo if facts.images else ''}",
        f"- Axes that Optuna moves: {', '.join(facts.axes)}.",
    ]
    if facts.least_sensitivity is not None:
        lines.append(
            f"- Nothing is kept whose sensitivity on validation is below {facts.least_sensitivity:g}, at a threshold "
            "that is chosen on training photos which are held back."
        )
    curve = losses_text(facts.losses.get(facts.incumbent.experiment, ()))
    lines += [f"- The incumbent's {curve}, from its begin to its end."] if curve else []
    lines += [f"- {what}: `{path}`" for what, path in paths.items() if what != "check"]
    return "\n".join(lines)


def hints_of(summary: Mapping[str, Any]) -> list[str]:
    """What analysis_summary.json hints at, and the regions that lose, in words."""
    losing = [
        f"{one['axis']} {one['direction']} loses: {one['tries']} tries, none kept"
        for one in summary.get("losing_regions", [])
    ]
    return [*map(str, summary.get("next_hints", [])), *losing]


def proposals_section(facts: Facts) -> str:
    return "\n".join(f"- {proposal_line(proposal, decision)}" for proposal, decision in facts.proposals)


def proposal_line(proposal: Proposal, decision: Decision | None) -> str:
    """What became of a proposal, in one line."""
    note = f" ({decision.note})" if decision and decision.note else ""
    return f"{proposal.idea or '(no idea named)'} [{proposal.author}]: {fate_of(proposal, decision).line}{note}"


def crashes_section(facts: Facts) -> str:
    parts = []
    for decision, outcome in facts.crashes:
        traceback = outcome.traceback[-LONGEST_TRACEBACK:].strip()
        parts.append(
            f"### {decision.description}\n{outcome.reason}"
            + (f"; {losses_text(outcome.losses)}" if outcome.losses else "")
            + (f"\n```\n{traceback}\n```" if traceback else "")
        )
    return "\n".join(parts)


def diffs_section(facts: Facts, difference: Callable[[str, str], str]) -> str:
    """Near misses first. Diffs of the nearest; of the others one line each."""
    assert facts.incumbent.score is not None
    parts = []
    for place, decision in enumerate(facts.near):
        assert decision.score is not None
        gap = decision.score.primary - facts.incumbent.score.primary
        metric = facts.task.metric
        head = f"### {decision.description}\n{metric.name} {metric.gain(gap)} to the incumbent; {decision.reason}"
        curve = losses_text(facts.losses.get(decision.experiment, ()))
        head += f"; {curve}" if curve else ""
        if place < MOST_DIFFS:
            patch = difference(facts.parents[decision.experiment], decision.commit)
            body = patch[patch.find("@@") :] if "@@" in patch else patch
            head += f"\n```diff\n{cut(body, LONGEST_DIFF)}\n```"
        parts.append(head)
    return "\n".join(parts)


def cut(text: str, most: int) -> str:
    """The text, or its beginning and a mark."""
    return text if len(text) <= most else text[: most - len(CUT)] + CUT
