"""prepare.py: the photos, their split, and what is wrong with them."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import prepare
from prepare import DataError, Photo, split

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
    parts = [prepare.part_of_key(f"photo:{n}") for n in range(20000)]
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
    assert "class_5: not one of the five" in errors


@pytest.mark.parametrize("manifest", ['{"image_size": 999}', '{"image_size": "64"}', "[]", "{"])
def test_a_bad_manifest_is_refused(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(DataError, match=r"manifest\.json"):
        prepare.image_size_of(tmp_path)


@pytest.mark.parametrize("table", ["a,b\n", "path,group\nx\n", "path,group\nx,1\nx,2\n", ""])
def test_bad_groups_are_refused(tmp_path, table):
    (tmp_path / "groups.csv").write_text(table)
    with pytest.raises(DataError, match=r"groups\.csv"):
        prepare.read_groups(tmp_path)


def test_twins_in_two_classes_are_told():
    twins = [Photo("class_0/a", 0, "1"), Photo("class_4/b", 4, "1")]
    assert any(
        "identical photos in two classes: class_0/a, class_4/b" in line
        for line in prepare.warnings_about(twins, ["train", "train"], {})
    )


def test_demo_refuses_a_folder_with_other_files(tmp_path):
    from search.task.demo_images import draw

    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="not empty"):
        draw(tmp_path, 100)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_accuracies_of_a_known_case():
    probabilities = np.eye(5)[[0, 1, 4, 4]]
    assert prepare.accuracies(probabilities, np.array([0, 2, 4, 3])) == {"mc_acc": 0.5, "bin_acc": 0.75}
