"""The command line of train.py: its flags, which are the fields of its recipe, and its footer."""

from __future__ import annotations

import argparse
import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import prepare
from search.core.recipe import Field, read_recipe
from search.core.space import Axis, declared
from search.core.types import SearchError
from search.task.screening import harness, weights

FIRST = ("mc_acc", "bin_acc", "train_seconds", "train_stopped_budget", "peak_vram_mb", "arch", "optimizer", "seed")
DIGITS = {"mc_acc": 6, "bin_acc": 6, "epochs": 2}  # of numbers that are not whole; 1 otherwise
Train = Callable[[Any, prepare.Data, float, int], dict[str, Any]]


def run(recipe_class: type, train: Train, arguments: list[str] | None = None) -> None:
    """Runs train.py, and ends this process. recipe_class: a dataclass whose fields are the flags. train: gets the
    recipe, the data set, the seconds of training and the seed, and gives figures for the footer."""
    try:
        source = Path(inspect.getfile(recipe_class)).read_text(encoding="utf-8")
        fields = read_recipe(source)
        axes = {name: declared(field) for name, field in fields.items()}
    except SearchError as error:
        sys.exit(f"train.py: {error}")
    options = parser_of(fields, axes).parse_args(arguments)
    values = {name: getattr(options, name) for name in fields}
    if options.weights is not None:
        if not options.weights.absolute().parent.is_dir():
            sys.exit(f"--weights {options.weights}: {options.weights.absolute().parent} is no folder")
        os.environ[weights.VARIABLE] = str(options.weights.absolute())
    try:
        data = prepare.load(options.dataset)
    except prepare.DataError as error:
        sys.exit(str(error))
    recipe = recipe_class(**values)
    print("recipe " + " ".join(f"{name}={value}" for name, value in asdict(recipe).items()), flush=True)
    figures = train(recipe, data, options.max_train_seconds, options.seed)
    rate = figures["photos_seen"] / max(figures["train_seconds"], 1e-9)
    named = {name: values[name] for name in ("arch", "optimizer") if name in values} | {"seed": options.seed}
    more = {"photos_per_second": rate, "image_size": data.image_size, **harness.figures_of_device(harness.device())}
    for line in footer({**figures, **named, **more}):
        print(line, flush=True)
    # Leaving without interpreter shutdown saves the seconds in which torch takes itself apart.
    sys.stdout.flush()
    os._exit(0)


def footer(figures: Mapping[str, Any]) -> list[str]:
    """The lines of a footer: those that others rely on first, in their order."""
    names = [*(name for name in FIRST if name in figures), *(name for name in figures if name not in FIRST)]
    return ["---", *(f"{name}: {shown(name, figures[name])}" for name in names)]


def shown(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.{DIGITS.get(name, 1)}f}" if isinstance(value, float) else str(value)


def parser_of(fields: Mapping[str, Field], axes: Mapping[str, Axis | None]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train.py", description="Trains once and prints a footer with the scores.")
    parser.add_argument("--dataset", type=Path, default=Path("dataset"), help="data set folder (default ./dataset)")
    parser.add_argument(
        "--max-train-seconds",
        type=number(float, 0.0, math.inf),
        default=float(prepare.TIME_BUDGET),
        help="seconds of training, without start-up (default %(default)s; 0: no cap)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of initialisation, order and augmentation (default 0)")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="where the weights go that were scored (safetensors)"
    )
    for name, field in fields.items():
        flag, axis = "--" + name.replace("_", "-"), axes[name]
        given: dict[str, Any] = {"choices": field.choices} if field.choices else {}
        if isinstance(field.value, bool):
            given = {"type": boolean, "metavar": "BOOLEAN"}
        elif isinstance(field.value, int | float):
            kind = float if field.is_float or isinstance(field.value, float) else int
            low, high = (axis.low, axis.high) if axis else (0.0, math.inf)
            given = {"type": number(kind, low, high), "metavar": kind.__name__.upper()}
        note = field.note.replace("%", "%%")
        parser.add_argument(flag, dest=name, default=field.value, help=f"{note} (default %(default)s)", **given)
    return parser


def number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """Reads a finite number within a range."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"invalid {kind.__name__} value: {text!r}") from error
        if not math.isfinite(value) or not low <= value <= high:
            most = f" to {high:g}" if math.isfinite(high) else ", and finite"
            raise argparse.ArgumentTypeError(f"{text}; from {low:g}{most}")
        return value

    return read


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
