"""What `python -m search.launch` takes, and what it means. Raises UsageError for what means nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

import prepare
from search.agent.agents import AgentPlan
from search.agent.presets import PRESETS, agent_of, check_agent
from search.core.types import UsageError
from search.decide.plan import Limit
from search.decide.posterior import MOST_SEEDS
from search.system.gpus import LOGICAL_SLOTS

DEFAULT_ROUND = 12  # experiments between two turns of the agent
KEPT_FOR_LIFE = {
    "dataset": Path("dataset"),
    "space": Path("spaces/default.toml"),
    "seed": 0,
    "max_train_seconds": float(prepare.TIME_BUDGET),
    "tag": None,
    "confirm_seeds": 2,
    "allow_degenerate": False,
    "agent": "builtin",
    "gpu_dollars_per_hour": None,
}  # what a search is set up with, and the defaults
MAY_CHANGE = ("dataset", "agent")  # may be named again on a resume


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m search.launch",
        description="Searches for a better train.py: the baseline first, then experiments around the best, one trial "
        "per GPU at a time, until a limit or Ctrl-C. Without a limit it goes on until it is interrupted.",
        epilog="Exit codes: 0 the limit was reached, or search.stop asked, 1 a known failure, 2 a wrong argument, "
        "3 a bug, 130 interrupted. "
        "What was found lies in runs/<tag>/ and on the branch autoresearch/<tag>.",
    )
    slots = made.add_argument_group("where it runs")
    slots.add_argument(
        "--gpus",
        metavar="N|auto",
        help="slots: one per GPU (auto, the default: all GPUs, or four logical ones where there is none; on a resume: "
        "as many as before)",
    )
    slots.add_argument(
        "--address",
        help="join the Ray cluster at this address (auto: the one that this machine is a node of), instead of starting "
        "Ray here; --gpus auto then takes all its GPUs, also those that join later, and docs/cluster.md says the rest",
    )
    slots.add_argument(
        "--gpu-model",
        default="",
        metavar="NAME",
        help="only GPUs with this in their name, in any letter case, as in A100",
    )
    slots.add_argument("--no-dashboard", action="store_true", help="start Ray without its dashboard")

    what = made.add_argument_group("what it searches")
    what.add_argument("--tag", help="name of the search (default: today's date, as in nov23)")
    what.add_argument(
        "--resume", metavar="TAG", help="go on with a search, as it was set up, after a Ctrl-C, a crash or a reboot"
    )
    what.add_argument(
        "--dataset", type=Path, help="data set folder (default ./dataset); on a resume: where the same data set is now"
    )
    what.add_argument("--space", type=Path, help="file of the axes that may vary (default spaces/default.toml)")
    what.add_argument("--seed", type=int, help="of the search's choices and of the trials (default 0)")
    what.add_argument(
        "--max-train-seconds",
        type=float,
        metavar="S",
        help=f"training budget of a trial, in seconds (default {prepare.TIME_BUDGET})",
    )

    proof = made.add_argument_group("what it believes")
    proof.add_argument(
        "--confirm-seeds",
        type=int,
        metavar="N",
        help="a challenger that may win is run again with so many further seeds before it is kept (default 2; 0: the "
        "bare rule, which keeps luck)",
    )
    proof.add_argument(
        "--allow-degenerate",
        action="store_true",
        default=None,
        help="keep by accuracy alone, also a model that never, or always, flags infection",
    )

    proof.add_argument(
        "--rerun-slow",
        action="store_true",
        help="run a trial again, once, whose slot ran at less than 70 %% of its usual speed; else it is only told",
    )

    proof.add_argument(
        "--unconfined",
        action="store_true",
        help="let trials touch all files that you may touch, where confining them keeps them from running "
        "(docs/trust.md says what is open then)",
    )

    agents = made.add_argument_group("the agent, which proposes an edit of train.py after each round")
    agents.add_argument(
        "--agent",
        metavar="NAME|COMMAND",
        help=f"{', '.join(PRESETS)}; or any command line, which gets the brief on standard input and edits train.py "
        "where it is run; or builtin, a catalogue of edits that needs no model (the default); or none",
    )
    agents.add_argument(
        "--agent-proposals", type=int, default=1, metavar="N", help="asked for after each round, at once (default 1)"
    )
    agents.add_argument(
        "--agent-timeout",
        type=float,
        default=900.0,
        metavar="S",
        help="seconds that it may think about one proposal, in all (default 900)",
    )
    agents.add_argument(
        "--agent-budget-usd",
        type=float,
        metavar="D",
        help="dollars that it may spend in this search; it is not asked again when they are spent",
    )

    agents.add_argument(
        "--gpu-dollars-per-hour",
        type=float,
        metavar="D",
        help="what one GPU costs, for the summary's dollars per kept step; changes nothing else",
    )

    limits = made.add_argument_group(
        "when it ends",
        "The baseline is not counted, nor are the further seeds of a challenger; experiments before a resume are.",
    )
    limits.add_argument("--experiments", type=int, metavar="N", help="end after so many experiments in all")
    limits.add_argument("--rounds", type=int, metavar="N", help="end after so many rounds")
    limits.add_argument(
        "--experiments-per-round",
        type=int,
        default=DEFAULT_ROUND,
        metavar="N",
        help=f"experiments of a round (default {DEFAULT_ROUND})",
    )

    shown = made.add_argument_group("what it shows")
    shown.add_argument("--logs", action="store_true", help="print the trials' own output too")
    shown.add_argument("--dry-run", action="store_true", help="check everything, say what would run, and stop")
    shown.add_argument(
        "--json",
        action="store_true",
        help="end with one line of JSON on standard output; all else goes to standard error",
    )
    return made


def settle(options: argparse.Namespace) -> None:
    """Fills in a fresh search's defaults. Raises UsageError for numbers that mean nothing, and for what a resume cannot
    change."""
    if options.resume:
        given = [name for name in KEPT_FOR_LIFE if getattr(options, name) is not None and name not in MAY_CHANGE]
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(f"--resume {options.resume} goes on as it was set up: leave out {flags}")
    else:
        for name, value in KEPT_FOR_LIFE.items():
            if getattr(options, name) is None:
                setattr(options, name, value)
    for name in ("rounds", "experiments_per_round", "experiments", "agent_proposals"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} {value}: at least 1")
    if options.max_train_seconds is not None and not 0 < options.max_train_seconds < float("inf"):
        raise UsageError(f"--max-train-seconds {options.max_train_seconds:g}: more than 0, and finite")
    if options.confirm_seeds is not None and not 0 <= options.confirm_seeds < MOST_SEEDS:
        raise UsageError(f"--confirm-seeds {options.confirm_seeds}: from 0 to {MOST_SEEDS - 1}")
    for name in ("agent_timeout", "agent_budget_usd", "gpu_dollars_per_hour"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: more than 0, and finite")
    if options.seed is not None and not 0 <= options.seed < 2**31:
        raise UsageError(f"--seed {options.seed}: from 0 to {2**31 - 1}")


def plan_of(options: argparse.Namespace, of_search: str) -> AgentPlan | None:
    """Who is asked for proposals; None for nobody. of_search: the agent that the search began with.

    Raises UsageError where the agent cannot be run here: it is told now, not after the first round.
    """
    name = options.agent or of_search
    if name == "none":
        return None
    agent = None if name == "builtin" else agent_of(name)
    if agent is not None:
        check_agent(agent, options.agent_budget_usd)
    return AgentPlan(
        agent.name if agent else name,
        agent,
        options.agent_proposals,
        options.agent_timeout,
        options.experiments_per_round,
        options.agent_budget_usd,
    )


def slot_count(asked: str, gpus: list[str]) -> int:
    """How many slots `--gpus` means where these GPUs are visible. Raises UsageError for more than there are."""
    if asked == "auto":
        return len(gpus) or LOGICAL_SLOTS
    if not asked.isdecimal() or int(asked) < 1:
        raise UsageError(f"--gpus {asked}: a number of at least 1, or auto")
    if gpus and int(asked) > len(gpus):
        raise UsageError(f"--gpus {asked}: this machine shows {len(gpus)}; use --gpus {len(gpus)} or --gpus auto")
    return int(asked)


def cluster_slots(asked: str, there: int) -> tuple[int | None, int]:
    """(how many slots a search on a cluster may have, None for all that come; how many it begins with).

    there: GPUs that the cluster has now. Raises UsageError where `--gpus` means nothing, or none to begin with.
    """
    if asked == "auto":
        if not there:
            raise UsageError(
                "--gpus auto: the cluster has no GPU now; name how many shall come with --gpus N, or start Ray's nodes "
                "with --num-gpus"
            )
        return None, there
    if not asked.isdecimal() or int(asked) < 1:
        raise UsageError(f"--gpus {asked}: a number of at least 1, or auto")
    return int(asked), min(int(asked), there) or int(asked)


def limit_of(options: argparse.Namespace) -> Limit:
    """The smaller of the limits that were given."""
    limits = [options.experiments, options.rounds and options.rounds * options.experiments_per_round]
    return Limit(min((limit for limit in limits if limit), default=None))
