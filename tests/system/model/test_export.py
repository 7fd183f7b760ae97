"""A model taken home from a real search: exported, asked, evaluated on other photos."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import prepare
from search.core.seeds import VERIFICATION_SEEDS
from search.model.card import BLANKS
from search.task.screening.photos import manifest_of, photo_files, sha_of
from search.trial import sealed
from tests.support.repositories import ROOT

FILES = {
    "README.md", "decoding.py", "hashes.sha256", "model.onnx", "model.safetensors", "photos.sha256", "predict.py",
    "requirements.txt", "screen.json", "screen.png", "train.py",
}  # fmt: skip


def export(repository, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "search.export", "t", *map(str, arguments)],
        cwd=repository, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def model(searched, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "model"
    export(searched[0], "--out", out)
    return out


def predict(model, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "search.predict", str(model), *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def validation_files(demo):
    """(paths of the validation photos in the order of the cache, their positions)."""
    data = prepare.load(demo)
    of_sha = {sha_of(demo / path): demo / path for path, _ in photo_files(demo, manifest_of(demo)[1])}
    return data, [of_sha[data.shas[place]] for place in data.indices("validation")]


def test_a_model_answers_as_it_was_scored(searched, model, demo):
    repository, settings = searched
    assert {path.name for path in model.iterdir()} == FILES
    for line in (model / "hashes.sha256").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((model / name).read_bytes()).hexdigest() == digest
    about = json.loads((model / "screen.json").read_text())
    assert about["recommended"] and about["onnx_gap"] <= 1e-4 and about["test"] is None
    data, files = validation_files(demo)
    lines = [json.loads(line) for line in predict(model, "--json", *files).stdout.splitlines()]
    decisions = [json.loads(line) for line in (repository / "runs/t/decisions.jsonl").read_text().splitlines()]
    number = next(one["experiment"] for one in decisions if one["commit"] == about["commit"])
    scored, _ = sealed.read(sealed.folder_of(settings), f"e{number:04d}-s{about['seeds'][0]}")
    found = np.array([line["probabilities"] for line in lines])
    assert np.abs(found - scored).max() < 2e-3
    flagged = np.array([line["infected"] for line in lines])
    infected = data.classes.is_positive(data.labels[data.indices("validation")])
    at = about["validation"]["at_threshold"]
    assert flagged[infected].mean() == pytest.approx(at["sensitivity"][0], abs=1e-6)
    assert at["sensitivity"][0] >= 0.95
    assert (~flagged[~infected]).mean() == pytest.approx(at["specificity"][0], abs=1e-6)
    seen = set((model / "photos.sha256").read_text().split())
    test = {data.shas[place] for place in data.indices("test")}
    assert len(seen) == len(data.labels) - len(test) and not seen & test


def test_the_card_is_valid_and_leaves_to_people_what_only_they_can_say(model):
    from huggingface_hub import ModelCard

    card = ModelCard.load(model / "README.md")
    assert card.data.library_name == "onnx" and card.data.pipeline_tag == "image-classification"
    assert {one.metric_type for one in card.data.eval_results} == {"bin_acc", "auroc"}
    for item, words in BLANKS:
        assert f"| {item} | {words}: … |" in card.text
    about = json.loads((model / "screen.json").read_text())
    for words in (
        about["commit"],
        about["data"]["fingerprint"],
        f"--seed {about['seeds'][0]}",
        "test photos have not been",
    ):
        assert words in card.text
    assert "{{" not in card.text and "None" not in card.text.replace("[None]", "").replace("run(None", "")


def test_it_is_asked_on_a_machine_that_has_three_packages(model, demo, tmp_path):
    blocked = "torch search prepare ray optuna pandas scipy matplotlib"
    program = f"""
import sys, runpy
for name in {blocked!r}.split(): sys.modules[name] = None
sys.argv = ["predict.py", *sys.argv[1:]]
runpy.run_path({str(model / "predict.py")!r}, run_name="__main__")
"""
    environment = {"PATH": os.environ["PATH"]}
    photo = next((demo / "class_4").iterdir())
    done = subprocess.run(
        [sys.executable, "-c", program, str(photo)],
        cwd=model, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    header, row = done.stdout.splitlines()
    assert header.startswith("path,infected,risk,class,class_0") and row.startswith(f"{photo},")
    snippet = (model / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert len(snippet.strip().splitlines()) <= 10
    shutil.copytree(model, tmp_path / "model")
    shutil.copy(photo, tmp_path / "model/photo.jpg")
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path / "model", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("risk 0."), done.stderr


def test_what_is_no_photo_is_one_line_and_the_rest_is_answered(model, demo, tmp_path):
    photo = next((demo / "class_0").iterdir())
    (tmp_path / "text.jpg").write_text("no photo")
    (tmp_path / "torn.png").write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    shutil.copy(photo, tmp_path / f"whole{photo.suffix}")
    done = predict(model, tmp_path, tmp_path / "gone.jpg", code=1)
    assert len(done.stdout.splitlines()) == 2 and f"whole{photo.suffix}" in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    for words in ("text.jpg: unreadable image", "torn.png: unreadable image", "a HEIC photo", "gone.jpg: no such file"):
        assert any(words in line for line in lines), words
    assert "no model of search.export" in predict(tmp_path, photo, code=1).stderr
    predict(model, code=2)


@pytest.mark.full
def test_a_second_hospital_is_told_how_it_does_there(model, demo, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(demo, other)
    paths = [path for path, _ in photo_files(other, manifest_of(other)[1])]
    (other / "subgroups.csv").write_text(
        "path,side\n" + "".join(f"{path},{'lr'[n % 2]}\n" for n, path in enumerate(paths))
    )
    done = predict(model, "--evaluate", other, "--out", tmp_path / "report")
    found = json.loads((tmp_path / "report/external.json").read_text())
    data = prepare.load(demo)
    assert found["photos"] == len(data.labels)
    assert found["photos_seen_in_training"] == len(data.labels) - len(data.indices("test"))
    assert "were trained on or chosen by" in done.stdout and "sensitivity" in done.stdout
    low, high = found["at_threshold"]["sensitivity"][1:]
    assert low < found["at_threshold"]["sensitivity"][0] <= high
    assert [one["name"] for one in found["subgroups"]] and found["not_photos"] == []
    page = (tmp_path / "report/external.html").read_text()
    assert "sensitivity" in page and (tmp_path / "report/external.png").stat().st_size > 10_000
    shutil.rmtree(other / "class_2")
    assert "missing class folder" in predict(model, "--evaluate", other, code=1).stderr


@pytest.mark.full
def test_an_ensemble_is_the_mean_of_its_seeds_and_has_its_own_score(searched, tmp_path, demo):
    repository, settings = searched
    export(repository, "--out", tmp_path / "model", "--ensemble", "--sensitivity", "0.8", "--commit", settings.base)
    about = json.loads((tmp_path / "model/screen.json").read_text())
    assert about["seeds"] == [0, VERIFICATION_SEEDS] and about["onnx_gap"] <= 1e-4
    data, files = validation_files(demo)
    lines = [json.loads(line) for line in predict(tmp_path / "model", "--json", *files).stdout.splitlines()]
    read = [sealed.read(sealed.folder_of(settings), f"e0000-s{seed}")[0] for seed in about["seeds"]]
    mean = np.mean(read, axis=0)
    assert np.abs(np.array([line["probabilities"] for line in lines]) - mean).max() < 2e-3
    labels = data.labels[data.indices("validation")]
    assert about["validation"]["as_scored"]["bin_acc"] == prepare.accuracies(mean, labels)["bin_acc"]
    assert {"model-0.safetensors", "model-1.safetensors"} <= {path.name for path in (tmp_path / "model").iterdir()}


@pytest.mark.full
def test_other_weights_than_were_scored_are_not_taken_home(searched, tmp_path):
    repository, settings = searched
    seal = sealed.folder_of(settings)
    own, other = (sealed.weights_path(seal, f"e0000-s{seed}") for seed in (0, VERIFICATION_SEEDS))
    kept = own.read_bytes()
    try:
        shutil.copy(other, own)
        done = export(repository, "--out", tmp_path / "model", "--commit", settings.base, "--seed", "0", code=1)
        assert "are not taken home" in done.stderr and not (tmp_path / "model").exists()
        own.write_bytes(b"torn")
        asked = ["--out", tmp_path / "model", "--commit", settings.base, "--seed", "0"]
        assert "could not be made anew" in export(repository, *asked, code=1).stderr
    finally:
        own.write_bytes(kept)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sensitivity", "1.5"], "--sensitivity 1.5: above 0, at most 1"),
        pytest.param(["--commit", "fffffff"], "--commit fffffff: no experiment", marks=pytest.mark.full),
        pytest.param(["--seed", "77"], "--seed 77: no weights", marks=pytest.mark.full),
        pytest.param(["--seed", "1", "--ensemble"], "exclude each other", marks=pytest.mark.full),
    ],
)
def test_what_cannot_be_meant_is_one_line(searched, tmp_path, arguments, words):
    done = export(searched[0], "--out", tmp_path / "model", *arguments, code=2)
    assert words in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_folder_that_is_there_is_left_alone(searched, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert "it is there already" in export(searched[0], "--out", tmp_path, code=2).stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_weights_are_kept_of_what_may_be_taken_home_and_of_nothing_else(searched):
    repository, settings = searched
    kept = sorted(path.name for path in sealed.folder_of(settings).glob("*.safetensors"))
    decisions = [json.loads(line) for line in (repository / "runs/t/decisions.jsonl").read_text().splitlines()]
    is_kept = any(one["experiment"] == 1 and one["status"] == "keep" for one in decisions)
    assert kept[:2] == ["e0000-s0.safetensors", f"e0000-s{VERIFICATION_SEEDS}.safetensors"]
    assert bool([name for name in kept if name.startswith("e0001")]) == is_kept


@pytest.mark.full
def test_a_run_by_hand_leaves_its_weights_where_it_is_told(tmp_path, demo):
    command = [sys.executable, "train.py", "--dataset", str(demo), "--max-train-seconds", "0.5", "--arch", "lite"]
    file = tmp_path / "weights.safetensors"
    done = subprocess.run([*command, "--weights", str(file)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    from safetensors.numpy import load_file

    assert load_file(file)["head.1.weight"].shape == (5, 128)
    done = subprocess.run(
        [*command, "--weights", "/nowhere-at-all/w"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "is no folder" in done.stderr
