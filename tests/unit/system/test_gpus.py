"""A card, watched through NVML."""

from search.system.gpus import GpuWatch


class Nvml:
    """A card as NVML describes one."""

    NVML_CLOCK_SM = 1

    def __init__(self):
        self.energy = 1000.0

    def nvmlInit(self): ...

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    nvmlDeviceGetHandleByUUID = nvmlDeviceGetHandleByIndex

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
