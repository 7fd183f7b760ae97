"""Asks a model that search.export has written.

A copy of this file lies beside every such model, with decoding.py, and needs onnxruntime, numpy and Pillow alone:
python predict.py PHOTO…
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

try:
    from search.task.screening.decoding import decode, is_named_as_photo, problem_with
except ImportError:  # beside a model
    from decoding import decode, is_named_as_photo, problem_with  # type: ignore[no-redef]

BATCH = 2  # photos; larger ones leave the cache of a core, and are slower
MODEL, ABOUT, SEEN = "model.onnx", "screen.json", "photos.sha256"  # in its folder
DIGITS = 6
DESCRIPTION = (
    "Asks a model that search.export has written: infected or not, the risk, the probability of each class, as CSV. "
    "A file that is no photo is told on standard error, and the rest goes on."
)
EXIT_CODES = "Exit codes: 0 every photo was answered, 1 a known failure, 2 a wrong argument."
Answer = dict[str, Any]


class PredictError(Exception):
    """What is wrong, in one line."""


class Predictor:
    """A model in a folder. about: what search.export wrote of it. threads: None: one for each core.

    Raises PredictError if there is none, or onnxruntime is not installed.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise PredictError("onnxruntime is not installed; pip install onnxruntime") from error
        try:
            self.about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            self.classes, self.size = list(self.about["classes"]), int(self.about["image_size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PredictError(f"{folder}: no model of search.export: {error}") from error
        if not (folder / MODEL).is_file():
            raise PredictError(f"{folder}: {MODEL} is not there; {self.about.get('no_onnx') or 'export it again'}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                str(folder / MODEL), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own kinds, of a file that is torn
            raise PredictError(f"{folder / MODEL}: cannot be read: {str(error).splitlines()[0]}") from error

    def run(self, photos: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(probabilities (n, classes), risk (n,), infected (n,)) of uint8 photos (n, height, width, 3)."""
        probabilities, risk, infected = self.session.run(None, {"photos": photos})
        return np.asarray(probabilities), np.asarray(risk), np.asarray(infected)

    def answers(self, paths: Iterable[Path]) -> Iterator[Answer]:
        """Of each photo, in order: path, infected, risk, class, probabilities; or path and error, where it is none."""
        waiting = iter(paths)
        with ThreadPoolExecutor(2) as pool:
            ahead = [pool.submit(self._read, path) for path in islice(waiting, 2 * BATCH)]
            while ahead:
                read = [one.result() for one in ahead[:BATCH]]
                ahead = ahead[BATCH:] + [pool.submit(self._read, path) for path in islice(waiting, BATCH)]
                yield from self._of_batch(read)

    def _read(self, path: Path) -> tuple[Path, np.ndarray | None, str]:
        try:
            return path, decode(path, self.size)[0], ""
        except OSError as error:
            return path, None, problem_with(path, error) if path.is_file() else f"{path}: no such file"
        except Exception as error:  # Pillow raises many kinds for a broken file; each means the same here
            return path, None, problem_with(path, error)

    def _of_batch(self, read: Sequence[tuple[Path, np.ndarray | None, str]]) -> Iterator[Answer]:
        photos = [pixels for _, pixels, _ in read if pixels is not None]
        found = iter(zip(*self.run(np.stack(photos)), strict=True) if photos else ())
        for path, pixels, problem in read:
            if pixels is None:
                yield {"path": str(path), "error": problem}
                continue
            probabilities, risk, infected = next(found)
            yield {
                "path": str(path),
                "infected": bool(infected),
                "risk": round(float(risk), DIGITS),
                "class": self.classes[int(probabilities.argmax())],
                "probabilities": [round(float(one), DIGITS) for one in probabilities],
            }


def photos_in(paths: Sequence[Path]) -> Iterator[Path]:
    """The files named, and those within folders that are named, but for what is no photo by its name, as a table beside
    them."""
    for path in paths:
        if path.is_dir():
            within = sorted(one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
            yield from (one for one in within if is_named_as_photo(one))
        else:
            yield path


def tell(answers: Iterable[Answer], classes: Sequence[str], as_json: bool) -> int:
    """On standard output, as CSV or as lines of JSON; what is no photo on standard error. The exit code."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if not as_json:
        writer.writerow(["path", "infected", "risk", "class", *classes])
    wrong = 0
    for one in answers:
        wrong += "error" in one
        if "error" in one:
            print(one["error"], file=sys.stderr, flush=True)
        if as_json:
            print(json.dumps(one), flush=True)
        elif "error" not in one:
            said = "yes" if one["infected"] else "no"
            writer.writerow([one["path"], said, one["risk"], one["class"], *one["probabilities"]])
    sys.stdout.flush()
    return 1 if wrong else 0


def add_photos(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", type=Path, nargs="*", metavar="PHOTO", help="photos, or folders of photos")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each photo, in place of CSV")


def guarded(work: Callable[[], int]) -> int:
    """Does it; the exit code, with one line for what is known to go wrong."""
    try:
        return work()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read it has seen enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (PredictError, OSError) as error:
        print(f"predict: {error}", file=sys.stderr)
        return 1


def main(arguments: list[str] | None = None) -> int:
    """Of the copy beside a model."""
    parser = argparse.ArgumentParser(prog="predict.py", description=DESCRIPTION, epilog=EXIT_CODES)
    add_photos(parser)
    options = parser.parse_intermixed_args(arguments)
    if not options.photos:
        parser.error("name a photo, or a folder of photos")

    def work() -> int:
        predictor = Predictor(Path(__file__).resolve().parent)
        return tell(predictor.answers(photos_in(options.photos)), predictor.classes, options.json)

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
