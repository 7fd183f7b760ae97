"""A node's name."""

import threading

from search.cluster.node import node_name


def test_a_node_keeps_its_name(tmp_path):
    first = node_name(tmp_path / "a")
    assert node_name(tmp_path / "a") == first
    names = []
    threads = [threading.Thread(target=lambda: names.append(node_name(tmp_path / "b"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 1
    assert node_name(tmp_path / "b") != first
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["name"]
