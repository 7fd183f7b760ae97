"""A model's weights as a safetensors file has them: handed to the scorer in a search, left in a file by hand."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import save

VARIABLE = "AUTORESEARCH_WEIGHTS"  # names the file, of runs by hand


def weights_of(model: torch.nn.Module) -> bytes:
    """All weights and buffers."""
    named = model.state_dict().items()
    # Each by itself and in the usual order of its dimensions, as the format wants it.
    return save({name: value.detach().cpu().contiguous().clone() for name, value in named if torch.is_tensor(value)})


def write_weights(model: torch.nn.Module) -> None:
    """Writes them to the file that `train.py --weights FILE` names; nothing without one."""
    if named := os.environ.get(VARIABLE):
        Path(named).write_bytes(weights_of(model))
