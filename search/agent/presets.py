"""The coding agents that `--agent` knows by name, with the flags that run each without a person."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from search.agent.agents import Agent, plain
from search.types import UsageError

PRESETS: dict[str, Agent] = {}


def agent_of(name: str) -> Agent:
    """The preset of this name, or an agent that is this command line. Raises UsageError where it is neither."""
    if name in PRESETS:
        return PRESETS[name]
    try:
        words = shlex.split(name)
    except ValueError as error:
        raise UsageError(f"--agent {name!r}: not a command line: {error}") from error
    if not words:
        raise UsageError(f"--agent {name!r}: name one of {', '.join(PRESETS)}, a command line, builtin or none")
    return Agent(Path(words[0]).name, tuple(words), plain)


def check_agent(agent: Agent, dollars: float | None) -> None:
    """Raises UsageError where the agent's command or key is missing, or its budget could not be kept."""
    command = agent.command[0]
    if shutil.which(command) is None:
        known = f"install it, or name one of {', '.join(PRESETS)}, a command line, builtin or none"
        raise UsageError(f"--agent {agent.name}: there is no command {command}; {known}")
    has_key = any(os.environ.get(name) for name in agent.keys)
    if agent.keys and not has_key and not any((Path.home() / file).exists() for file in agent.files):
        raise UsageError(f"--agent {agent.name}: no key: set {' or '.join(agent.keys[:2])}, or log in with {command}")
    if dollars is not None and agent.tells_dollars is False:
        raise UsageError(
            f"--agent-budget-usd {dollars:g}: {agent.name} does not tell what it costs; leave it out, and use "
            "--agent-timeout and --agent-proposals"
        )
