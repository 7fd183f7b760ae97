"""Photos on the page: validation photos alone, by their position, judged as the scorer judged them."""

import io

import numpy as np
import pytest
from PIL import Image

import prepare
from search.core.types import SearchError
from search.report.evidence import unpacked
from search.web.pages.photos import NoPhotosError, PhotosPage
from search.web.pages.source import PageSource
from tests.support.searches import coordinator_of, run_all, setup_of


@pytest.fixture
def source(fast_repository, demo):
    setup = setup_of(fast_repository, demo)
    with coordinator_of(fast_repository, demo, limit=2, seal=setup.seal) as coordinator:
        run_all(coordinator, setup)
    found = PageSource(fast_repository / "runs/t")
    found.refresh()
    return found


def test_the_photos_that_a_model_gets_wrong_are_those_that_the_scorer_counted(source, demo):
    page, data = PhotosPage(source), prepare.load(demo)
    validation = data.indices("validation")
    for number in (0, 1):
        shown = page.shown(number)
        [outcome] = [one for one in source.records.outcomes if one.experiment == number]
        right = unpacked(outcome.correct, len(validation)).astype(bool)
        assert shown["count"] == (~right).sum() and shown["all"] == len(validation)
        assert {one.position for one in shown["wrong"]} == set(validation[~right].tolist())
        assert {one.position for one in shown["unsure"]} <= set(validation[right].tolist())
        assert [one.truth for one in shown["wrong"]] == [
            data.classes.names[data.labels[one.position]] for one in shown["wrong"]
        ]
        assert all(abs(sum(one.probabilities) - 1) < 0.01 for one in shown["wrong"])
    base = {one.position for one in page.shown(0)["wrong"]}
    assert {one.position for one in page.shown(1)["new"]} == {one.position for one in shown["wrong"]} - base


def test_a_photo_is_named_by_its_position_and_only_validation_photos_are(source, demo):
    page, data = PhotosPage(source), prepare.load(demo)
    first = int(data.indices("validation")[0])
    picture = Image.open(io.BytesIO(page.image(first)))
    assert picture.format == "JPEG" and picture.size == (data.image_size, data.image_size)
    assert np.abs(np.asarray(picture, int) - data.images[first]).mean() < 12
    for part in ("train", "test"):
        with pytest.raises(NoPhotosError, match="no validation photo"):
            page.image(int(data.indices(part)[0]))
    for position in (-1, 10**9):
        with pytest.raises(NoPhotosError):
            page.image(position)


def test_where_they_are_not_to_be_had_it_is_said(source, tmp_path, monkeypatch):
    with pytest.raises(SearchError, match="are not on this machine"):
        page = PhotosPage(source)
        page.seal = tmp_path
        page.shown(0)
    settings = source.records.settings
    object.__setattr__(settings, "fingerprint", "another")
    with pytest.raises(NoPhotosError, match="another one than the search began with"):
        PhotosPage(source)
    object.__setattr__(settings, "dataset", "/nowhere")
    with pytest.raises(NoPhotosError, match="not on this machine: /nowhere"):
        PhotosPage(source)
