"""The text, its split, and the metric. The text is made here, by a small grammar: it belongs to nobody."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

TIME_BUDGET = 8  # seconds of training
VOCABULARY = 128  # ASCII
SENTENCES = 6000
EVALUATED = 16_384  # characters of the validation text
WINDOW = 128  # characters that the model sees at a time when it is evaluated

NOUNS = "harbour gardener engine letter winter lantern river clerk bridge orchard captain window stone market".split()
VERBS = "carries repairs watches forgets follows answers paints measures borrows remembers".split()
ADJECTIVES = "quiet narrow yellow early broken patient heavy distant careful salted".split()
PLACES = "behind the mill,at the edge of the town,under the old roof,near the water,on the last day of May".split(",")


def _noun(rng: random.Random) -> str:
    adjective = f"{rng.choice(ADJECTIVES)} " if rng.random() < 0.6 else ""
    return f"the {adjective}{rng.choice(NOUNS)}"


def _clause(rng: random.Random, depth: int = 0) -> str:
    clause = f"{_noun(rng)} {rng.choice(VERBS)} {_noun(rng)}"
    if rng.random() < 0.4:
        clause += f" {rng.choice(PLACES)}"
    if depth < 2 and rng.random() < 0.3:
        clause += f" {rng.choice(['because', 'while', 'although', 'until'])} {_clause(rng, depth + 1)}"
    return clause


def text() -> Tensor:
    """All of it as whole numbers, (n,); the same every time."""
    rng = random.Random(1)
    sentences = (_clause(rng) for _ in range(SENTENCES))
    written = " ".join(sentence[0].upper() + sentence[1:] + rng.choice([".", ".", "!"]) for sentence in sentences)
    return torch.tensor(list(written.encode("ascii")))


def split() -> tuple[Tensor, Tensor]:
    """(training text, validation text)."""
    whole = text()
    return whole[: -2 * EVALUATED], whole[-2 * EVALUATED : -EVALUATED]


def batches(source: Tensor, batch_size: int, context: int, seed: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """A function that draws (inputs, targets), (batch_size, context) each."""
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.arange(context)

    def draw() -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(source) - context - 1, (batch_size, 1), generator=generator)
        return source[starts + offsets], source[starts + offsets + 1]

    return draw


@torch.inference_mode()
def evaluate_bpb(model: torch.nn.Module, validation: Tensor, context: int) -> float:
    """Bits per byte on the validation text, in windows of the model's own context."""
    model.eval()
    length = min(context, WINDOW)
    count = (len(validation) - 1) // length
    inputs, targets = (validation[at : at + count * length].view(count, length) for at in (0, 1))
    logits = torch.cat([model(part) for part in inputs.split(64)])
    return float(F.cross_entropy(logits.flatten(0, 1), targets.flatten())) / math.log(2)


if __name__ == "__main__":
    training, validation = split()
    print(f"{len(training)} characters to train on, {len(validation)} to validate; begins: ", end="")
    print(bytes(training[:160].tolist()).decode())
