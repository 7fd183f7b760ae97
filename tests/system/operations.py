"""What a training step dispatches, counted on the CPU: by it one knows, without a GPU, how much is launched there."""

from collections import Counter
from dataclasses import replace

import numpy as np
from torch.utils._python_dispatch import TorchDispatchMode

SCALARS_READ = "aten._local_scalar_dense.default"
LEFT_OUT = 9  # the part of photos that are in none


class Counting(TorchDispatchMode):
    """Counts the operations that this thread dispatches."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.counts[str(function)] += 1
        return function(*arguments, **(keywords or {}))


def per_step(script, recipe, data, steps=2):
    """How often each operation is dispatched in a step. script: train.py as a module; data: has photos to train on."""
    few = data.indices("train")[: steps * recipe.batch_size]
    part = np.where(data.part == 0, LEFT_OUT, data.part).astype(np.int8)
    part[few] = 0

    def counts(epochs):
        with Counting() as counting:
            script.train(replace(recipe, epochs=epochs), replace(data, part=part), 0, 0)
        return counting.counts

    one, two = counts(1), counts(2)
    return Counter({name: (two[name] - one[name]) / steps for name in two})
