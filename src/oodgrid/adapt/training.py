"""What trained methods share: a few-shot set on the device, batches, and CoOp's loop and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from oodgrid.adapt.contract import Diverged, FitData
from oodgrid.progress import progress

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
        local = data.train_local
        self._local = None if local is None else torch.from_numpy(np.ascontiguousarray(local)).to(device)
        self._chosen = torch.zeros(self._views.shape[1], dtype=torch.long, device=device)

    def epoch(self, generator: torch.Generator) -> torch.Tensor:
        """Return the features of one epoch, shape (n, D); without views always the same, and nothing is drawn."""
        import torch

        count, rows = self._views.shape[:2]
        if count == 1:
            return self._views[0]
        self._chosen = torch.randint(count, (rows,), generator=generator).to(self._views.device)
        return self._views[self._chosen, torch.arange(rows, device=self._views.device)]

    def local(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the normalised local features, shape (b, P, D), float32, of the views that this epoch drew."""
        import torch

        chosen = self._chosen[rows] if self._local.shape[1] > 1 else torch.zeros_like(rows)
        return torch.nn.functional.normalize(self._local[rows, chosen].float(), dim=-1)


def mean_view(data: FitData) -> np.ndarray:
    """Return the plain features of the shots, shape (n, D), or the mean over their augmented views, not normalised."""
    return data.train if data.train_views is None else data.train_views.mean(axis=1)


def batches(
    count: int, size: int, generator: torch.Generator, drop_last: bool = True, device: torch.device | str = "cpu"
) -> Iterator[torch.Tensor]:
    """Yield shuffled rows of one epoch.

    Args:
        count: Rows there are.
        size: Rows of a batch.
        generator: Source of the order.
        drop_last: Leave out a last incomplete batch unless it is the only one, as CoOp's library Dassl does;
            Tip-Adapter's code keeps it.
        device: Of the rows, which go there once an epoch.
    """
    import torch

    order = torch.randperm(count, generator=generator).to(device)
    stop = count - count % size if drop_last and count >= size else count
    for start in range(0, stop, size):
        yield order[start : min(start + size, stop)]


def coop_learning_rate(epoch: int, epochs: int, lr: float) -> float:
    """Return the rate of an epoch (from 0): one at 1e-5, then a cosine stepped by epoch, as Dassl's schedule."""
    return WARM_UP_LR if epoch == 0 else lr * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


@dataclass(frozen=True)
class Recipe:
    """How CoOp and its successors descend: SGD with momentum and CoOp's schedule.

    Attributes:
        epochs: Passes over the shots.
        lr: Highest learning rate.
        batch: Images a step.
        weight_decay: Of all parameters.
        scaled: Whether losses are scaled while gradients are made, as float16 needs.
        momentum: Of the descent.
        warm_up: Whether there is an epoch at 1e-5 first.
    """

    epochs: int
    lr: float
    batch: int
    weight_decay: float = 5e-4
    scaled: bool = False
    momentum: float = 0.9
    warm_up: bool = True

    def descend(
        self,
        parameters: list[torch.Tensor],
        data: FitData,
        features: TrainingFeatures,
        generator: torch.Generator,
        loss: Callable[[torch.Tensor, torch.Tensor], Any],
        step: Callable[..., torch.Tensor] | None = None,
        after_epoch: Callable[[int], None] = lambda epoch: None,
    ) -> list[float]:
        """Train parameters and return the mean loss of every epoch.

        Args:
            parameters: Leaves that want gradients, changed in place.
            data: Whose shots.
            features: Of these shots.
            generator: Of views and order.
            loss: Of the rows of a batch (b,) and their features (b, D), both on the device of the features.
            step: In place of `take_step` below, for losses that are more than one number.
            after_epoch: Called with the epoch's number, from 0.

        Raises:
            Diverged: A loss is not finite; known at the end of its epoch.
        """
        import torch

        optimiser = torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        scaler = torch.amp.GradScaler(parameters[0].device.type, enabled=self.scaled)
        losses = []
        for epoch in progress(range(self.epochs), desc="train", unit="epoch", leave=False):
            optimiser.param_groups[0]["lr"] = coop_learning_rate(epoch + (not self.warm_up), self.epochs, self.lr)
            x = features.epoch(generator)
            taken = [
                (step or take_step)(loss(rows, x[rows]), optimiser, scaler)
                for rows in batches(len(data.train_labels), self.batch, generator, device=x.device)
            ]
            losses.append(mean_loss(taken, epoch))
            after_epoch(epoch)
        return losses


def take_step(
    loss: torch.Tensor, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None = None
) -> torch.Tensor:
    """Take one optimiser step and return the loss, still on its device; `mean_loss` says whether it was finite."""
    optimiser.zero_grad(set_to_none=True)
    if scaler is None:
        loss.backward()
        optimiser.step()
    else:
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
    return loss.detach()


def mean_loss(losses: list[torch.Tensor], epoch: int) -> float:
    """Return the mean of the losses of an epoch's steps.

    They leave the device together: to read each at its step, a GPU would have to finish it before the next is prepared.

    Raises:
        Diverged: One is not finite; the message has the first, after which no later step means anything.
    """
    import torch

    values = torch.stack(losses).tolist()
    wrong = next((value for value in values if not math.isfinite(value)), None)
    if wrong is not None:
        raise Diverged(f"the loss became {wrong} in epoch {epoch + 1}")
    return sum(values) / len(values)


def uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator) -> torch.Tensor:
    """Return what torch's Linear begins with, for weights or bias: uniform within ±1/√inputs."""
    import torch

    return (2 * torch.rand(shape, generator=generator) - 1) * inputs**-0.5
