"""What a search took, for sweep and agent apart, and what became of each proposal. Pure, from a search's records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHORT = 7
JOULES = 3.6e6  # of a kilowatt hour
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Records:
    """A search's records, as its ledgers hold them. price: dollars of one GPU's hour, where it was told."""

    outcomes: Sequence[Record]
    decisions: Sequence[Record]
    proposals: Sequence[Record]
    price: float | None = None


def total_of(values: Iterable[float | None]) -> float | None:
    """Their sum; None where none is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def costs_of(records: Records) -> dict[str, dict[str, Any]]:
    """baseline, sweep and agent (which is every proposal, whoever made it): trials, GPU-hours, dollars, steps kept."""
    edits = {one["commit"] for one in records.proposals if one.get("commit")}
    latest = {one["experiment"]: one for one in records.decisions}

    def kind(record: Record) -> str:
        number = record["experiment"]
        if number == 0:
            return "baseline"
        decided = latest.get(number)  # a trial that died early has its parent's commit, which may be a proposal's
        is_edit = decided.get("proposal") is not None if decided else record["commit"] in edits
        return "agent" if is_edit else "sweep"

    found = {}
    for name in ("baseline", "sweep", "agent"):
        trials = [one for one in records.outcomes if kind(one) == name]
        decided = [one for one in latest.values() if kind(one) == name]
        hours = sum(max(one["ended"] - one["began"], 0.0) for one in trials) / 3600
        joules = total_of(one.get("speed", {}).get("energy_j") for one in trials)
        kept = sum(one["status"] == "keep" for one in decided)
        found[name] = {
            "trials": len(trials),
            "experiments": len(decided),
            "kept": kept,
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


def thinking_of(proposals: Sequence[Record]) -> dict[str, Any]:
    """What proposals took before they were tried."""
    costs = [one.get("cost") or {} for one in proposals]
    dollars = total_of(cost.get("dollars") for cost in costs)
    return {
        "proposals": len(proposals),
        "refused": sum(bool(one.get("refused")) for one in proposals),
        "seconds": round(sum(cost.get("seconds") or 0.0 for cost in costs), 1),
        "turns": total_of(cost.get("turns") for cost in costs),
        "input_tokens": total_of(cost.get("input_tokens") for cost in costs),
        "output_tokens": total_of(cost.get("output_tokens") for cost in costs),
        "model_dollars": None if dollars is None else round(dollars, 4),
    }


def proposals_of(records: Records) -> list[dict[str, Any]]:
    """Each proposal with its fate, oldest first: refused, waiting, or what was decided."""
    latest = {one["proposal"]: one for one in records.decisions if one.get("proposal") is not None}
    found = []
    for one in records.proposals:
        decision = latest.get(one["number"])
        reason = str(one.get("refused") or "").partition("\n")[0]
        status = "refused" if reason else "waiting"
        if decision is not None and not reason:
            status, reason = decision["status"], decision["reason"]
        found.append(
            {
                "number": one["number"],
                "author": one["author"],
                "turn": one.get("turn"),
                "idea": one["idea"],
                "commit": one["commit"][:SHORT] or None,
                "status": status,
                "reason": reason,
                "kept": status == "keep",
                "cost": one.get("cost"),
            }
        )
    return found


def cost_lines(costs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The ledger of cost for people."""
    lines = []
    for name in ("baseline", "sweep", "agent"):
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
        if name != "baseline":
            each = one["dollars_per_kept_step"]
            words.append(f"{one['kept']} kept" + (f", ${each:.2f} each" if each else ""))
        lines.append(f"- {name}: {', '.join(words)}")
    return lines


def proposal_lines(proposals: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each proposal."""
    return [
        f"- {one['number']} `{one['commit'] or '-' * SHORT}` {one['idea'] or '(no idea named)'} [{one['author']}]: "
        f"{one['status']}" + (f", {one['reason']}" if one["reason"] else "")
        for one in proposals
    ]
