"""Built-in edits of the networks.

Sources: squeeze-and-excitation, Hu et al. (2018); SiLU, Elfwing et al. (2018); blurred striding, Zhang (2019);
generalised-mean pooling, Radenović et al. (2019); weight standardisation, Qiao et al. (2019); zero-initialised residual
branches, Goyal et al. (2017).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import libcst as cst

from search.agent.builtin.catalogue import FROM_SCRATCH, HEAD, Family, Recipe, edit, only_for
from search.agent.builtin.surgery import (
    DoesNotApply,
    add_field,
    add_to_end,
    change_statement,
    define,
    replace_calls,
    replace_expression,
)

SQUEEZE_EXCITATION = '''
class SqueezeExcitation(nn.Module):
    """Hu et al. (2018); begins as the identity, so that pretrained weights keep their meaning."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = max(channels // 8, 8)
        self.gate = nn.Sequential(nn.Conv2d(channels, middle, 1), nn.SiLU(), nn.Conv2d(middle, channels, 1))
        nn.init.zeros_(self.gate[-1].weight)
        nn.init.zeros_(self.gate[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
'''


@edit(Family.ARCHITECTURE, "squeeze-and-excitation in every block")
def squeeze_excitation(module: cst.Module, recipe: Recipe) -> cst.Module:
    only_for(recipe, *FROM_SCRATCH, "efficientnet_lite0")
    module = define(module, "ResidualBlock", SQUEEZE_EXCITATION)
    if recipe["arch"] in FROM_SCRATCH:
        module = add_to_end(module, "ResidualBlock.__init__", "self.excitation = SqueezeExcitation(outputs)\n")
        return replace_expression(module, "ResidualBlock.forward", "self.body(x)", "self.excitation(self.body(x))")
    module = add_to_end(module, "InvertedResidual.__init__", "self.excitation = SqueezeExcitation(middle)\n")

    def gated(call: str, given: list[str]) -> str:
        return f"self._project_conv(self.excitation({given[0]}))"

    return not_strict(replace_calls(module, "InvertedResidual.forward", ["self._project_conv"], gated))


def not_strict(module: cst.Module) -> cst.Module:
    """New parts have no published weights."""

    def loosened(call: str, given: list[str]) -> str:
        return call if "strict=" in call else f"network.load_state_dict({', '.join([*given, 'strict=False'])})"

    return replace_calls(module, "efficientnet_lite0", ["network.load_state_dict"], loosened)


@edit(Family.ARCHITECTURE, "SiLU in place of ReLU")
def silu(module: cst.Module, recipe: Recipe) -> cst.Module:
    only_for(recipe, *FROM_SCRATCH)
    module = replace_expression(module, "ResidualBlock", "nn.ReLU", "nn.SiLU")
    module = replace_expression(module, "ResidualBlock", "F.relu", "F.silu")
    return replace_expression(module, "residual_network", "nn.ReLU", "nn.SiLU")


BLUR = '''
def blurred(x: Tensor) -> Tensor:
    """A binomial filter before the strided stem, against aliasing: Zhang (2019)."""
    line = torch.tensor([1.0, 2.0, 1.0], device=x.device, dtype=x.dtype) / 4
    kernel = (line[:, None] * line[None]).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, groups=x.shape[1])
'''


@edit(Family.ARCHITECTURE, "anti-aliased stem: a binomial blur before its stride")
def anti_aliased_stem(module: cst.Module, recipe: Recipe) -> cst.Module:
    module = define(module, "Model", BLUR)
    return replace_calls(module, "Model.forward", ["self.normalise"], lambda call, given: f"blurred({call})")


POOL = '''
class GeneralisedMean(nn.Module):
    """Pools (n, c, h, w) to (n, c, 1, 1) by the mean of cubes: Radenović et al. (2019)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().clamp(min=1e-6).pow(3).mean((2, 3), keepdim=True).pow(1 / 3)
'''


@edit(Family.ARCHITECTURE, "generalised-mean pooling in place of the mean")
def generalised_mean_pooling(module: cst.Module, recipe: Recipe) -> cst.Module:
    only_for(recipe, *FROM_SCRATCH, "efficientnet_lite0")
    module = define(module, "ResidualBlock", POOL)
    if recipe["arch"] in FROM_SCRATCH:
        return replace_expression(module, "residual_network", "nn.AdaptiveAvgPool2d(1)", "GeneralisedMean()")
    module = add_to_end(module, "EfficientNetLite0.__init__", "self.pool = GeneralisedMean()\n")
    return change_statement(
        module,
        "EfficientNetLite0.forward",
        r"return .*\.mean\(\(2, 3\)\)$",
        lambda code: f"return self.pool({code.removeprefix('return ').removesuffix('.mean((2, 3))')}).flatten(1)\n",
    )


STANDARDISED = '''
class StandardisedConv2d(nn.Conv2d):
    """A convolution whose filters have no mean and a deviation of one: Qiao et al. (2019)."""

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.flatten(1)
        weight = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) * math.sqrt(flat.shape[1]) + 1e-5)
        return F.conv2d(x, weight.view_as(self.weight), self.bias, self.stride, self.padding)
'''


@edit(Family.ARCHITECTURE, "weight standardisation in the blocks")
def weight_standardisation(module: cst.Module, recipe: Recipe) -> cst.Module:
    only_for(recipe, *FROM_SCRATCH)
    module = replace_expression(module, "ResidualBlock", "nn.Conv2d", "StandardisedConv2d")
    return define(module, "ResidualBlock", STANDARDISED)


@edit(Family.ARCHITECTURE, "residual branches that begin as zero")
def zero_initialised_branches(module: cst.Module, recipe: Recipe) -> cst.Module:
    only_for(recipe, *FROM_SCRATCH)
    line = "nn.init.zeros_(self.body[-1].weight)\n"
    if line in module.code:
        raise DoesNotApply
    return add_to_end(module, "ResidualBlock.__init__", line)


def stages_changed(module: cst.Module, recipe: Recipe, change: Callable[[list[int], list[int]], None]) -> cst.Module:
    """The stages (channels, blocks) of the arch in use, changed in place."""
    only_for(recipe, *FROM_SCRATCH)
    found = re.search(rf'"{recipe["arch"]}": \(\(([\d, ]+)\), \(([\d, ]+)\)\)', module.code)
    if not found:
        raise DoesNotApply
    channels, blocks = ([int(number) for number in group.split(",") if number.strip()] for group in found.groups())
    before = (tuple(channels), tuple(blocks))
    change(channels, blocks)
    after = (tuple(channels), tuple(blocks))
    if after == before:
        raise DoesNotApply
    return replace_expression(module, "", repr(before), repr(after))


@edit(Family.ARCHITECTURE, "last stage half as wide again")
def wider_stage(module: cst.Module, recipe: Recipe) -> cst.Module:
    def wider(channels: list[int], blocks: list[int]) -> None:
        channels[-1] = channels[-1] * 3 // 2

    return stages_changed(module, recipe, wider)


@edit(Family.ARCHITECTURE, "third stage one block deeper")
def deeper_stage(module: cst.Module, recipe: Recipe) -> cst.Module:
    def deeper(channels: list[int], blocks: list[int]) -> None:
        blocks[-2:-1] = [count + 1 for count in blocks[-2:-1]]

    return stages_changed(module, recipe, deeper)


@edit(Family.ARCHITECTURE, "a hidden layer in the head")
def hidden_layer(module: cst.Module, recipe: Recipe) -> cst.Module:
    module = replace_expression(
        module,
        "Model.__init__",
        HEAD,
        "nn.Sequential(nn.Dropout(recipe.dropout), nn.Linear(features, recipe.head_width), nn.SiLU(), "
        "nn.Linear(recipe.head_width, classes))",
    )
    return add_field(module, "head_width: int = 256  # of the head's hidden layer; 16 … 2048\n")


@edit(Family.ARCHITECTURE, "layer normalisation of the features")
def normalised_features(module: cst.Module, recipe: Recipe) -> cst.Module:
    if "nn.LayerNorm(features)" in module.code:
        raise DoesNotApply
    return replace_expression(
        module,
        "Model.__init__",
        "nn.Dropout(recipe.dropout)",
        "nn.Sequential(nn.LayerNorm(features), nn.Dropout(recipe.dropout))",
    )


@edit(Family.ARCHITECTURE, "answers averaged over a photo and its mirror image")
def mirrored_answers(module: cst.Module, recipe: Recipe) -> cst.Module:
    if "x.flip(3)" in module.code:
        raise DoesNotApply

    def both(code: str) -> str:
        answer = code.removeprefix("return ")
        mirrored = re.sub(r"\bx\b", "x.flip(3)", answer)
        return f"logits = {answer}\nif not self.training:\n    logits = (logits + {mirrored}) / 2\nreturn logits\n"

    return change_statement(module, "Model.forward", r"return self\.head\(", both)
