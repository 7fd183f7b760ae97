"""Which GPUs this machine has, without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

LOGICAL_SLOTS = 4  # of --gpus auto on a machine without GPUs


def visible_gpus() -> list[str]:
    """The ids of the GPUs that this process may use, in CUDA_VISIBLE_DEVICES' order where it is set."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [part.strip() for part in listed.split(",") if part.strip() and part.strip() != "-1"] if _smi() else []
    return _smi()


def _smi() -> list[str]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        found = subprocess.run(
            [command, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return found.stdout.split()


def is_model(card: dict[str, Any], asked: str) -> bool:
    """Whether a card, by card_of, has this in its name, in any letter case; '' is in any."""
    return asked.lower() in str(card["model"]).lower()


def card_of(gpu: str) -> dict[str, Any]:
    """model and memory_mb of a GPU; '' and None where nothing tells them."""
    try:
        import pynvml

        pynvml.nvmlInit()
        by_index = gpu.isdecimal()
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(gpu)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(gpu)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**20
        return {"model": str(pynvml.nvmlDeviceGetName(handle)), "memory_mb": round(memory, 1)}
    except Exception:  # no package, or a card that says less
        return {"model": "", "memory_mb": None}
