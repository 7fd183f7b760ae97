"""Which GPUs this machine has, and what a card says while a trial runs; without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from statistics import fmean
from types import TracebackType
from typing import Any

LOGICAL = "AUTORESEARCH_LOGICAL_GPUS"  # set where GPUs that are there are not to be used
LOGICAL_SLOTS = 4  # of --gpus auto on a machine without GPUs
SAMPLE_SECONDS = 2.0
MIB = 2**20
FREE_SECONDS = 30.0  # a process that was killed has given its memory back within
LEFT_MB = 500.0  # that are still in use, from which on they count as left behind
_first_in_use: dict[str, float] = {}  # MB of a card, when this process first looked
THROTTLED = 0x8 | 0x20 | 0x40 | 0x80  # NVML's reasons: hardware slowdown, software thermal, hardware thermal, brake


def visible_gpus() -> list[str]:
    """The UUIDs of the GPUs that this process may use, in CUDA_VISIBLE_DEVICES' order if that is set.

    UUIDs alone say which card is meant: a number counts in the order of the PCI bus for nvidia-smi, NVML and Ray, and
    by speed for CUDA. A number in CUDA_VISIBLE_DEVICES is taken as nvidia-smi's.
    """
    cards = _cards()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None or not cards:
        return list(cards.values())
    found: list[str] = []
    for part in (part.strip() for part in listed.split(",")):
        uuid = cards.get(part) or next((one for one in cards.values() if part and one.startswith(part)), "")
        uuid = uuid or (part if part.startswith("MIG-") else "")
        if not uuid or uuid in found:
            break  # CUDA ignores what it does not know, and all behind it
        found.append(uuid)
    return found


def uuid_of(gpu: str) -> str:
    """The UUID of the GPU that Ray calls this; '' if it is a logical one."""
    cards = _cards()
    return cards.get(gpu, "") if gpu.isdecimal() else gpu if cards else ""


def use_gpus(uuids: list[str]) -> None:
    """From here on this process, and what it starts, uses these GPUs; or logical ones only, if there are none."""
    if uuids:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(uuids)
    else:
        os.environ[LOGICAL] = "1"
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # hidden GPUs would have Ray refuse the logical ones


def _cards() -> dict[str, str]:
    """index -> UUID of this machine's GPUs, by nvidia-smi."""
    command = None if os.environ.get(LOGICAL) else shutil.which("nvidia-smi")
    if command is None:
        return {}
    try:
        found = subprocess.run(
            [command, "--query-gpu=index,uuid", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.split(",") for line in found.stdout.splitlines())
    return {index.strip(): uuid.strip() for index, uuid in (pair for pair in pairs if len(pair) == 2)}


def is_model(card: dict[str, Any], asked: str) -> bool:
    """Whether a card, by card_of, has this in its name, in any letter case; '' is in any."""
    return asked.lower() in str(card["model"]).lower()


def card_of(gpu: str) -> dict[str, Any]:
    """model and memory_mb of a GPU, by its UUID; '' and None if nothing gives them."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**20
        return {"model": str(pynvml.nvmlDeviceGetName(handle)), "memory_mb": round(memory, 1)}
    except Exception:  # no package, or a card that says less
        return {"model": "", "memory_mb": None}


def memory_left_behind(gpu: str, patience: float = FREE_SECONDS, nvml: Any = None) -> float:
    """MB of a card that are in use beyond what was when this process first asked, once so many seconds have been
    waited for them: what ran before may still hold them. 0 if nothing tells. gpu: its UUID."""
    try:
        if nvml is None:
            import pynvml

            nvml = pynvml
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(gpu)
        deadline = time.monotonic() + patience
        while True:
            used = nvml.nvmlDeviceGetMemoryInfo(handle).used / MIB
            left = used - _first_in_use.setdefault(gpu, used)
            if left < LEFT_MB or time.monotonic() >= deadline:
                return max(left, 0.0)
            time.sleep(FREE_SECONDS / 60)
    except Exception:  # no driver, no card, no package
        return 0.0


class GpuWatch:
    """Samples one GPU while a trial runs, if there is NVML; use as a context, then read `seen`.

    gpu: its UUID. name: the card's, or ''. seen: memory_before_mb, other_processes (on the card, before the trial),
    clock_mhz (mean), power_w (mean), energy_j, throttled_share (of the samples); empty if there is no NVIDIA GPU or no
    NVML.
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
        except Exception:  # no driver, no card, no package, or one that says less: nothing to report
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
