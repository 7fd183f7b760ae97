"""What `python -m search.launch` takes, and what it means. Raises UsageError for what means nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from search.agent.agents import AgentPlan
from search.agent.presets import PRESETS, agent_of, check_agent
from search.cli.shown_options import PageOptions, add_page, add_shown, add_track
from search.core.types import EarlyStop, UsageError
from search.decide.plan import Limit
from search.decide.races import MOST_SEEDS
from search.system.gpus import LOGICAL_SLOTS
from search.tracking.trackers import check_installed

ROUND = 12  # experiments between two turns of the agent


@dataclass(frozen=True)
class SearchOptions:
    """What a search is set up with, for life, and the defaults. None: as the task has it."""

    dataset: Path | None = None
    space: Path | None = None
    seed: int = 0
    max_train_seconds: float | None = None
    tag: str | None = None  # today's date
    confirm_seeds: int = 1
    proof_share: float = 0.1
    early_stop: str = EarlyStop.NONE
    allow_degenerate: bool = False
    least_sensitivity: float | None = None
    agent: str = "builtin"
    gpu_dollars_per_hour: float | None = None


DEFAULTS = SearchOptions()
FOR_LIFE = tuple(field.name for field in fields(SearchOptions))
MAY_CHANGE = ("dataset", "agent")  # may be named again on a resume


@dataclass(frozen=True)
class LaunchOptions:
    """What `python -m search.launch` was asked for. search: its settings; on a resume, the data set and the agent count
    if they are named."""

    search: SearchOptions
    named: frozenset[str]  # of FOR_LIFE, those that were given
    task: Path | None
    resume: str | None
    gpus: str | None
    address: str | None
    gpu_model: str
    no_dashboard: bool
    rerun_slow: bool
    disk_reserve: float
    disk_limit: float
    unconfined: bool
    agent_proposals: int
    agent_timeout: float
    agent_budget_usd: float | None
    experiments: int | None
    trials: int | None
    verify: int | None
    rounds: int | None
    experiments_per_round: int
    logs: bool
    dry_run: bool
    detach: bool
    json: bool
    page: PageOptions
    track: tuple[str, ...]

    @property
    def limit(self) -> Limit:
        """The smaller of the limits that were given."""
        limits = [self.experiments, self.rounds and self.rounds * self.experiments_per_round]
        return Limit(min((limit for limit in limits if limit), default=None), self.trials, self.verify)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m search.launch",
        description="Searches for a better train.py, or whatever the task.toml names: the baseline first, then "
        "experiments around the best, one trial per GPU at a time, until a limit or Ctrl-C. Without a limit it goes on "
        "until it is interrupted.",
        epilog="Exit codes: 0 the limit was reached, or search.stop asked, 1 a known failure, 2 a wrong argument, "
        "3 a bug, 130 interrupted. "
        "What was found lies in runs/<tag>/ and on the branch autoresearch/<tag>.",
    )
    slots = made.add_argument_group("where it runs")
    slots.add_argument(
        "--gpus",
        metavar="N|auto",
        help="slots: one per GPU (auto, the default: all GPUs, or four logical ones if there is none; on a resume: "
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
    slots.add_argument(
        "--disk-reserve",
        type=float,
        default=500.0,
        metavar="MB",
        help="no trial begins while the repository's disk has less room; it goes on when there is more (default 500)",
    )
    slots.add_argument(
        "--disk-limit",
        type=float,
        default=20.0,
        metavar="GB",
        help="no trial begins while the search's files take more, in runs/ and outside of it (default 20)",
    )
    slots.add_argument("--no-dashboard", action="store_true", help="start Ray without its dashboard")

    what = made.add_argument_group("what it searches")
    what.add_argument(
        "--task",
        type=Path,
        metavar="FILE",
        help="task.toml of what is searched, in that task's own repository (default: of this folder or one above it, "
        "else of this project; python -m search.adopt writes one)",
    )
    what.add_argument("--tag", help="name of the search (default: today's date, as in nov23)")
    what.add_argument(
        "--resume", metavar="TAG", help="go on with a search, as it was set up, after a Ctrl-C, a crash or a reboot"
    )
    what.add_argument(
        "--dataset",
        type=Path,
        help="data set folder (default ./dataset), of a task that has one; on a resume: where it is now",
    )
    what.add_argument("--space", type=Path, help="file of the axes that may vary (default: the task's)")
    what.add_argument("--seed", type=int, help=f"of the search's choices and of the trials (default {DEFAULTS.seed})")
    what.add_argument(
        "--max-train-seconds",
        type=float,
        metavar="S",
        help="training budget of a trial, in seconds (default: the task's; of the one that ships, 300)",
    )

    proof = made.add_argument_group("what it believes")
    proof.add_argument(
        "--confirm-seeds",
        type=int,
        metavar="N",
        help="a challenger that may win is run again with so many further seeds, at the least, before it is kept "
        f"(default {DEFAULTS.confirm_seeds}; 0: the bare rule, which keeps luck and proves nothing)",
    )
    proof.add_argument(
        "--proof-share",
        type=float,
        metavar="X",
        help="share of the trials that goes to fresh seeds of the incumbent and the baseline, which nothing is chosen "
        f"by, to prove that the one is better (default {DEFAULTS.proof_share}; 0: none)",
    )
    proof.add_argument(
        "--early-stop",
        choices=[str(rule) for rule in EarlyStop],
        help="end a trial that will not be worth a second seed, by how its training goes beside others': learned (its "
        f"score is predicted), median, asha, or none (default {DEFAULTS.early_stop})",
    )
    proof.add_argument(
        "--allow-degenerate",
        action="store_true",
        default=None,
        help="keep by the metric alone, also a model that always gives the same answer",
    )

    proof.add_argument(
        "--least-sensitivity",
        type=float,
        metavar="S",
        help="keep nothing whose sensitivity on validation is below this, at a threshold chosen on a seventh of the "
        "training photos, which is held back for it (default: no such rule)",
    )
    proof.add_argument(
        "--rerun-slow",
        action="store_true",
        help="run a trial again, once, whose slot ran at less than 70 %% of its usual speed; else it is only noted",
    )

    proof.add_argument(
        "--unconfined",
        action="store_true",
        help="let trials touch all files that you may touch, if confining them keeps them from running "
        "(docs/trust.md says what is open then)",
    )

    agents = made.add_argument_group("the agent, which proposes an edit of the program after each round")
    agents.add_argument(
        "--agent",
        metavar="NAME|COMMAND",
        help=f"{', '.join(PRESETS)}; or any command line, which gets the brief on standard input and edits the program "
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
        "The baseline is no experiment, nor are further seeds; what was run before a resume counts.",
    )
    limits.add_argument("--experiments", type=int, metavar="N", help="end after so many experiments in all")
    limits.add_argument("--trials", type=int, metavar="N", help="end after so many trials in all, of every kind")
    limits.add_argument("--verify", type=int, metavar="N", help=argparse.SUPPRESS)
    limits.add_argument("--rounds", type=int, metavar="N", help="end after so many rounds")
    limits.add_argument(
        "--experiments-per-round",
        type=int,
        default=ROUND,
        metavar="N",
        help=f"experiments of a round (default {ROUND})",
    )

    shown = made.add_argument_group("what it shows")
    add_shown(shown)
    add_track(shown)
    add_page(made.add_argument_group("its page in the browser, and whom it tells"))
    return made


def parsed(arguments: Sequence[str] | None = None) -> LaunchOptions:
    """The options of a command line. Raises UsageError for numbers that mean nothing, and for what a resume cannot
    change; SystemExit as argparse does."""
    options = vars(parser().parse_args(arguments))
    given = {name: options.pop(name) for name in FOR_LIFE}
    named = {name: value for name, value in given.items() if value is not None}
    resume = options["resume"]
    fixed = [name for name in named if name not in MAY_CHANGE]
    if resume and fixed:
        raise UsageError(f"--resume {resume} goes on as it was set up: leave out {', '.join(map(flag, fixed))}")
    check_numbers({**options, **named})
    page, track = PageOptions.taken_from(options), tuple(options.pop("track"))
    for name in track:
        check_installed(name)
    return LaunchOptions(search=replace(DEFAULTS, **named), named=frozenset(named), page=page, track=track, **options)


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check_numbers(options: Mapping[str, Any]) -> None:
    """Raises UsageError for a number that means nothing."""
    for name in ("rounds", "experiments_per_round", "experiments", "trials", "verify", "agent_proposals"):
        value = options.get(name)
        if value is not None and value < 1:
            raise UsageError(f"{flag(name)} {value}: at least 1")
    for name in ("max_train_seconds", "agent_timeout", "agent_budget_usd", "gpu_dollars_per_hour", "disk_limit"):
        value = options.get(name)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{flag(name)} {value:g}: more than 0, and finite")
    reserve = options.get("disk_reserve")
    if reserve is not None and not 0 <= reserve < float("inf"):
        raise UsageError(f"--disk-reserve {reserve:g}: 0 or more, and finite")
    least = options.get("least_sensitivity")
    if least is not None and not 0 < least <= 1:
        raise UsageError(f"--least-sensitivity {least:g}: above 0, at most 1")
    share = options.get("proof_share")
    if share is not None and not 0 <= share <= 0.5:
        raise UsageError(f"--proof-share {share:g}: from 0 to 0.5")
    for name, most in (("confirm_seeds", MOST_SEEDS - 1), ("seed", 2**31 - 1)):
        value = options.get(name)
        if value is not None and not 0 <= value <= most:
            raise UsageError(f"{flag(name)} {value}: from 0 to {most}")


def plan_of(options: LaunchOptions, of_search: str) -> AgentPlan | None:
    """Who is asked for proposals; None for nobody. of_search: the agent that the search began with.

    Raises UsageError if the agent cannot be run here: it is said now, not after the first round.
    """
    name = options.search.agent if "agent" in options.named else of_search
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
    """How many slots `--gpus` means if these GPUs are visible. Raises UsageError for more than there are."""
    if asked == "auto":
        return len(gpus) or LOGICAL_SLOTS
    if not asked.isdecimal() or int(asked) < 1:
        raise UsageError(f"--gpus {asked}: a number of at least 1, or auto")
    if gpus and int(asked) > len(gpus):
        raise UsageError(f"--gpus {asked}: this machine shows {len(gpus)}; use --gpus {len(gpus)} or --gpus auto")
    return int(asked)


def cluster_slots(asked: str, there: int) -> tuple[int | None, int]:
    """(how many slots a search on a cluster may have, None for all that come; how many it begins with).

    there: GPUs that the cluster has now. Raises UsageError if `--gpus` means nothing, or none to begin with.
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
