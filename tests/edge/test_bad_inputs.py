# ruff: noqa: E501  a table has a line for each
"""Whatever is put in, what is wrong comes out as one clear line, with its exit code; nothing is lost or left behind."""

import io
import shutil
import signal
from contextlib import contextmanager
from importlib import import_module

import pytest

import prepare
from search import launch, summarize
from search.system.git import Repository
from tests.support.repositories import FAST_SPACE, FAST_TRAIN, git, make_repository
from tests.support.searches import coordinator_of, run_all, setup_of

PLACES = (
    "search.cli.session.find_repository",
    "search.cli.control.find_repository",
    "search.delete.repository_here",
    "search.audit.repository_here",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory, demo):
    """A repository with a search t that has ended."""
    folder = make_repository(tmp_path_factory.mktemp("bad") / "project", FAST_TRAIN)
    with coordinator_of(folder, demo, limit=1) as coordinator:
        run_all(coordinator, setup_of(folder, demo))
    return folder


@contextmanager
def handlers_kept():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@pytest.fixture
def run(project, monkeypatch, capsys):
    """Runs a command in a repository: (exit code, its errors); nothing in git or below runs/ may have changed."""

    def everything(folder):
        files = sorted(str(path) for path in (folder / "runs").glob("*/*"))
        return git(folder, "for-each-ref"), git(folder, "status", "--porcelain"), files

    def called(main, arguments, folder=project):
        for place in PLACES:
            monkeypatch.setattr(place, lambda *_: Repository(folder))
        monkeypatch.chdir(folder)
        before = everything(folder)
        with handlers_kept():
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as ending:  # argparse's
                code = ending.code
        said = capsys.readouterr()
        assert everything(folder) == before
        assert "Traceback" not in said.err and "bug" not in said.err
        return code, said.err

    return called


def check(found, code, words):
    """One line, but for argparse's usage before it, or one for each problem of a data set."""
    assert found[0] == code, found
    lines = [line for line in found[1].splitlines() if not line.startswith(("usage:", " "))]
    assert any(words in line for line in lines), found[1]
    assert len(lines) == 1, found[1]


LAUNCHES = {
    "--gpus 0": "--gpus 0: a number of at least 1, or auto",
    "--gpus -1": "--gpus -1: a number of at least 1",
    "--gpus two": "--gpus two: a number of at least 1",
    "--gpus 1.5": "--gpus 1.5: a number of at least 1",
    "--experiments 0": "--experiments 0: at least 1",
    "--experiments -3": "--experiments -3: at least 1",
    "--experiments many": "argument --experiments: invalid int value: 'many'",
    "--trials 0": "--trials 0: at least 1",
    "--rounds 0": "--rounds 0: at least 1",
    "--experiments-per-round 0": "--experiments-per-round 0: at least 1",
    "--max-train-seconds 0": "--max-train-seconds 0: more than 0, and finite",
    "--max-train-seconds -1": "--max-train-seconds -1: more than 0",
    "--max-train-seconds nan": "--max-train-seconds nan: more than 0",
    "--max-train-seconds inf": "--max-train-seconds inf: more than 0",
    "--max-train-seconds long": "argument --max-train-seconds: invalid float value: 'long'",
    "--seed -1": "--seed -1: from 0",
    "--seed 99999999999": "--seed 99999999999: from 0",
    "--seed x": "argument --seed: invalid int value: 'x'",
    "--confirm-seeds -1": "--confirm-seeds -1: from 0 to 7",
    "--confirm-seeds 8": "--confirm-seeds 8: from 0 to 7",
    "--proof-share -0.1": "--proof-share -0.1: from 0 to 0.5",
    "--proof-share 0.6": "--proof-share 0.6: from 0 to 0.5",
    "--proof-share nan": "--proof-share nan: from 0 to 0.5",
    "--least-sensitivity 0": "--least-sensitivity 0: above 0, at most 1",
    "--least-sensitivity 1.5": "--least-sensitivity 1.5: above 0, at most 1",
    "--disk-reserve -1": "--disk-reserve -1: 0 or more",
    "--disk-limit 0": "--disk-limit 0: more than 0, and finite",
    "--disk-reserve inf": "--disk-reserve inf: 0 or more, and finite",
    "--agent-timeout 0": "--agent-timeout 0: more than 0",
    "--agent-timeout inf": "--agent-timeout inf: more than 0",
    "--agent-budget-usd 0": "--agent-budget-usd 0: more than 0",
    "--gpu-dollars-per-hour -1": "--gpu-dollars-per-hour -1: more than 0",
    "--agent-proposals 0": "--agent-proposals 0: at least 1",
    "--agent '": "not a command line",
    "--agent no-such-command": "there is no command no-such-command",
    "--agent python nowhere.py": "there is no file nowhere.py",
    "--gpu-model A100": "--gpu-model A100: this machine has",
    "--bogus": "unrecognized arguments: --bogus",
    "extra": "unrecognized arguments: extra",
    "--resume": "argument --resume: expected one argument",
    "--resume nothing": "--resume nothing: no such search; there are t",
    "--resume t --seed 1": "--resume t goes on as it was set up: leave out --seed",
    "--resume t --space spaces/fast.toml": "leave out --space",
    "--address ray://head:1": "--address ray://head:1: start the search on a node",
    "--address nowhere": "--address nowhere: auto, or the address of the head",
}


@pytest.mark.parametrize("line", LAUNCHES)
def test_arguments_of_launch(run, demo, line):
    word, _, rest = line.partition(" ")
    given = [word, rest] if word == "--agent" else line.split()
    usual = [] if "--resume" in line else ["--dataset", demo, "--space", "spaces/fast.toml", "--tag", "new"]
    check(run(launch.main, [*usual, *given, "--dry-run"]), 2, LAUNCHES[line])


TAGS = [
    "a b", "x-", ".", "..", "a..b", "a/b", "../x", "", "é", "x" * 61, "a.lock", "~", "a:b", "a^b", "a\nb", "a\\b", "*",
    "t", "t-gpu0", "t-inbox", "t-yours-1234567",
]  # fmt: skip


@pytest.mark.parametrize("tag", TAGS)
def test_tags(run, demo, tag):
    found = run(launch.main, ["--dataset", demo, "--space", "spaces/fast.toml", f"--tag={tag}", "--dry-run"])
    exists = "a search of this name exists" if tag == "t" else "its names collide with" if tag[:2] == "t-" else ""
    check(found, 2, exists or "letters, digits, '.', '_' and '-', at most 60")


def edit(photos, name, content):
    path = photos / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


PHOTO = b"\x89PNG\r\n\x1a\n"
DATASETS = {
    "nowhere": (shutil.rmtree, "no such data set folder"),
    "a file": (lambda p: (shutil.rmtree(p), p.write_text("x")), "no such data set folder"),
    "a missing class": (lambda p: shutil.rmtree(p / "class_3"), "class_3: missing class folder"),
    "an empty class": (lambda p: empty(p / "class_3"), "class_3: empty class folder"),
    "a sixth folder": (lambda p: (p / "class_5").mkdir(), "class_5: not one of the 5 class folders"),
    "a photo cut off": (lambda p: edit(p, "class_1/x.png", PHOTO), "class_1/x.png: unreadable image"),
    "no photo": (lambda p: edit(p, "class_1/x.txt", b"words"), "class_1/x.txt: unreadable image"),
    "an empty file": (lambda p: edit(p, "class_1/x.jpg", b""), "class_1/x.jpg: unreadable image"),
    "HEIC": (lambda p: edit(p, "class_1/x.heic", b"\0\0\0\x18ftypheic\0\0\0\0"), "a HEIC photo, which is not read"),
    "a manifest that is no JSON": (lambda p: edit(p, "manifest.json", b"{"), "manifest.json: not a JSON object"),
    "a manifest that is a list": (lambda p: edit(p, "manifest.json", b"[]"), "manifest.json: not a JSON object"),
    "a size of no pixels": (lambda p: edit(p, "manifest.json", b'{"image_size": 0}'), "image_size is 0"),
    "a size in words": (lambda p: edit(p, "manifest.json", b'{"image_size": "64"}'), "image_size is '64'"),
    "a size too large": (lambda p: edit(p, "manifest.json", b'{"image_size": 999}'), "image_size is 999"),
    "a manifest in latin 1": (lambda p: edit(p, "manifest.json", b'{"a": "\xe9"}'), "manifest.json: not a JSON object"),
    "groups without a header": (lambda p: edit(p, "groups.csv", b"a,b\n"), "the header is a,b; it must be path,group"),
    "groups with half a row": (lambda p: edit(p, "groups.csv", b"path,group\nx\n"), "groups.csv:2: 'x' is not path"),
    "a photo in two groups": (
        lambda p: edit(p, "groups.csv", b"path,group\nx,1\nx,2\n"),
        "is in group 1 and in group 2",
    ),
    "groups that are no text": (lambda p: edit(p, "groups.csv", b"\xff\xfe"), "groups.csv: "),
    "empty groups": (lambda p: edit(p, "groups.csv", b""), "the header is missing"),
}


SAMPLED = ("nowhere", "a missing class", "HEIC", "a size in words", "a photo in two groups")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SAMPLED else pytest.mark.full) for name in DATASETS]
)
@pytest.mark.parametrize("command", ["launch", pytest.param("prepare", marks=pytest.mark.full)])
def test_data_sets(run, demo, tmp_path, name, command):
    photos = tmp_path / "photos"
    shutil.copytree(demo, photos)
    spoil, words = DATASETS[name]
    spoil(photos)
    usual = ["--space", "spaces/fast.toml", "--tag", "new", "--dry-run"]
    main, more = (launch.main, usual) if command == "launch" else (prepare.main, [])
    check(run(main, ["--dataset", photos, *more]), 1, words)


AXIS = FAST_SPACE.partition("[width]")[0]
SPACES = {
    "no file": (None, "cannot read the space: No such file"),
    "no text": (b"\xff\xfe\x00", "cannot read the space: it is no text"),
    "no TOML": (b"[lr", "not TOML"),
    "nothing": (b"", "no axes"),
    "no table": (b"lr = 3", "axis lr: is 3; a table is needed"),
    "an unknown kind": (b"[lr]\nkind = 'real'", "axis lr: kind is 'real'; one of float, int, choice"),
    "no kind": (b"[lr]\nlow = 1", "axis lr: kind is None"),
    "no low": (b"[lr]\nkind = 'float'\nhigh = 1\nstep = 1", "axis lr: low is None; a number"),
    "a low that is no number": (b"[lr]\nkind = 'float'\nlow = 'a'\nhigh = 1\nstep = 1", "axis lr: low is 'a'; a number"),
    "not a number": (b"[lr]\nkind = 'float'\nlow = nan\nhigh = 1\nstep = 1", "axis lr: low is nan; a number"),
    "an empty range": (b"[lr]\nkind = 'float'\nlow = 2\nhigh = 1\nstep = 1", "axis lr: empty range 2 … 1"),
    "a logarithm of nothing": (
        b"[lr]\nkind = 'float'\nlow = 0\nhigh = 1\nstep = 2\nscale = 'log'", "a log axis needs a low above 0",
    ),
    "a step of nothing": (b"[lr]\nkind = 'float'\nlow = 0\nhigh = 1\nstep = 0", "axis lr: step is 0; above 0"),
    "half a layer": (b"[width]\nkind = 'int'\nlow = 1.5\nhigh = 9\nstep = 1", "axis width: low is 1.5; a whole number"),
    "an unknown key": (AXIS.encode() + b"size = 1", "axis lr: unknown key size"),
    "an unknown scale": (AXIS.replace('"log"', '"cubic"').encode(), "axis lr: scale is 'cubic'; linear or log"),
    "one choice": (b"[mode]\nkind = 'choice'\nchoices = ['good']", "axis mode: choices is ['good']; a list of at least two"),
    "choices of another type": (b"[mode]\nkind = 'choice'\nchoices = ['good', 2]", "axis mode: choice 2 is of another type"),
    "no such field": (AXIS.replace("lr", "speed").encode(), "axis speed: train.py's Recipe has no such field"),
    "another kind": (AXIS.replace("lr", "width").encode(), "axis width: kind is float, but the recipe's value is 8"),
    "a value outside": (AXIS.replace("1e-4", "0.1").encode(), "axis lr: the recipe's value 0.01 is not in"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPACES)
def test_spaces(run, demo, tmp_path, name):
    text, words = SPACES[name]
    file = tmp_path / "space.toml"
    if text is not None:
        file.write_bytes(text)
    check(run(launch.main, ["--dataset", demo, "--space", file, "--tag", "new", "--dry-run"]), 2, words)


HEADER = "commit\tmc_acc\tbin_acc\tmemory_gb\tstatus\tdescription\n"
ROW = "a1b2c3d\t0.500000\t0.900000\t0.0\tkeep\tbaseline\n"
RESULTS = {
    "no file": (None, "results.tsv: no such file"),
    "no text": (b"\xff\xfe\x00", "results.tsv: cannot be read"),
    "other columns": (b"commit\tloss\n" + ROW.encode(), "results.tsv: no column of numbers beside memory"),
    "spaces for tabs": (HEADER.encode() + ROW.replace("\t", "  ").encode(), "results.tsv:2: 1 columns, not 6"),
    "a word for a number": (HEADER.encode() + ROW.replace("0.9", "high").encode(), "bin_acc is 'high00000', not a number"),
    "more than all": (HEADER.encode() + ROW.replace("0.900000", "1.5").encode(), "bin_acc is 1.5; out of its range"),
    "not a number": (HEADER.encode() + ROW.replace("0.900000", "nan").encode(), "bin_acc is nan; out of its range"),
    "endless memory": (HEADER.encode() + ROW.replace("\t0.0\t", "\tinf\t").encode(), "memory_gb is inf; out of its range"),
    "an unknown status": (HEADER.encode() + ROW.replace("keep", "kept").encode(), "status is 'kept'; keep, discard or crash"),
    "no commit": (HEADER.encode() + ROW.replace("a1b2c3d", "").encode(), "the commit is missing"),
    "two truths": (HEADER.encode() + (ROW + ROW.replace("0.9", "0.8")).encode(), "contradict each other"),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_results(run, tmp_path, name):
    text, words = RESULTS[name]
    file = tmp_path / "results.tsv"
    if text is not None:
        file.write_bytes(text)
    check(run(summarize.main, [file]), 1, words)
    assert sorted(path.name for path in tmp_path.iterdir() if path != file) == []


COMMANDS = {
    "status nowhere": (2, "nowhere: no such search; there are t"),
    "show 99": (2, "99: no such experiment; name its number, 0 to 1, or its commit"),
    "show p1": (2, "p1: no such experiment"),
    "show zzzz": (2, "zzzz: no such experiment"),
    "show": (2, "the following arguments are required: experiment"),
    "show 1 --tag nowhere": (2, "nowhere: no such search"),
    "stop": (1, "t does not run; go on with it"),
    "stop --tag nowhere": (2, "nowhere: no such search"),
    "verify nowhere": (2, "nowhere: no such search"),
    "verify t --seeds 0": (2, "--seeds 0: at least 1"),
    "audit nowhere": (2, "nowhere: no such search"),
    "export nowhere --out model": (2, "nowhere: no such search; there are t"),
    "audit t": (1, "t has no fresh seeds yet"),
    "audit t --dataset /nowhere": (1, "/nowhere: no such data set folder"),
    "delete nowhere --yes": (2, "nowhere: no such search; there are t"),
    "delete .. --yes": (2, "'..': no name of a search"),
    "propose --file train.py --idea same": (2, "nothing to try"),
    "propose --file nowhere.py --idea x": (2, "nowhere.py"),
    "propose --file README.md --idea x": (2, "README.md"),
    "propose --file prepare.py --idea x": (2, "the train.py cannot be tried"),
    "propose --file train.py --idea x --base nothing": (2, "--base nothing: no such commit here"),
    "propose --idea x": (2, "the following arguments are required: --file"),
}


@pytest.mark.parametrize("line", COMMANDS)
def test_other_commands(run, monkeypatch, line):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, words = COMMANDS[line]
    name, *arguments = line.split()
    check(run(import_module(f"search.{name}").main, arguments), code, words)


def renamed(folder, old, new):
    text = (folder / "train.py").read_text()
    (folder / "train.py").write_text(text.replace(old, new))
    git(folder, "commit", "-qam", "spoilt")


STATES = {
    "train.py changed": (lambda f: (f / "train.py").write_text("x"), 2, "train.py: changed and not committed"),
    "no Recipe": (lambda f: renamed(f, "class Recipe", "class Other"), 2, "train.py at HEAD: train.py has no class Recipe at its top level"),
    "no Python": (lambda f: renamed(f, "import argparse", "import ("), 2, "train.py at HEAD: "),
    "no train.py": (lambda f: (git(f, "rm", "-q", "train.py"), git(f, "commit", "-qm", "gone")), 2, "HEAD has no train.py: commit one"),
    "a branch in the way": (lambda f: git(f, "branch", "autoresearch"), 2, "its names collide with refs/heads/autoresearch"),
    "a branch below": (lambda f: git(f, "branch", "autoresearch/new/x"), 2, "its names collide with"),
    "a folder in the way": (
        lambda f: ((f / "runs/new").mkdir(parents=True), (f / "runs/new/x").touch()), 2, "holds files of another search",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_states_of_git(run, demo, fast_repository, name):
    spoil, code, words = STATES[name]
    spoil(fast_repository)
    usual = ["--dataset", demo, "--space", "spaces/fast.toml", "--tag", "new", "--dry-run"]
    check(run(launch.main, usual, fast_repository), code, words)


PREPARES = {
    "--photos 5": "--photos is 5; at least 100",
    "--image-size 8": "--image-size is 8; from 16 to 384",
    "--image-size 999": "--image-size is 999; from 16 to 384",
    "--photos many": "invalid int value: 'many'",
}


@pytest.mark.parametrize("line", PREPARES)
def test_arguments_of_prepare(run, tmp_path, line):
    check(run(prepare.main, ["--demo", tmp_path / "demo", *line.split()]), 2, PREPARES[line])
    assert not (tmp_path / "demo").exists()


def test_there_are_a_hundred():
    tables = (LAUNCHES, TAGS, DATASETS, SPACES, RESULTS, COMMANDS, STATES, PREPARES)
    assert sum(map(len, tables)) >= 100
