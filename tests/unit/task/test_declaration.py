"""task.toml: what it says, and one line for whatever cannot be meant."""

import pytest

from search.core.task import Hyperparameters, Passing, Score, Trust
from search.core.types import UsageError
from search.task.declaration import load_task, parse_task
from tests.support.repositories import ROOT

WHOLE = """
name = "lm"
command = ["{python}", "main.py"]
edited = "main.py"
fixed = ["data.py"]
reads = ["~/data"]
hyperparameters = "constants"

[metric]
name = "val_bpb"
direction = "lower"
decimals = 5
low = 0

[tie_breaker]
name = "steps"
direction = "higher"
pattern = 'after (\\d+) steps'

[seed]
variable = "SEED"

[seconds]
constant = "BUDGET"
file = "data.py"
usual = 60
most = 200

[memory]
key = "rss"
unit = "GB"

[log]
training_lines = false
"""


def test_all_that_a_task_says_is_read():
    task = parse_task(WHOLE, "task.toml", "inner")
    assert task.edited_path == "inner/main.py" and task.metric_columns == ("val_bpb", "steps")
    assert (task.hyperparameters, task.trust) == (Hyperparameters.CONSTANTS, Trust.REPORTED)
    assert task.seed == Passing(variable="SEED") and task.seconds == Passing(constant="BUDGET", file="data.py")
    assert (task.usual_seconds, task.most_seconds, task.memory, task.memory_unit_mb) == (60.0, 200.0, "rss", 1024.0)
    assert not task.trains and task.smoke_seconds is None and task.by_own_word


SCORER = """
trust = "scored"

[scorer]
function = "scoring.py:score"
labels = "secret/labels.npy"
predictions = "predictions.npy"

[metric]
name = "acc"
direction = "higher"
"""


def test_a_scorer_is_a_function_of_a_fixed_file():
    task = parse_task(SCORER, "/repository/task.toml")
    assert task.trust is Trust.SCORED and task.by_own_word == "" and task.fixed == ("scoring.py",)
    assert task.scorer is not None and task.scorer.labels == "/repository/secret/labels.npy"
    for before, after, words in (
        ('"scoring.py:score"', '"scoring.py"', "scorer.function is 'scoring.py'; a file and a function of it"),
        ('predictions = "predictions.npy"\n', "", "no scorer.predictions"),
        ('"predictions.npy"', '"/tmp/x.npy"', "scorer.predictions is '/tmp/x.npy'; a path below"),
        ('"scored"', '"reported"', "trust is 'reported'; scored where there is a table [scorer], else reported"),
    ):
        with pytest.raises(UsageError) as told:
            parse_task(SCORER.replace(before, after), "task.toml")
        assert words in str(told.value)


def test_a_score_is_higher_for_the_better_inside_and_as_the_task_has_it_outside():
    task = parse_task(WHOLE, "task.toml")
    score = task.score_of({"val_bpb": "0.98765", "steps": 7})
    assert score == Score(-0.98765, 7.0)
    assert task.named(score) == {"val_bpb": 0.98765, "steps": 7.0}
    assert task.shown(score) == "val_bpb 0.9877 steps 7.0000"
    assert task.metric.gain(0.01) == "-0.0100" and task.metric.gain(-0.01) == "+0.0100"
    assert not task.metric.allows(float("nan")) and not task.metric.allows(-1.0) and task.metric.allows(9e9)


def test_the_task_that_ships_is_the_screen():
    task = load_task(ROOT / "task.toml")
    assert task.metric_columns == ("mc_acc", "bin_acc") and task.metric.name == "bin_acc"
    assert task.trust is Trust.SCORED and not task.by_own_word and task.seed.flag == "--seed"


@pytest.mark.parametrize("name", ["char_lm", "tabular", "kernel"])
def test_every_example_declares_a_task(name):
    folder = ROOT / "examples" / name
    task = load_task(folder / "task.toml")
    assert all((folder / file).is_file() for file in (task.edited, *task.fixed, task.space, task.program))


WRONG = [
    ("name = ", "name = lm", "not TOML"),
    ('name = "lm"', 'nam = "lm"', "unknown key nam; there are name, "),
    ('direction = "lower"', 'direction = "down"', "metric.direction is 'down'; higher or lower"),
    ('direction = "lower"', "", "no metric.direction"),
    ("decimals = 5", "decimals = 50", "metric.decimals is 50; a whole number from 0 to 12"),
    ("decimals = 5", "digits = 5", "unknown key metric.digits"),
    ('name = "val_bpb"', 'name = "val bpb"', "metric.name is 'val bpb'; a letter"),
    ('name = "steps"', 'name = "val_bpb"', "tie_breaker.name is 'val_bpb'; another one"),
    ("(\\d+)", "(\\d+", "tie_breaker.pattern"),
    ("(\\d+)", "\\d+", "with a group"),
    ('variable = "SEED"', 'variable = "SEED"\nflag = "--seed"', "seed has flag and variable; one of them"),
    ('variable = "SEED"', 'file = "x.py"', "seed.file is 'x.py'; only with seed.constant"),
    ('edited = "main.py"', 'edited = "../main.py"', "edited is '../main.py'; a path below"),
    ('edited = "main.py"', 'edited = "data.py"', "without data.py, which experiments edit"),
    ("usual = 60", "usual = 0", "seconds.usual is 0; more than 0"),
    ("usual = 60", 'usual = "long"', "seconds.usual is 'long'; a number"),
    ('unit = "GB"', 'unit = "TB"', "memory.unit is 'TB'; one of B, KB, MB, GB"),
    (
        'hyperparameters = "constants"',
        'hyperparameters = "yaml"',
        "hyperparameters is 'yaml'; one of",
    ),
    ('name = "lm"', 'name = "lm"\ntrust = "scored"', "trust is 'scored'; scored where there is a table [scorer]"),
    ('name = "lm"', 'name = "lm"\nroom = "attic"', "room is 'attic'; one of screening"),
    ('name = "lm"', 'name = "lm"\ncolumns = ["loss"]', "columns is ['loss']; the metrics, in an order"),
    ("training_lines = false", 'training_lines = "no"', "log.training_lines is 'no'; true or false"),
    ('command = ["{python}", "main.py"]', "command = []", "command is []; a program and its arguments"),
    ("low = 0", "low = 2\nhigh = 1", "metric.low is 2; below metric.high"),
    ('name = "lm"', 'name = "lm"\nsmoke = 3', "smoke is 3; a table is needed"),
]


@pytest.mark.parametrize(("before", "after", "words"), WRONG)
def test_what_cannot_be_meant_is_one_line_that_names_it(before, after, words):
    assert before in WHOLE
    text = WHOLE.replace(before, after, 1)
    with pytest.raises(UsageError) as told:
        parse_task(text, "here/task.toml")
    assert str(told.value).startswith("here/task.toml: ") and words in str(told.value) and "\n" not in str(told.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read the task: No such file .*search\.adopt writes one"):
        load_task(tmp_path / "task.toml")
