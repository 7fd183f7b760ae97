"""The journal of a search in git, which names a search may have, and which searches there are.

A journal is a chain of commits without files; each message ends with one event as a line of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from search.core.codec import DecodeError
from search.core.events import Event, SearchBegun, from_line, is_title_of_decision, title_of, to_line
from search.core.paths import BESIDE_A_TAG, Names
from search.core.state import State
from search.core.types import SearchError, Settings, UsageError
from search.system.git import Repository

TAG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,58}[A-Za-z0-9])?")
SUFFIX = re.compile(rf"^(.+){BESIDE_A_TAG}$")  # of a search's further branches


def check_tag(repository: Repository, tag: str) -> None:
    """Raises UsageError if the tag is no name for a search, or collides with a branch or another search."""
    if not TAG.fullmatch(tag) or ".." in tag or tag.endswith(".lock"):
        raise UsageError(f"--tag {tag!r}: letters, digits, '.', '_' and '-', at most 60, as in nov23")
    names = Names(tag)
    heads = repository.refs("refs/heads/")
    others = repository.refs("refs/autoresearch/")
    if names.journal in others:
        raise UsageError(
            f"--tag {tag}: a search of this name exists; go on with it: --resume {tag}, or name another with --tag"
        )
    own_heads = re.compile(rf"refs/heads/{re.escape(names.branch)}({BESIDE_A_TAG})?(/.*)?$")
    own_refs = re.compile(rf"refs/autoresearch/{re.escape(tag)}({BESIDE_A_TAG})?/")
    taken = [ref for ref in heads if own_heads.match(ref) or ref == "refs/heads/autoresearch"]
    taken += [ref for ref in others if own_refs.match(ref)]
    parent = SUFFIX.match(tag)
    if parent:
        other = Names(parent[1])
        taken += [ref for ref in (*heads, *others) if ref == other.incumbent_ref or ref.startswith(other.refs + "/")]
    if taken:
        raise UsageError(f"--tag {tag}: its names collide with {taken[0]}; name another with --tag")


def searches(repository: Repository) -> list[str]:
    """The tags of the searches that there are, the one that did something last first."""
    lines = repository.run("for-each-ref", "--sort=-committerdate", "--format=%(refname)", "refs/autoresearch/")
    return [ref.split("/")[2] for ref in lines.splitlines() if ref.endswith("/journal")]


def append(repository: Repository, names: Names, event: Event) -> str:
    """Records an event and returns its commit: it is there or it is not, whatever dies when.

    Raises GitError, also for a second writer.
    """
    return repository.append_message(names.journal, f"{title_of(event)}\n\n{to_line(event)}")


def read(repository: Repository, names: Names) -> list[Event]:
    """A search's events, oldest first; none if there is no journal. Raises SearchError for one of another version."""
    return [_event(names, message) for message in repository.messages(names.journal)]


def _event(names: Names, message: str) -> Event:
    try:
        return from_line(message.rpartition("\n")[2])
    except DecodeError as error:
        raise SearchError(
            f"the journal of {names.tag} is of another version of this program ({error}): begin a fresh search "
            "with --tag"
        ) from error


def load_state(repository: Repository, tag: str, flag: str = "") -> State:
    """The state of a search, from its journal. Raises UsageError if there is none of this name.

    flag: what the user gave the name with, for the message.
    """
    events = read(repository, Names(tag))
    if not events:
        raise no_such_search(repository, tag, flag)
    return rebuild(events)


def load_settings(repository: Repository, tag: str, flag: str = "") -> tuple[Settings, int]:
    """(settings, decisions so far) of a search, without its state. Raises as load_state does."""
    messages = repository.messages(Names(tag).journal)
    first = _event(Names(tag), messages[0]) if messages else None
    if not isinstance(first, SearchBegun):
        raise no_such_search(repository, tag, flag)
    return first.settings, sum(is_title_of_decision(message) for message in messages)


def no_such_search(repository: Repository, tag: str, flag: str = "") -> UsageError:
    there = ", ".join(searches(repository)) or "none yet; begin one: python -m search.launch --gpus 4"
    return UsageError(f"{flag}{tag}: no such search; there are {there}")


def rebuild(recorded: Iterable[Event]) -> State:
    """The state after all events. Raises ValueError if there are none, or they do not begin a search."""
    rest = iter(recorded)
    first = next(rest, None)
    if not isinstance(first, SearchBegun):
        raise ValueError("the journal is empty" if first is None else f"the journal begins with {first.event!r}")
    state = State(first.settings, now=first.at)
    for event in rest:
        state.apply(event)
    return state
