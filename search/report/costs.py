"""What a search took: the baseline, the sweep, the agent and the proof, each apart. Pure, from a search's records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.core.seeds import purpose_of
from search.core.types import Decision, Outcome, Proposal, Status

KINDS = ("baseline", "sweep", "agent", "proof")
JOULES = 3.6e6  # of a kilowatt hour


@dataclass(frozen=True)
class Records:
    """A search's records, as its ledgers hold them. price: dollars of one GPU's hour, if the user gave it. seed: the
    search's."""

    outcomes: Sequence[Outcome]
    decisions: Sequence[Decision]
    proposals: Sequence[Proposal]
    price: float | None = None
    seed: int = 0


def total_of(values: Iterable[float | None]) -> float | None:
    """Their sum; None if none is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def costs_of(records: Records) -> dict[str, dict[str, Any]]:
    """baseline, sweep, agent (which is every proposal, whoever made it) and proof (fresh seeds of whatever it is):
    trials, GPU-hours, dollars, steps kept."""
    edits = {one.commit for one in records.proposals if one.commit}
    latest = {one.experiment: one for one in records.decisions}

    def kind(number: int, commit: str) -> str:
        if number == 0:
            return "baseline"
        decided = latest.get(number)  # a trial that died early has its parent's commit, which may be a proposal's
        is_edit = decided.proposal is not None if decided else commit in edits
        return "agent" if is_edit else "sweep"

    trials: dict[str, list[Outcome]] = {name: [] for name in KINDS}
    decided: dict[str, list[Decision]] = {name: [] for name in trials}
    for outcome in records.outcomes:
        is_fresh = purpose_of(outcome.seed, records.seed) is not None
        trials["proof" if is_fresh else kind(outcome.experiment, outcome.commit)].append(outcome)
    for decision in latest.values():
        decided[kind(decision.experiment, decision.commit)].append(decision)
    found: dict[str, dict[str, Any]] = {}
    for name, own in trials.items():
        hours = sum(max(one.ended - one.began, 0.0) for one in own) / 3600
        joules = total_of(one.speed.get("energy_j") for one in own)
        found[name] = {
            "trials": len(own),
            "experiments": len(decided[name]),
            "kept": sum(one.status is Status.KEEP for one in decided[name]),
            "gpu_hours": round(hours, 4),
            "energy_kwh": None if joules is None else round(joules / JOULES, 4),
            "gpu_dollars": None if records.price is None else round(hours * records.price, 4),
        }
    found["agent"] |= thinking_of(records.proposals)
    for name in ("sweep", "agent"):
        one = found[name]
        dollars = total_of([one["gpu_dollars"], one.get("model_dollars")])
        one["dollars"] = None if dollars is None else round(dollars, 4)
        one["dollars_per_kept_step"] = round(dollars / one["kept"], 4) if dollars is not None and one["kept"] else None
    return found


def thinking_of(proposals: Sequence[Proposal]) -> dict[str, Any]:
    """What proposals took before they were tried."""
    costs = [one.cost for one in proposals]
    dollars = total_of(cost.dollars for cost in costs)
    return {
        "proposals": len(proposals),
        "refused": sum(bool(one.refused) for one in proposals),
        "seconds": round(sum(cost.seconds for cost in costs), 1),
        "turns": total_of(cost.turns for cost in costs),
        "input_tokens": total_of(cost.input_tokens for cost in costs),
        "output_tokens": total_of(cost.output_tokens for cost in costs),
        "model_dollars": None if dollars is None else round(dollars, 4),
    }


def cost_lines(costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The ledger of cost for people."""
    lines = []
    for name in KINDS:
        one = costs[name]
        if not one["trials"] and not one.get("proposals"):
            continue
        words = [f"{one['trials']} trials, {one['gpu_hours']:.2f} GPU-hours"]
        words += [f"{one['energy_kwh']:.3f} kWh"] if one["energy_kwh"] is not None else []
        if one.get("proposals"):
            tokens = one["input_tokens"], one["output_tokens"]
            words.append(f"{one['proposals']} proposals ({one['refused']} refused), {one['seconds']:.0f} s of thinking")
            words += [f"{tokens[0] or 0:.0f} + {tokens[1] or 0:.0f} tokens"] if any(tokens) else []
        words += [f"${one['dollars']:.2f}"] if one.get("dollars") else []
        if name in ("sweep", "agent"):
            each = one["dollars_per_kept_step"]
            words.append(f"{one['kept']} kept" + (f", ${each:.2f} each" if each else ""))
        lines.append(f"- {name}: {', '.join(words)}")
    return lines
