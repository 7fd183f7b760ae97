"""What a confined process may see."""

import ctypes
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from search.system.sandbox import confined, is_available, why_not_isolated, without
from tests.support.dishonest import SEND

LEAVE = "open('/dev/shm/NAME', 'w').write('for the next trial')"
CALL = "import socket; socket.socket(socket.AF_UNIX).connect('NAME')"
SHARE = "import ctypes; print(ctypes.CDLL(None).shmget(4711, 100, 0o1666))"


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
    assert done.stdout == "True\n" and done.returncode
    assert "FileNotFoundError" in done.stderr or "PermissionError" in done.stderr  # covered, or forbidden


@pytest.fixture
def shared(tmp_path):
    """What trials of one machine share if nothing keeps them apart: a name in shared memory, a service's socket."""
    name = Path("/dev/shm", f"left-{os.getpid()}")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own is too long a path for a socket
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(folder / "service"))
        service.listen()
        yield name, folder / "service"
    name.unlink(missing_ok=True)
    (folder / "service").unlink()
    folder.rmdir()


@pytest.mark.skipif(bool(why_not_isolated()), reason=f"no namespaces here: {why_not_isolated()}")
@pytest.mark.parametrize("isolated", [True, False])
def test_trials_share_neither_memory_nor_services_nor_a_network(tmp_path, shared, isolated):
    name, service = shared
    own = tmp_path / "own"
    own.mkdir()
    (own / "kept").write_text("as it was")

    def run(code):
        words = [sys.executable, "-c", code]
        command = confined(words, [], [own], [], tmp_path / "rules.json", isolated)
        return subprocess.run(command, cwd=own, capture_output=True, text=True, check=False)

    assert run(LEAVE.replace("NAME", name.name)).returncode == 0  # data loaders need it
    assert name.exists() != isolated
    assert (run(CALL.replace("NAME", str(service))).returncode == 0) != isolated
    assert (run(SEND).returncode == 0) != isolated  # Landlock knows of TCP alone
    segment = int(run(SHARE).stdout)
    assert ("4711" in Path("/proc/sysvipc/shm").read_text().split()) != isolated
    if not isolated:
        ctypes.CDLL(None).shmctl(segment, 0, None)
    done = run("print(open('kept').read()); open('new', 'w').write('stays')")
    assert done.stdout == "as it was\n" and (own / "new").read_text() == "stays"
