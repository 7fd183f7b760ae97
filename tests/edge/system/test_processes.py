"""Real processes and real kills: nothing of a trial outlives it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from search.system import process
from search.system.guard import LIVES_ON
from search.system.process import GUARD, Limits, is_alive, run_limited
from tests.support.repositories import ROOT

ORPHAN = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
open("orphan.pid", "w").write(str(child.pid))
print("step 1", flush=True)
"""
MAIN = "open('main.pid', 'w').write(str(os.getpid()))\ntime.sleep(300)\n"


def run(tmp_path, body, start_up=20.0, rest=20.0, on_training=lambda: None, **more):
    (tmp_path / "train.py").write_text(textwrap.dedent(body))
    command, limits = [sys.executable, "train.py"], Limits(start_up, rest, **more)
    return run_limited(command, tmp_path, os.environ, tmp_path / "log", limits, on_training=on_training)


def wait_for(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a process that its own user cannot end")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no /usr/bin/python3, which all users may run")
def test_a_process_that_cannot_be_ended_is_told(tmp_path):
    """As one that hangs in a driver. Here it has become root's, and its guard is nobody's."""
    python, nobody, folder = "/usr/bin/python3", 65534, Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o777)
    shutil.copy(GUARD, folder / "guard.py")
    shutil.copy(os.path.realpath(python), folder / "as_root")
    (folder / "as_root").chmod(0o4755)
    code = "import os, time; os.setuid(0); os.setpgid(0, 0); open('pid', 'w').write(str(os.getpid())); time.sleep(300)"
    child = f"import subprocess, time; subprocess.Popen(['./as_root', '-I', '-S', '-c', {code!r}]); time.sleep(2)"
    words = ["setpriv", "--reuid", str(nobody), "--regid", str(nobody), "--clear-groups", "--inh-caps=-all"]
    guard = [*words, python, "-I", "-S", str(folder / "guard.py"), python, "-I", "-S", "-c", child]
    stuck = None
    try:
        done = subprocess.Popen(guard, cwd=folder, stdin=subprocess.PIPE)
        code = done.wait(timeout=60)
        done.stdin.close()
        stuck = int((folder / "pid").read_text())
        assert is_alive(stuck) and code == LIVES_ON
    finally:
        if stuck:
            os.kill(stuck, signal.SIGKILL)
        shutil.rmtree(folder)


@pytest.mark.parametrize(("code", "lives_on"), [(LIVES_ON, True), (3, False)])
def test_what_the_guard_tells_comes_through(tmp_path, monkeypatch, code, lives_on):
    (tmp_path / "guard.py").write_text(f"raise SystemExit({code})")
    monkeypatch.setattr(process, "GUARD", tmp_path / "guard.py")
    assert run(tmp_path, "").lives_on == lives_on


def test_exit_codes_and_signals_come_through(tmp_path):
    assert run(tmp_path, "print('step 1')").code == 0
    assert run(tmp_path, "raise SystemExit(7)").code == 7
    assert run(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)").code == 137


@pytest.mark.parametrize("before", ["", "x" * 2**22 + "\n"])
def test_a_training_line_is_seen_however_soon_the_trial_ends(tmp_path, monkeypatch, before):
    monkeypatch.setattr(process, "POLL_SECONDS", 15.0)  # longer than the trial: it ends before anybody looks at its log
    seen = []
    (tmp_path / "before").write_text(before)
    body = "print(open('before').read() + 'step 1', flush=True)"
    assert run(tmp_path, body, on_training=lambda: seen.append(time.monotonic())).code == 0
    assert len(seen) == 1


def test_a_child_in_a_session_of_its_own_ends_with_the_trial(tmp_path):
    assert run(tmp_path, ORPHAN).code == 0
    assert not is_alive(int((tmp_path / "orphan.pid").read_text()))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import time; time.sleep(60)", "no training line within 1 s"),
        ("import time; print('step 1', flush=True); time.sleep(60)", "did not end"),
        ("import time; print('step 1', flush=True); print('---', flush=True); time.sleep(60)", "hung after its footer"),
    ],
)
def test_a_hung_trial_is_ended_with_the_reason(tmp_path, body, words):
    ended = run(tmp_path, body, start_up=1.0, rest=1.0)
    assert words in ended.ended_for


def test_kill_9_of_the_worker_ends_the_trial_and_its_children(tmp_path):
    (tmp_path / "train.py").write_text(ORPHAN + MAIN)
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
            import os, sys
            from pathlib import Path
            sys.path.insert(0, {str(ROOT)!r})
            from search.system.process import Limits, run_limited
            here = Path({str(tmp_path)!r})
            run_limited([sys.executable, "train.py"], here, os.environ, here / "log", Limits(60, 60))
        """),
        ],
    )
    assert wait_for((tmp_path / "main.pid").exists)
    assert wait_for(lambda: (tmp_path / "main.pid").read_text() != "")
    pids = [int((tmp_path / name).read_text()) for name in ("main.pid", "orphan.pid")]
    assert all(map(is_alive, pids))
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert wait_for(lambda: not any(map(is_alive, pids)))


FLOOD = """
import time
began, printed = time.monotonic(), 0
while True:
    while printed < (time.monotonic() - began) * 2 * 2**20:  # two MiB a second: 40 within its limit of time
        printed += print("x" * 1000) or 1001
    time.sleep(0.001)
"""


@pytest.mark.parametrize("rest", [20.0, None])
def test_a_flood_of_output_is_ended(tmp_path, rest):
    ended = run(tmp_path, FLOOD, rest=rest, largest_log=2**20)
    assert "printed more than 1 MiB" in ended.ended_for
    assert 2**20 < (tmp_path / "log").stat().st_size < 4 * 2**20  # ended within a second and a half


HOARD = """
import time
print("step 1", flush=True)
while True:
    open("own/hoard", "ab").write(bytes(2**20))
    time.sleep(0.05)
"""


@pytest.mark.full
def test_what_hoards_files_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "WEIGH_SECONDS", 0.2)
    (tmp_path / "own").mkdir()
    ended = run(tmp_path, HOARD, folders=(tmp_path / "own",), most_left=4 * 2**20)
    assert ended.ended_for == "left more than 4 MiB in its folders"


@pytest.mark.parametrize(
    "by", [pytest.param("nobody", marks=pytest.mark.full), "Ray, which kills the children of a worker that ends"]
)
def test_what_was_started_a_moment_before_its_driver_or_worker_was_killed_ends_too(tmp_path, by):
    body = f"""
import os, subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from search.system.process import watch_over_this_process
watcher = watch_over_this_process()
code = "import subprocess, sys; c = [sys.executable, '-c', 'import time; time.sleep(300)']; "
code += "print(subprocess.Popen(c, start_new_session=True).pid, flush=True); import time; time.sleep(300)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
open({str(tmp_path / "pid")!r}, "w").write(child.stdout.readline())
if {by!r} != "nobody":
    for pid in os.popen(f"ps -o pid= --ppid {{os.getpid()}}").read().split():
        try:
            os.kill(int(pid), 9)
        except ProcessLookupError:
            continue
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", body], check=False)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 15
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    ended = not is_alive(pid)
    if not ended:
        os.kill(pid, 9)
    assert ended
