"""The fixed part of every experiment: the data set, and the only metric. Nothing in a search changes this file.

`python prepare.py` checks a data set and builds its cache; `python prepare.py --demo DIR` draws a synthetic one.
`train.py` is run by `run()`, which calls `load()`; it calls `begin_training()` and `evaluate()`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if _missing := [name for name in ("numpy", "PIL", "torch") if importlib.util.find_spec(name) is None]:
    sys.exit(
        f"not installed for {sys.executable}: {', '.join(_missing)}; "
        "use .venv/bin/python, which `make install` sets up, or pip install -r requirements.txt"
    )

import numpy as np

if TYPE_CHECKING:
    import torch

TIME_BUDGET = 300  # seconds of training per trial
IMAGE_SIZE = 384  # pixels; a data set's own manifest.json may declare a smaller one
BINARY_INFECTION_CLASS = 4  # class_4 is infected, every other class is not; a manifest.json may declare other classes
CLASSES = tuple(f"class_{i}" for i in range(5))
PARTS = ("train", "validation", "test")
EVALUATE_BATCH = 16  # photos of IMAGE_SIZE: activations of 64 take gigabytes of a GPU's memory
LARGEST_EVALUATE_BATCH = 256  # smaller photos make larger batches
VIEW = "view"  # folder within a cache: what a trial of a search may read
IMAGES = "images.npy"
CALIBRATION = len(PARTS)  # the part of training photos that a search holds back, to choose a threshold by
WITHHELD = -1  # the label of a photo whose label a trial is not, or not yet, given
SCORER_VARIABLE = "AUTORESEARCH_SCORER"  # file descriptor of the socket to the search's scorer, in a trial of a search
GIVEN = ("labels", "held_back", "calibration")  # by the scorer, with the photos
PROBE_SECONDS = 0.1
PROBE_SIDE, PROBE_PRODUCTS = 2048, 32  # of the matrices on CUDA: 0.55 TFLOP, with 16 MB


class DataError(Exception):
    """The data set cannot be used; the message has one problem per line."""


@dataclass(frozen=True)
class Classes:
    """What photos are told apart into. names: of the class folders, in the order of their indices. positive: the
    indices of those that mean infected, or whatever else is screened for."""

    names: tuple[str, ...] = CLASSES
    positive: tuple[int, ...] = (BINARY_INFECTION_CLASS,)

    def is_positive(self, labels: np.ndarray) -> np.ndarray:
        """(n,) of whether (n,) class indices are positive."""
        return np.isin(labels, self.positive)


FIVE_CLASSES = Classes()


@dataclass(frozen=True)
class Data:
    """A decoded data set.

    images: uint8, (photos, size, size, 3), memory-mapped, RGB. labels: int64, (photos,). In a trial of a search all
    images are blank and all labels WITHHELD before begin_training; the labels of validation and test stay so. part:
    int8, (photos,), an index into PARTS, or CALIBRATION. shas: SHA-256 of each photo's bytes; none in a trial of a
    search. fingerprint: the cache's key, 64 hex digits. groups: int64, (photos,), the same for photos that belong
    together, as one patient's do; none in a trial of a search. held_back: positions of training photos by which a trial
    tells how far it has come, and which it trains on from the middle of its budget on; none unless the search stops
    trials early.
    """

    images: np.ndarray
    labels: np.ndarray
    part: np.ndarray
    shas: list[str]
    image_size: int
    fingerprint: str
    groups: np.ndarray
    classes: Classes = FIVE_CLASSES
    held_back: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def indices(self, part: str) -> np.ndarray:
        """Positions, (n,), of the photos of one of PARTS."""
        return np.flatnonzero(self.part == PARTS.index(part))


# --- the cache --------------------------------------------------------------------------------------------------


def cache_root() -> Path:
    """Where decoded caches lie, for all trials of this machine: $AUTORESEARCH_CACHE or the user's cache folder."""
    named = os.environ.get("AUTORESEARCH_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named).absolute() if named else base.absolute() / "autoresearch"


def load(dataset: Path | str = "dataset") -> Data:
    """The decoded data set, from its cache; builds the cache first if there is none.

    dataset: the folder of the five classes, or the view of a cache, which a search names to its trials.
    Raises DataError if the data set cannot be used.
    """
    dataset = Path(dataset).absolute()
    if (dataset / "view.json").exists():
        return _open_view(dataset)
    from search.task.screening import cache  # which a trial of a search never needs

    return cache.load(dataset)


def cached(fingerprint: str) -> Data | None:
    """A data set that this machine has decoded, wherever its photos are; None if it has not."""
    try:
        return open_cache(cache_root() / fingerprint)
    except (OSError, ValueError, KeyError, DataError):
        return None


def view_of(data: Data) -> Path:
    """The folder to name as data set to a trial: how many photos there are, and in which parts. The rest comes with
    begin_training."""
    return cache_root() / data.fingerprint / VIEW


def images_of(data: Data) -> Path:
    """The file of a cache's decoded photos."""
    return cache_root() / data.fingerprint / IMAGES


def open_cache(folder: Path) -> Data:
    """A decoded data set by its folder. Raises OSError, ValueError, KeyError or DataError."""
    sealed = json.loads((folder / "labels.json").read_text())
    return replace(
        _open_view(folder / VIEW),
        images=np.load(folder / IMAGES, mmap_mode="r"),
        labels=np.array(sealed["labels"], np.int64),
        shas=sealed["shas"],
        groups=np.array(sealed["groups"], np.int64),
    )


def _open_view(folder: Path) -> Data:
    """A cache's view, or one that has photos and labels of its own."""
    try:
        view = json.loads((folder / "view.json").read_text())
        part, size = np.array(view["part"], np.int8), view["image_size"]
        blank = np.broadcast_to(np.zeros((), np.uint8), (len(part), size, size, 3))
        return Data(
            images=np.load(folder / IMAGES, mmap_mode="r") if (folder / IMAGES).exists() else blank,
            labels=np.array(view.get("labels", [WITHHELD] * len(part)), np.int64),
            part=part,
            shas=[],
            image_size=size,
            fingerprint=folder.parent.name,
            groups=np.zeros(0, np.int64),
            classes=Classes(tuple(view["classes"]), tuple(view["positive"])),
        )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: not the view of a cache: {error}; python prepare.py builds it anew") from error


def as_json(classes: Classes) -> dict[str, list[Any]]:
    """Classes as a view has them."""
    return {"classes": list(classes.names), "positive": list(classes.positive)}


# --- the metric -------------------------------------------------------------------------------------------------


def accuracies(probabilities: np.ndarray, labels: np.ndarray, classes: Classes = FIVE_CLASSES) -> dict[str, float]:
    """mc_acc and bin_acc of (n, classes) probabilities against (n,) labels: the class is the most probable one."""
    chosen = probabilities.argmax(1)
    return {
        "mc_acc": float((chosen == labels).mean()),
        "bin_acc": float((classes.is_positive(chosen) == classes.is_positive(labels)).mean()),
    }


def begin_training(data: Data) -> Data:
    """The data set with its photos, and the labels of the training photos: from here on the budget of seconds is used.

    Call it once, when all is ready that needs neither, such as a compiled network. In a trial of a search the scorer
    hands both over, and its clock counts; elsewhere `data` has both already, and is returned. Raises DataError if they
    are withheld and there is no scorer, or it refuses.
    """
    scorer = _Scorer.of_this_trial()
    if scorer is None:
        if (data.labels == WITHHELD).all():
            raise DataError("photos and labels are withheld: only a trial of a search is given them")
        return data
    answer, descriptor = scorer.ask_for_file({"event": "training"})
    with os.fdopen(descriptor, "rb") as stream:
        np.lib.format.read_magic(stream)
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        images = np.memmap(stream, kind, "r", stream.tell(), shape)
    labels, held_back, calibration = (np.array(answer[name], np.int64) for name in GIVEN)
    part = data.part.copy()
    part[calibration] = CALIBRATION
    return replace(data, images=images, labels=labels, part=part, held_back=held_back)


def evaluate(model: torch.nn.Module, data: Data, device: torch.device | str) -> dict[str, float]:
    """Scores a model on the validation photos: the only metric of a search. Call it once, when training has ended.

    The model takes float32 (n, 3, size, size) in 0…1 and gives (n, classes) logits; normalisation is the model's own.
    In a search it hands the probabilities of the validation and test photos, and of those that are held back for a
    threshold, to the scorer, which alone has their labels and takes the first ones it gets, and then the weights that
    gave them. Returns mc_acc and bin_acc on validation. Raises ValueError if a probability is not a number, DataError
    if data is not begin_training's, or the scorer refuses what it gets.
    """
    if (data.labels == WITHHELD).all():
        raise DataError("these photos are blank: evaluate() wants the data set that begin_training() gives")
    from search.task.screening.weights import weights_of, write_weights

    scorer = _Scorer.of_this_trial()
    validation = data.indices("validation")
    if scorer is None:
        if (data.labels[validation] == WITHHELD).any():
            raise DataError("the labels of the validation photos are withheld: only a trial of a search can be scored")
        write_weights(model)
        return accuracies(probabilities_of(model, data, validation, device), data.labels[validation], data.classes)
    scorer.ask({"event": "evaluating", "probe": speed_probe(device)})
    scored = np.concatenate([validation, data.indices("test"), np.flatnonzero(data.part == CALIBRATION)])
    probabilities = probabilities_of(model, data, scored, device)
    scores = scorer.ask({"event": "submit", "shape": list(probabilities.shape)}, probabilities.astype("<f4").tobytes())
    scorer.ask({"event": "weights"}, weights_of(model))
    return scores


def run(recipe_class: type, train: Callable[..., dict[str, Any]]) -> None:
    """Runs train.py by its command line, prints its footer, and ends this process; see command.py of the screen."""
    from search.task.screening import command

    command.run(recipe_class, train)


def probabilities_of(model: torch.nn.Module, data: Data, indices: np.ndarray, device: torch.device | str) -> np.ndarray:
    """The class probabilities, float32 (n, classes), of these photos. Leaves the model as it was."""
    import torch

    modes, size = [(module, module.training) for module in model.modules()], evaluate_batch(data)
    model.eval()
    outputs = []
    with torch.inference_mode():
        for start in range(0, len(indices), size):
            chosen = indices[start : start + size]
            # Every batch has the same shape, the last one too: a compiled model would be compiled again for another.
            photos = torch.from_numpy(data.images[np.resize(chosen, size)]).to(device)
            logits = model(photos.permute(0, 3, 1, 2).float() / 255)
            outputs.append(logits[: len(chosen)].float().softmax(1).cpu())
    for module, mode in modes:  # of which a frozen part may be in another mode than the rest
        module.training = mode
    probabilities = torch.cat(outputs).numpy()
    if not np.isfinite(probabilities).all():
        raise ValueError("the model's probabilities are not numbers (NaN or infinite)")
    return probabilities


def evaluate_batch(data: Data) -> int:
    """How many photos evaluate() gives a model at once: as many pixels at any size of photo, if there are so many."""
    most = EVALUATE_BATCH * IMAGE_SIZE**2 // data.image_size**2
    return max(min(most, LARGEST_EVALUATE_BATCH, len(data.indices("validation"))), EVALUATE_BATCH)


def rehearse_evaluation(model: torch.nn.Module, data: Data, device: torch.device | str) -> None:
    """What evaluate() does with a model, on one batch of blank photos: a compiled model is compiled for it then.

    Call it before begin_training(), so that neither training nor evaluation waits for it.
    """
    blank = replace(data, images=np.zeros((1, data.image_size, data.image_size, 3), np.uint8))
    probabilities_of(model, blank, np.zeros(evaluate_batch(data), np.int64), device)


def speed_probe(device: torch.device | str) -> float:
    """How often a second this device does a fixed piece of work now: by which slow slots are known.

    On CUDA, products of matrices that keep all of a large card busy: a small piece would take as long to launch as to
    do, and a card that is throttled would look as fast as any. Elsewhere, a small convolution.
    """
    import torch

    on_cuda = torch.device(device).type == "cuda"
    with torch.inference_mode():
        if on_cuda:
            factor = torch.zeros(PROBE_SIDE, PROBE_SIDE, device=device, dtype=torch.float16)
            product = torch.empty_like(factor)
        else:
            convolution, photos = torch.nn.Conv2d(16, 16, 3, padding=1), torch.zeros(8, 16, 64, 64)

        def work() -> None:
            if on_cuda:
                for _ in range(PROBE_PRODUCTS):
                    torch.mm(factor, factor, out=product)
                torch.cuda.synchronize()
            else:
                convolution(photos)

        work()
        began, times = time.monotonic(), 0
        while (used := time.monotonic() - began) < PROBE_SECONDS:
            work()
            times += 1
    return times / used


class _Scorer:
    """The trial's end of the socket to the scorer: a line of JSON, with bytes behind it, is answered by one."""

    def __init__(self, descriptor: int) -> None:
        self.connection = socket.socket(fileno=os.dup(descriptor))
        self.answers = self.connection.makefile("r")

    @classmethod
    def of_this_trial(cls) -> _Scorer | None:
        named = os.environ.get(SCORER_VARIABLE, "")
        return cls(int(named)) if named.isdecimal() else None

    def ask(self, message: dict[str, object], payload: bytes = b"") -> dict[str, Any]:
        line = json.dumps({**message, "bytes": len(payload)}) + "\n"
        self.connection.sendall(line.encode() + payload)
        return self._answer(self.answers.readline())

    def ask_for_file(self, message: dict[str, object]) -> tuple[dict[str, Any], int]:
        """The answer, and the descriptor of an open file, which comes with a space before it."""
        self.connection.sendall(json.dumps(message).encode() + b"\n")
        first, descriptors, _, _ = socket.recv_fds(self.connection, 1, 1)
        answer = self._answer(first.decode() + self.answers.readline())
        if not descriptors:
            raise DataError("the scorer gave no photos")
        return answer, descriptors[0]

    def _answer(self, line: str) -> dict[str, Any]:
        answer = json.loads(line.strip() or '{"error": "the scorer has gone"}')
        if "error" in answer:
            raise DataError(answer["error"])
        return dict(answer)


# --- the command ------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="prepare.py",
        description="Checks a data set of class folders, five unless its manifest.json declares others, and builds "
        "its decoded cache; or draws a synthetic one.",
    )
    parser.add_argument("--dataset", type=Path, default=Path("dataset"), help="data set folder (default ./dataset)")
    parser.add_argument("--demo", type=Path, metavar="DIR", help="draw a synthetic data set into DIR, then check it")
    parser.add_argument("--photos", type=int, default=600, help="photos of the synthetic set (default 600)")
    parser.add_argument(
        "--image-size", type=int, default=64, help="pixels that the synthetic set is decoded to (default 64)"
    )
    options = parser.parse_args(arguments)
    from search.task.screening import cache, demo_images, photos

    if options.photos < 100:
        parser.error(f"--photos is {options.photos}; at least 100, so that every class has some")
    if not photos.SMALLEST_IMAGE <= options.image_size <= IMAGE_SIZE:
        parser.error(f"--image-size is {options.image_size}; from {photos.SMALLEST_IMAGE} to {IMAGE_SIZE}")
    dataset = Path(os.path.abspath(options.demo or options.dataset))
    try:
        if options.demo:
            try:
                demo_images.draw(dataset, options.photos, image_size=options.image_size)
            except ValueError as error:
                raise DataError(str(error)) from error
        cache.report(dataset)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    import prepare  # this file as a module, as the rest knows it

    sys.exit(prepare.main())
