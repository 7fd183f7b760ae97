"""The coding agents that `--agent` knows by name, with the flags that run each without a person."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.agent.agents import Agent, Said, plain, records_of, sum_of, whole
from search.core.types import UsageError
from search.report.costs import total_of

SCRIPTS = (".py", ".sh", ".js", ".mjs")
TURNS = 60  # of a model in one call; a proposal takes ten to thirty


def _claude(output: str, own: Path) -> Said:
    record: dict[str, Any] = next((one for one in reversed(records_of(output)) if one.get("type") == "result"), {})
    answer, models = str(record.get("result") or ""), list((record.get("modelUsage") or {}).values())
    failure = ""
    if record.get("is_error") or str(record.get("subtype", "")).startswith("error"):
        failure = answer or "; ".join(map(str, record.get("errors") or [record.get("subtype")]))
    read = [sum_of(models, name) for name in ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")]
    return Said(
        answer,
        whole(sum_of([record], "num_turns")),
        whole(total_of(read)),
        whole(sum_of(models, "outputTokens")),
        sum_of([record], "total_cost_usd"),
        failure,
    )


def _codex(output: str, own: Path) -> Said:
    records = records_of(output)
    items = [
        one["item"] for one in records if one.get("type") == "item.completed" and isinstance(one.get("item"), dict)
    ]
    said = [str(item.get("text", "")) for item in items if item.get("type") == "agent_message"]
    failed = [one for one in records if one.get("type") == "turn.failed"]
    usage = [one.get("usage") for one in records if one.get("type") == "turn.completed"]
    return Said(
        said[-1] if said else "",
        sum(item.get("type") in ("command_execution", "file_change") for item in items) or None,
        whole(sum_of(usage, "input_tokens")),
        whole(sum_of(usage, "output_tokens")),
        failure=str((failed[-1].get("error") or {}).get("message", "it failed")) if failed else "",
    )


def _gemini(output: str, own: Path) -> Said:
    records = [one for one in records_of(output) if "response" in one or "error" in one]
    record = records[-1] if records else {}
    models = list(((record.get("stats") or {}).get("models") or {}).values())
    answered = [sum_of(models, "tokens", name) for name in ("candidates", "thoughts")]
    error = record.get("error")
    return Said(
        str(record.get("response") or ""),
        whole(sum_of(models, "api", "totalRequests")),
        whole(sum_of(models, "tokens", "prompt")),
        whole(total_of(answered)),
        failure=str(error.get("message", error)) if isinstance(error, dict) else "",
    )


def _opencode(output: str, own: Path) -> Said:
    records = records_of(output)
    steps = [one.get("part") for one in records if one.get("type") == "step_finish"]
    texts = [one["part"].get("text", "") for one in records if one.get("type") == "text" and one.get("part")]
    errors = [one.get("error") or {} for one in records if one.get("type") == "error"]
    read = [sum_of(steps, "tokens", "input"), sum_of(steps, "tokens", "cache", "read")]
    failure = ""
    if errors:
        failure = str((errors[-1].get("data") or {}).get("message") or errors[-1].get("name") or "it failed")
    return Said(
        str(texts[-1]) if texts else "",
        len(steps) or None,
        whole(total_of(read)),
        whole(sum_of(steps, "tokens", "output")),
        sum_of(steps, "cost"),
        failure,
    )


def _aider(output: str, own: Path) -> Said:
    """It exits 0 whatever happens: whether a model answered stands in its log of events."""

    def text_of(name: str) -> str:
        return (own / name).read_text(errors="replace") if (own / name).exists() else ""

    events = [
        one.get("properties") for one in records_of(text_of("events.jsonl")) if one.get("event") == "message_send"
    ]
    answers = re.split(r"^LLM RESPONSE .*$", text_of("answers.txt"), flags=re.MULTILINE)
    answer = re.sub(r"^ASSISTANT ?", "", answers[-1], flags=re.MULTILINE) if len(answers) > 1 else output
    errors = [line.strip() for line in output.splitlines() if "litellm." in line or "LLM Provider NOT" in line]
    return Said(
        answer.strip(),
        len(events) or None,
        whole(sum_of(events, "prompt_tokens")),
        whole(sum_of(events, "completion_tokens")),
        sum_of(events, "cost"),
        "" if events else (errors[-1] if errors else "no model answered"),
    )


GEMINI_POLICY = """\
[[rule]]
toolName = ["replace", "write_file"]
argsPattern = "file_path\\":\\"[^\\"]*train[.]py\\""
decision = "allow"
priority = 900
[[rule]]
toolName = ["replace", "write_file"]
argsPattern = "file_path"
decision = "deny"
priority = 500
"""
GEMINI_SETTINGS = {
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "model": {"maxSessionTurns": TURNS},
    "tools": {"core": ["read_file", "replace", "write_file", "glob", "grep_search", "list_directory"]},
}
OPENCODE_SETTINGS = {
    "share": "disabled",
    "autoupdate": False,
    "snapshot": False,
    "lsp": False,
    "formatter": False,
    "permission": {
        "*": "deny",
        "read": "allow",
        "edit": {"*": "deny", "*train.py": "allow"},
        "glob": "allow",
        "grep": "allow",
        "list": "allow",
    },
    "agent": {"build": {"steps": TURNS}},
}
CODEX_OFF = ("unbounded_connection_retries", "multi_agent", "goals", "apps", "plugins", "shell_snapshot")

PRESETS: dict[str, Agent] = {
    "claude": Agent(
        "claude",
        (
            *("claude", "-p", "--output-format", "json", "--max-turns", str(TURNS), "--max-budget-usd", "{dollars}"),
            *("--permission-mode", "dontAsk", "--tools", "Read,Edit,Write,Grep,Glob"),
            *("--allowedTools", "Read,Grep,Glob,Edit(./train.py),Write(./train.py)"),
            *("--no-session-persistence", "--strict-mcp-config", "{more}"),
        ),
        _claude,
        environment={
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_MAX_RETRIES": "3",
        },
        keys=(
            *("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN"),
            *("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"),
        ),
        logins=(".claude/.credentials.json",),
        homes=(".claude",),
        leaves=(".claude/*",),
        reports_dollars=True,
    ),
    "codex": Agent(
        "codex",
        (
            *("codex", "exec", "--json", "--ephemeral", "--color", "never", "--skip-git-repo-check"),
            *("--sandbox", "{sandbox}", "-c", "approval_policy=never", "-c", "web_search=disabled"),
            *(word for name in CODEX_OFF for word in ("--disable", name)),
            *("-c", "check_for_update_on_startup=false", "-c", "history.persistence=none"),
            *("-c", "shell_environment_policy.inherit=core", "{more}", "-"),
        ),
        _codex,
        keys=("CODEX_API_KEY", "OPENAI_API_KEY"),
        logins=(".codex/auth.json",),
        aliases=(("CODEX_API_KEY", "OPENAI_API_KEY"),),
        homes=(".codex",),
        leaves=(".codex/*",),
        reports_dollars=False,
    ),
    "gemini": Agent(
        "gemini",
        (
            *("gemini", "--output-format", "json", "--approval-mode", "auto_edit", "--skip-trust"),
            *("--policy", "{own}/policy.toml", "{more}"),
        ),
        _gemini,
        environment={"GEMINI_CLI_SYSTEM_SETTINGS_PATH": "{own}/settings.json"},
        files={"policy.toml": GEMINI_POLICY, "settings.json": json.dumps(GEMINI_SETTINGS, indent=2)},
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA"),
        logins=(".gemini/oauth_creds.json",),
        homes=(".gemini",),
        leaves=(".gemini/*",),
        reports_dollars=False,
    ),
    "aider": Agent(
        "aider",
        (
            *("aider", "--message-file", "{brief}", "--file", "train.py", "--yes-always", "--no-git"),
            *("--no-auto-commits", "--no-dirty-commits", "--no-gitignore", "--no-check-update", "--no-analytics"),
            *("--no-show-release-notes", "--no-show-model-warnings", "--no-suggest-shell-commands", "--no-detect-urls"),
            *("--disable-playwright", "--no-pretty", "--no-stream", "--no-fancy-input", "--no-auto-lint"),
            *("--no-auto-test", "--map-tokens", "0", "--max-chat-history-tokens", "1000000"),
            *("--chat-history-file", "{own}/chat.md", "--input-history-file", "{own}/input"),
            *("--llm-history-file", "{own}/answers.txt", "--analytics-log", "{own}/events.jsonl", "{more}"),
        ),
        _aider,
        on_stdin=False,
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "TERM": "dumb"},
        keys=(
            *("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "DEEPSEEK_API_KEY", "GEMINI_API_KEY"),
            *("AIDER_ANTHROPIC_API_KEY", "AIDER_OPENAI_API_KEY", "AIDER_API_KEY", "VERTEXAI_PROJECT"),
        ),
        logins=(".aider.conf.yml", ".aider/oauth-keys.env", ".env"),
        homes=(".aider",),
        leaves=(".aider*",),
        reports_dollars=True,
    ),
    "opencode": Agent(
        "opencode",
        ("opencode", "run", "--pure", "--format", "json", "--title", "proposal", "{more}"),
        _opencode,
        environment={
            "OPENCODE_CONFIG_CONTENT": json.dumps(OPENCODE_SETTINGS),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
            "OPENCODE_DISABLE_CLAUDE_CODE": "1",
        },
        keys=(
            *("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY", "OPENCODE_AUTH_CONTENT"),
            "OPENCODE_CONFIG",
        ),
        logins=(".local/share/opencode/auth.json", ".config/opencode/opencode.json", ".config/opencode/opencode.jsonc"),
        homes=(".local/share/opencode", ".local/state/opencode", ".config/opencode", ".cache/opencode"),
        leaves=(".opencode/*",),
        reports_dollars=True,
    ),
}  # fmt: skip


def agent_of(name: str) -> Agent:
    """The preset that a command line begins with, its further words handed on to the tool; else that command line.

    Raises UsageError if it is neither.
    """
    try:
        words = shlex.split(name)
    except ValueError as error:
        raise UsageError(f"--agent {name!r}: not a command line: {error}") from error
    if not words:
        raise UsageError(f"--agent {name!r}: name one of {', '.join(PRESETS)}, a command line, builtin or none")
    if words[0] in PRESETS:
        return replace(PRESETS[words[0]], more=tuple(words[1:]))
    script = next((word for word in words[1:] if not word.startswith("-")), "")
    if script.endswith(SCRIPTS) and not Path(script).is_file():
        raise UsageError(f"--agent {name!r}: there is no file {script}; name it as seen from here, {Path.cwd()}")
    # It runs elsewhere: what names a file here must name it there.
    whole = [str(Path(word).absolute()) if Path(word).is_file() else word for word in words]
    return Agent(Path(words[0]).name, (words[0] if "/" not in words[0] else whole[0], *whole[1:]), plain)


def check_agent(agent: Agent, dollars: float | None) -> None:
    """Raises UsageError if the agent's command or key is missing, or its budget could not be kept."""
    command = agent.command[0]
    if shutil.which(command) is None:
        known = f"install it, or name one of {', '.join(PRESETS)}, a command line, builtin or none"
        raise UsageError(f"--agent {agent.name}: there is no command {command}; {known}")
    has_key = any(os.environ.get(name) for name in agent.keys)
    if agent.keys and not has_key and not any((Path.home() / file).exists() for file in agent.logins):
        raise UsageError(f"--agent {agent.name}: no key: set {' or '.join(agent.keys[:2])}, or log in with {command}")
    if dollars is not None and agent.reports_dollars is False:
        raise UsageError(
            f"--agent-budget-usd {dollars:g}: {agent.name} does not report what it costs; leave it out, and use "
            "--agent-timeout and --agent-proposals"
        )
