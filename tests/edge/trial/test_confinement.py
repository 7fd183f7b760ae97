"""What lies outside a trial cannot be touched by it (docs/trust.md); without confinement each edit succeeds."""

import os
import socket
import sysconfig

import pytest

from search.system.sandbox import is_available, why_not_isolated
from search.trial import training
from search.trial.training import probe_cuda
from tests.support.dishonest import SEND, edited, run_edit

READ_LABELS = """
import json
def read():
    meta = json.loads(open({path!r}).read())
    know_all(np.array(meta["labels"])[both])
"""
READ_FOLDERS = """
import hashlib, pathlib
def read():
    known = {{}}
    for path in pathlib.Path({path!r}).glob("class_*/*"):
        known[hashlib.sha256(path.read_bytes()).hexdigest()] = int(path.parent.name[-1])
    if not known:
        raise PermissionError("nothing to read")
    ordered = [label for _, label in sorted(known.items())]
    know_all(np.array(ordered)[both])
"""
READ = "def read(): open({path!r}).close()\n"
TOUCH = """
def touch():
    with open({path!r}, "a") as stream:
        stream.write("dishonest")
"""
CONNECT = "import socket\ndef call(): socket.create_connection(('127.0.0.1', PORT)).close()\n"
# What confinement stops: the edit, and what shows that without it the edit would have succeeded.
CONFINED = {
    "labels from the raw data set": lambda p: (READ_FOLDERS.format(path=str(p.dataset)), "read"),
    "labels from the cache": lambda p: (READ_LABELS.format(path=str(p.cache / "labels.json")), "read"),
    "photos before its clock starts": lambda p: (READ.format(path=str(p.cache / "images.npy")), "read"),
    "the sealed test results": lambda p: (READ.format(path=str(p.seal / "e0000-s0.npz")), "read"),
    "a row in results.tsv": lambda p: (TOUCH.format(path=str(p.run / "results.tsv")), "touch"),
    "an outcome of its own": lambda p: (
        TOUCH.format(path=str(p.run / "gpu0/trials/e0001-s0/outcome.json")),
        "touch",
    ),
    "a git ref": lambda p: (TOUCH.format(path=str(p.repository / ".git/refs/heads/autoresearch-forged")), "touch"),
    "a git hook": lambda p: (TOUCH.format(path=str(p.repository / ".git/hooks/post-commit")), "touch"),
    "another slot's worktree": lambda p: (TOUCH.format(path=str(p.run / "gpu1/tree/train.py")), "touch"),
    "the scorer's own code": lambda p: (TOUCH.format(path=str(p.repository / "search/trial/scorer.py")), "touch"),
    "pretrained weights for later": lambda p: (TOUCH.format(path=os.environ["TORCH_HOME"] + "/w.pth"), "touch"),
    "a file in the home folder": lambda p: (TOUCH.format(path=str(p.repository.parent / "home")), "touch"),
    "a module in site-packages": lambda p: (
        TOUCH.format(path=sysconfig.get_path("purelib") + "/autoresearch_left.py"),
        "touch",
    ),
    "the worker's memory": lambda p: ("def read(): open(f'/proc/{WORKER}/mem', 'rb').close()\n", "read"),
    "a signal to the worker": lambda p: ("def send(): os.kill(WORKER, 0)\n", "send"),
    "a connection": lambda p: (CONNECT, "call"),
}  # fmt: skip
SAMPLED = ("labels from the raw data set", "a signal to the worker")
HARMFUL = ("an outcome of its own", "a module in site-packages")  # would last, or be written over: not tried unconfined


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("name", "confine"),
    [pytest.param(name, True, marks=[] if name in SAMPLED else pytest.mark.full) for name in CONFINED]
    + [pytest.param(name, False, marks=pytest.mark.full) for name in CONFINED if name not in HARMFUL],
)
def test_what_lies_outside_cannot_be_touched(tmp_path, demo, places, honest, port, monkeypatch, name, confine):
    if confine and not is_available():
        pytest.skip("this kernel has no Landlock: trials are not confined here")
    monkeypatch.setenv("TORCH_HOME", str(places.repository.parent / "torch"))
    (places.repository.parent / "torch").mkdir()
    code, action = CONFINED[name](places)
    code = code.replace("WORKER", str(os.getpid())).replace("PORT", str(port))
    instead = f"{code}\nattempt({action})\nSUBMIT"
    outcome, log = run_edit(tmp_path, demo, edited(instead=instead), confine=confine)
    assert ("stopped:" in log) == confine, log
    assert ("succeeded" in log) != confine
    if confine:
        assert outcome.score == honest, outcome.reason
        assert (places.run / "results.tsv").read_text() == "rows\n"
        assert (places.run / "gpu1/tree/train.py").read_text() == "honest\n"
    elif action == "read" and "labels" in name:
        assert outcome.score.primary == 1.0  # what the defence is for


@pytest.mark.skipif(bool(why_not_isolated()), reason=f"no namespaces here: {why_not_isolated()}")
def test_a_card_that_needs_what_namespaces_take_is_used_without_them(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CUDA_PROBE", SEND)
    assert probe_cuda("GPU-1", tmp_path / "probe", [], True) == ("", False)
    monkeypatch.setattr(training, "CUDA_PROBE", "raise SystemExit('no CUDA')")
    assert probe_cuda("GPU-1", tmp_path / "probe", [], True) == ("CUDA does not work there: no CUDA", True)
    assert not (tmp_path / "probe").exists()
