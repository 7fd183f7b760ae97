"""python -m search.predict DIR PHOTO…: asks a model that search.export has written.

A copy of this file lies beside every such model, with decoding.py, and needs onnxruntime, numpy and Pillow alone:
python predict.py PHOTO…
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

try:
    from search.task.screening.decoding import decode, problem_with
except ImportError:  # beside a model
    from decoding import decode, problem_with  # type: ignore[no-redef]

BATCH = 8
MODEL, ABOUT = "model.onnx", "screen.json"
DIGITS = 6
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
    """The files named, and those within folders that are named."""
    for path in paths:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
        else:
            yield path


def write_table(answers: Iterable[Answer], classes: Sequence[str]) -> int:
    """As CSV on standard output; how many were no photos."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "infected", "risk", "class", *classes])
    wrong = 0
    for one in answers:
        if "error" in one:
            wrong += 1
            print(one["error"], file=sys.stderr, flush=True)
        else:
            said = "yes" if one["infected"] else "no"
            writer.writerow([one["path"], said, one["risk"], one["class"], *one["probabilities"]])
    return wrong


def parser() -> argparse.ArgumentParser:
    beside = __package__ in (None, "")
    made = argparse.ArgumentParser(
        prog="predict.py" if beside else "python -m search.predict",
        description="Asks a model that search.export has written: infected or not, the risk, and the probability of "
        "each class, as CSV. A file that is no photo is told on standard error, and the rest goes on.",
        epilog="Exit codes: 0 every photo was answered, 1 a known failure, 2 a wrong argument.",
    )
    if not beside:
        made.add_argument("model", type=Path, metavar="DIR", help="what search.export --out wrote")
    made.add_argument("photos", type=Path, nargs="*", metavar="PHOTO", help="photos, or folders of photos")
    made.add_argument("--json", action="store_true", help="one line of JSON for each photo, in place of CSV")
    if not beside:
        made.add_argument(
            "--evaluate",
            type=Path,
            metavar="FOLDER",
            help="a data set with a folder of photos for each class: how well the model screens them, with intervals",
        )
        made.add_argument(
            "--out", type=Path, metavar="DIR", help="of --evaluate: where its JSON, page and picture go (default: .)"
        )
    made.set_defaults(model=Path(__file__).resolve().parent, evaluate=None, out=None)
    return made


def main(arguments: list[str] | None = None) -> int:
    made = parser()
    options = made.parse_args(arguments)
    if not options.photos and options.evaluate is None:
        made.error("name a photo, or a folder of photos")
    try:
        if options.evaluate is not None:
            from search.model.external import evaluate

            print(evaluate(options.model, options.evaluate, options.out or Path.cwd()))
            return 0
        predictor = Predictor(options.model)
        answers = predictor.answers(photos_in(options.photos))
        if not options.json:
            return 1 if write_table(answers, predictor.classes) else 0
        wrong = 0
        for one in answers:
            wrong += "error" in one
            print(json.dumps(one), flush=True)
        return 1 if wrong else 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except PredictError as error:
        print(f"predict: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
