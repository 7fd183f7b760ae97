"""What train.py does on a GPU alone. Skipped where there is none."""

import random
from dataclasses import replace

import pytest
import torch

import prepare
import train as script
from search.system.gpus import visible_gpus
from search.system.sandbox import why_not_isolated
from search.task.screening import harness
from search.trial.training import probe_cuda

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
RECIPE = replace(script.Recipe(), arch="lite", batch_size=8, dropout=0.0)


def inputs_of(data):
    photos = torch.rand(RECIPE.batch_size, 3, data.image_size, data.image_size, device="cuda")
    return photos.contiguous(memory_format=torch.channels_last)


def warmed_up(model, recipe, data):
    def prepared(images):
        return script.augment(images.float() / 255, recipe).contiguous(memory_format=torch.channels_last)

    harness.warm_up(model, prepared, recipe.batch_size, data, torch.device("cuda"), recorded=True)


def gradients(model, inputs):
    model.zero_grad(set_to_none=True)
    model(inputs).square().sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def is_recorded(model):
    return "forward" in vars(model)  # in place of the class's own


def test_a_recorded_model_gives_the_same_gradients(demo):
    data = prepare.load(demo)
    model = script.Model(RECIPE).cuda().to(memory_format=torch.channels_last)
    wanted = gradients(model, inputs := inputs_of(data))
    warmed_up(model, RECIPE, data)
    assert is_recorded(model)
    for got, expected in zip(gradients(model, inputs), wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))


def test_a_warm_up_leaves_the_model_and_the_random_numbers_as_they_were(demo):
    data = prepare.load(demo)
    model = script.Model(RECIPE).cuda()
    before, numbers = {name: value.clone() for name, value in model.state_dict().items()}, torch.cuda.get_rng_state()
    warmed_up(model, RECIPE, data)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.cuda.get_rng_state(), numbers)


def test_what_is_random_on_the_device_stays_random_when_it_is_replayed(demo):
    data = prepare.load(demo)
    recipe = replace(RECIPE, dropout=0.5)
    model = script.Model(recipe).cuda()
    warmed_up(model, recipe, data)
    assert is_recorded(model)
    inputs = inputs_of(data)
    first, second = (model(inputs).detach().clone() for _ in range(2))
    assert not torch.allclose(first, second)


class DrawsOnHost(script.Model):
    def forward(self, x):
        return super().forward(x * random.random())


class WaitsForDevice(script.Model):
    def forward(self, x):
        return super().forward(x / max(x.max().item(), 1e-3))


@pytest.mark.parametrize("kind", [DrawsOnHost, WaitsForDevice])
def test_a_model_that_cannot_be_recorded_trains_all_the_same(demo, kind, monkeypatch, capfd):
    monkeypatch.setattr(script, "Model", kind)
    footer = script.train(replace(RECIPE, epochs=2), prepare.load(demo), 0, 0)
    assert footer["steps"] > 0
    assert "not recorded as a CUDA graph" in capfd.readouterr().out


@pytest.mark.parametrize("share", [0.0, harness.PHOTOS_SHARE])
def test_photos_lie_on_the_device_if_they_fit(demo, share, monkeypatch):
    monkeypatch.setattr(harness, "PHOTOS_SHARE", share)
    data = prepare.load(demo)
    photos = harness.Photos(data, torch.device("cuda"), harness.Clock(0))
    assert (photos.on_device is None) == (share == 0.0)
    batches = photos.batches(8, 0)
    seen = [next(batches) for _ in range(len(data.indices("train")) // 8)]
    assert {epoch for epoch, _, _ in seen} == {0}
    found = {(image.cpu().numpy().tobytes(), int(label)) for _, images, labels in seen
             for image, label in zip(images.permute(0, 2, 3, 1), labels, strict=True)}  # fmt: skip
    there = {(data.images[index].tobytes(), int(data.labels[index])) for index in data.indices("train")}
    assert len(found) > 8 and found <= there


def test_the_footer_tells_the_memory_of_the_photos_apart(demo):
    footer = script.train(replace(RECIPE, epochs=1), prepare.load(demo), 0, 0)
    whole = harness.figures_of_device(torch.device("cuda"))
    assert 0 < footer["photos_vram_mb"] < whole["peak_vram_mb"]
    assert whole["device"] == torch.cuda.get_device_name()


def test_cuda_works_where_trials_are_confined(tmp_path):
    fault, isolated = probe_cuda(visible_gpus()[0], tmp_path / "probe", [tmp_path / "secret"], isolated=True)
    assert fault == ""
    assert isolated or why_not_isolated()
