"""The same network in PyTorch, as its tutorials train it, on the CPU.

``python -m docs.peers.in_pytorch eager|compiled PRECISION BATCH IMAGES.npz``
"""

import contextlib
import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from docs.peers.child import serve

# Of the weights, and of autocast where that is not None.
DTYPES = {
    "double": (torch.float64, None),
    "single": (torch.float32, None),
    "half": (torch.float16, None),
    "mixed_half": (torch.float32, torch.float16),
    "bfloat16": (torch.bfloat16, None),
    "mixed_bfloat16": (torch.float32, torch.bfloat16),
}


def network() -> nn.Sequential:
    """93,322 weights."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def prepare(way: str, name: str, batch: int, path: str) -> Callable[[int], None]:
    """A function that takes so many steps of Adam on shuffled batches."""
    loaded = np.load(path)
    images = torch.from_numpy(loaded["images"]).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(loaded["labels"]).long()
    weights, computes = DTYPES[name]
    torch.manual_seed(12)
    model = network().to(weights)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
    scaler = torch.amp.GradScaler("cpu", enabled=computes is torch.float16)

    def loss_of(pixels: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        mixed = contextlib.nullcontext()
        if computes is not None:
            mixed = torch.autocast("cpu", dtype=computes)
        with mixed:
            outputs = model(pixels.to(weights) / 255)
        wide = outputs if weights is torch.float64 else outputs.float()
        return nn.functional.cross_entropy(wide, right)

    if way == "compiled":
        loss_of = torch.compile(loss_of)

    def take(steps: int) -> None:
        for _ in range(steps):
            places = torch.randint(len(labels), (batch,))
            optimizer.zero_grad()
            scaler.scale(loss_of(images[places], labels[places])).backward()
            scaler.step(optimizer)
            scaler.update()

    return take


def main() -> None:
    """Answers what the parent asks until it ends."""
    way, name, batch, path = sys.argv[1:]
    serve(lambda: prepare(way, name, int(batch), path))


if __name__ == "__main__":
    main()
