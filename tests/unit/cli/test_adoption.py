"""What a repository that was made for such a loop says of its task."""

import pytest

from search.cli.adoption import look_at
from search.core.recipe import read_recipe
from search.core.space import check_space, parse_space
from search.core.types import UsageError
from search.task.declaration import parse_task
from tests.support.repositories import ROOT

TRAIN = '''"""Trains."""
import torch
from prepare import TIME_BUDGET, evaluate_bpb

DEPTH = 8  # layers
BATCH = 2**19
LEARNING_RATE = 0.04
WARMUP_RATIO = 0.0
UNUSED = 3
EVAL_EVERY = 100
WINDOW = "SSSL"
device = torch.device("cuda")
torch.manual_seed(42)
for step in range(DEPTH):
    print(BATCH, end="")
    print(f"\\rstep {step} | loss: {LEARNING_RATE * WARMUP_RATIO}", end="")
    if step % EVAL_EVERY == 0:
        evaluate_bpb(WINDOW)
print("---")
print(f"val_bpb:          {1.0:.6f}")
print(f"peak_vram_mb:     {1.0:.1f}")
'''
PREPARE = """import os
import tokens
TIME_BUDGET = 300
CACHE = os.path.join(os.path.expanduser("~"), ".cache", "shards")
def evaluate_bpb(x): ...
"""


@pytest.fixture
def folder(tmp_path):
    for name, text in (("train.py", TRAIN), ("prepare.py", PREPARE), ("tokens.py", ""), ("program.md", "`uv run`")):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_repository_in_karpathys_style(folder):
    found = look_at(folder)
    task = parse_task(found.task_text, "task.toml")
    assert (task.metric.name, task.metric.higher_is_better) == ("val_bpb", False)
    assert task.fixed == ("prepare.py", "tokens.py") and task.reads == ("~/.cache/shards",)
    assert (task.seconds.constant, task.seconds.file, task.usual_seconds) == ("TIME_BUDGET", "prepare.py", 300.0)
    assert not task.seed.is_possible and task.trains and task.smoke_seconds is None
    assert (task.memory, task.memory_unit_mb) == ("peak_vram_mb", 1.0)
    assert {one.what for one in found.findings if one.check} >= {"command", "seed", "reads", "smoke run", "space"}


def test_its_space_holds_what_is_used_and_can_be_moved(folder):
    space = parse_space(look_at(folder).space, "space.toml")
    assert [axis.name for axis in space.axes] == ["DEPTH", "BATCH", "LEARNING_RATE", "WARMUP_RATIO"]
    assert space.axes[1].choices == (2**17, 2**18, 2**19, 2**20, 2**21)  # a power of two stays one
    check_space(space, read_recipe(TRAIN))


def test_a_history_tells_the_metric_and_its_direction(folder):
    rows = ["commit\tpnl\tval_bpb\tstatus\tdescription", "a\t1\t1.00\tkeep\tbaseline"]
    rows += [f"b{n}\t{2 - n}\t{1.0 - n / 100}\tkeep\tidea {n}" for n in range(1, 6)]
    rows += [f"c{n}\t{n}\t{1.1 + n / 100}\tdiscard\tidea {n}" for n in range(6, 10)]
    (folder / "results.tsv").write_text("\n".join(rows) + "\n")
    finding = next(one for one in look_at(folder).findings if one.what == "metric")
    assert finding.value == "val_bpb, lower is better" and finding.source.startswith("results.tsv: ")


def test_a_log_tells_how_many_decimals_are_printed(folder):
    (folder / "run.log").write_text("step 1 | loss 3\n---\nval_bpb: 0.99\npeak_vram_mb: 1\n")
    assert parse_task(look_at(folder).task_text, "t").metric.digits == 2


def test_a_file_that_runs_nothing_itself_is_run_by_the_one_that_imports_it():
    found = look_at(ROOT / "examples/kernel", "kernel.py", "ms_per_call", False)
    task = parse_task(found.task_text, "task.toml")
    assert task.command == ("{python}", "measure.py") and task.fixed == ("measure.py",) and not task.trains


@pytest.mark.parametrize("name", ["char_lm", "tabular"])
def test_the_examples_are_adopted_without_a_flag(name):
    task = parse_task(look_at(ROOT / "examples" / name).task_text, "task.toml")
    assert task.metric.name == {"char_lm": "val_bpb", "tabular": "oof_auc"}[name]
    assert task.seed.is_possible


def test_what_cannot_be_found_is_one_line_that_names_the_flag(folder):
    with pytest.raises(UsageError, match="name the file that experiments edit with --edited"):
        look_at(folder, "main.py")
    (folder / "train.py").write_text("LR = 0.1\nprint(LR)\n")
    with pytest.raises(UsageError, match="name it with --metric NAME and --minimize or --maximize"):
        look_at(folder)
    with pytest.raises(UsageError, match="whether a higher laps is better is not known"):
        look_at(folder, metric="laps")
    (folder / "train.py").write_text("print(1)\n")
    with pytest.raises(UsageError, match="a search needs hyperparameters"):
        look_at(folder)
