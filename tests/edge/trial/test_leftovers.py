"""What one trial leaves does not reach the next (docs/trust.md)."""

import time

import pytest

from search.system.git import Repository
from search.trial import integrity
from tests.support.dishonest import edited, run_edit
from tests.support.repositories import FAST_TRAIN

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
    monkeypatch.setattr(Repository, "reset", lambda self, branch, commit: self.run("reset", "--hard", "-q", commit))
    following, _ = run_edit(tmp_path, demo, FAST_TRAIN + "\n", number=2)
    assert following.score is None
    assert "not the search's own files before it ran" in following.reason
    monkeypatch.setattr(integrity, "strays", lambda *_: [])
    unseen, log = run_edit(tmp_path, demo, FAST_TRAIN + "\n\n", number=3)
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
        monkeypatch.setattr(Repository, "reset", lambda self, branch, commit: self.run("reset", "--hard", "-q", commit))
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
