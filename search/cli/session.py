"""One session of a search: from the checks to the summary, and every ending's exit code."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import threadpoolctl

from search.agent.agents import AgentPlan
from search.cli.beside import Beside
from search.cli.options import LaunchOptions, parsed, plan_of
from search.cli.preflight import Ready, ready_to_begin, ready_to_go_on, task_file
from search.core.paths import SearchPaths
from search.core.types import SearchError, UsageError
from search.driver.coordinator import Coordinator
from search.driver.proposals import ProposalManager
from search.system.files import GB, MB
from search.system.git import clean_environment, find_repository
from search.system.gpus import use_gpus
from search.system.process import end_guards, kill_descendants, wait_for_guards, watch_over_this_process
from search.system.sandbox import is_available, why_not_isolated
from search.system.signals import Signals
from search.system.terminal import hold_on_to_terminal, leave_terminal, lossy_output, start_in_background
from search.trial.run import running_guards

INTERRUPTED = 130
# Before Ray is imported. By its name it is for other systems; here too it keeps a Ray of one machine off the network.
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
Say = Callable[[str], None]


def search(options: LaunchOptions, signals: Signals, say: Say) -> tuple[int, dict[str, Any]]:
    """Runs or resumes a search: (exit code, summary). Raises UsageError or SearchError before it has begun."""
    repository = find_repository(task_file(options).parent)
    dashboard, cluster = "", None
    if options.address:
        from search.driver.ray_session import gpus_of_cluster, join_ray

        dashboard, cluster = join_ray(options.address), gpus_of_cluster()
        signals.install()  # ray.init puts a handler of its own in place of SIGTERM's
    checked = ready_to_go_on if options.resume else ready_to_begin
    ready = checked(options, repository, cluster)
    for note in ready.notes:
        say(note)
    limit, plan = options.limit, plan_of(options, ready.settings.agent)
    if options.dry_run:
        say(ready.described(limit.experiments))
        return 0, {"tag": ready.settings.tag, "dry_run": True, "slots": ready.slots, "experiments": limit.experiments}
    hide_from_git(repository.root / "runs")
    coordinator = Coordinator(repository, ready.settings.tag, say)
    try:
        with signals.held():
            coordinator.limit, coordinator.rerun_slow = limit, options.rerun_slow
            coordinator.room.least = int(options.disk_reserve * MB)
            coordinator.room.most = int(options.disk_limit * GB)
            if options.resume:
                coordinator.resume()
                gc.freeze()  # a long history is not gone through by every collection of garbage
            else:
                coordinator.begin(ready.settings)
        return run(options, coordinator, ready, plan, signals, say, dashboard)
    finally:
        coordinator.close()


def hide_from_git(runs: Path) -> None:
    """A repository of somebody else's need not ignore what searches leave in it."""
    runs.mkdir(exist_ok=True)
    ignore = runs / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def run(
    options: LaunchOptions,
    coordinator: Coordinator,
    ready: Ready,
    plan: AgentPlan | None,
    signals: Signals,
    say: Say,
    dashboard: str,
) -> tuple[int, dict[str, Any]]:
    """The search itself: (exit code, summary). However it ends, its trials are ended and its summary is written.

    dashboard: of a cluster that was joined.
    """
    if not options.address:
        os.environ |= ON_LOOPBACK
    from search.driver.fleet import Fleet
    from search.driver.live import Reporter
    from search.driver.ray_session import HeadWatch, start_ray, stop_ray
    from search.driver.tune import PlaceholderTrials, end_slots, run_search

    tag = ready.settings.tag
    code, failure = 0, ""
    head: HeadWatch | None = None
    proposals: ProposalManager | None = None
    fleet: Fleet | None = None
    reporter = Reporter(coordinator, follow_logs=options.logs, to_stderr=options.json)
    beside = Beside(coordinator.repository.root, tag, options.page, options.track, say)
    reporter.page = lambda: beside.address
    watcher = watch_over_this_process()
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")  # beside busy cores its threads wait for each other
    try:
        if options.address:
            reporter.dashboard = dashboard
        else:
            use_gpus(ready.gpus)
            reporter.dashboard = start_ray(ready.slots, not options.no_dashboard)
            head = HeadWatch(lambda: give_up(tag))
            signals.install()  # ray.init puts a handler of its own in place of SIGTERM's
        say(
            f"search {tag}: {ready.slots_in_words}, "
            f"{ready.settings.max_train_seconds:g} s a trial; runs/{tag}, at most {options.disk_limit:g} GB; "
            f"python -m search.status {tag}" + dashboard_text(reporter.dashboard)
        )
        leave_terminal(coordinator.paths.output, tag)
        if options.unconfined:
            say("trials are not confined, as --unconfined asks; docs/trust.md says what is open then")
        elif not is_available():
            say("trials are not confined: this kernel has no Landlock (Linux 5.13 or newer); see docs/trust.md")
        elif why_not_isolated():
            say(f"trials share /dev/shm and the network's sockets: no namespaces here ({why_not_isolated()})")
        proposals = ProposalManager(coordinator, plan, ready.places(options.unconfined), signals.end)
        setup = ready.slot_setup(options.unconfined)
        fleet = Fleet(coordinator, setup, ready.most, ready.gpu_model, joined=bool(options.address))
        placeholders = PlaceholderTrials(coordinator, fleet, signals.held, proposals.poll)
        with reporter:
            run_search(placeholders, coordinator.paths.ray)
    except (KeyboardInterrupt, SystemExit):  # the latter by Ray's own handler of SIGTERM, for a moment in its start
        code = INTERRUPTED
        say(f"interrupted: ending the trials; go on later with python -m search.launch --resume {tag}")
    except (SearchError, OSError) as error:
        code, failure = 1, str(error)
    finally:
        signals.asked = True  # from here on nothing is cut short
        if head is not None:
            head.stop()
        if proposals is not None:
            try:
                proposals.close()
            except (SearchError, OSError) as error:  # the disk may be what ended the search
                print(f"search.launch: the last proposals could not be recorded: {error}", file=sys.stderr)
        traffic = {}
        if head is None or head.answers():
            end_slots()
            if fleet is not None:
                traffic = fleet.traffic()
                fleet.close()
            stop_ray()
        else:
            kill_descendants()
            gc.disable()  # what Tune leaves would wait for the head
        if options.address:
            wait_for_guards(lambda: running_guards(coordinator.paths))  # on a cluster, workers end a moment later
        end_guards(lambda: running_guards(coordinator.paths))
        summary = wind_up(coordinator, reporter)
        beside.end({"exit_code": code, "error": failure})
        watcher.close()
    if traffic:
        summary |= {"traffic": traffic}
    if failure:
        print(f"search.launch: {failure}", file=sys.stderr)
        summary |= {"error": failure}
    return code, summary


def dashboard_text(address: str) -> str:
    """Where Ray's dashboard is, and how to get past its question; '' without one."""
    return f"; Ray dashboard {address}, whose token `ray get-auth-token` prints" if address else ""


def wind_up(coordinator: Coordinator, reporter: Any) -> dict[str, Any]:
    """Leaves worktrees and summaries as the last decision has it; what cannot be written is named in a line."""
    try:
        coordinator.settle_worktrees()
        return reporter.finish()
    except (SearchError, OSError) as error:
        print(f"search.launch: the end could not be written: {error}", file=sys.stderr)
        return {"tag": coordinator.names.tag}


def in_background(given: list[str], options: LaunchOptions, as_json: bool) -> tuple[int, dict[str, Any]]:
    """Starts the same search without a terminal: (exit code, what --json says)."""
    command = [sys.executable, "-m", "search.launch", *given]
    found, tag = start_in_background(command)
    if not tag:
        return found, {}
    log = SearchPaths.of(find_repository(task_file(options).parent).root, tag).output
    if not as_json:
        print(
            f"{tag} runs in the background, as process {found}; its output: {log}\n"
            f"python -m search.status {tag} shows it, python -m search.stop {tag} ends it"
        )
    return 0, {"tag": tag, "pid": found, "output": str(log)}


def run_command(arguments: list[str], signals: Signals) -> int:
    """Parses the command line, runs the search, and turns every ending into an exit code. signals: installed."""
    with lossy_output():
        return _run_command(arguments, signals)


def _run_command(given: list[str], signals: Signals) -> int:
    clean_environment()
    is_in_background = hold_on_to_terminal()
    as_json = any(len(word) > 3 and "--json".startswith(word) for word in given)

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    summary: dict[str, Any] = {}
    try:
        options = parsed(given)
        if options.detach and not options.dry_run and not is_in_background:
            code, summary = in_background(given, options, as_json)
            as_json = as_json and bool(summary)  # else the search itself has said it
        else:
            code, summary = search(options, signals, say)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (SearchError, OSError) as error:
        print(f"search.launch: {error}", file=sys.stderr)
        code, summary = 2 if isinstance(error, UsageError) else 1, {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        print(f"search.launch: this is a bug: {type(error).__name__}: {error}", file=sys.stderr)
        code, summary = 3, {"error": str(error)}
    if as_json:
        print(json.dumps({"exit_code": code, **summary}))
    return code


def give_up(tag: str) -> NoReturn:
    """Ends this process though its main thread waits for a Ray that will not answer: all that was decided is recorded,
    and trials end as if it had been killed."""
    print(f"search.launch: Ray's head has died; go on with python -m search.launch --resume {tag}", file=sys.stderr)
    kill_descendants()
    leave(1)


def leave(code: int) -> NoReturn:
    """Ends this process at once: all is written, and what Ray does at an interpreter's end can wait for a head that has
    died, or crash."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
