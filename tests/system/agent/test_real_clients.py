"""Real coding agents, installed from npm and PyPI and unmodified, through a whole turn; only the model is scripted."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from search.agent.presets import agent_of, check_agent
from search.agent.turn import ask
from search.core.types import UsageError
from tests.support.endpoints import Endpoint
from tests.support.launching import SLOW_TRAIN, check_agreement, command, launch, records, rows, settled
from tests.support.launching import ask as run_command
from tests.support.repositories import git, make_repository
from tests.support.turns import Bench

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
PACKAGES = {
    "claude": "@anthropic-ai/claude-code@2.1.197",
    "codex": "@openai/codex@0.169.0",
    "gemini": "@google/gemini-cli@0.61.0",
    "opencode": "opencode-ai@1.18.33",
    "aider": "aider-chat==0.86.2",
}
OLD, NEW = "logits = 4 * features[both] @ weights", "logits = 5 * features[both] @ weights"


def whole_line(old):
    """Patches replace whole lines."""
    return next(line for line in SLOW_TRAIN.splitlines() if old in line)


OLD_LINE = whole_line(OLD)
NEW_LINE = OLD_LINE.replace(OLD, NEW)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """name -> folder of its command. AUTORESEARCH_TEST_AGENTS: a folder that keeps them from one run to the next."""
    kept = os.environ.get("AUTORESEARCH_TEST_AGENTS")
    root = Path(kept) if kept else tmp_path_factory.mktemp("agents")

    def install(name):
        folder, package = root / name, PACKAGES[name]
        if name == "aider":
            place = folder / "bin"
            steps = [[sys.executable, "-m", "venv", folder], [place / "pip", "install", "--quiet", package]]
        else:
            if shutil.which("npm") is None:
                pytest.fail(f"{name} is installed with npm, and there is no npm here: install Node.js 20 or newer")
            place = folder / "node_modules/.bin"
            steps = [["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", folder, package]]
        if not (place / name).exists():
            for step in steps:
                done = subprocess.run(
                    [str(word) for word in step], capture_output=True, text=True, timeout=600, check=False
                )
                assert done.returncode == 0, f"{package} could not be installed: {done.stdout}{done.stderr}"
        return place

    return install


def ready(name, endpoint, home, monkeypatch):
    """The words of --agent, in an environment where the client talks to the endpoint alone.

    home: the repository lies within, as it mostly does, so that little of it can be written by a confined tool.
    """
    for variable in [key for key in os.environ if key.endswith(("_API_KEY", "_BASE_URL", "_TOKEN"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(home))
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    if name == "claude":
        monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", endpoint.url)
        return "claude --model sonnet"
    if name == "codex":
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        where = f'name="here",base_url="{endpoint.url}/v1",wire_api="responses",env_key="CODEX_API_KEY"'
        provider = f"model_providers.here={{{where}}}"
        return shlex.join(["codex", "-c", "model_provider=here", "-c", provider, "-m", "gpt-5.5"])
    if name == "gemini":
        monkeypatch.setenv("GEMINI_API_KEY", "key")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", endpoint.url)
        (home / ".gemini").mkdir()
        settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
        (home / ".gemini/settings.json").write_text(json.dumps(settings))
        return "gemini -m gemini-2.5-pro"
    if name == "opencode":
        cost = {"input": 3, "output": 15, "cache_read": 0.3}
        model = {"name": "m", "limit": {"context": 128000, "output": 8192}, "cost": cost}
        options = {"baseURL": f"{endpoint.url}/v1", "apiKey": "key"}
        provider = {"npm": "@ai-sdk/openai-compatible", "name": "here", "options": options, "models": {"m": model}}
        settings = {"provider": {"here": provider}, "enabled_providers": ["here"]}
        (home / "opencode.json").write_text(json.dumps(settings))
        monkeypatch.setenv("OPENCODE_CONFIG", str(home / "opencode.json"))
        monkeypatch.setenv("OPENCODE_DISABLE_MODELS_FETCH", "1")
        return "opencode -m here/m"
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_API_BASE", f"{endpoint.url}/v1")
    prices = {
        "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1.5e-05,
        "litellm_provider": "openai",
        "mode": "chat",
    }
    (home / "models.json").write_text(json.dumps({"openai/m": {"max_input_tokens": 128000, **prices}}))
    return f"aider --model openai/m --weak-model openai/m --edit-format diff --model-metadata-file {home}/models.json"


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_real_agent_goes_through_its_turn(tmp_path, demo, installed, monkeypatch, name):
    monkeypatch.setenv("PATH", f"{installed(name)}{os.pathsep}{os.environ['PATH']}")
    bench = Bench(tmp_path, demo)
    with Endpoint(OLD_LINE, NEW_LINE) as endpoint:
        agent = agent_of(ready(name, endpoint, tmp_path, monkeypatch))
        budget = 5.0 if agent.reports_dollars else None
        check_agent(agent, budget)
        made = ask(agent, bench.task(seconds=180, dollars=budget), bench.context)
        logs = [path.read_text(errors="replace")[-3000:] for path in bench.context.folder.glob("turn0001-0/agent*.log")]
        assert made.refused == "", [made.refused, *logs, endpoint.requests[-1:]]
    assert (made.author, made.idea) == (name, "sharper logits")
    assert NEW in bench.repository.file_at(made.commit, "train.py")
    assert made.cost.attempts == 1 and made.cost.turns >= 1
    assert made.cost.input_tokens >= 1000 and made.cost.output_tokens >= 50
    assert (made.cost.dollars is not None) == bool(agent.reports_dollars)
    assert "what is wanted" in json.dumps([request["body"] for request in endpoint.requests])
    assert git(bench.root, "status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["claude", "codex", "gemini", "aider"])
def test_a_missing_key_is_told_at_the_start(tmp_path, installed, monkeypatch, name):
    monkeypatch.setenv("PATH", f"{installed(name)}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in agent_of(name).keys:
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UsageError, match=f"--agent {name}: no key"):
        check_agent(agent_of(name), None)


def test_a_real_agent_in_a_real_search(tmp_path, demo, installed, monkeypatch):
    """opencode, asked by python -m search.launch: its edit is a row, with what it cost."""
    monkeypatch.setenv("PATH", f"{installed('opencode')}{os.pathsep}{os.environ['PATH']}")
    repository = make_repository(tmp_path / "project", SLOW_TRAIN)
    with Endpoint(OLD, NEW) as endpoint:
        words = ready("opencode", endpoint, tmp_path, monkeypatch)
        asked = ["--agent", words, "--agent-budget-usd", "1", "--experiments-per-round", "3", "--confirm-seeds", "0"]
        # Without a limit: how long a client thinks is its own affair.
        wanted, log, table = (
            command(demo, "--tag", "t", *asked),
            tmp_path / "driver.log",
            repository / "runs/t/results.tsv",
        )
        with log.open("w") as output, subprocess.Popen(wanted, cwd=repository, stdout=output, stderr=output) as driver:

            def is_tried():
                assert driver.poll() is None, log.read_text()
                return table.exists() and "sharper logits" in table.read_text()

            try:
                settled(is_tried, 300)
                run_command(repository, "stop")
                assert driver.wait(120) == 0, log.read_text()
            finally:
                driver.kill()
    check_agreement(repository, len(rows(repository)))
    made = records(repository, "proposals.jsonl")[0]
    assert (made["author"], made["idea"], made["refused"]) == ("opencode", "sharper logits", "")
    assert made["cost"]["dollars"] > 0 and made["cost"]["turns"] == 2
    assert "sharper logits" in {row[5] for row in rows(repository)}
    summary = json.loads((repository / "runs/t/analysis_summary.json").read_text())
    assert summary["costs"]["agent"]["model_dollars"] > 0
    brief = json.dumps(endpoint.requests[0]["body"])
    assert "Edit `train.py` and nothing else" in brief and "wants one better idea" in brief
    if len(records(repository, "proposals.jsonl")) > 1:  # the next brief says what became of it
        assert any("sharper logits [opencode]" in json.dumps(request["body"]) for request in endpoint.requests)


def test_another_client_speaks_to_the_mcp_server(tmp_path, demo, fast_repository):
    """The Inspector, the protocol's own command-line client, on the TypeScript SDK."""
    if shutil.which("npm") is None:
        pytest.fail("the Inspector is installed with npm, and there is no npm here: install Node.js 20 or newer")
    folder = tmp_path / "inspector"
    package = "@modelcontextprotocol/inspector@2.12.0"
    step = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), package]
    subprocess.run(step, check=True, capture_output=True, timeout=600)
    launch(fast_repository, demo, "--tag", "t", "--experiments", "2")
    server = [sys.executable, "-m", "search.mcp"]

    def inspect(*words):
        client = [
            str(folder / "node_modules/.bin/mcp-inspector"),
            "--cli",
            *server,
            "--cwd",
            str(fast_repository),
            *words,
        ]
        return subprocess.run(client, cwd=fast_repository, capture_output=True, text=True, timeout=120, check=False)

    listed = inspect("--method", "tools/list")
    assert listed.returncode == 0, listed.stderr
    assert {"propose", "show", "pause"} <= {tool["name"] for tool in json.loads(listed.stdout)["tools"]}
    shown = inspect("--method", "tools/call", "--tool-name", "show", "--tool-arg", "experiment=0")
    assert json.loads(shown.stdout)["structuredContent"]["kind"] == "baseline"
    lost = inspect("--method", "tools/call", "--tool-name", "pause")
    assert "t does not run" in lost.stdout
