"""Trains one screening model within a fixed time budget and prints its score: the only file that experiments edit.

From top to bottom: recipe, networks, augmentation, training. What is fixed comes from prepare.py (flags, footer, data
set, metric) and search/task/screening/harness.py (batches on the device, the clock, published weights)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import prepare  # first, since it says in one line what is not installed

# isort: split
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search.task.screening import harness


@dataclass
class Recipe:
    """The hyperparameters: literals only. Each is an axis of searches, and a flag; the range in its comment holds."""

    arch: Literal[
        "lite", "baseline", "deep", "efficientnet_lite0", "mobilenet_v3_large", "efficientnet_b3", "resnet50"
    ] = "efficientnet_lite0"  # the first three from scratch, the others pretrained
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
    "lite": ((16, 32, 64, 128), (1, 1, 1, 1)),
    "baseline": ((32, 64, 128, 256), (1, 1, 1, 1)),
    "deep": ((32, 64, 128, 256), (2, 2, 3, 2)),
}
_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.05)  # as the published weights were trained with


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
        sides = zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True)
        wanted = [max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side, kernel, stride in sides]
        pads = [half for total in wanted for half in (total // 2, total - total // 2)]
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


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
        network.load_state_dict(harness.efficientnet_lite0_weights())
    return network, 1280


class Model(nn.Module):
    """On CUDA, forward() is recorded once and replayed in training: it must decide nothing on the host that changes
    from step to step. Random numbers come from the device, as in torch.rand(n, device=x.device)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, recipe: Recipe, classes: int = len(prepare.CLASSES)) -> None:
        super().__init__()
        for name, values in zip(("mean", "deviation"), NORMALISATION[recipe.normalisation], strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        if recipe.arch in SCRATCH:
            self.backbone, features = residual_network(*SCRATCH[recipe.arch])
        elif recipe.arch == "efficientnet_lite0":
            self.backbone, features = efficientnet_lite0(recipe.pretrained)
        else:
            self.backbone, features = harness.torchvision_backbone(recipe.arch, recipe.pretrained)
        self.head = nn.Sequential(nn.Dropout(recipe.dropout), nn.Linear(features, classes))
        self.transfers = recipe.pretrained and recipe.arch not in SCRATCH

    def normalise(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(self.normalise(x)))


# --- training ----------------------------------------------------------------------------------------------------


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


def make_optimizer(model: Model, recipe: Recipe) -> torch.optim.Optimizer:
    backbone_lr = recipe.backbone_lr if model.transfers else recipe.lr
    peaks = ((model.head, recipe.lr), (model.backbone, backbone_lr))
    groups = [{"params": list(part.parameters()), "lr": peak, "peak": peak} for part, peak in peaks]
    both: dict[str, Any] = {"weight_decay": recipe.weight_decay, "fused": next(model.parameters()).is_cuda}
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=(recipe.momentum, 0.999), **both)
    nesterov = recipe.optimizer == "nesterov" and recipe.momentum > 0
    return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=nesterov, **both)


class Schedule:
    """The share of the peak learning rate at a share 0…1 of the budget. plateau: halved when an epoch's mean training
    loss has not fallen for two epochs."""

    def __init__(self, kind: str) -> None:
        self.kind, self.factor, self.best, self.waited = kind, 1.0, math.inf, 0

    def at(self, progress: float) -> float:
        if self.kind == "cosine":
            return max(0.5 * (1 + math.cos(math.pi * progress)), 1e-3)
        if self.kind == "one_cycle":  # up for a fifth of the budget, then down
            return max(min(progress / 0.2, (1 - progress) / 0.8), 1e-3)
        return self.factor

    def epoch_ended(self, loss: float) -> None:
        self.waited = 0 if loss < self.best else self.waited + 1
        self.best = min(self.best, loss)
        if self.kind == "plateau" and self.waited >= 2:
            self.factor, self.waited = self.factor / 2, 0


class Average:
    """The exponential moving average of a model's weights and buffers, which is scored in its place. All are moved at
    once, and the decay is a number of the host's: nothing waits for the device."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.module = model, copy.deepcopy(model).requires_grad_(False)
        self.decay, self.updates = decay, 0
        every = [one.state_dict().values() for one in (self.module, model)]
        self.averaged, self.current = ([value for value in some if value.is_floating_point()] for some in every)

    @torch.no_grad()
    def update(self) -> None:
        # The first steps count for more, so that a short run is not averaged with its own beginning.
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        torch._foreach_lerp_(self.averaged, self.current, 1 - decay)
        self.updates += 1

    def finished(self) -> nn.Module:
        """The averaged model, with the counts of the other."""
        counts = {name: value for name, value in self.model.state_dict().items() if not value.is_floating_point()}
        self.module.load_state_dict(counts, strict=False)
        return self.module


def loss_weights(labels: np.ndarray, classes: prepare.Classes, recipe: Recipe) -> Tensor:
    """The weight of each class in the loss, (classes,), with a mean of 1 over the photos."""
    counts = np.bincount(labels, minlength=len(classes.names)).clip(1)
    weights = (len(labels) / counts) ** recipe.class_weighting
    weights[list(classes.positive)] *= recipe.positive_weight
    return torch.tensor(weights / weights[labels].mean(), dtype=torch.float32)


def train(recipe: Recipe, data: prepare.Data, max_train_seconds: float, seed: int) -> dict[str, Any]:
    """Trains, then evaluates: what the footer says. Raises FloatingPointError if the loss is not a number."""
    torch.manual_seed(seed)
    device, layout = harness.device(), torch.channels_last  # faster on tensor cores, and by 1.6 times on the CPU
    model = Model(recipe, len(data.classes.names)).to(device).to(memory_format=layout)
    optimizer = make_optimizer(model, recipe)
    schedule = Schedule(recipe.schedule)
    average = Average(model, recipe.ema) if recipe.ema > 0 else None
    freezes = recipe.freeze_epochs if model.transfers else 0

    def prepared(images: Tensor) -> Tensor:
        return augment(images.float() / 255, recipe).contiguous(memory_format=layout)

    harness.warm_up(model, prepared, recipe.batch_size, data, device, recorded=not freezes)
    data, clock = prepare.begin_training(data), harness.Clock(max_train_seconds)  # what came before does not count
    weights = loss_weights(data.labels[data.indices("train")], data.classes, recipe).to(device)
    photos = harness.Photos(data, device, clock)
    steps_per_epoch = max(len(photos) // recipe.batch_size, 1)
    steps, total_steps, last_epoch, was_frozen = 0, recipe.epochs * steps_per_epoch, 0, None
    epoch_losses: list[Tensor] = []
    for epoch, images, labels in photos.batches(recipe.batch_size, seed):
        if epoch != last_epoch:
            mean_loss = torch.stack(epoch_losses).mean().item()
            print(f"epoch {epoch} | loss {mean_loss:.4f} | {clock.seconds:.1f} s", flush=True)
            schedule.epoch_ended(mean_loss)
            epoch_losses, last_epoch = [], epoch
        if steps >= total_steps or (steps and clock.is_over):
            break
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule.at(min(max(steps / total_steps, clock.share), 1.0))
        if (frozen := epoch < freezes) is not was_frozen:
            model.train()
            model.backbone.train(not frozen).requires_grad_(not frozen)
            was_frozen = frozen
        inputs = prepared(images)
        with harness.autocast(device):
            logits = model(inputs)
        loss = F.cross_entropy(logits.float(), labels, weights, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if average is not None:
            average.update()
        epoch_losses.append(loss.detach())
        steps += 1
        if steps == 1 or steps % 10 == 0:
            value = loss.item()  # waits for the device, so that the clock is true
            if not math.isfinite(value):
                raise FloatingPointError(f"the training loss is {value} at step {steps}")
            print(f"step {steps} | epoch {epoch + 1} | loss {value:.4f} | {clock.seconds:.1f} s", flush=True)
        photos.tell_progress(steps, model if average is None else average.module)
    seconds = clock.stopped(device)
    model.backbone.requires_grad_(True)
    # What is scored is the last (averaged) weights: the validation photos choose nothing.
    scores = prepare.evaluate(model if average is None else average.finished(), data, device)
    return scores | {
        "train_seconds": seconds,
        "train_stopped_budget": steps < total_steps,
        "steps": steps,
        "photos_seen": steps * min(recipe.batch_size, len(photos)),
        "epochs": steps / steps_per_epoch,
        "photos_vram_mb": photos.vram_mb,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


if __name__ == "__main__":
    prepare.run(Recipe, train)
