"""Which cards there are, and one that is watched through NVML."""

import stat

import pytest

from search.system import gpus
from search.system.gpus import LOGICAL, GpuWatch, use_gpus, uuid_of, visible_gpus


class Nvml:
    """A card as NVML describes one."""

    NVML_CLOCK_SM = 1

    def __init__(self):
        self.energy = 1000.0

    def nvmlInit(self): ...

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return uuid

    def nvmlDeviceGetName(self, handle):
        return "card"

    def nvmlDeviceGetMemoryInfo(self, handle):
        return type("Memory", (), {"used": 3 * 2**20})

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [1]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self.energy += 2000
        return self.energy

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1500

    def nvmlDeviceGetPowerUsage(self, handle):
        return 250_000

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return 0x40


def test_a_card_is_watched_while_a_trial_runs(monkeypatch):
    monkeypatch.setattr("search.system.gpus.SAMPLE_SECONDS", 0.01)
    with GpuWatch("0", Nvml()) as watch:
        while len(watch._throttled) < 3:
            pass
    assert watch.seen == {
        "memory_before_mb": 3.0,
        "other_processes": 1,
        "clock_mhz": 1500.0,
        "power_w": 250.0,
        "throttled_share": 1.0,
        "energy_j": 2.0,
    }


def test_without_a_card_there_is_nothing_to_tell():
    class NoDriver:
        def nvmlInit(self):
            raise OSError("no driver")

    with GpuWatch("0", NoDriver()) as watch:
        pass
    assert watch.seen == {}


@pytest.fixture
def two_cards(tmp_path, monkeypatch):
    """An nvidia-smi that knows two cards."""
    command = tmp_path / "bin/nvidia-smi"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\necho '0, GPU-display'; echo '1, GPU-a100'\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv(LOGICAL, raising=False)


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        (None, ["GPU-display", "GPU-a100"]),
        ("1", ["GPU-a100"]),
        ("1,0", ["GPU-a100", "GPU-display"]),
        ("GPU-a", ["GPU-a100"]),
        ("MIG-7f", ["MIG-7f"]),
        ("1,9,0", ["GPU-a100"]),
        ("1,1", ["GPU-a100"]),
        ("", []),
        ("-1", []),
    ],
)
def test_cards_are_named_by_their_uuid(two_cards, monkeypatch, listed, found):
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert visible_gpus() == found


def test_what_ray_calls_a_gpu_leads_to_its_uuid_and_a_logical_one_to_none(two_cards, monkeypatch):
    assert (uuid_of("1"), uuid_of("GPU-display"), uuid_of("7")) == ("GPU-a100", "GPU-display", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv(LOGICAL, "")  # put back afterwards
    use_gpus(visible_gpus())  # the user hides them: trials must not find them all the same
    assert (uuid_of("1"), visible_gpus()) == ("", [])


def test_memory_that_a_trial_left_behind_is_waited_for_and_then_named(monkeypatch):
    used = [300.0, 900.0, 900.0, 350.0, *[2300.0] * 9]

    class Card(Nvml):
        def nvmlDeviceGetMemoryInfo(self, handle):
            return type("Memory", (), {"used": used.pop(0) * 2**20})

    monkeypatch.setattr(gpus, "_first_in_use", {})
    monkeypatch.setattr(gpus.time, "sleep", lambda seconds: None)
    assert gpus.memory_left_behind("GPU-1", nvml=Card()) == 0  # what others use of it is no trial's
    assert gpus.memory_left_behind("GPU-1", nvml=Card()) == 50  # after a while
    assert gpus.memory_left_behind("GPU-1", patience=0.0, nvml=Card()) == 2000
    assert gpus.memory_left_behind("GPU-1") == 0  # no driver here
