"""Every edit of the built-in catalogue, trained for real: it runs, and it changes what it says it changes."""

import difflib
import functools
import importlib.util
import random
import sys
from dataclasses import replace

import pytest
import torch

import prepare
from search.agent.builtin.catalogue import Family, apply_edit
from search.agent.builtin.choose import EDITS, Tried, choose
from search.agent.builtin.surgery import DoesNotApply
from search.core.recipe import code_size, identity_of, read_recipe, values_of
from search.core.space import adapted, load_space
from search.trial.rewrite import rewrite_recipe
from tests.support.repositories import ROOT
from tests.system.operations import SCALARS_READ, per_step

SOURCE = (ROOT / "train.py").read_text()
SCRATCH = rewrite_recipe(SOURCE, {"arch": "lite", "backbone_lr": 0.003})
SOURCES = {"pretrained": SOURCE, "scratch": SCRATCH}
SCRATCH_ONLY = {
    "silu", "weight_standardisation", "zero_initialised_branches", "wider_stage", "deeper_stage",
}  # fmt: skip
CASES = [(name, one) for name in SOURCES for one in EDITS if name == "scratch" or one.name not in SCRATCH_ONLY]
SAMPLED = {("pretrained", "squeeze_excitation"), ("pretrained", "cutmix"), ("scratch", "stochastic_depth")}
remembered = functools.cache(lambda name, source: apply_edit(BY_NAME[name], source, values_of(source)))
MOST_OPERATIONS = 1.6  # times those of a step of the shipped train.py; weight standardisation has 1.595
DRAWN_ON_HOST = {"mixup": 5, "cutmix": 7}  # numbers that are read and never were on the device
BY_NAME = {one.name: one for one in EDITS}


def id_of(case):
    return f"{case[0]}-{case[1].name}"


def module_of(tmp_path, source):
    path = tmp_path / "edited_train.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("edited_train", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["edited_train"] = module
    spec.loader.exec_module(module)
    return module


def trained(tmp_path, source, demo):
    module = module_of(tmp_path, source)
    recipe = replace(module.Recipe(), batch_size=8)
    return module.train(recipe, prepare.load(demo), 0.5, 0)


def test_the_catalogue_has_enough_that_applies_to_the_shipped_train_py():
    assert len(EDITS) - len(SCRATCH_ONLY) >= 12
    assert {one.family for one in EDITS if one.name not in SCRATCH_ONLY} == set(Family)
    for name in SCRATCH_ONLY:
        with pytest.raises(DoesNotApply):
            remembered(name, SOURCE)


@pytest.mark.parametrize(
    ("name", "one"),
    [
        pytest.param(*case, id=id_of(case), marks=[] if (case[0], case[1].name) in SAMPLED else pytest.mark.full)
        for case in CASES
    ],
)
def test_every_edit_trains_and_its_axes_can_be_searched(tmp_path, demo, name, one):
    edited = remembered(one.name, SOURCES[name])
    footer = trained(tmp_path, edited, demo)
    assert footer["steps"] >= 1 and 0 <= float(footer["bin_acc"]) <= 1
    old, new = read_recipe(SOURCES[name]), read_recipe(edited)
    space = load_space(ROOT / "spaces/default.toml")
    axes = {axis.name for axis in adapted(space, old, new).axes}
    assert {field for field in new if field not in old} <= axes
    assert axes <= set(new)
    if one.name not in ("wider_stage", "deeper_stage"):
        with pytest.raises(DoesNotApply):  # not twice
            apply_edit(one, edited, values_of(edited))
    if one.family is Family.REMOVAL:
        assert code_size(edited) < code_size(SOURCES[name])


@functools.cache
def shipped_step(name, demo, folder):
    module = module_of(folder, SOURCES[name])
    return per_step(module, replace(module.Recipe(), batch_size=8), prepare.load(demo))


@pytest.mark.full
@pytest.mark.parametrize(("name", "one"), [pytest.param(*case, id=id_of(case)) for case in CASES])
def test_no_edit_makes_a_step_launch_much_more_or_wait_more_often(tmp_path, demo, name, one):
    shipped = shipped_step(name, demo, tmp_path)
    module = module_of(tmp_path, remembered(one.name, SOURCES[name]))
    edited = per_step(module, replace(module.Recipe(), batch_size=8), prepare.load(demo))
    tensors = len(list(module.Model(module.Recipe()).parameters()))  # of each, the optimizer reads a number on the CPU
    assert edited[SCALARS_READ] <= tensors + DRAWN_ON_HOST.get(one.name, 0) + 0.5
    assert sum(edited.values()) <= MOST_OPERATIONS * sum(shipped.values())


def outputs(tmp_path, source, training):
    module = module_of(tmp_path, source)
    torch.manual_seed(0)
    model = module.Model(module.Recipe()).train(training)
    torch.manual_seed(1)
    x = torch.rand(4, 3, 64, 64)
    torch.manual_seed(2)
    with torch.no_grad():
        return model(x)


@pytest.mark.parametrize(
    ("name", "one"),
    [
        pytest.param(*case, id=id_of(case), marks=[] if (case[0], case[1].name) in SAMPLED else pytest.mark.full)
        for case in CASES
        if case[1].family is Family.ARCHITECTURE
    ],
)
def test_edits_of_the_network_change_what_it_computes_or_can_learn(tmp_path, name, one):
    edited = remembered(one.name, SOURCES[name])
    count = {}
    for label, source in (("old", SOURCES[name]), ("new", edited)):
        module = module_of(tmp_path, source)
        count[label] = sum(parameter.numel() for parameter in module.Model(module.Recipe()).parameters())
    same = torch.allclose(outputs(tmp_path, SOURCES[name], False), outputs(tmp_path, edited, False), atol=1e-6)
    assert count["old"] != count["new"] or not same


@pytest.mark.full
def test_losses_and_mixing_compose(tmp_path, demo):
    source = SOURCE
    for name in ("binary_auxiliary_loss", "focal_loss", "mixup", "cutmix", "stochastic_depth", "squeeze_excitation"):
        one = next(found for found in EDITS if found.name == name)
        source = apply_edit(one, source, values_of(source))
    assert source.count("focal_loss(logits.float(), labels") == 4  # one for each pair of orders
    assert trained(tmp_path, source, demo)["steps"] >= 1


def test_mirrored_answers_are_blurred_like_the_others():
    source = remembered("anti_aliased_stem", remembered("mirrored_answers", SOURCE))
    assert "blurred(self.normalise(x.flip(3)))" in source and "blurred(self.normalise(x))" in source


def test_the_focal_loss_of_what_is_certain_has_a_gradient(tmp_path):
    module = module_of(tmp_path, remembered("focal_loss", SOURCE))
    logits = torch.tensor([[40.0, 0, 0, 0, 0]], requires_grad=True)
    module.focal_loss(logits, torch.tensor([0]), torch.ones(5), gamma=0.5).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(
        "search.agent.builtin.choose.apply_edit", lambda one, source, recipe: remembered(one.name, source)
    )


@pytest.mark.full
def test_what_has_worked_is_chosen_more_often(quick):
    recipe = values_of(SOURCE)
    family = {one.name: one.family for one in EDITS}

    def share(tried):
        rng = random.Random(0)
        chosen = [choose(SOURCE, recipe, tried, set(), set(), rng)[0].family for _ in range(15)]
        return chosen.count(Family.LOSS) / len(chosen)

    losing = [Tried(name, False) for name in family if family[name] is not Family.LOSS] * 2
    assert share([*losing, *[Tried("focal_loss", True)] * 6]) > share([]) + 0.2


@pytest.mark.full
def test_nothing_is_chosen_twice_and_then_nothing_at_all(quick):
    known, rng, found = {identity_of(SOURCE)}, random.Random(0), []
    while chosen := choose(SOURCE, values_of(SOURCE), [], known, set(), rng):
        found.append(chosen[0].name)
        known.add(identity_of(chosen[1]))
    assert len(found) == len(set(found)) == len(EDITS) - len(SCRATCH_ONLY)


def test_what_an_edit_does_not_touch_keeps_its_every_byte():
    before, after = SOURCE.splitlines(), remembered("focal_loss", SOURCE).splitlines()
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert 5 < len(changed) < 15
    with pytest.raises(DoesNotApply):
        apply_edit(BY_NAME["focal_loss"], "x = 1\n", {})
