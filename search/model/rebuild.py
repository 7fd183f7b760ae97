"""Makes the network that a commit's train.py hands to evaluate(), without training it, gives it the weights that were
scored, and writes it as ONNX. A program: `python rebuild.py SPEC`, in a folder with the commit's files.

It imports nothing of the project but what lies in that folder, since the code there may be of another day. SPEC is a
JSON file: `weights`, files of one seed each; `photos`, a file of uint8 (n, size, size, 3); `out`, a folder; `classes`,
`positive`, `temperature`, `threshold`, `seed`; `edited`, the file that is run. Of the photos it leaves the
probabilities that torch gives.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SECONDS = 1e-6  # of training: a step is begun where a loop wants one, and what it learns is written over
OF_EACH_CLASS = 2  # photos of noise that it is given
BATCH = 16
FEWEST_PIXELS = 8  # of a photo's side
TINY = 1e-12
ONNX, TORCH_FILE, FAILURE_FILE = "model.onnx", "torch.npy", "no-onnx.txt"


class Handed(BaseException):
    """train.py has come to evaluate()."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network


def network_of(folder: Path, edited: str, size: int, classes: list[str], positive: list[int], seed: int) -> nn.Module:
    """The network that a file in a folder hands to evaluate(). Raises RuntimeError if it hands over none."""
    sys.path.insert(0, str(folder))
    prepare: Any = importlib.import_module("prepare")
    data = noise(prepare, size, classes, positive)

    def evaluate(network: nn.Module, *_: object, **__: object) -> None:
        raise Handed(network)

    prepare.load = prepare.begin_training = lambda *_, **__: data
    prepare.evaluate, prepare.rehearse_evaluation = evaluate, lambda *_, **__: None
    prepare.run = lambda recipe_class, train: train(recipe_class(), data, SECONDS, seed)
    harness: Any = importlib.import_module("search.task.screening.harness")
    harness.warm_up = lambda *_, **__: None
    spec = importlib.util.spec_from_file_location("__main__", folder / edited)
    assert spec is not None and spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    sys.modules["__main__"] = program  # it runs as if it had been called
    try:
        spec.loader.exec_module(program)
    except Handed as handed:
        return handed.network
    raise RuntimeError(f"{edited} ended without a call of evaluate()")


def noise(prepare: Any, size: int, classes: list[str], positive: list[int]) -> Any:
    """A data set of a few photos of noise, of every class in every part."""
    labels = np.tile(np.arange(len(classes), dtype=np.int64), len(prepare.PARTS) * OF_EACH_CLASS)
    part = np.repeat(np.arange(len(prepare.PARTS), dtype=np.int8), len(classes) * OF_EACH_CLASS)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), size, size, 3), dtype=np.uint8)
    kinds = prepare.Classes(tuple(classes), tuple(positive))
    return prepare.Data(images, labels, part, [], size, "", np.arange(len(labels)), kinds)


class Screen(nn.Module):
    """Photos as they are taken in, a model's answer out.

    photos: uint8, (n, height, width, 3), RGB, upright. Gives probabilities (n, classes), the mean over the networks,
    as they were scored; risk (n,), the probability of the positive classes after temperature scaling (Guo et al.,
    2017); infected (n,), whether the risk reaches the threshold.
    """

    def __init__(
        self, networks: list[nn.Module], size: int, positive: list[int], temperature: float, threshold: float
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.size, self.positive, self.temperature, self.threshold = size, positive, temperature, threshold

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = photos.permute(0, 3, 1, 2).float()
        x = F.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        x = x.round().clamp(0, 255) / 255
        probabilities = torch.stack([network(x).float().softmax(1) for network in self.networks]).mean(0)
        scaled = (probabilities.clamp_min(TINY).log() / self.temperature).softmax(1)
        risk = scaled[:, self.positive].sum(1)
        return probabilities, risk, risk >= self.threshold


def probabilities_of(screen: Screen, photos: np.ndarray) -> np.ndarray:
    """(n, classes) of uint8 (n, size, size, 3)."""
    with torch.inference_mode():
        parts = [screen(torch.from_numpy(np.array(photos[at : at + BATCH])))[0] for at in range(0, len(photos), BATCH)]
    return torch.cat(parts).numpy()


def write_onnx(screen: Screen, size: int, path: Path) -> None:
    """With photos of any number and size as input."""
    sides = {name: torch.export.Dim(name, min=FEWEST_PIXELS) for name in ("height", "width")}
    example = torch.zeros(2, size + 1, size + 2, 3, dtype=torch.uint8)  # sizes of their own, so that none is fixed
    program = torch.onnx.export(
        screen,
        (example,),
        dynamo=True,
        input_names=["photos"],
        output_names=["probabilities", "risk", "infected"],
        dynamic_shapes={"photos": {0: torch.export.Dim("count"), 1: sides["height"], 2: sides["width"]}},
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)


def main() -> int:
    from safetensors.torch import load_file

    wanted = json.loads(Path(sys.argv[1]).read_text())
    out, photos = Path(wanted["out"]), np.load(wanted["photos"], mmap_mode="r")
    size, positive = int(photos.shape[1]), wanted["positive"]
    network = network_of(Path.cwd(), wanted["edited"], size, wanted["classes"], positive, wanted["seed"])
    networks = []
    for number, path in enumerate(wanted["weights"]):
        one = network if number == 0 else copy.deepcopy(network)
        one.load_state_dict(load_file(path), strict=True)
        networks.append(one.eval().requires_grad_(False).to(memory_format=torch.contiguous_format))
    screen = Screen(networks, size, positive, wanted["temperature"], wanted["threshold"]).eval()
    np.save(out / TORCH_FILE, probabilities_of(screen, photos))
    try:
        write_onnx(screen, size, out / ONNX)
    except Exception as error:  # whatever an edit's network has that ONNX has not
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no word"]
        (out / FAILURE_FILE).write_text(f"{type(error).__name__}: {lines[0]}"[:500] + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
