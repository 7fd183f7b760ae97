"""Every command in the docs: run as it stands, but for names that stand for the reader's own; or with the test that
runs it."""

import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.own_task import own_repository
from tests.support.repositories import ROOT

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SKILL.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
ELSEWHERE = {  # a command is not run here if this is found in it: where it is, or why nowhere
    r"^make \w[\w-]*$": "CI, and whoever clones; that there is such a target is tested below",
    r"^(make install &&|ray |ssh-keygen|for ip in|\$EDITOR|GIT_SSH_COMMAND|sudo )": "system/cluster/test_nodes.py",
    r"--address ": "system/cluster/test_nodes.py",
    r"kubectl": "nowhere: it needs a Kubernetes cluster; unit/test_cluster_file.py reads the file",
    r"^claude mcp add": "nowhere: it needs Claude's client; system/test_commands.py drives the server over MCP",
    r"--agent [\"']?(claude|python)": "system/agent/test_real_clients.py, system/driver/test_proposals.py",
    r"search\.verify ": "system/driver/test_verify.py",
    r"^pip install optuna-dashboard$": "requirements-dev.txt",
    r"^optuna-dashboard ": "below",
}


def commands_of(page):
    """The lines of its shell blocks, without comments."""
    text = (ROOT / page).read_text()
    lines = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s)#\s.*", "", line).strip() for line in lines) if line]


COMMANDS = [(page, line) for page in PAGES for line in commands_of(page)]
HERE = list(dict.fromkeys(line for _, line in COMMANDS if not any(re.search(one, line) for one in ELSEWHERE)))


def test_the_pages_have_commands_and_each_exception_is_needed():
    assert len(HERE) >= 12
    lines = [line for _, line in COMMANDS]
    assert [one for one in ELSEWHERE if not any(re.search(one, line) for line in lines)] == []


def test_each_page_of_the_docs_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    assert [page for page in PAGES if page.startswith("docs/") and f"]({page[5:]})" not in index] == ["docs/README.md"]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        assert "://" in target or ((ROOT / page).parent / target).exists(), target


def test_every_target_of_make_that_is_named_is_there():
    targets = {line.split()[1] for _, line in COMMANDS if re.match(r"^make [\w-]+$", line)}
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_command_that_is_named_in_passing_is_there():
    text = " ".join((ROOT / page).read_text() for page in PAGES)
    named = {match.rstrip(".") for match in re.findall(r"search\.(\w+)", text)}
    verbs = {path.stem for path in (ROOT / "search").glob("*.py")}
    asked = {match for match in re.findall(r"python -m search\.([a-z_]+)", text)}
    assert asked <= verbs and {"launch", "status", "export", "predict"} <= named


@pytest.fixture(scope="module")
def place(searched, demo, tmp_path_factory):
    """(the folder that commands are run in, what the reader's own names stand for)."""
    repository, settings = searched
    own = own_repository(tmp_path_factory.mktemp("own") / "repository")
    names = {
        "/path/to/fuseg64": str(demo), "/path/to/photos": str(demo), "PHOTOS": str(demo), "FOLDER": str(demo),
        "PHOTO.jpg": str(next((demo / "class_4").iterdir())), "PATH/TO/REPOSITORY": str(own), "TAG": "t",
        "fuseg": "t", "1a2b3c4": settings.base[:7], ".venv/bin/python": sys.executable, "python": sys.executable,
    }  # fmt: skip
    return repository, names


def stands_for(line, names):
    """The words of a command, with the reader's names replaced."""
    pattern = re.compile("|".join(re.escape(one) for one in sorted(names, key=len, reverse=True)))
    words = [
        pattern.sub(lambda match: names[match[0]], word) if word != "--dataset" else word for word in shlex.split(line)
    ]
    return words


@pytest.mark.full
@pytest.mark.parametrize("line", HERE)
def test_a_command_does_what_it_says(line, place, tmp_path, monkeypatch):
    repository, names = place
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    words = stands_for(line, names)
    if "search.launch" in words:  # it would go on until somebody ends it
        words += ["--dry-run", "--no-dashboard"]
        words += [] if "--dataset" in words or "--task" in words else ["--dataset", names["PHOTOS"]]
        words = [word for word in words if word != "--detach"]
        if "--tag" in words:
            words[words.index("--tag") + 1] = "another"
    if "search.export" in words:
        shutil.rmtree(repository / "model", ignore_errors=True)
    if "search.predict" in words or "--model" in words:
        made = repository / "model"
        if not made.exists():
            export = [sys.executable, "-m", "search.export", "t", "--out", "model"]
            subprocess.run(export, cwd=repository, check=True, capture_output=True)
    if "search.adopt" in words:
        for name in ("task.toml", "space.toml"):
            Path(names["PATH/TO/REPOSITORY"], name).unlink(missing_ok=True)
    done = subprocess.run(words, cwd=repository, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


@pytest.mark.full
def test_optunas_dashboard_shows_the_study(searched):
    """The one line of docs/tracking.md, tried for real."""
    repository, _ = searched
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists():
        pytest.skip("optuna-dashboard is not installed")
    command = [program, f"sqlite:///{repository}/runs/t/optuna.db", "--port", "18472"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            found, deadline = "", time.monotonic() + 60
            while not found and time.monotonic() < deadline:
                try:
                    with urllib.request.urlopen("http://127.0.0.1:18472/api/studies", timeout=5) as answer:
                        found = answer.read().decode()
                except OSError:
                    time.sleep(0.3)
            assert "code " in found
        finally:
            server.terminate()
