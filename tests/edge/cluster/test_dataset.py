"""The data set on a node."""

import pytest

import prepare
from search.cluster.dataset import batches, find_or_fetch
from search.core.types import SearchError
from search.task.screening.demo_images import draw
from tests.support.searches import Killed


def test_the_data_set_comes_once_is_verified_and_its_photos_do_not_stay(home, tmp_path, monkeypatch):
    setup, own_exchange = home
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache of the node"))
    asked = []
    real = own_exchange.image_bytes
    monkeypatch.setattr(own_exchange, "image_bytes", lambda paths: asked.append(paths) or real(paths))
    aside = tmp_path / "aside"
    assert find_or_fetch("/not/here", setup.settings.fingerprint, aside, own_exchange) == ""
    assert prepare.cached(setup.settings.fingerprint).fingerprint == setup.settings.fingerprint
    assert not aside.exists()
    assert find_or_fetch("/not/here", setup.settings.fingerprint, aside, own_exchange) == ""
    assert len(asked) == 1
    assert find_or_fetch(setup.dataset, setup.settings.fingerprint, aside, own_exchange) == setup.dataset
    assert len(asked) == 1


def test_a_fetch_that_died_goes_on_where_it_was(home, tmp_path, monkeypatch):
    setup, own_exchange = home
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(batches, "__defaults__", (20_000,))
    real, calls = own_exchange.image_bytes, []

    def dies_at_the_third(paths):
        calls.append(paths)
        if len(calls) == 3:
            raise Killed
        return real(paths)

    monkeypatch.setattr(own_exchange, "image_bytes", dies_at_the_third)
    with pytest.raises(Killed):
        find_or_fetch("/not/here", setup.settings.fingerprint, tmp_path / "aside", own_exchange)
    assert find_or_fetch("/not/here", setup.settings.fingerprint, tmp_path / "aside", own_exchange) == ""
    came = [path for batch in calls[:2] + calls[3:] for path in batch]
    assert len(came) == len(set(came)) == len(own_exchange.images())


def test_another_data_set_is_not_taken_for_it(home, tmp_path, monkeypatch):
    own_exchange = home[1]
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other"
    draw(other, 120)
    with pytest.raises(SearchError, match="the data set came as"):
        find_or_fetch(str(other), "0" * 64, tmp_path / "aside", own_exchange)
    with pytest.raises(SearchError, match="not files of the data set"):
        own_exchange.image_bytes(["../secret"])
