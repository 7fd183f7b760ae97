"""Tags: which of them are free."""

import pytest

from search.core.events import SearchBegun, SlotLeft
from search.core.paths import Names
from search.core.types import SearchError, UsageError
from search.records.journal import append, check_tag, load_settings, load_state, read
from search.system.git import Repository
from tests.support.repositories import git
from tests.support.states import SETTINGS


@pytest.mark.parametrize(
    ("tag", "taken"),
    [
        ("mar5", "refs/heads/autoresearch/mar5"),
        ("mar5", "refs/heads/autoresearch/mar5-gpu7"),
        ("mar5", "refs/heads/autoresearch/mar5-inbox"),
        ("mar5-inbox", "refs/autoresearch/mar5/journal"),
        ("mar5", "refs/heads/autoresearch/mar5/below"),
        ("mar5", "refs/autoresearch/mar5/journal"),
        ("mar5", "refs/autoresearch/mar5-gpu0/journal"),
        ("mar5-gpu0", "refs/autoresearch/mar5/journal"),
        ("mar5-gpu0", "refs/heads/autoresearch/mar5"),
        ("mar5", "refs/heads/autoresearch"),
    ],
)
def test_a_tag_whose_names_collide_is_refused(fast_repository, tag, taken):
    repository = Repository(fast_repository)
    check_tag(repository, tag)
    repository.set_ref(taken, repository.commit_of("HEAD"))
    with pytest.raises(UsageError, match=f"--tag {tag}"):
        check_tag(repository, tag)
    if taken != "refs/heads/autoresearch":  # which leaves no room for any search
        check_tag(repository, "mar6")


def test_only_a_search_that_exists_is_offered_to_be_resumed(fast_repository):
    repository = Repository(fast_repository)
    append(repository, Names("mar5"), SearchBegun(SETTINGS))
    repository.set_ref("refs/heads/autoresearch/mar5-gpu0", repository.commit_of("HEAD"))
    with pytest.raises(UsageError, match="go on with it: --resume mar5,"):
        check_tag(repository, "mar5")
    with pytest.raises(UsageError, match="collide with refs/heads/autoresearch/mar5-gpu0; name another"):
        check_tag(repository, "mar5-gpu0")


@pytest.mark.parametrize("tag", ["", "-x", "a b", "a..b", "a.lock", "a/", "é", "x" * 61])
def test_a_tag_that_is_no_name_is_refused(fast_repository, tag):
    with pytest.raises(UsageError, match="--tag"):
        check_tag(Repository(fast_repository), tag)


def test_a_journal_of_another_version_is_refused_in_one_line(fast_repository):
    repository, names = Repository(fast_repository), Names("old")
    repository.append_message(names.journal, 'search\n\n{"event": "search", "tag": "old", "base": "x"}')
    for load in (load_state, load_settings):
        with pytest.raises(
            SearchError, match=r"the journal of old is of another version .*search\.settings"
        ) as refused:
            load(repository, "old")
        assert "\n" not in str(refused.value)


def test_events_are_read_as_they_were_recorded(fast_repository):
    repository, names = Repository(fast_repository), Names("t")
    events = [SearchBegun(SETTINGS, 1.5), SlotLeft(3, 'its "node" has\tgone → é', 2.0)]
    for event in events:
        append(repository, names, event)
    assert read(repository, names) == events
    assert load_settings(repository, "t") == (SETTINGS, 0)
    assert git(fast_repository, "log", "--format=%s", names.journal).splitlines() == ["slot_left 3", "search"]
