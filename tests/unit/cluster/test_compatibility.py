"""Versions of nodes."""

from search.cluster.compatibility import differences


def test_versions_that_change_scores_are_refused_and_others_told():
    ours = {"python": "3.11.7", "torch": "2.14.1", "pillow": "13.0.0", "driver": "580.1", "kernel": "6.1"}
    assert differences(ours, dict(ours)) == ([], [])
    assert differences(ours, ours | {"torch": "2.13.0"}) == (["torch 2.13.0, here 2.14.1"], [])
    assert differences(ours, ours | {"pillow": ""}) == (["pillow missing, here 13.0.0"], [])
    assert differences(ours, ours | {"python": "3.11.9", "driver": ""}) == (
        [],
        ["driver missing, here 580.1", "python 3.11.9, here 3.11.7"],
    )
    assert differences(ours, ours | {"python": "3.12.7"})[0] == ["python 3.12.7, here 3.11.7"]
