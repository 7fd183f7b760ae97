"""The real train.py on the CPU."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import prepare
import train as script
from search.task.screening import harness
from search.task.screening.scoring import agrees
from search.trial.footer import parse_footer
from search.trial.scorer import Labels, Scorer, held_back
from tests.support.repositories import ROOT
from tests.support.states import TASK
from tests.system.operations import SCALARS_READ, per_step

CONTRACT = ["mc_acc", "bin_acc", "train_seconds", "train_stopped_budget", "peak_vram_mb", "arch", "optimizer"]
SCRATCH = ["lite", "baseline", "deep"]


def train(*arguments, code=0, pass_fds=(), **environment):
    done = subprocess.run(
        [sys.executable, "train.py", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=540,
        pass_fds=pass_fds,
        env={"OMP_NUM_THREADS": "2"} | os.environ | environment,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_footer_the_budget_and_the_scorer(demo):
    data = prepare.load(demo)
    view = prepare.view_of(data)
    with Scorer(TASK, Labels.of(data), prepare.images_of(data)) as scorer:
        variables = {prepare.SCORER_VARIABLE: str(scorer.descriptor)}
        flags = ("--dataset", view, "--max-train-seconds", 3, "--seed", 5)
        done = train(*flags, pass_fds=(scorer.descriptor,), **variables)
    footer = parse_footer(done.stdout)
    assert list(footer)[:7] == CONTRACT
    assert footer["train_stopped_budget"] == "true"
    assert 2.0 <= float(footer["train_seconds"]) < 60.0  # half a step less or more; on a busy machine that is long
    if torch.cuda.is_available():
        assert float(footer["peak_vram_mb"]) > 0
    else:
        assert footer["peak_vram_mb"] == "0.0"
    assert footer["seed"] == "5"
    assert any(line.startswith("step 1 | ") for line in done.stdout.splitlines())
    assert scorer.times == 1
    assert agrees(TASK, scorer.submission.score, footer)
    assert scorer.submission.test.shape == (len(data.indices("test")), 5)


def test_a_trial_is_given_nothing_before_training_begins(demo):
    data = prepare.load(demo)
    view = prepare.load(prepare.view_of(data))
    assert not view.images.any() and view.images.shape == data.images.shape
    assert set(view.labels) == {prepare.WITHHELD}
    assert view.shas == []
    assert Labels.of(data).training[data.part > 0].tolist() == [prepare.WITHHELD] * int((data.part > 0).sum())
    done = train("--dataset", prepare.view_of(data), "--max-train-seconds", 0.5, "--arch", "lite", code=1)
    assert "only a trial of a search is given them" in done.stderr


def test_training_ends_by_itself_without_a_cap(demo):
    footer = parse_footer(train("--dataset", demo, "--max-train-seconds", 0, "--epochs", 1, "--arch", "lite").stdout)
    assert footer["train_stopped_budget"] == "false"
    assert footer["epochs"] == "1.00"


@pytest.mark.full
def test_the_last_weights_learn_to_find_infection(demo):
    footer = parse_footer(train("--dataset", demo, "--max-train-seconds", 0, "--epochs", 20).stdout)
    labels = prepare.load(demo)
    validation = labels.labels[labels.indices("validation")]
    assert float(footer["mc_acc"]) > max((validation == label).mean() for label in range(5)) + 0.1


@pytest.mark.parametrize(
    "flags",
    [["--arch", "lite", "--optimizer", "sgd", "--schedule", "plateau", "--ema", "0"]]
    + [pytest.param(["--arch", arch], marks=pytest.mark.full) for arch in SCRATCH]
    + [pytest.param(["--optimizer", name], marks=pytest.mark.full) for name in ("sgd", "nesterov")]
    + [pytest.param(["--schedule", name], marks=pytest.mark.full) for name in ("cosine", "plateau", "none")]
    + [pytest.param(["--normalisation", name], marks=pytest.mark.full) for name in ("imagenet", "none")]
    + [pytest.param(["--freeze-epochs", "5"], marks=pytest.mark.full)]
    + [
        pytest.param(["--arch", name, "--pretrained", "false", "--batch-size", "8"], marks=pytest.mark.full)
        for name in ("efficientnet_lite0", "mobilenet_v3_large", "efficientnet_b3", "resnet50")
    ],
)
def test_every_choice_trains(demo, flags):
    assert "bin_acc" in parse_footer(train("--dataset", demo, "--max-train-seconds", 0.5, *flags).stdout)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        pytest.param(["--arch", "vgg"], 2, "invalid choice: 'vgg'", marks=pytest.mark.full),
        pytest.param(["--lr", "fast"], 2, "invalid float value: 'fast'", marks=pytest.mark.full),
        pytest.param(["--lr", "-1"], 2, "argument --lr: -1; from 1e-05 to 1", marks=pytest.mark.full),
        pytest.param(["--batch-size", "0"], 2, "argument --batch-size: 0; from 1 to 1024", marks=pytest.mark.full),
        pytest.param(["--dropout", "1"], 2, "argument --dropout: 1; from 0 to 0.9", marks=pytest.mark.full),
        (["--dataset", "/nowhere"], 1, "/nowhere: no such data set"),
        pytest.param(["--arch", "resnet50"], 1, "pretrained weights are not on disk", marks=pytest.mark.full),
    ],
)
def test_bad_input_is_told(demo, flags, code, words, tmp_path):
    named = [] if "--dataset" in flags else ["--dataset", demo]
    done = train(*named, "--max-train-seconds", 200, *flags, code=code, TORCH_HOME=str(tmp_path))
    assert words in done.stderr


@pytest.mark.full
@pytest.mark.parametrize("ema", [0.0, 0.98])
def test_photos_that_are_held_back_tell_how_far_training_has_come_and_are_trained_on_later(
    demo, ema, monkeypatch, capsys
):
    data = prepare.load(demo)
    held = held_back(np.where(data.part == 0, data.labels, prepare.WITHHELD))
    assert 10 <= len(held) <= 128 and (data.part[held] == 0).all() and set(data.labels[held]) == set(range(5))
    seen, taken = [], harness.Photos.batches

    def noted(photos, size, seed):
        for epoch, images, labels in taken(photos, size, seed):
            seen.append((photos.clock.share, {image.numpy().tobytes() for image in images}))
            yield epoch, images, labels

    monkeypatch.setattr(harness.Photos, "batches", noted)
    recipe = replace(script.Recipe(), arch="lite", ema=ema, batch_size=8)
    script.train(recipe, replace(data, held_back=np.array(held)), 8.0, seed=0)
    told = [line for line in capsys.readouterr().out.splitlines() if "progress" in line]
    assert 3 <= len(told) <= 8 and all(float(line.split("progress ")[1].split()[0]) < 0 for line in told)
    mine = {np.ascontiguousarray(data.images[at].transpose(2, 0, 1)).tobytes() for at in held}
    early = set().union(*(images for share, images in seen if share < 0.5))
    late = set().union(*(images for share, images in seen if share > 0.55))
    assert not early & mine and late & mine


@pytest.mark.full
def test_a_loss_that_is_not_a_number_ends_training(demo):
    recipe = script.Recipe(lr=1e12, backbone_lr=1e12, optimizer="sgd")
    with pytest.raises(FloatingPointError, match=r"the training loss is (nan|inf) at step"):
        script.train(recipe, prepare.load(demo), 200, seed=0)


@pytest.mark.full
def test_a_compiled_model_is_not_compiled_again_to_be_evaluated(demo, monkeypatch):
    data, compiled = prepare.load(demo), []
    monkeypatch.setattr(prepare, "LARGEST_EVALUATE_BATCH", 17)

    def backend(graph, inputs):
        compiled.append(len(inputs))
        return graph.forward

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 8), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
    network.append(torch.nn.LazyLinear(5))
    network(torch.zeros(2, 3, data.image_size, data.image_size))
    model = torch.compile(network, backend=backend)
    average = torch.optim.swa_utils.AveragedModel(model)
    prepare.rehearse_evaluation(model, data, "cpu")
    before = len(compiled)
    assert before > 0
    assert len(data.indices("validation")) % prepare.evaluate_batch(data)  # a last batch of another size
    scores = prepare.evaluate(model, data, "cpu")
    assert scores == prepare.evaluate(average.module, data, "cpu")  # the averaged copy likewise
    assert len(compiled) == before


@pytest.mark.full
def test_a_step_dispatches_little_and_waits_for_nothing(demo):
    """What bounds a step on a GPU is how much is launched, and how often the host waits for a number of the device's.
    On the CPU the optimizer reads a number for each tensor; on CUDA it is one kernel for all."""
    recipe = replace(script.Recipe(), arch="lite", batch_size=32)
    each, tensors = per_step(script, recipe, prepare.load(demo)), len(list(script.Model(recipe).parameters()))
    assert each[SCALARS_READ] <= tensors + 0.5  # the loss, now and then
    assert sum(each.values()) <= 700  # 644 in November 2026; 1244 with torch's own averaging, tensor by tensor
    assert each["aten.lerp_.Scalar"] <= tensors  # the optimizer's


@pytest.mark.full
def test_other_classes_are_told_apart_too(demo, tmp_path):
    for old, new in (("class_0", "clean"), ("class_2", "red"), ("class_4", "infected")):
        shutil.copytree(demo / old, tmp_path / new)
    declared = {"image_size": 64, "classes": ["clean", "red", "infected"], "positive": ["red", "infected"]}
    (tmp_path / "manifest.json").write_text(json.dumps(declared))
    data = prepare.load(tmp_path)
    flags = ("--max-train-seconds", 3, "--arch", "lite", "--class-weighting", 0.5, "--positive-weight", 2)
    with Scorer(TASK, Labels.of(data), prepare.images_of(data)) as scorer:
        variables = {prepare.SCORER_VARIABLE: str(scorer.descriptor)}
        done = train("--dataset", prepare.view_of(data), *flags, pass_fds=(scorer.descriptor,), **variables)
    assert agrees(TASK, scorer.submission.score, parse_footer(done.stdout))
    assert scorer.submission.validation.shape == (len(data.indices("validation")), 3)
