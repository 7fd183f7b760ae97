"""Where a search keeps things."""

import pytest

import prepare
from search.core.paths import cache_root


@pytest.mark.parametrize(
    "variables", [{}, {"XDG_CACHE_HOME": "/x"}, {"AUTORESEARCH_CACHE": "here/y"}, {"XDG_CACHE_HOME": "", "HOME": "/h"}]
)
def test_prepare_and_the_search_mean_the_same_cache(monkeypatch, variables):
    """prepare.py is handed to trials, and imports nothing of the search's."""
    for name in ("XDG_CACHE_HOME", "AUTORESEARCH_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == prepare.cache_root() and cache_root().is_absolute()
