"""Built-in edits of how the networks are trained, and removals.

Sources: stochastic depth, Huang et al. (2016); gradient clipping, Pascanu et al. (2013); mixup, Zhang et al. (2018);
cutmix, Yun et al. (2019); random erasing, Zhong et al. (2020); focal loss, Lin et al. (2017).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import libcst as cst

from search.agent.builtin.catalogue import EDITS, FROM_SCRATCH, HEAD, Edit, Family, Recipe, edit, only_for
from search.agent.builtin.surgery import (
    DoesNotApply,
    add_after,
    add_before,
    add_field,
    add_to_end,
    change_statement,
    define,
    remove_field,
    replace_calls,
    replace_expression,
)

PLAIN_CALL = re.compile(r"[\w.]+\((?:[^()]|\([^()]*\))*\)", re.DOTALL)
LOSSES = ("F.cross_entropy", "focal_loss")

# --- regularisation and optimisation ------------------------------------------------------------------------------

SKIPPED = '''
class StochasticDepth(nn.Module):
    """Leaves a block's branch out, for each photo at random, in training: Huang et al. (2016)."""

    probability = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.probability
        return x * kept / (1 - self.probability)
'''


@edit(Family.REGULARISATION, "stochastic depth")
def stochastic_depth(module: cst.Module, recipe: Recipe) -> cst.Module:
    only_for(recipe, *FROM_SCRATCH, "efficientnet_lite0")
    module = define(module, "ResidualBlock", SKIPPED)
    scratch = recipe["arch"] in FROM_SCRATCH
    block, branch = ("ResidualBlock", "self.body(x)") if scratch else ("InvertedResidual", "x + y")
    whole = "self.stochastic_depth(self.body(x))" if scratch else "x + self.stochastic_depth(y)"
    module = replace_expression(module, f"{block}.forward", branch, whole)
    module = add_to_end(module, f"{block}.__init__", "self.stochastic_depth = StochasticDepth()\n")
    module = add_to_end(
        module,
        "Model.__init__",
        "for part in self.modules():\n    if isinstance(part, StochasticDepth):\n"
        "        part.probability = recipe.stochastic_depth\n",
    )
    return add_field(module, "stochastic_depth: float = 0.1  # probability that a block is left out; 0 … 0.5\n")


@edit(Family.REGULARISATION, "gradients clipped by their norm")
def gradient_clipping(module: cst.Module, recipe: Recipe) -> cst.Module:
    clip = "nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)\n"
    module = add_before(module, "train", r"optimizer\.step\(\)$", clip)
    return add_field(module, "clip: float = 1.0  # largest norm of the gradient; 0.05 … 20\n")


# --- augmentation -------------------------------------------------------------------------------------------------


def mixing(module: cst.Module, name: str, field: str, helper: str) -> cst.Module:
    """Photos mixed with those of another order, and the loss with their labels."""
    order, share = f"{name}_order", f"{name}_share"
    module = define(module, "train", helper)
    module = add_field(module, field)
    module = add_after(
        module, "train", r"inputs = prepared\(", f"inputs, {order}, {share} = {name}(inputs, recipe.{name}_alpha)\n"
    )

    def mixed(code: str) -> str:
        value = code.removeprefix("loss = ")
        value = value if PLAIN_CALL.fullmatch(value) else f"({value})"
        other = re.sub(r"\blabels\b", f"labels[{order}]", value)
        return f"loss = {share} * {value} + (1 - {share}) * {other}\n"

    return change_statement(module, "train", r"loss = ", mixed)


MIXUP = '''
def mixup(images: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Each photo mixed with another one: (photos, order of the others, share of the first). Zhang et al. (2018)."""
    order = torch.randperm(len(images), device=images.device)
    share = float(torch.distributions.Beta(alpha, alpha).sample()) if alpha > 0 else 1.0
    return torch.lerp(images[order], images, share), order, share
'''


@edit(Family.AUGMENTATION, "mixup")
def _mixup(module: cst.Module, recipe: Recipe) -> cst.Module:
    return mixing(module, "mixup", "mixup_alpha: float = 0.2  # of mixup's Beta distribution; 0 (off) … 1\n", MIXUP)


CUTMIX = '''
def cutmix(images: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """A box of another photo in each: (photos, order of the others, share of the first). Yun et al. (2019)."""
    order = torch.randperm(len(images), device=images.device)
    share = float(torch.distributions.Beta(alpha, alpha).sample()) if alpha > 0 else 1.0
    height, width = images.shape[2:]
    tall, wide = int(height * math.sqrt(1 - share)), int(width * math.sqrt(1 - share))
    top, left = int(torch.randint(height - tall + 1, (1,))), int(torch.randint(width - wide + 1, (1,)))
    images = images.clone()
    images[:, :, top : top + tall, left : left + wide] = images[order, :, top : top + tall, left : left + wide]
    return images, order, 1 - tall * wide / (height * width)
'''


@edit(Family.AUGMENTATION, "cutmix")
def _cutmix(module: cst.Module, recipe: Recipe) -> cst.Module:
    return mixing(module, "cutmix", "cutmix_alpha: float = 0.5  # of cutmix's Beta distribution; 0 (off) … 2\n", CUTMIX)


ERASED = '''
def erased(images: Tensor, probability: float) -> Tensor:
    """A grey box, a third of the side, in some of the photos: Zhong et al. (2020)."""
    n, _, height, width = images.shape
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    top = (torch.rand(n, 1, device=images.device) * height * 2 / 3).floor()
    left = (torch.rand(n, 1, device=images.device) * width * 2 / 3).floor()
    tall = (rows >= top) & (rows < top + height / 3)
    wide = (columns >= left) & (columns < left + width / 3)
    chosen = torch.rand(n, 1, 1, device=images.device) < probability
    return torch.where((tall[:, :, None] & wide[:, None] & chosen)[:, None], 0.5, images)
'''


@edit(Family.AUGMENTATION, "random erasing")
def random_erasing(module: cst.Module, recipe: Recipe) -> cst.Module:
    module = define(module, "augment", ERASED)
    module = add_before(module, "augment", r"return images", "images = erased(images, recipe.erasing)\n")
    return add_field(module, "erasing: float = 0.25  # probability that a box of a photo is erased; 0 … 1\n")


ZOOMED = '''
def zoomed(images: Tensor, largest: float) -> Tensor:
    """Each photo at a size of its own, from 1 - largest to 1 + largest."""
    scale = 1 + torch.empty(len(images), device=images.device).uniform_(-largest, largest)
    zero = torch.zeros_like(scale)
    matrix = torch.stack([torch.stack([scale, zero, zero], 1), torch.stack([zero, scale, zero], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
'''


@edit(Family.AUGMENTATION, "random zoom")
def random_zoom(module: cst.Module, recipe: Recipe) -> cst.Module:
    module = define(module, "augment", ZOOMED)
    module = add_before(module, "augment", r"return images", "images = zoomed(images, recipe.zoom)\n")
    return add_field(module, "zoom: float = 0.15  # largest relative change of size; 0 … 0.5\n")


# --- loss ---------------------------------------------------------------------------------------------------------

FOCAL = '''
def focal_loss(logits: Tensor, labels: Tensor, weights: Tensor, gamma: float, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy in which an answer that is right already counts less: Lin et al. (2017)."""
    losses = F.cross_entropy(logits, labels, weights, label_smoothing=label_smoothing, reduction="none")
    certainty = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    return ((1 - certainty).clamp(min=1e-6) ** gamma * losses).sum() / weights[labels].sum()
'''


@edit(Family.LOSS, "focal loss")
def _focal_loss(module: cst.Module, recipe: Recipe) -> cst.Module:
    def focal(call: str, given: list[str]) -> str:
        return f"focal_loss({', '.join([*given, 'gamma=recipe.focal_gamma'])})"

    module = replace_calls(module, "train", ["F.cross_entropy"], focal)
    module = define(module, "train", FOCAL)
    return add_field(module, "focal_gamma: float = 1.0  # how little what is classified rightly counts; 0 (off) … 4\n")


BINARY = '''
def binary_loss(logits: Tensor, labels: Tensor, positive: tuple[int, ...]) -> Tensor:
    """Cross-entropy of positive or not, by the odds that the logits give."""
    chosen = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    chosen[list(positive)] = True
    odds = logits[:, chosen].logsumexp(1) - logits[:, ~chosen].logsumexp(1)
    return F.binary_cross_entropy_with_logits(odds, chosen[labels].float())
'''


@edit(Family.LOSS, "an auxiliary loss on positive or not")
def binary_auxiliary_loss(module: cst.Module, recipe: Recipe) -> cst.Module:
    def with_binary(call: str, given: list[str]) -> str:
        return f"({call} + recipe.binary_loss * binary_loss({given[0]}, {given[1]}, data.classes.positive))"

    module = replace_calls(module, "train", LOSSES, with_binary)
    module = define(module, "train", BINARY)
    return add_field(module, "binary_loss: float = 0.5  # weight of the loss on positive or not; 0 (off) … 4\n")


# --- removal ------------------------------------------------------------------------------------------------------


def augmentation_removed(name: str) -> Callable[[cst.Module, Recipe], cst.Module]:
    def removed(module: cst.Module, recipe: Recipe) -> cst.Module:
        module = change_statement(module, "augment", rf"if recipe\.{name} > 0:", lambda code: "")
        return remove_field(module, name)

    return removed


for _name in ("saturation", "contrast", "brightness", "rotation"):
    EDITS.append(Edit(f"no_{_name}", Family.REMOVAL, f"no {_name} augmentation", augmentation_removed(_name)))


@edit(Family.REMOVAL, "no dropout")
def no_dropout(module: cst.Module, recipe: Recipe) -> cst.Module:
    module = replace_expression(module, "Model.__init__", HEAD, "nn.Linear(features, classes)")
    return remove_field(module, "dropout")


@edit(Family.REMOVAL, "no label smoothing")
def no_label_smoothing(module: cst.Module, recipe: Recipe) -> cst.Module:
    def without(call: str, given: list[str]) -> str:
        kept = [argument for argument in given if not argument.startswith("label_smoothing")]
        if len(kept) == len(given):
            raise DoesNotApply
        return f"{call.partition('(')[0]}({', '.join(kept)})"

    return remove_field(replace_calls(module, "train", LOSSES, without), "label_smoothing")
