"""Every network that ships, and every edit of the built-in catalogue, as ONNX: equal to torch, or it says why not."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

import prepare
from search.agent.builtin.catalogue import apply_edit
from search.agent.builtin.choose import EDITS
from search.core.recipe import read_recipe, values_of
from search.model import rebuild
from search.model.rebuilt import ONNX_GAP, onnx_gap
from search.trial.rewrite import rewrite_recipe
from tests.support.repositories import ROOT, make_repository

SOURCE = rewrite_recipe((ROOT / "train.py").read_text(), {"batch_size": 8})
SCRATCH = rewrite_recipe(SOURCE, {"arch": "lite", "backbone_lr": 0.003})
ARCHITECTURES = read_recipe(SOURCE)["arch"].choices
SAMPLED = {"squeeze_excitation"}
CASES = [
    *(
        (arch, rewrite_recipe(SOURCE, {"arch": arch, "pretrained": arch == "efficientnet_lite0"}))
        for arch in ARCHITECTURES
    ),
    *((one.name, one) for one in EDITS),
]


def source_of(what):
    return what if isinstance(what, str) else apply_edit(what, SCRATCH, values_of(SCRATCH))


def remade(folder, source, demo):
    """A train.py is run for a moment, and its network made anew: (its output, the validation photos, where it lies)."""
    repository, out = make_repository(folder / "project", source), folder / "out"
    out.mkdir()
    weights, data = out / "0.safetensors", prepare.load(demo)
    moment = ["--dataset", demo, "--max-train-seconds", "0.2", "--weights", weights]
    trained = subprocess.run(
        [sys.executable, "train.py", *moment], cwd=repository, capture_output=True, text=True, check=False
    )
    assert trained.returncode == 0, trained.stderr
    photos = np.asarray(data.images[data.indices("validation")])
    np.save(out / "photos.npy", photos)
    spec = {
        "weights": [str(weights)], "photos": str(out / "photos.npy"), "out": str(out), **prepare.as_json(data.classes),
        "temperature": 1.5, "threshold": 0.4, "seed": 0, "edited": "train.py",
    }  # fmt: skip
    (out / "spec.json").write_text(json.dumps(spec))
    shutil.copy(rebuild.__file__, out / "rebuild.py")  # beside it lies nothing of this project
    command = [sys.executable, out / "rebuild.py", out / "spec.json"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return trained.stdout, photos, out


@pytest.mark.parametrize(
    "what",
    [pytest.param(what, id=name, marks=[] if name in SAMPLED else pytest.mark.full) for name, what in CASES],
)
def test_what_was_trained_is_the_same_as_onnx(tmp_path, demo, what):
    output, photos, out = remade(tmp_path, source_of(what), demo)
    probabilities, data = np.load(out / rebuild.TORCH_FILE), prepare.load(demo)
    said = [float(line.partition(": ")[2]) for line in output.splitlines() if line.startswith("bin_acc: ")]
    labels = data.labels[data.indices("validation")]
    assert prepare.accuracies(probabilities, labels)["bin_acc"] == pytest.approx(said[0], abs=1e-6)
    assert not (out / rebuild.FAILURE_FILE).exists(), (out / rebuild.FAILURE_FILE).read_text()
    assert onnx_gap(out / rebuild.ONNX, photos, probabilities) <= ONNX_GAP
    other = np.random.default_rng(0).integers(0, 256, (3, 90, 131, 3), dtype=np.uint8)  # of another size
    session = onnxruntime.InferenceSession(str(out / rebuild.ONNX), providers=["CPUExecutionProvider"])
    of_each, risk, infected = session.run(None, {"photos": other})
    assert of_each.shape == (3, 5) and np.allclose(of_each.sum(1), 1, atol=1e-4)
    assert ((risk >= 0.4) == infected).all()


@pytest.mark.full
def test_a_network_that_onnx_does_not_know_says_why(tmp_path, demo):
    """What depends on the values of a photo: torch runs it, and no graph has it."""
    whole = "        return self.head(self.backbone(self.normalise(x)))"
    source = SCRATCH.replace(whole, f"{whole} * (2.0 if x.sum().item() > 0 else 1.0)")
    assert source != SCRATCH
    _, _, out = remade(tmp_path, source, demo)
    words = (out / rebuild.FAILURE_FILE).read_text()
    assert (out / rebuild.TORCH_FILE).exists() and len(words.splitlines()) == 1 and len(words) > 20
