"""What trained methods share: the shots on the device, batches, and CoOp's loop and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from oodgrid.adapt.contract import Diverged, FitData
from oodgrid.errors import OodgridError
from oodgrid.progress import progress

if TYPE_CHECKING:
    import torch

WARM_UP_LR = 1e-5
RESIDENT = 2**30  # bytes of local features that training holds on its device; of more it reads those of each batch
Family = Literal["rrc08", "rrc50"] | None  # of augmented views


class TrainingFeatures:
    """The features of the shots on a device; where there are augmented views, one per image and epoch.

    Official codes take a fresh random crop per image and epoch. On cached features that becomes one view, drawn
    uniformly from those in the cache: the same distribution, except that a view can be drawn twice.
    """

    def __init__(self, data: FitData, device: str, prepare: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> None:
        """Move the features to the device, after `prepare`, a function from rows (n, D) to rows (n, D)."""
        import torch

        views = [data.train] if data.train_views is None else np.moveaxis(data.train_views, 1, 0)
        self._views = torch.stack([torch.from_numpy(np.ascontiguousarray(prepare(view))) for view in views]).to(device)
        local = data.train_local
        if local is not None and (isinstance(local, np.ndarray) or local.nbytes <= RESIDENT):
            local = torch.from_numpy(np.ascontiguousarray(local)).to(device)
        self._local = local  # on the device, or in the file still
        self._chosen = torch.zeros(self._views.shape[1], dtype=torch.long, device=device)  # the view of each image

    def epoch(self, generator: torch.Generator) -> torch.Tensor:
        """Draw a view of each image and return their features, shape (n, D); without views nothing is drawn."""
        import torch

        count, rows = self._views.shape[:2]
        if count == 1:
            return self._views[0]
        self._chosen = torch.randint(count, (rows,), generator=generator).to(self._views.device)
        return self._views[self._chosen, torch.arange(rows, device=self._views.device)]

    def local(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the normalised local features, shape (b, P, D), float32, of the views that this epoch drew.

        Raises:
            OodgridError: There are none.
        """
        import torch

        if self._local is None:
            raise OodgridError('a method that looks at patches is registered with needs=("local_features", …)')
        # Without views, V = 1: the local features are those of the images themselves.
        chosen = self._chosen[rows] if self._local.shape[1] > 1 else torch.zeros_like(rows)
        if isinstance(self._local, torch.Tensor):
            local = self._local[rows, chosen]
        else:
            local = torch.from_numpy(self._local[rows.cpu().numpy(), chosen.cpu().numpy()]).to(rows.device)
        return torch.nn.functional.normalize(local.float(), dim=-1)


def mean_view(data: FitData) -> np.ndarray:
    """Return the features of the shots, shape (n, D), not normalised; where there are views, the mean over those."""
    return data.train if data.train_views is None else data.train_views.mean(axis=1)


def batches(
    count: int, size: int, generator: torch.Generator, drop_last: bool = True, device: torch.device | str = "cpu"
) -> Iterator[torch.Tensor]:
    """Yield the row numbers of each batch of one epoch, in random order.

    Args:
        count: Number of rows.
        size: Rows per batch.
        generator: Decides the order.
        drop_last: Leave out a last incomplete batch unless it is the only one, as CoOp's library Dassl does;
            Tip-Adapter's code keeps it.
        device: Where the row numbers go, all of an epoch at once.
    """
    import torch

    order = torch.randperm(count, generator=generator).to(device)
    stop = count - count % size if drop_last and count >= size else count
    for start in range(0, stop, size):
        yield order[start : min(start + size, stop)]


def coop_learning_rate(epoch: int, epochs: int, lr: float) -> float:
    """Return the learning rate of an epoch (from 0): 1e-5 in the first, then a cosine by epoch, as Dassl has it."""
    return WARM_UP_LR if epoch == 0 else lr * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


@dataclass(frozen=True)
class Recipe:
    """The training of CoOp and its successors: SGD with momentum and CoOp's schedule.

    Attributes:
        epochs: Passes over the shots.
        lr: Highest learning rate.
        batch: Images per step.
        weight_decay: L2 penalty on all parameters.
        scaled: Whether the loss is scaled before the backward pass, as float16 needs.
        momentum: Of SGD.
        warm_up: Whether the first epoch runs at a rate of 1e-5.
        by_step: Whether the cosine goes down at every batch rather than at every epoch; then there is no warm-up.
        drop_last: Whether a last incomplete batch is left out, as `batches` has it.
    """

    epochs: int
    lr: float
    batch: int
    weight_decay: float = 5e-4
    scaled: bool = False
    momentum: float = 0.9
    warm_up: bool = True
    by_step: bool = False
    drop_last: bool = True

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
            parameters: Tensors to train, changed in place.
            data: The few-shot set.
            features: The features of its shots.
            generator: Decides views and order.
            loss: Returns the loss of the rows of a batch (b,) and their features (b, D), on the device of the features.
            step: Replaces `take_step` below, for losses that are more than one number.
            after_epoch: Called with the number of each epoch, from 0.

        Raises:
            Diverged: A loss is not finite; noticed at the end of its epoch.
        """
        import torch

        optimiser = torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        scaler = torch.amp.GradScaler(parameters[0].device.type, enabled=self.scaled)
        losses = []
        for epoch in progress(range(self.epochs), desc="train", unit="epoch", leave=False):
            x, step_losses = features.epoch(generator), []
            of_epoch = list(batches(len(data.train_labels), self.batch, generator, self.drop_last, x.device))
            for number, rows in enumerate(of_epoch):
                optimiser.param_groups[0]["lr"] = self._rate(epoch, number / len(of_epoch))
                step_losses.append((step or take_step)(loss(rows, x[rows]), optimiser, scaler))
            losses.append(mean_loss(step_losses, epoch))
            after_epoch(epoch)
        return losses

    def _rate(self, epoch: int, passed: float) -> float:
        """Return the learning rate in an epoch (from 0) of which some share has passed."""
        if self.by_step:
            return self.lr * 0.5 * (1 + math.cos(math.pi * (epoch + passed) / self.epochs))
        return coop_learning_rate(epoch + (not self.warm_up), self.epochs, self.lr)


def take_step(
    loss: torch.Tensor, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None = None
) -> torch.Tensor:
    """Take one optimiser step and return the loss, still on its device; `mean_loss` checks that it is finite."""
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

    They are read together: to read a loss at once, a GPU must finish that step before the next one is prepared.

    Raises:
        Diverged: One is not finite; the message has the first, which spoiled those after it.
    """
    import torch

    values = torch.stack(losses).tolist()
    infinite = next((value for value in values if not math.isfinite(value)), None)
    if infinite is not None:
        raise Diverged(f"the loss became {infinite} in epoch {epoch + 1}")
    return sum(values) / len(values)


def uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator) -> torch.Tensor:
    """Return weights or a bias drawn as torch's Linear draws them: uniform within ±1/√inputs."""
    import torch

    return (2 * torch.rand(shape, generator=generator) - 1) * inputs**-0.5
