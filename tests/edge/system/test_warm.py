"""A run that is forked from a Python that waits is in all that it can see a run of its own."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from search.core.types import SearchError
from search.system.process import Limits, is_alive, is_guard, limited, started_cold
from search.system.sandbox import is_available, write_rules
from search.system.warm import template
from search.system.warm.interpreter import WarmInterpreter
from tests.support.lab import wait_for
from tests.support.repositories import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked so on Linux alone")
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def warm():
    made = WarmInterpreter(ENVIRONMENT, ["numpy", "multiprocessing.pool", "no_such_module"])
    yield made
    made.close()


class Lane:
    """Runs a program in both ways, in a folder of its own."""

    def __init__(self, folder, warm):
        self.folder, self.warm = folder, warm

    def run(self, body, *words, is_warm=True, environment=ENVIRONMENT, rules=None, descriptors=(), limits=None, **on):
        """(how it ended, what it printed)"""
        (self.folder / "train.py").write_text(textwrap.dedent(body))
        command = ["train.py", *words]

        def start(output):
            if is_warm:
                return self.warm.begin(command, self.folder, environment, rules, output, descriptors)
            return started_cold([sys.executable, *command], self.folder, environment, output, descriptors)

        log = self.folder / "log"
        ended = limited(start, log, limits or Limits(30, None), **on)
        return ended, log.read_text()


@pytest.fixture
def lane(tmp_path, warm):
    return Lane(tmp_path, warm)


PROGRAMS = {
    "well": "print('done')",
    "what it is": "import sys, os; print(__name__, __file__, sys.argv, os.getcwd(), sys.path[0], __doc__, __spec__)",
    "its file": "import os, sys; print(os.path.abspath(__file__), os.path.abspath(sys.modules['__main__'].__file__))",
    "its environment": "import os; print(sorted(os.environ.items())); os.system('env | sort | grep -v -e ^_ -e SHLVL')",
    "its files": "import os; print(sorted(os.listdir('/proc/self/fd')))",
    "input": "import sys; print(repr(sys.stdin.read()))",
    "exit code": "raise SystemExit(7)",
    "exit word": "import sys; sys.exit('no way')",
    "exit nothing": "import sys; sys.exit()",
    "at once": "import os; print('last', flush=True); os._exit(3)",
    "error": "def f():\n    raise KeyError('gone')\nf()",
    "error within": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('no') from e",
    "no Python": "import (",
    "null": "x = 'a\\0b'; print(len(x))",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "hung up": "import os, signal; os.kill(os.getpid(), signal.SIGHUP)",
    "interrupted": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    "a child": "import subprocess; print(subprocess.run(['sh', '-c', 'exit 3']).returncode)",
    "at exit": "import atexit; atexit.register(print, 'bye'); print('hello')",
    "threads": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
    "annotations": "def f(x: not_defined): pass",
    "dataclass": "import dataclasses, inspect\n@dataclasses.dataclass\nclass A:\n    x: int = 1  # one\n"
    "print(A(), inspect.getsource(A), A.__module__)",
    "pickle": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)",
    "pool": "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n"
    "    with m.Pool(2) as p: print(p.map(f, [1, 2, 3]))",
    "spawned": "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n"
    "    with m.get_context('spawn').Pool(1) as p: print(p.map(f, [2]))",
    "its own search": "import sys; print([name for name in sys.modules if name.startswith('search')])",
    "an odd exit code": "raise SystemExit(300)",
    "a negative exit code": "raise SystemExit(-1)",
    "destructors": "class A:\n    def __del__(self, say=print): say('gone', self.name, OTHER)\n"
    "OTHER = 'there'\none, two = A(), A()\none.name, two.name = 1, 1\none.two, two.one = two, one",
    "an error in a destructor": "import sys; sys.unraisablehook = lambda one, say=print: say(one.exc_type)\n"
    "class A:\n    def __del__(self): 1 / 0\na = A()",
    "a daemon thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "output that it closed": "import sys; print('last'); sys.stdout.close(); sys.stderr.close()",
    "no output": "import sys; print('last'); sys.stdout = sys.stderr = None",
    "an error with what it holds": "class A:\n    def __del__(self, say=print): say('gone')\n"
    "def f():\n    a = A()\n    a.me = a\n    raise KeyError\nf()",
    "temporary": "import tempfile; print(tempfile.gettempdir())",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_a_program_does_is_the_same(lane, name):
    environment = ENVIRONMENT | {"TMPDIR": str(lane.folder), "MINE": "1"}
    outcomes = [lane.run(PROGRAMS[name], "a", "b c", is_warm=way, environment=environment) for way in (False, True)]
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("way", [False, True], ids=["cold", "forked"])
def test_files_that_it_leaves_open_are_written_to_their_ends(lane, way):
    (lane.folder / "beside.py").write_text("other = open('other', 'w')\nother.write('of a module')\ndef f(): pass")
    body = (
        "import beside\nleft = open('left', 'w')\nleft.write('all of it')\ndef f(): return left\nf.f, f.left = f, left"
    )
    assert lane.run(body, is_warm=way)[0].code == 0
    assert ((lane.folder / "left").read_text(), (lane.folder / "other").read_text()) == ("all of it", "of a module")


def test_a_module_beside_it_comes_before_all_others(lane):
    (lane.folder / "search").mkdir()
    (lane.folder / "search/__init__.py").write_text("ours = 1")
    (lane.folder / "prepare.py").write_text("mine = 2")
    assert lane.run("import search, prepare; print(search.ours, prepare.mine)")[1] == "1 2\n"


def test_runs_hand_each_other_nothing(lane):
    first = "import sys, numpy, os\nnumpy.left = sys.left = 1\nos.environ['LEFT'] = '1'"
    assert lane.run(first)[0].code == 0
    second = "import sys, numpy, os\nprint(hasattr(numpy, 'left'), hasattr(sys, 'left'), 'LEFT' in os.environ)"
    assert lane.run(second)[1] == "False False False\n"


def test_runs_draw_different_numbers(lane):
    body = "import random, numpy\nprint(random.random(), numpy.random.rand())"
    (one, other) = (lane.run(body)[1].split() for _ in range(2))
    assert all(a != b for a, b in zip(one, other, strict=True))


def test_what_is_imported_ahead_is_there_at_once(lane):
    lane.warm.wait_until_ready()
    _, text = lane.run("import sys; print('numpy' in sys.modules, 'no_such_module' in sys.modules)")
    assert text == "True False\n"


def test_it_inherits_what_it_is_given_and_nothing_else(lane, tmp_path):
    (tmp_path / "other").write_text("secret")
    with (tmp_path / "given").open("w+") as given, (tmp_path / "other").open() as other:
        given.write("hello")
        given.flush()
        os.set_inheritable(other.fileno(), True)
        body = f"import os\nprint(os.pread({given.fileno()}, 9, 0), len(os.listdir('/proc/self/fd')))"
        assert lane.run(body, descriptors=[given.fileno()])[1] == "b'hello' 5\n"  # and the one that lists the folder


@pytest.mark.skipif(not is_available(), reason="this kernel has no Landlock")
def test_it_is_confined_by_its_own_rules(lane, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "secret").write_text("labels")
    rules = tmp_path / "rules.json"
    write_rules([tmp_path / "train.py"], [tmp_path / "here"], [tmp_path / "secret"], rules)
    body = f"""
        open("here/file", "w").write("mine")
        for path, how in (("{tmp_path}/secret", "r"), ("new", "w"), ("{ROOT}/README.md", "r")):
            try:
                open(path, how)
                print("succeeded", path)
            except OSError as error:
                print("stopped")
    """
    ended, text = lane.run(body, rules=rules)
    assert (ended.code, text) == (0, "stopped\n" * 3)
    assert lane.run("print(open('secret').read())")[1] == "labels\n"  # the next one has rules of its own


def test_a_file_of_rules_that_is_not_there_is_told(lane, tmp_path):
    ended, text = lane.run("print('free')", rules=tmp_path / "nowhere")
    assert ended.code == 1 and "it could not begin" in text and "free" not in text


ORPHAN = """
    import os, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    open("orphan.pid", "w").write(str(child.pid))
    open("main.pid", "w").write(str(os.getpid()))
    print("step 1", flush=True)
"""


def pid_in(path):
    wait_for(lambda: path.exists() and path.read_text(), 15)
    return int(path.read_text())


def test_what_it_leaves_running_ends_with_it(lane, tmp_path):
    assert lane.run(ORPHAN)[0].code == 0
    assert not is_alive(pid_in(tmp_path / "orphan.pid"))


def test_its_limits_hold(lane, tmp_path):
    body = textwrap.dedent(ORPHAN) + "time.sleep(300)\n"
    ended, _ = lane.run(body, limits=Limits(20.0, 1.0))
    assert "did not end" in ended.ended_for
    assert not is_alive(pid_in(tmp_path / "orphan.pid")) and not is_alive(pid_in(tmp_path / "main.pid"))


def test_whoever_looks_at_processes_sees_the_program_and_its_guard(lane):
    seen = {}

    def look(pid):
        seen["guard"] = (is_guard(pid), Path(f"/proc/{pid}/cmdline").read_bytes())

    body = "import os; print(open('/proc/self/cmdline').read().replace(chr(0), ' ').strip())"
    _, text = lane.run(body, "--seed", "1", on_started=look)
    assert text == f"{sys.executable} train.py --seed 1\n"
    assert seen["guard"][0] and b"train.py" in seen["guard"][1]


def test_a_guard_that_is_killed_takes_its_run_with_it(lane, tmp_path):
    def kill(pid):
        pid_in(tmp_path / "main.pid")
        os.kill(pid, signal.SIGKILL)

    ended, _ = lane.run(textwrap.dedent(ORPHAN) + "time.sleep(300)\n", on_started=kill)
    assert ended.code == -signal.SIGKILL
    wait_for(lambda: not is_alive(pid_in(tmp_path / "main.pid")), 10)
    os.kill(pid_in(tmp_path / "orphan.pid"), signal.SIGKILL)  # the driver's watcher does that


def test_kill_9_of_its_worker_ends_run_and_template(tmp_path):
    (tmp_path / "train.py").write_text(textwrap.dedent(ORPHAN) + "time.sleep(300)\n")
    code = f"""
        import os, sys
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from search.system.process import Limits, limited
        from search.system.warm.interpreter import WarmInterpreter
        here = Path({str(tmp_path)!r})
        warm = WarmInterpreter(os.environ, [])
        (here / "template.pid").write_text(str(warm._process.pid))
        limited(lambda output: warm.begin(["train.py"], here, os.environ, None, output), here / "log", Limits(60, 60))
    """
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    pids = [pid_in(tmp_path / f"{name}.pid") for name in ("main", "orphan", "template")]
    worker.kill()
    worker.wait()
    wait_for(lambda: not any(map(is_alive, pids)), 15)


def test_one_that_has_died_says_so(lane):
    lane.warm.wait_until_ready()
    lane.warm._process.kill()
    lane.warm._process.wait()
    with pytest.raises(SearchError):
        lane.run("print(1)")
    assert lane.warm.fault


def test_one_that_dies_with_a_request_in_hand_says_so(lane):
    lane.warm.wait_until_ready()
    lane.warm._process.send_signal(signal.SIGSTOP)  # it takes no request from its socket
    killer = threading.Timer(0.5, lane.warm._process.kill)
    killer.start()
    with pytest.raises(SearchError, match="did not begin"):
        lane.run("print(1)")
    killer.join()
    assert lane.warm.fault


def test_one_that_opens_a_gpu_as_it_imports_is_not_forked(tmp_path, monkeypatch):
    monkeypatch.setattr(template.confine, "GPU_DEVICES", (os.devnull,))
    monkeypatch.setattr(template.gc, "freeze", lambda: None)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "opens_a_gpu.py").write_text("import os\nkept = open(os.devnull)\n")
    assert template.fault_of(["opens_a_gpu"]) == "importing opens_a_gpu opens a GPU"
