"""prepare.py: the photos, their split, and what is wrong with them."""

import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import prepare
from prepare import DataError
from search.task.screening.decoding import decode
from search.task.screening.photos import manifest_of, read_groups
from search.task.screening.split import Photo, part_of_key, split, warnings_about

photos = st.lists(
    st.builds(Photo, st.text("abc", min_size=1, max_size=3), st.integers(0, 4), st.sampled_from("0123456789")),
    unique_by=lambda photo: photo.path,
)
groups = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.sampled_from(["p", "q", "r"]))


@given(photos, groups, st.randoms())
def test_the_split_ignores_order_and_keeps_twins_and_groups_together(found, group_of, rng):
    part = {photo.path: where for photo, where in zip(found, split(found, group_of), strict=True)}
    shuffled = list(found)
    rng.shuffle(shuffled)
    assert dict(zip((p.path for p in shuffled), split(shuffled, group_of), strict=True)) == part
    for one in found:
        for two in found:
            same_group = one.path in group_of and group_of.get(one.path) == group_of.get(two.path)
            if one.sha == two.sha or same_group:
                assert part[one.path] == part[two.path]


@given(photos, photos)
def test_added_photos_move_no_others(found, added):
    known = {photo.path for photo in found}
    more = found + [photo for photo in added if photo.path not in known]
    assert split(more, {})[: len(found)] == split(found, {})


def test_the_parts_have_their_shares():
    parts = [part_of_key(f"photo:{n}") for n in range(20000)]
    shares = [parts.count(part) / len(parts) for part in prepare.PARTS]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.02)


def test_demo_has_every_class_in_every_part_and_renaming_changes_nothing(demo, tmp_path):
    data = prepare.load(demo)
    assert data.images.shape == (300, 64, 64, 3)
    assert data.images.dtype == np.uint8
    for part in prepare.PARTS:
        assert set(data.labels[data.indices(part)]) == set(range(5))
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    for number, path in enumerate(sorted((copy / "class_0").iterdir(), reverse=True)):
        path.rename(path.with_name(f"renamed_{number}.jpg"))
    assert prepare.load(copy).fingerprint == data.fingerprint


def test_a_changed_data_set_is_decoded_again(demo, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    before = prepare.load(copy)
    next((copy / "class_1").iterdir()).unlink()
    after = prepare.load(copy)
    assert len(after.labels) == len(before.labels) - 1
    assert after.fingerprint != before.fingerprint


def test_every_problem_is_listed_at_once(demo, tmp_path, capsys):
    bad = tmp_path / "bad"
    shutil.copytree(demo, bad)
    (bad / "class_2" / "broken.jpg").write_bytes(b"no image")
    next((bad / "class_3").iterdir()).write_bytes(b"")
    assert prepare.main(["--dataset", str(bad)]) == 1
    errors = capsys.readouterr().err
    assert "broken.jpg: unreadable" in errors
    assert errors.count("unreadable image") == 2
    shutil.rmtree(bad / "class_1")
    (bad / "class_5").mkdir()
    assert prepare.main(["--dataset", str(bad)]) == 1
    errors = capsys.readouterr().err
    assert errors.count("unreadable image") == 2
    assert "class_1: missing" in errors
    assert "class_5: not one of the 5 class folders" in errors


@pytest.mark.parametrize("manifest", ['{"image_size": 999}', '{"image_size": "64"}', "[]", "{"])
def test_a_bad_manifest_is_refused(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(DataError, match=r"manifest\.json"):
        manifest_of(tmp_path)


@pytest.mark.parametrize("table", ["a,b\n", "path,group\nx\n", "path,group\nx,1\nx,2\n", ""])
def test_bad_groups_are_refused(tmp_path, table):
    (tmp_path / "groups.csv").write_text(table)
    with pytest.raises(DataError, match=r"groups\.csv"):
        read_groups(tmp_path)


def test_twins_in_two_classes_are_told():
    twins = [Photo("class_0/a", 0, "1"), Photo("class_4/b", 4, "1")]
    assert any(
        "identical photos in two classes: class_0/a, class_4/b" in line
        for line in warnings_about(twins, ["train", "train"], {})
    )


def test_demo_refuses_a_folder_with_other_files(tmp_path):
    from search.task.screening.demo_images import draw

    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="not empty"):
        draw(tmp_path, 100)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_accuracies_of_a_known_case():
    probabilities = np.eye(5)[[0, 1, 4, 4]]
    assert prepare.accuracies(probabilities, np.array([0, 2, 4, 3])) == {"mc_acc": 0.5, "bin_acc": 0.75}


def test_a_photo_of_sixteen_bits_keeps_its_shades(tmp_path):
    shades = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(shades).save(tmp_path / "deep.png")
    Image.fromarray((shades // 257).astype(np.uint8)).save(tmp_path / "usual.png")
    deep, usual = (decode(tmp_path / name, 64)[0] for name in ("deep.png", "usual.png"))
    assert np.array_equal(deep, usual) and len(np.unique(deep)) > 200
    Image.fromarray(np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)).save(tmp_path / "fractions.tiff")
    with pytest.raises(ValueError, match="its pixels are fractions"):
        decode(tmp_path / "fractions.tiff", 64)


def test_a_heic_photo_is_named_as_what_it_is(demo, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    (copy / "class_2/phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert prepare.main(["--dataset", str(copy)]) == 1
    wanted = f"{copy}/class_2/phone.HEIC: a HEIC photo, which is not read here; save it as JPEG or PNG\n"
    assert capsys.readouterr().err == wanted


def test_what_belongs_together_is_known_and_part_of_what_a_data_set_is(demo, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    alone = prepare.load(copy)
    assert len(set(alone.groups.tolist())) == len(alone.labels)
    names = sorted(path.relative_to(copy).as_posix() for path in copy.glob("class_*/*"))
    rows = [f"{name},patient{number // 5}" for number, name in enumerate(names)]
    (copy / "groups.csv").write_text("\n".join(["path,group", *rows]) + "\n")
    data = prepare.load(copy)
    assert np.bincount(data.groups).tolist() == [5] * 60 and data.fingerprint != alone.fingerprint
    parts = {group: set(data.part[data.groups == group].tolist()) for group in range(60)}
    assert all(len(found) == 1 for found in parts.values())
    assert prepare.load(prepare.view_of(data)).groups.tolist() == []  # it is nothing for a trial


@pytest.fixture
def three_classes(demo, tmp_path):
    """The photos of three of the demo's classes under other names, two of which are screened for."""
    folder = tmp_path / "three"
    for old, new in (("class_0", "clean"), ("class_2", "red"), ("class_4", "infected")):
        shutil.copytree(demo / old, folder / new)
    manifest = {"image_size": 64, "classes": ["clean", "red", "infected"], "positive": ["infected", "red"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_data_set_may_declare_other_classes(three_classes, capsys):
    assert prepare.main(["--dataset", str(three_classes)]) == 0
    said = capsys.readouterr().out
    assert "red " in said and "not positive" in said and "class_4" not in said
    data = prepare.load(three_classes)
    assert data.classes == prepare.Classes(("clean", "red", "infected"), (2, 1))
    assert set(data.labels) == {0, 1, 2}
    assert prepare.load(prepare.view_of(data)).classes == data.classes
    sure = np.eye(3)[data.labels]
    assert prepare.accuracies(sure[:, [0, 2, 1]], data.labels, data.classes)["bin_acc"] == 1.0  # both are positive
    three_classes.joinpath("manifest.json").write_text(
        '{"image_size": 64, "classes": ["clean", "red", "infected"], "positive": ["red"]}'
    )
    assert prepare.load(three_classes).fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ('{"classes": ["a"], "positive": ["a"]}', "at least two different names"),
        ('{"classes": ["a", "a"], "positive": ["a"]}', "at least two different names"),
        ('{"classes": ["a", "../b"], "positive": ["a"]}', "at least two different names"),
        ('{"classes": "ab", "positive": ["a"]}', "at least two different names"),
        ('{"classes": ["a", "b"]}', "positive is None; a list of some of the classes a, b"),
        ('{"classes": ["a", "b"], "positive": []}', "positive is []"),
        ('{"classes": ["a", "b"], "positive": ["a", "b"]}', "positive is"),
        ('{"classes": ["a", "b"], "positive": ["c"]}', "positive is ['c']"),
        ('{"positive": ["class_9"]}', "a list of some of the classes class_0"),
    ],
)
def test_classes_that_mean_nothing_are_refused(tmp_path, declared, words):
    (tmp_path / "manifest.json").write_text(declared)
    with pytest.raises(prepare.DataError, match=re.escape(words)):
        manifest_of(tmp_path)


def test_a_folder_that_is_no_class_is_named(three_classes):
    (three_classes / "other").mkdir()
    with pytest.raises(prepare.DataError, match=r"not one of the 3 class folders \(clean … infected\)"):
        prepare.load(three_classes)
