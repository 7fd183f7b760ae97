"""What a confined process may see."""

from search.system.sandbox import without


def test_what_is_hidden_is_not_granted_with_the_folder_around_it(tmp_path):
    for name in ("system/data/photos", "system/lib", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    system = tmp_path / "system"
    assert without(system, [tmp_path / "elsewhere"]) == [system]
    assert without(system, [system / "data"]) == [system / "lib"]
    assert without(system / "data", [system]) == []
