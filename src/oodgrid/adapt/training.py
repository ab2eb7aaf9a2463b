"""What trained methods share: batches of a cached few-shot set and CoOp's learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from oodgrid.adapt.contract import Diverged, FitData

if TYPE_CHECKING:
    import torch

WARM_UP_LR = 1e-5
Family = Literal["rrc08", "rrc50"] | None  # of augmented views


class TrainingFeatures:
    """The features of the shots, a view an (image, epoch) where there are augmented ones, on a device.

    Drawing views uniformly from a finite set is what a fresh random crop every epoch becomes on cached features; with
    as many views as epochs it is the same in distribution, up to drawing one twice.
    """

    def __init__(self, data: FitData, device: str, prepare: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> None:
        """Hold `prepare` of the features, which gets and gives rows of shape (n, D)."""
        import torch

        views = [data.train] if data.train_views is None else np.moveaxis(data.train_views, 1, 0)
        self._views = torch.stack([torch.from_numpy(np.ascontiguousarray(prepare(view))) for view in views]).to(device)

    def epoch(self, generator: torch.Generator) -> torch.Tensor:
        """Return the features of one epoch, shape (n, D); without views always the same, and nothing is drawn."""
        import torch

        count, rows = self._views.shape[:2]
        if count == 1:
            return self._views[0]
        chosen = torch.randint(count, (rows,), generator=generator).to(self._views.device)
        return self._views[chosen, torch.arange(rows, device=self._views.device)]


def mean_view(data: FitData) -> np.ndarray:
    """Return the plain features of the shots, shape (n, D), or the mean over their augmented views, not normalised."""
    return data.train if data.train_views is None else data.train_views.mean(axis=1)


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
