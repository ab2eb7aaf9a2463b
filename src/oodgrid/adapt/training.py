"""What trained methods share: batches of a cached few-shot set and CoOp's learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from oodgrid.adapt.contract import Diverged

if TYPE_CHECKING:
    import torch

WARM_UP_LR = 1e-5


def batches(count: int, size: int, generator: torch.Generator, drop_last: bool = True) -> Iterator[torch.Tensor]:
    """Yield shuffled rows of one epoch.

    Args:
        count: Rows there are.
        size: Rows of a batch.
        generator: Source of the order.
        drop_last: Leave out a last incomplete batch unless it is the only one, as CoOp's library Dassl does;
            Tip-Adapter's code keeps it.
    """
    import torch

    order = torch.randperm(count, generator=generator)
    stop = count - count % size if drop_last and count >= size else count
    for start in range(0, stop, size):
        yield order[start : min(start + size, stop)]


def coop_learning_rate(epoch: int, epochs: int, lr: float) -> float:
    """Return the rate of an epoch (from 0): one at 1e-5, then a cosine stepped by epoch, as Dassl's schedule."""
    return WARM_UP_LR if epoch == 0 else lr * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def step(loss: torch.Tensor, optimiser: torch.optim.Optimizer, epoch: int) -> float:
    """Take one optimiser step and return the loss.

    Raises:
        Diverged: The loss is not finite.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        raise Diverged(f"the loss became {value} in epoch {epoch + 1}")
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return value
