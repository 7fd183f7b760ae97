"""What one trial leaves does not reach the next (docs/trust.md)."""

import time

import pytest

from search.system.git import Repository
from search.trial import integrity
from tests.support.dishonest import edited, run_edit
from tests.support.repositories import FAST_TRAIN, git

LEFT = {  # what one trial leaves in its worktree for the next, to be imported there
    "an untracked numpy.py": ("numpy.py", "raise SystemExit('the next trial was reached')"),
    "a sitecustomize.py": ("sitecustomize.py", "raise SystemExit('the next trial was reached')"),
    "a package in prepare's place": ("prepare/__init__.py", "raise SystemExit('the next trial was reached')"),
}


def leaving(name, text):
    make = f"os.makedirs(os.path.dirname({name!r}) or '.', exist_ok=True)\n"
    return edited(after=make + f"open({name!r}, 'w').write({text!r})\n")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name == "an untracked numpy.py" else pytest.mark.full) for name in LEFT],
)
def test_what_a_trial_leaves_does_not_reach_the_next(tmp_path, demo, honest, name):
    first, _ = run_edit(tmp_path, demo, leaving(*LEFT[name]), number=1)
    assert first.score == honest
    following, _ = run_edit(tmp_path, demo, FAST_TRAIN + "\n", number=2)
    assert following.score == honest


@pytest.mark.full
@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_is_found_even_where_nobody_cleaned(tmp_path, demo, honest, monkeypatch, name):
    run_edit(tmp_path, demo, leaving(*LEFT[name]), number=1)
    monkeypatch.setattr(Repository, "reset", lambda self, *place: self.run("reset", "--hard", "-q", place[-1]))
    following, _ = run_edit(tmp_path, demo, FAST_TRAIN + "\n", number=2)
    assert following.score is None
    assert "not the search's own files before it ran" in following.reason
    monkeypatch.setattr(integrity, "strays", lambda *_: [])
    # One that is forked has numpy already: it starts by itself here.
    unseen, log = run_edit(tmp_path, demo, FAST_TRAIN + "\n\n", number=3, ahead=None)
    assert ("the next trial was reached" in log) == (name != "a sitecustomize.py"), unseen.reason


STALE = """
import importlib.util, py_compile, pathlib
source = pathlib.Path("prepare.py")
evil = pathlib.Path(os.environ["TMPDIR"], "prepare.py")
evil.write_text("raise SystemExit('the next trial was reached')")
py_compile.compile(str(evil), cfile=importlib.util.cache_from_source("prepare.py"), invalidation_mode=
    py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


@pytest.mark.parametrize("clean", [True, pytest.param(False, marks=pytest.mark.full)])
def test_a_stale_pyc_does_not_reach_the_next_trial(tmp_path, demo, honest, monkeypatch, clean):
    first, _ = run_edit(tmp_path, demo, edited(after=STALE), number=1)
    assert first.score == honest
    if not clean:
        monkeypatch.setattr(Repository, "reset", lambda self, *place: self.run("reset", "--hard", "-q", place[-1]))
        monkeypatch.setattr(integrity, "strays", lambda *_: [])
    following, log = run_edit(tmp_path, demo, FAST_TRAIN + "\n", number=2)
    assert ("the next trial was reached" in log) != clean
    assert (following.score == honest) == clean


CHILD = """
import subprocess
beat = "import time, pathlib\\nwhile True: time.sleep(0.1); pathlib.Path('beat').write_text(str(time.time()))"
subprocess.Popen([sys.executable, "-c", beat], start_new_session=True)
while not os.path.exists("beat"): time.sleep(0.05)
"""


def test_a_child_that_goes_on_training_is_ended(tmp_path, demo, honest):
    outcome, _ = run_edit(tmp_path, demo, edited(after=CHILD))
    assert outcome.score == honest
    beat = tmp_path / "project/runs/t/gpu0/tree/beat"
    last = beat.read_text()
    time.sleep(0.5)
    assert beat.read_text() == last


def test_temporary_files_end_with_their_trial(tmp_path, demo, honest):
    code = edited(after="import tempfile\nopen(os.path.join(tempfile.gettempdir(), 'kept'), 'w').write('for later')\n")
    outcome, _ = run_edit(tmp_path, demo, code)
    assert outcome.score == honest
    assert not list((tmp_path / "project/runs").rglob("kept"))


TAKEN_OVER = {  # what a trial puts in place of its worktree's .git
    "a file that leads to the repository": "os.remove('.git'); open('.git', 'w').write('gitdir: REPOSITORY/.git\\n')\n",
    "a link to the repository": "os.remove('.git'); os.symlink('REPOSITORY/.git', '.git')\n",
    "a repository of its own, with a command": (
        "os.remove('.git'); import subprocess; own = {**os.environ, 'GIT_CONFIG_GLOBAL': '/dev/null'}\n"
        "subprocess.run(['git', 'init', '-q'], check=True, env=own)\n"
        "open('.git/config', 'a').write('[core]\\n\\tfsmonitor = touch REACHED; false\\n')\n"
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.full if name.startswith("a link") else []) for name in TAKEN_OVER],
)
def test_git_is_never_led_elsewhere_by_what_a_trial_wrote(tmp_path, demo, honest, name):
    repository, reached = tmp_path / "project", tmp_path / "reached"
    (repository / "mine.txt").write_text("not committed yet")
    git(repository, "add", "mine.txt")
    code = TAKEN_OVER[name].replace("REPOSITORY", str(repository)).replace("REACHED", str(reached))
    first, log = run_edit(tmp_path, demo, edited(after=code), number=1)
    assert first.score == honest, log
    following, _ = run_edit(tmp_path, demo, FAST_TRAIN + "\n", number=2)
    assert following.score == honest and not reached.exists()
    assert git(repository, "symbolic-ref", "HEAD").strip() == "refs/heads/main"
    assert git(repository, "diff", "--cached", "--name-only").split() == ["mine.txt"]
    assert (repository / "mine.txt").read_text() == "not committed yet"


HARD_TO_REMOVE = {
    "a pipe": "os.mkfifo('pipe')\n",
    "a pipe in place of prepare.py": "os.remove('prepare.py'); os.mkfifo('prepare.py')\n",
    "a folder that is closed": "os.makedirs('closed/inner'); open('closed/x', 'w'); os.chmod('closed', 0)\n",
    "a name that is no text": "open(b'\\xff.py', 'w').write('')\n",
    "a folder in place of train.py": "os.remove('train.py'); os.mkdir('train.py')\n",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if "pipe in place" in name else pytest.mark.full) for name in HARD_TO_REMOVE],
)
def test_what_is_hard_to_remove_or_to_read_holds_nothing_up(tmp_path, demo, honest, name):
    first, log = run_edit(tmp_path, demo, edited(after=HARD_TO_REMOVE[name]), number=1)
    assert first.score == honest, log
    changed = [name.removeprefix("a pipe in place of ").removeprefix("a folder in place of ")]
    wanted = [f"changed {changed[0]} while it ran"] if changed[0].endswith(".py") else []
    assert list(first.violations) == wanted
    following, _ = run_edit(tmp_path, demo, FAST_TRAIN + "\n", number=2)
    assert following.score == honest, following.reason
