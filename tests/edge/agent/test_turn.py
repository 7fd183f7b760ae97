"""One proposal at a time, by real commands in real folders: what agents do wrong costs nothing and ends as one line."""

import os
import shutil
import sys
import textwrap
import threading
import time
from dataclasses import replace

import pytest

import prepare
from search.agent.presets import agent_of
from search.agent.turn import ask, choose_and_check
from search.core.recipe import identity_of
from search.system.process import is_alive
from search.system.sandbox import is_available
from search.trial.sealed import withheld
from tests.support.repositories import git
from tests.support.states import TASK
from tests.support.turns import GOOD


def test_an_edit_becomes_a_commit_with_the_idea_as_its_message(bench):
    made = bench.ask(GOOD)
    assert (made.refused, made.idea, made.author, made.parent) == ("", "sharper logits", "tool", bench.base)
    assert bench.repository.message_of(made.commit).startswith("sharper logits\n")
    assert git(bench.root, "diff", "--name-only", bench.base, made.commit).split() == ["train.py"]
    assert made.identity == identity_of(bench.repository.file_at(made.commit, "train.py"))
    assert made.cost.attempts == 1 and made.cost.seconds > 0
    assert git(bench.root, "status", "--porcelain") == ""


def test_it_gets_the_brief_and_sees_no_gpu(bench, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("GIT_PREFIX", "elsewhere")
    body = """
    import os, sys, subprocess
    assert sys.stdin.read() == open("BRIEF.md").read() == "# Brief\\nwhat is wanted"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "" and "GIT_PREFIX" not in os.environ
    assert open(os.environ["AUTORESEARCH_BRIEF"]).read() and open("analysis_summary.json").read() == "{}"
    assert "incumbent" in subprocess.run(["git", "log"], capture_output=True, text=True, check=True).stdout
    """
    assert bench.ask(body + textwrap.indent(GOOD, "    ")).refused == ""


FAILURES = {
    "nothing": ("print('I would rather not')", "left as it was"),
    "exit": ("print('quota exceeded'); raise SystemExit(3)", "exit code 3: quota exceeded"),
    "missing": ("import os; os.execvp('no-such-tool', ['x'])", "the agent failed, exit code 1"),
    "loop": ("while True: pass", "no end within 3 s"),
    "flood": ("while True: print('x' * 10000)", "printed more than"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "exit code 137"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in ("exit", "flood") else pytest.mark.full) for n in sorted(FAILURES)]
)
def test_what_goes_wrong_is_one_line(bench, monkeypatch, name):
    monkeypatch.setattr("search.agent.turn.LARGEST_OUTPUT", 2**20)
    body, words = FAILURES[name]
    made = bench.ask(body, seconds=3.0)
    assert words in made.refused and "\n" not in made.refused
    assert made.commit == ""


HANDED_BACK = {
    "syntax": ("open('train.py', 'w').write('x = (')", "does not parse"),
    "recipe": ("open('train.py', 'w').write('x = 1')", "no class Recipe"),
    "gone": ("import os; os.path.exists('train.py') and os.remove('train.py')", "train.py is gone"),
    "crash": ("open('train.py', 'a').write('\\nraise KeyError(1)')", "it did not train for 4 s on the CPU"),
    "range": (
        "t = open('train.py').read().replace('mode: str', 'depth: int = 9  # blocks; 1 … 4\\n    mode: str')\n"
        "open('train.py', 'w').write(t)",
        "outside the range 1 … 4",
    ),
    "comment": ("open('train.py', 'a').write('# why' * 9)", "nothing but formatting and comments"),
    "other": ("open('prepare.py', 'a').write('x = 1')", "files other than train.py were changed"),
    "stray": ("open('numpy.py', 'w').write('')", "put back: numpy.py"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in ("crash", "other") else pytest.mark.full) for n in HANDED_BACK]
)
def test_a_failing_edit_is_handed_back_twice_with_its_reason(bench, name):
    body, words = HANDED_BACK[name]
    made = bench.ask(f"open('/dev/stderr', 'w')\n{body}\nprint('IDEA: x')")
    assert words in made.refused and "(handed back 2 times)" in made.refused and "\n" not in made.refused
    assert made.cost.attempts == 3
    prompts = [(bench.context.folder / f"turn0001-0/prompt{n}.md").read_text() for n in (1, 2, 3)]
    assert prompts[0].startswith("# Brief") and words in prompts[1] and words in prompts[2]
    assert git(bench.root, "status", "--porcelain") == ""


def test_an_edit_that_was_handed_back_and_mended_passes(bench):
    made = bench.ask("import sys\nif 'not accepted' not in sys.stdin.read(): raise_()\n" + GOOD)
    assert "exit code 1" in made.refused  # an agent that fails is not asked again
    body = """
    import sys
    prompt = sys.stdin.read()
    text = open("train.py").read()
    if "not accepted" not in prompt:
        open("train.py", "w").write(text.replace("logits = 4 *", "logits = five *"))
        open("requirements.txt", "w").write("more")
    elif "requirements.txt" in prompt:
        assert "five" in text
    else:
        assert "NameError: name 'five' is not defined" in prompt
        open("train.py", "w").write(text.replace("five", "5"))
    print("IDEA: sharper logits")
    """
    mended = bench.ask(body)
    assert (mended.refused, mended.cost.attempts) == ("", 3)
    assert "logits = 5 *" in bench.repository.file_at(mended.commit, "train.py")


def test_what_was_tried_before_is_refused_up_to_formatting(bench):
    made = bench.ask(GOOD)
    edit_base = bench.edit_base(identities={made.identity: "experiment 7 (sharper logits)"})
    again = bench.ask(
        GOOD.replace('5 *"', '5 *  "') + "open('train.py', 'a').write('\\n\\n# other words\\n')\n", edit_base=edit_base
    )
    assert "the same as experiment 7 (sharper logits)" in again.refused


def test_children_of_the_agent_end_with_it(bench):
    body = f"""
    import subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    open({str(bench.context.folder / "turn0001-0/own1/pid")!r}, "w").write(str(child.pid))
    """
    made = bench.ask(body + textwrap.indent(GOOD, "    "))
    assert made.refused == ""
    assert not is_alive(int((bench.context.folder / "turn0001-0/own1/pid").read_text()))


def test_it_can_be_ended_while_it_thinks(bench):
    began = time.monotonic()

    def end(pid):
        threading.Timer(1.0, os.kill, (pid, 15)).start()

    made = ask(bench.agent("import time; time.sleep(60)"), bench.task(), replace(bench.context, started=end))
    assert "the agent failed, exit code 143" in made.refused
    assert time.monotonic() - began < 20


OUTSIDE = {
    "ledger": "open('{root}/runs/t/results.tsv', 'w')",
    "checkout": "open('{root}/train.py', 'a')",
    "git": "open('{root}/.git/config')",
    "labels": "open('{cache}/labels.json')",
}


@pytest.mark.skipif(not is_available(), reason="this kernel has no Landlock (Linux 5.13 or newer)")
@pytest.mark.parametrize("confine", [True, False])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in ("labels", "ledger") else pytest.mark.full) for n in sorted(OUTSIDE)]
)
def test_what_is_not_the_agents_it_cannot_touch(bench, demo, name, confine):
    cache = prepare.cache_root() / prepare.load(demo).fingerprint
    (bench.root / "runs/t/results.tsv").write_text("rows")
    attempt = OUTSIDE[name].format(root=bench.root, cache=cache)
    made = bench.ask(f"{attempt}\n{GOOD}", secret=bench.secret if confine else None)
    if confine:
        assert "the agent failed, exit code 1: PermissionError" in made.refused
    else:
        assert made.refused == ""


def test_a_budget_is_passed_on_and_costs_are_added_up(bench):
    body = """
    import json, sys
    print("IDEA: nothing parses")
    open("train.py", "w").write("x = (")
    print(json.dumps({"turns": 2, "input_tokens": 100, "output_tokens": 10, "dollars": float(sys.argv[2]) / 2}))
    """
    agent = bench.agent(body)
    agent = replace(agent, command=(*agent.command, "--budget", "{dollars}"))
    made = ask(agent, bench.task(dollars=1.0), bench.context)
    assert (made.cost.turns, made.cost.input_tokens, made.cost.output_tokens) == (6, 300, 30)
    assert made.cost.dollars == 0.875 and made.cost.attempts == 3  # half of what is left, each time


@pytest.mark.parametrize("trick", ["os.truncate('train.py', 10**11)", "os.symlink('/etc/passwd', 'train.py')"])
def test_a_train_py_that_is_none_is_not_read(bench, trick):
    made = bench.ask(
        f"import os\nif 'symlink' in {trick!r}: os.remove('train.py')\n{trick}\nprint('IDEA: x')", seconds=30
    )
    assert "train.py" in made.refused and made.commit == ""


def test_an_agent_is_run_elsewhere_but_its_own_file_is_found(bench, monkeypatch):
    (bench.root.parent / "mine.py").write_text(GOOD)
    monkeypatch.chdir(bench.root.parent)
    agent = agent_of(f"{sys.executable} mine.py")
    assert ask(agent, bench.task(), bench.context).refused == ""


def test_the_catalogue_says_so_where_nothing_applies(bench):
    made = choose_and_check(bench.task(), bench.context, [], "0")
    assert "no edit of the catalogue applies" in made.refused
    assert made.commit == "" and git(bench.root, "status", "--porcelain") == ""


def test_an_agent_is_asked_where_git_writes_files_otherwise_than_it_stores_them(bench):
    (bench.root / ".gitattributes").write_text("* text=auto eol=crlf\nspaces export-ignore\n")
    git(bench.root, "add", "-A")
    git(bench.root, "commit", "-qm", "attributes")
    bench.base = bench.repository.commit_of("HEAD")
    made = bench.ask(f"import os\nassert os.path.exists('spaces/fast.toml')\n{GOOD}")
    assert (made.refused, made.idea) == ("", "sharper logits")
    assert git(bench.root, "diff", "--stat", bench.base, made.commit).count("train.py") == 1
    other = bench.ask("open(b'\\xff.txt', 'w')\nopen('prepare.py', 'a').write('x = 1')\nprint('IDEA: x')")
    assert "put back: prepare.py, \\xff.txt" in other.refused


def test_a_pipe_in_place_of_a_file_holds_no_turn_up(bench):
    made = bench.ask("import os\nos.remove('prepare.py'); os.mkfifo('prepare.py')\nprint('IDEA: x')")
    assert "files other than train.py were changed" in made.refused


@pytest.mark.skipif(not is_available(), reason="this kernel has no Landlock (Linux 5.13 or newer)")
@pytest.mark.parametrize("linked", ["folders", pytest.param("photos", marks=pytest.mark.full)])
def test_photos_that_are_elsewhere_are_withheld_too(bench, demo, tmp_path, linked):
    elsewhere, dataset = tmp_path / "elsewhere", tmp_path / "linked"
    shutil.copytree(demo, elsewhere / "photos")
    for folder in sorted((elsewhere / "photos").glob("class_*")):
        if linked == "folders":
            dataset.mkdir(exist_ok=True)
            (dataset / folder.name).symlink_to(folder)
        else:
            (dataset / folder.name).mkdir(parents=True)
            for photo in folder.iterdir():
                (dataset / folder.name / photo.name).symlink_to(photo)
    photo = next((elsewhere / "photos/class_4").iterdir())
    secret = (*bench.secret, *withheld(TASK, str(dataset), str(tmp_path / "sealed")))
    attempt = f"open({str(photo)!r}, 'rb').read()\n{GOOD}"
    assert "PermissionError" in bench.ask(attempt, secret=secret).refused
    assert bench.ask(attempt).refused == ""  # it was the links that led there
    other = prepare.cache_root() / "another" / "labels.json"
    other.parent.mkdir(exist_ok=True)
    other.write_text("{}")
    assert "PermissionError" in bench.ask(f"open({str(other)!r})\n{GOOD}", secret=secret).refused
