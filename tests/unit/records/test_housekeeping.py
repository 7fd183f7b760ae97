"""Logs of trials that have ended: cut, compressed, and still read."""

import gzip
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.core.paths import SearchPaths
from search.records import housekeeping
from search.records.housekeeping import KEPT_HEAD, KEPT_TAIL, end_of_log, pack_log, packed, take_stock


@given(st.integers(0, 3_000_000))
def test_the_beginning_and_the_end_of_a_log_stay(tmp_path_factory, size):
    log = tmp_path_factory.mktemp("log") / "run.log"
    text = b"".join(b"%09d\n" % number for number in range(size // 10 + 1))[:size]
    log.write_bytes(text)
    pack_log(log)
    if size < housekeeping.COMPRESSED_FROM:
        assert log.read_bytes() == text and not packed(log).exists()
        return
    kept = gzip.decompress(packed(log).read_bytes())
    assert not log.exists()
    if size <= KEPT_HEAD + KEPT_TAIL:
        assert kept == text
    else:
        head, note, tail = kept.partition(f"\n… {size - KEPT_HEAD - KEPT_TAIL} bytes are left out here …\n".encode())
        assert note and (head, tail) == (text[:KEPT_HEAD], text[-KEPT_TAIL:])
    assert end_of_log(log, 1000) == text[-1000:].decode()


def test_dying_between_the_two_loses_nothing(tmp_path, monkeypatch):
    log = tmp_path / "run.log"
    log.write_text("a line\n" * 100_000)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(log), "unlink", die)
    with pytest.raises(KeyboardInterrupt):
        pack_log(log)
    monkeypatch.undo()
    assert log.exists() and end_of_log(log, 7) == "a line\n"
    pack_log(log)
    assert not log.exists() and end_of_log(log, 7) == "a line\n"


def test_only_what_has_ended_and_rested_is_packed_and_all_is_weighed(tmp_path, monkeypatch):
    paths, outside = SearchPaths(tmp_path / "t"), tmp_path / "outside"
    outside.mkdir()
    (outside / "sealed").write_bytes(bytes(50_000))
    logs = {}
    for name, has_ended, is_rested in (("a", True, True), ("b", False, True), ("c", True, False)):
        trial = paths.slot(0).trial(name)
        trial.root.mkdir(parents=True)
        trial.log.write_text("x" * 200_000)
        if has_ended:
            trial.outcome.write_text("{}")
        if is_rested:
            os.utime(trial.log, (1, 1))
        logs[name] = trial.log
    taken = take_stock(paths, [outside, tmp_path / "nowhere"])
    assert [name for name, log in logs.items() if packed(log).exists()] == ["a"]
    assert 450_000 <= taken < 520_000
