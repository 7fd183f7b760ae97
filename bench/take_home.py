"""How long does it take to take a model home, and how many photos a second does it answer?

Runs a real search of its baseline alone on drawn photos, writes the model by `python -m search.export`, and asks it by
`python -m search.predict`: about one photo and about all, in turn, so that what starting takes does not count. Beside
it, in the same run, the network alone: onnxruntime with photos that are decoded already. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from search.model.predictor import BATCH, Predictor
from search.task.screening.decoding import decode
from search.task.screening.demo_images import draw

ROOT = Path(__file__).resolve().parent.parent
ALONE = ("--agent", "none", "--no-dashboard", "--no-page", "--confirm-seeds", "0", "--proof-share", "0")


def ran(command: list[str], folder: Path) -> float:
    """Seconds. Raises SystemExit with its last words if it failed."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench/take_home.py: {command[2]} failed: {(done.stdout + done.stderr)[-2000:]}")
    return time.monotonic() - began


def network_alone(model: Path, photos: list[Path]) -> tuple[float, float]:
    """Photos a second: of the network with decoded photos, of decoding by one thread."""
    predictor = Predictor(model)
    began = time.monotonic()
    decoded = np.stack([decode(path, predictor.size)[0] for path in photos])
    decoding = time.monotonic() - began
    predictor.run(decoded[:BATCH])
    began = time.monotonic()
    for at in range(0, len(decoded), BATCH):
        predictor.run(decoded[at : at + BATCH])
    return len(photos) / (time.monotonic() - began), len(photos) / decoding


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/take_home.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=200, help="of the drawn data set (default 200)")
    parser.add_argument("--image-size", type=int, default=384, help="pixels (default 384)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of training (default 5)")
    parser.add_argument("--repetitions", type=int, default=3, help="of asking, in turn (default 3)")
    options = parser.parse_args()
    if options.photos < 100 or options.repetitions < 1:
        parser.error("at least 100 --photos and 1 of --repetitions")
    with tempfile.TemporaryDirectory() as folder:
        clone, dataset, model = (Path(folder) / name for name in ("clone", "photos", "model"))
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        draw(dataset, options.photos, image_size=options.image_size)
        python = [sys.executable, "-m"]
        search = ["search.launch", "--gpus", "1", "--tag", "home", "--dataset", str(dataset), "--trials", "1"]
        ran([*python, *search, "--max-train-seconds", str(options.seconds), *ALONE], clone)
        export = ran([*python, "search.export", "home", "--out", str(model)], clone)
        photos = sorted(dataset.glob("class_*/*"))
        rates, starts, alone, decoding = [], [], [], []
        for _ in range(options.repetitions):
            start = ran([*python, "search.predict", str(model), str(photos[0])], clone)
            whole = ran([*python, "search.predict", str(model), *map(str, photos)], clone)
            found = network_alone(model, photos)
            rates.append((len(photos) - 1) / (whole - start))
            starts.append(start)
            alone.append(found[0])
            decoding.append(found[1])
            print(
                f"{rates[-1]:.1f} photos/s; the network alone {alone[-1]:.1f}, decoding {decoding[-1]:.1f}", flush=True
            )
        size = sum(path.stat().st_size for path in model.iterdir())
    print(
        json.dumps(
            {
                "export_s": round(export, 1),
                "photos_per_s": round(statistics.median(rates), 1),
                "spread": [round(min(rates), 1), round(max(rates), 1)],
                "network_alone_photos_per_s": round(statistics.median(alone), 1),
                "decoding_photos_per_s": round(statistics.median(decoding), 1),
                "start_up_s": round(statistics.median(starts), 2),
                "folder_mb": round(size / 1e6, 1),
                "image_size": options.image_size,
                "photos": len(photos),
                "cores": len(os.sched_getaffinity(0)),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
