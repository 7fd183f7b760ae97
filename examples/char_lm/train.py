"""Trains a character-level transformer for a few seconds on the CPU and prints val_bpb: the only file to edit."""

from __future__ import annotations

import os
import resource
import time

import torch
import torch.nn.functional as F
from prepare import TIME_BUDGET, VOCABULARY, batches, evaluate_bpb, split
from torch import Tensor, nn

WIDTH = 64  # of the embedding; a multiple of HEAD_SIZE is made of it
DEPTH = 2  # transformer blocks
HEAD_SIZE = 16
CONTEXT = 64  # characters
BATCH_SIZE = 32
LEARNING_RATE = 0.003  # peak
WEIGHT_DECAY = 0.05
WARMUP_RATIO = 0.1  # of the time
FINAL_LR_FRACTION = 0.1


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_SIZE
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(n, length, 3, self.heads, HEAD_SIZE).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.norm2(x))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        width = max(WIDTH // HEAD_SIZE, 1) * HEAD_SIZE
        self.characters, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(DEPTH)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        found = self.characters(x) + self.places(torch.arange(x.shape[1], device=x.device))
        return self.head(self.norm(self.blocks(found)))


def rate(progress: float) -> float:
    """The share of the peak learning rate at a share 0…1 of the time."""
    if progress < WARMUP_RATIO:
        return progress / WARMUP_RATIO
    done = (progress - WARMUP_RATIO) / (1 - WARMUP_RATIO)
    return 1 - done * (1 - FINAL_LR_FRACTION)


def main() -> None:
    seed = int(os.environ.get("SEED", "0"))
    torch.manual_seed(seed)
    training, validation = split()
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    draw = batches(training, BATCH_SIZE, CONTEXT, seed)
    began, step, used = time.monotonic(), 0, 0.0
    while used < TIME_BUDGET:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate(used / TIME_BUDGET)
        inputs, targets = draw()
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        used = time.monotonic() - began
        if step % 20 == 1:
            print(f"step {step} | loss {loss.item():.4f} | {used:.1f} s", flush=True)
    score = evaluate_bpb(model, validation, CONTEXT)
    print("---")
    print(f"val_bpb: {score:.6f}")
    print(f"training_seconds: {used:.1f}")
    print(f"peak_vram_mb: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f}")
    print(f"num_steps: {step}")
    print(f"num_params: {sum(parameter.numel() for parameter in model.parameters())}")


if __name__ == "__main__":
    main()
