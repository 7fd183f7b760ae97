"""python -m search.mcp: the operations of cli/control.py, for agents that speak the Model Context Protocol."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.types import CallToolResult, TextContent
from pydantic import Field

from search.cli import control
from search.core.types import SearchError
from search.records.requests import Operation
from search.system.git import clean_environment

INSTRUCTIONS = (
    "A search for a better train.py, or whatever file its task has experiments edit: each experiment is one commit of "
    "it, run for a fixed time on one GPU. Read `summary` first; `show` tells what an experiment changed and how it "
    "went; `propose` hands in your own version, edited from the incumbent's; it is checked, run and decided like any "
    "other. SKILL.md says more."
)
Tag = Annotated[str, Field(description="the search; empty for the newest")]
Verb = Callable[..., dict[str, Any]]


def as_tool(operation: Verb) -> Callable[..., Any]:
    """A known failure is its one line, with isError, and not a traceback."""

    @functools.wraps(operation)
    def called(*given: Any, **named: Any) -> Any:
        try:
            return operation(*given, **named)
        except (SearchError, OSError) as error:
            return CallToolResult(content=[TextContent(type="text", text=f"error: {error}")], is_error=True)

    return called


def status(tag: Tag = "") -> dict[str, Any]:
    """What the search does now: slots, counts, frontier, proposals."""
    return control.status(tag or None)


def summary(tag: Tag = "") -> dict[str, Any]:
    """All that is known: frontier, near misses, losing regions, proposals, costs, what to try next."""
    return control.summary(tag or None)


def show(
    experiment: Annotated[str | int, Field(description="its number or commit; or a proposal, as p3")], tag: Tag = ""
) -> dict[str, Any]:
    """One experiment: its diff, its trials with their metrics, tracebacks and the end of its log."""
    return control.show(str(experiment), tag or None)


def incumbent(tag: Tag = "") -> dict[str, Any]:
    """The file to edit, as the best commit so far has it: its path in `edited`, its text in `source`."""
    return control.incumbent(tag or None)


def propose(
    source: Annotated[str, Field(description="the whole edited file")],
    idea: Annotated[str, Field(description="what it tries, in a few words")],
    base: Annotated[str, Field(description="the commit that it was edited from, as `incumbent` gave it")],
    wait_seconds: Annotated[float, Field(ge=0, le=600, description="how long to wait for the checks")] = 120.0,
    tag: Tag = "",
) -> dict[str, Any]:
    """Hands in an edited file. It is checked, runs a few seconds on the CPU if it can, and then is an experiment."""
    return control.propose(source, idea, tag or None, base, wait_seconds)


def pause(tag: Tag = "") -> dict[str, Any]:
    """No new trial begins until `resume`; those that run go on."""
    return control.ask(Operation.PAUSE, tag or None)


def resume(tag: Tag = "") -> dict[str, Any]:
    """A paused search begins trials again."""
    return control.ask(Operation.RESUME, tag or None)


def stop(
    tag: Tag = "", now: Annotated[bool, Field(description="end the running trials too; they run again later")] = False
) -> dict[str, Any]:
    """Ends the search, once its running trials are recorded."""
    return control.ask(Operation.STOP_NOW if now else Operation.STOP, tag or None)


TOOLS: tuple[Verb, ...] = (status, summary, show, incumbent, propose, pause, resume, stop)


def server() -> MCPServer:
    try:
        number = version("exit-site-search")
    except PackageNotFoundError:
        number = "0"
    made = MCPServer("autoresearch", version=number, instructions=INSTRUCTIONS, log_level="WARNING")
    for tool in TOOLS:
        made.add_tool(as_tool(tool))
    return made


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.mcp",
        description=f"Serves a search to agents that speak the Model Context Protocol, on standard input and output. "
        f"Tools: {', '.join(tool.__name__ for tool in TOOLS)}. Register it with your agent as the command: "
        "python -m search.mcp, run in this repository (docs/agents.md has the lines).",
    )
    parser.parse_args(arguments)
    clean_environment()
    server().run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
