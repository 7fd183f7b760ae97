"""What a person sees while a search runs."""

from search.driver.live import FollowedLog


def test_a_followed_log_gives_whole_lines_once(tmp_path):
    path = tmp_path / "run.log"
    log = FollowedLog("gpu0", path)
    assert log.new_lines() == []
    path.write_bytes(b"step 1\nste")
    assert log.new_lines() == ["gpu0 step 1"]
    with path.open("ab") as stream:
        stream.write("p 2 …\n".encode())
    assert log.new_lines() == ["gpu0 step 2 …"]
    assert log.new_lines() == []
