"""How much of a GPU's, or a CPU's, speed does train.py make use of?

Runs the product's own train.py for some seconds, several times, and beside it, in turn, the bare step of the same
model: forward, backward and optimizer, one kernel after the other, on a batch that is already on the device, without
augmentation or averaging. With --peer, also the train.py of another loop's repository that takes the published loop's
flags (--dataset, --arch, --batch-size, --max-train-seconds, --log-every) and prints a line for each so many batches; it
gets the same photos, preset and batch size, and its validation is not counted. Each figure is the median of the
repetitions. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import prepare
import train
from search.task.screening import harness
from search.task.screening.demo_images import draw
from search.trial.footer import parse_footer

ROOT = Path(__file__).resolve().parent.parent
LOG_EVERY = 5
BATCH_LINE = re.compile(r"Epoch (\d+) \| Batch (\d+) \|")


def product(options: argparse.Namespace) -> dict[str, str]:
    """The footer of one run of train.py. Raises SystemExit if it fails."""
    command = [sys.executable, str(ROOT / "train.py"), "--dataset", str(options.dataset), "--epochs", "1000000"]
    command += ["--max-train-seconds", str(options.seconds), *recipe_flags(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench/throughput.py: train.py failed: {(done.stdout + done.stderr)[-2000:]}")
    return parse_footer(done.stdout)


def recipe_flags(options: argparse.Namespace) -> list[str]:
    return ["--arch", options.arch, "--batch-size", str(options.batch_size), "--pretrained", "false"]


def bare_step(options: argparse.Namespace, size: int) -> float:
    """Photos per second of nothing but the model's step."""
    device = harness.device()
    on_cuda = device.type == "cuda"
    recipe = replace(train.Recipe(), arch=options.arch, batch_size=options.batch_size, pretrained=False)
    model = train.Model(recipe).to(device).to(memory_format=torch.channels_last)
    optimizer = train.make_optimizer(model, recipe)
    photos = torch.rand(options.batch_size, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(options.batch_size, dtype=torch.int64, device=device)

    def step() -> None:
        with harness.autocast(device):
            logits = model(photos)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def synchronize() -> None:
        if on_cuda:
            torch.cuda.synchronize()

    for _ in range(3):
        step()
    synchronize()
    began, steps = time.monotonic(), 0
    while time.monotonic() - began < options.seconds:
        step()
        steps += 1
        if steps % 10 == 0:
            synchronize()
    synchronize()
    return steps * options.batch_size / (time.monotonic() - began)


def peer(options: argparse.Namespace) -> float:
    """Photos per second of the other loop's train.py, within its epochs. Raises SystemExit if it fails."""
    command = [sys.executable, "-u", "train.py", "--dataset", str(options.dataset.absolute()), "--arch", options.arch]
    command += ["--batch-size", str(options.batch_size), "--max-train-seconds", str(options.seconds)]
    seen: dict[int, list[tuple[float, int]]] = {}
    text = []
    with subprocess.Popen(
        [*command, "--log-every", str(LOG_EVERY)],
        cwd=options.peer, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            text.append(line)
            if line.startswith("Stopped"):  # what follows is its validation
                process.kill()
            if match := BATCH_LINE.search(line):
                seen.setdefault(int(match[1]), []).append((time.monotonic(), int(match[2])))
    spans = [(times[-1][0] - times[0][0], times[-1][1] - times[0][1]) for times in seen.values() if len(times) > 1]
    if not spans:
        raise SystemExit(f"bench/throughput.py: {options.peer}/train.py printed no batches: {''.join(text)[-2000:]}")
    return sum(batches for _, batches in spans) * options.batch_size / sum(seconds for seconds, _ in spans)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/throughput.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, help="data set folder (default: a drawn one of 300 photos)")
    parser.add_argument("--image-size", type=int, default=64, help="pixels of a drawn one (default 64; docs: 384)")
    parser.add_argument("--arch", default="baseline", help="(default baseline)")
    parser.add_argument("--batch-size", type=int, default=4, help="(default 4, the published loop's)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of training, each time (default 5; docs: 20)")
    parser.add_argument("--repetitions", type=int, default=2, help="(default 2; docs: 3)")
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help="with another loop's train.py")
    options = parser.parse_args()
    if options.peer is not None and not (options.peer / "train.py").is_file():
        parser.error(f"--peer {options.peer}: there is no train.py")
    rates: dict[str, list[float]] = {"product": [], "bare": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        if options.dataset is None:
            options.dataset = Path(folder, "photos")
            draw(options.dataset, 300, image_size=options.image_size)
        size = prepare.load(options.dataset).image_size
        footers = []
        for _ in range(options.repetitions):
            footers.append(product(options))
            rates["product"].append(float(footers[-1]["photos_per_second"]))
            rates["bare"].append(bare_step(options, size))
            if options.peer is not None:
                rates["peer"].append(peer(options))
            print({name: round(values[-1], 1) for name, values in rates.items() if values}, flush=True)
    middle = {name: statistics.median(values) for name, values in rates.items() if values}
    figures = {
        "photos_per_s": round(middle["product"], 1),
        "bare_step_per_s": round(middle["bare"], 1),
        "bare_step_ratio": round(middle["product"] / middle["bare"], 3),
        "peer_photos_per_s": round(middle["peer"], 1) if "peer" in middle else None,
        "ratio": round(middle["product"] / middle["peer"], 2) if "peer" in middle else None,
        "spread": {name: [round(min(values), 1), round(max(values), 1)] for name, values in rates.items() if values},
        "arch": options.arch,
        "batch_size": options.batch_size,
        "image_size": size,
        "peak_vram_mb": float(footers[-1]["peak_vram_mb"]),
        "photos_vram_mb": float(footers[-1]["photos_vram_mb"]),
        "device": footers[-1]["device"],
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
