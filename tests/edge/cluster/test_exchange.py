"""Progress of a trial away from home."""

import json

from search.cluster import remote_trial


def test_progress_is_shown_at_home_without_a_process_id(home):
    own_exchange = home[1]
    stale = own_exchange.run.slot(0).trial("e0001-s0")
    own_exchange.mirror(0, "e0001-s0", {"pid": 1, "commit": "x"}, 0, remote_trial.zlib.compress(b"step 1\n"))
    assert json.loads(stale.running.read_text()) == {"commit": "x"}
    for _ in range(2):  # a message that is sent again changes nothing
        own_exchange.mirror(0, "e0002-s0", {"pid": 1, "commit": "y"}, 0, remote_trial.zlib.compress(b"step 2\n"))
    own_exchange.mirror(0, "e0002-s0", {"pid": 1, "commit": "y"}, 7, remote_trial.zlib.compress(b"step 3\n"))
    assert own_exchange.run.slot(0).trial("e0002-s0").log.read_text() == "step 2\nstep 3\n"
    assert not stale.running.exists()  # its node was lost
