"""How fast a slot was during a trial: what a budget in seconds was worth. On NVIDIA GPUs, what the card said too."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from statistics import fmean, median
from types import TracebackType
from typing import Any

SAMPLE_SECONDS = 2.0
MIB = 2**20
THROTTLED = 0x8 | 0x20 | 0x40 | 0x80  # NVML's reasons: hardware slowdown, software thermal, hardware thermal, brake
UNEQUAL = 0.85  # of the fastest slot's speed; slots below it are told
SLOW = 0.7  # of a slot's calibration; a trial below it is marked


class GpuWatch:
    """Samples one GPU while a trial runs, where there is NVML; use as a context, then read `seen`.

    name: the card's, or ''. seen: memory_before_mb, other_processes (on the card, before the trial), clock_mhz (mean),
    power_w (mean), energy_j, throttled_share (of the samples); empty where there is no NVIDIA GPU or no NVML.
    """

    def __init__(self, gpu: str, nvml: Any = None) -> None:
        self.gpu, self.nvml = gpu, nvml
        self.name = ""
        self.seen: dict[str, float] = {}
        self._clocks: list[float] = []
        self._powers: list[float] = []
        self._throttled: list[bool] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> GpuWatch:
        try:
            if self.nvml is None:
                import pynvml

                self.nvml = pynvml
            self.nvml.nvmlInit()
            handle = self._handle()
            self.name = str(self.nvml.nvmlDeviceGetName(handle))
            self.seen["memory_before_mb"] = round(self.nvml.nvmlDeviceGetMemoryInfo(handle).used / MIB, 1)
            self.seen["other_processes"] = len(self.nvml.nvmlDeviceGetComputeRunningProcesses(handle))
            self._energy = self._energy_of(handle)
        except Exception:  # no driver, no card, no package, or one that says less: nothing to tell
            return self
        self._thread = threading.Thread(target=self._sample, args=(handle,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        if self._thread is None:
            return
        self._thread.join()
        for name, values in (("clock_mhz", self._clocks), ("power_w", self._powers)):
            if values:
                self.seen[name] = round(fmean(values), 1)
        if self._throttled:
            self.seen["throttled_share"] = round(fmean(self._throttled), 3)
        after = self._energy_of(self._handle())
        if self._energy is not None and after is not None:
            self.seen["energy_j"] = round((after - self._energy) / 1000, 1)

    def _handle(self) -> Any:
        if self.gpu.isdecimal():
            return self.nvml.nvmlDeviceGetHandleByIndex(int(self.gpu))
        return self.nvml.nvmlDeviceGetHandleByUUID(self.gpu)

    def _energy_of(self, handle: Any) -> float | None:
        try:
            return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(handle))  # millijoules since the driver began
        except Exception:  # older cards do not count it
            return None

    def _sample(self, handle: Any) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            try:
                self._clocks.append(self.nvml.nvmlDeviceGetClockInfo(handle, self.nvml.NVML_CLOCK_SM))
                self._powers.append(self.nvml.nvmlDeviceGetPowerUsage(handle) / 1000)
                reasons = self.nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
                self._throttled.append(bool(reasons & THROTTLED))
            except Exception:  # a card that fell off the bus; the trial will say so itself
                return


def from_footer(footer: dict[str, str]) -> dict[str, float]:
    """steps, photos and photos_per_second by the trial's own word, where it tells them."""
    told: dict[str, float] = {}
    for name in ("steps", "photos_seen", "photos_per_second"):
        try:
            told[name] = float(footer[name])
        except (KeyError, ValueError):
            continue
    return told


def calibration(probes: list[float]) -> float | None:
    """A slot's usual speed, from its earlier trials' probes; None with fewer than two."""
    return median(probes) if len(probes) > 1 else None


def is_gpu(machine: str) -> bool:
    """Whether Outcome.machine is a GPU."""
    return machine not in ("", "cpu")


def unequal_note(probes: Mapping[int, float], share: float = UNEQUAL) -> str:
    """One line where some slots are slower than the fastest; else empty. probes: by slot."""
    fastest = max(probes.values(), default=0.0)
    slower = [f"gpu{slot} {probe / fastest:.0%}" for slot, probe in sorted(probes.items()) if probe < share * fastest]
    return f"slots of unequal speed, beside the fastest: {', '.join(slower)}" if slower else ""


def slow_note(probe: float | None, usual: float | None, share: float = SLOW) -> str:
    """One line where a slot was slower during a trial than it is; else empty."""
    if probe is None or usual is None or probe >= share * usual:
        return ""
    return f"its slot ran at {probe / usual:.0%} of its usual speed"
