"""What a confined process may see."""

import subprocess
import sys

import pytest

from search.system.sandbox import confined, is_available, without


def test_what_is_hidden_is_not_granted_with_the_folder_around_it(tmp_path):
    for name in ("system/data/photos", "system/lib", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    system = tmp_path / "system"
    assert without(system, [tmp_path / "elsewhere"]) == [system]
    assert without(system, [system / "data"]) == [system / "lib"]
    assert without(system / "data", [system]) == []


@pytest.mark.skipif(not is_available(), reason="this kernel has no Landlock (Linux 5.13 or newer)")
def test_a_folder_of_five_thousand_entries_is_not_too_much_to_grant(tmp_path):
    crowd, rules = tmp_path / "crowd", tmp_path / "rules.json"
    crowd.mkdir()
    for number in range(5000):
        (crowd / f"a file with a rather long name, as temporary ones have them {number:06d}").touch()
    (crowd / "hidden").write_text("secret")
    read = without(crowd, [crowd / "hidden"])
    assert len(read) == 5000
    look = f"print(open({str(read[-1])!r}).read() == ''); open({str(crowd / 'hidden')!r})"
    command = confined([sys.executable, "-c", look], read, [], [crowd / "hidden"], rules)
    assert max(map(len, command)) < 4096 < rules.stat().st_size // 100
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n" and "PermissionError" in done.stderr
