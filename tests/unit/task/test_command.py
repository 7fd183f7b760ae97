"""The command line of train.py: flags from the recipe, ranges that hold, and the footer."""

import math

import pytest

from search.core.recipe import read_recipe
from search.core.space import declared
from search.task.screening.command import footer, parser_of
from tests.support.repositories import ROOT

SOURCE = """
from dataclasses import dataclass
from typing import Literal

@dataclass
class Recipe:
    kind: Literal["a", "b"] = "a"  # which
    rate: float = 1  # peak, 100 % of it; 1e-3 … 2
    size: int = 8  # 1 … 64
    epochs: int = 3  # at most
    fast: bool = True
"""


@pytest.fixture
def parser():
    fields = read_recipe(SOURCE)
    return parser_of(fields, {name: declared(field) for name, field in fields.items()})


def test_fields_are_flags_with_their_defaults(parser):
    found = vars(parser.parse_args(["--rate", "0.5", "--fast", "FALSE", "--kind", "b", "--max-train-seconds", "0"]))
    assert (found["rate"], found["size"], found["fast"], found["kind"], found["epochs"]) == (0.5, 8, False, "b", 3)
    assert found["max_train_seconds"] == 0 and found["seed"] == 0
    assert "peak, 100 % of it; 1e-3 … 2" in parser.format_help()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--rate 3", "argument --rate: 3; from 0.001 to 2"),
        ("--rate nan", "argument --rate: nan; from 0.001 to 2"),
        ("--rate x", "argument --rate: invalid float value: 'x'"),
        ("--size 0", "argument --size: 0; from 1 to 64"),
        ("--size 1.5", "argument --size: invalid int value: '1.5'"),
        ("--epochs -1", "argument --epochs: -1; from 0, and finite"),
        ("--kind c", "argument --kind: invalid choice: 'c'"),
        ("--fast maybe", "argument --fast: 'maybe' is neither true nor false"),
        ("--max-train-seconds inf", "argument --max-train-seconds: inf; from 0, and finite"),
    ],
)
def test_what_lies_outside_its_range_is_one_line(parser, capsys, words, told):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words.split())
    assert ended.value.code == 2 and told in capsys.readouterr().err.splitlines()[-1]


def test_every_number_of_the_shipped_recipe_lies_in_its_range():
    fields = read_recipe((ROOT / "train.py").read_text())
    axes = [declared(field) for field in fields.values()]  # raises if one does not
    assert sum(axis is not None for axis in axes) >= 20
    assert len((ROOT / "train.py").read_text().splitlines()) <= 350


def test_the_footer_has_what_others_rely_on_first_and_in_order():
    figures = {"steps": 3, "bin_acc": 0.5, "arch": "lite", "train_stopped_budget": True, "train_seconds": 2.04,
               "mc_acc": 1 / 3, "peak_vram_mb": 0.0, "optimizer": "sgd", "seed": 1, "epochs": 1.0}  # fmt: skip
    assert footer(figures) == [
        "---", "mc_acc: 0.333333", "bin_acc: 0.500000", "train_seconds: 2.0", "train_stopped_budget: true",
        "peak_vram_mb: 0.0", "arch: lite", "optimizer: sgd", "seed: 1", "steps: 3", "epochs: 1.00",
    ]  # fmt: skip
    assert footer({"rate": math.pi}) == ["---", "rate: 3.1"]
